# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finding faces in frames, and following one through a clip: the largest, the most central, or the one that speaks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .geometry_lipread import SAME_SHAPE, face_shape, identity_switches, lip_motion, shape_distance
from .landmarker_lipread import Landmarker, Region

FACES = ("largest", "central", "speaking")
REACQUIRE_SECONDS = 0.25  # how long a lost face is waited for before another one may be followed
SEARCH_SECONDS = 0.5  # how often newcomers are looked for while other faces are followed
MOST_MOVED = 0.8  # sizes of the face, between two frames: two faces side by side are farther apart
MOST_GROWN = 4 / 3  # times, between two frames
SMALLEST_TILED_SIDE = 256  # tiles of smaller frames would be smaller than the detector's own 128-pixel input

Found = tuple[np.ndarray | None, Region, int]  # a face, the region to follow it in, and how many faces were seen


class FaceFinder:
    """Looks for faces in single frames, and makes the landmarkers that follow them.

    Args:
        model_path: MediaPipe's face_landmarker.task.
        num_faces: The most faces looked for in a frame or in a tile of it.
        min_face_detection_confidence: MediaPipe's threshold on its detector, 0..1.
        min_face_presence_confidence: MediaPipe's threshold on its landmark model, 0..1.
    """

    def __init__(
        self,
        model_path: Path,
        num_faces: int,
        min_face_detection_confidence: float,
        min_face_presence_confidence: float,
    ):
        self.model_path = model_path
        self.num_faces = num_faces
        self.min_face_detection_confidence = min_face_detection_confidence
        self.min_face_presence_confidence = min_face_presence_confidence
        self._landmarker: Landmarker | None = None
        self._idle: list[Landmarker] = []

    def __getstate__(self) -> dict[str, Any]:
        # MediaPipe's handle belongs to one process; copies and other processes make their own on first use.
        return {**self.__dict__, "_landmarker": None, "_idle": []}

    def close(self) -> None:
        """Frees MediaPipe's memory; the finder can be used again afterwards."""
        for landmarker in (self._landmarker, *self._idle):
            if landmarker is not None:
                landmarker.close()
        self._landmarker, self._idle = None, []

    def detect(self, frame: np.ndarray, region: Region) -> list[np.ndarray]:
        """All faces in a region, landmarks `(478, 3)` each."""
        if self._landmarker is None or not self._landmarker.usable:
            self._landmarker = self._make_landmarker(video=False)
        return self._landmarker.detect(frame, region)

    def lend_landmarker(self) -> Landmarker:
        """A landmarker that follows one face through the frames of one clip, as good as new."""
        while self._idle:
            landmarker = self._idle.pop()
            if landmarker.usable:
                landmarker.reset()
                return landmarker
        return self._make_landmarker(video=True)

    def take_back(self, landmarker: Landmarker) -> None:
        """Keeps a landmarker for the next clip: making one takes ten times as long as a frame."""
        self._idle.append(landmarker)

    def search(self, frame: np.ndarray) -> list[np.ndarray]:
        """All faces of a frame, each once: those of the whole frame, or of tiles if there is none in the whole."""
        return distinct(self._search(frame)[0])

    def choose(self, frame: np.ndarray, which: str) -> Found:
        """The `largest` face of a frame, or its most `central`.

        Returns:
            The face, None if there is none; the region to follow it in, which is the whole frame for a face that is
            alone and not small, and else a square around it; and the number of faces seen.
        """
        faces, level = self._search(frame)
        if not faces:
            return (None, whole(frame), 0)
        face = max(faces, key=face_size) if which == "largest" else _most_central(faces, frame)
        if len(faces) > 1:
            return (face, around(frame, face, 2), len(distinct(faces)))
        return (face, around(frame, face, 3) if level else whole(frame), 1)

    def find_again(self, frame: np.ndarray, previous: np.ndarray) -> Found:
        """As `choose`, the face that continues `previous`, landmarks `(478, 3)` of a frame shortly before."""
        for level, region in enumerate((whole(frame), around(frame, previous, 3))):
            faces = self.detect(frame, region)
            face = nearest(faces, previous)
            if face is not None:
                if len(faces) > 1:
                    return (face, around(frame, face, 2), len(faces))
                return (face, around(frame, face, 3) if level else whole(frame), 1)
        return (None, whole(frame), 0)

    def _search(self, frame: np.ndarray) -> tuple[list[np.ndarray], int]:
        for level, regions in enumerate(_search_levels(frame)):
            faces = [face for region in regions for face in self.detect(frame, region)]
            if faces:
                return faces, level
        return [], 0

    def _make_landmarker(self, video: bool) -> Landmarker:
        return Landmarker(
            self.model_path,
            video,
            num_faces=1 if video else self.num_faces,
            min_face_detection_confidence=self.min_face_detection_confidence,
            min_face_presence_confidence=self.min_face_presence_confidence,
        )


class FaceFollower:
    """Follows one face through the frames of one clip.

    Args:
        finder: Finds the face at first and where it was lost.
        which: The face taken when there is none to continue, `largest` or `central`; None takes none.

    Attributes:
        faces: Landmarks `(478, 3)` for each frame so far, None where the face was not found.
        most_seen: The most faces seen in one of the frames that were searched.
    """

    def __init__(self, finder: FaceFinder, which: str | None = "largest"):
        self.finder = finder
        self.which = which
        self.faces: list[np.ndarray | None] = []
        self.most_seen = 0
        self.landmarker: Landmarker | None = None
        self.region: Region = (0, 0, 0, 0)
        self.previous: np.ndarray | None = None
        self.last_seen = 0.0
        self._before: tuple[np.ndarray | None, float] = (None, 0.0)

    def step(self, frame: np.ndarray, time: float) -> None:
        """Takes the next frame: RGB, uint8, `(height, width, 3)`, at so many seconds."""
        if not self.is_waiting(time):
            self.previous = None
        self._before = self.previous, self.last_seen
        face = self._follow(frame, time)
        if face is None:
            self.close()
            face = self._acquire(frame, time)
        if face is not None:
            self.previous, self.last_seen = face, time
            if self.landmarker is not None and touches_edge(face, self.region, frame):
                self.close()  # the face wanders out of its region; the next frame chooses a new one
        self.faces.append(face)

    def is_waiting(self, time: float) -> bool:
        """Whether the face was seen lately enough that no other one may take its place."""
        return time - self.last_seen <= REACQUIRE_SECONDS

    def begin(self, frame: np.ndarray, time: float, face: np.ndarray, region: Region) -> None:
        """Takes a face found in the frame, landmarks `(478, 3)`, as the one to follow in a region around it."""
        self.faces.append(self._begin(frame, time, face, region))
        self.previous, self.last_seen = self.faces[-1], time

    def retract(self) -> None:
        """Takes back what the last step found: it was another one's face."""
        self.faces[-1] = None
        self.previous, self.last_seen = self._before
        self.close()

    def _acquire(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        if self.previous is not None:
            face, region, seen = self.finder.find_again(frame, self.previous)
        elif self.which is not None:
            face, region, seen = self.finder.choose(frame, self.which)
        else:
            return None
        self.most_seen = max(self.most_seen, seen)
        return None if face is None else self._begin(frame, time, face, region)

    def _begin(self, frame: np.ndarray, time: float, face: np.ndarray, region: Region) -> np.ndarray:
        self.previous, self.region, self.landmarker = face, region, self.finder.lend_landmarker()
        followed = self._follow(frame, time)
        if followed is not None:
            return followed
        self.close()  # MediaPipe took another face of the region; look for ours again in the next frame
        return face

    def _follow(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        if self.landmarker is None or self.previous is None:
            return None
        return nearest(self.landmarker.detect(frame, self.region, time), self.previous)

    def close(self) -> None:
        """Gives the landmarker back; the next frame is searched anew."""
        if self.landmarker is not None:
            self.finder.take_back(self.landmarker)
        self.landmarker = None


class SpeakerFollower:
    """Follows every face of a clip and keeps the one whose lips move most.

    Lip motion is measured in distances between the eyes, so a face far away counts as much as a near one. A face that
    was lost and one found later are taken for the same person if their shapes agree. Each face followed costs as much
    as a clip of it alone.

    Args:
        finder: Finds the faces.

    Attributes:
        most_seen: The most faces seen in one frame.
    """

    def __init__(self, finder: FaceFinder):
        self.finder = finder
        self.most_seen = 0
        self._times: list[float] = []
        self._tracks: list[tuple[int, FaceFollower]] = []  # each with the number of its first frame
        self._next_search = 0.0

    def step(self, frame: np.ndarray, time: float) -> None:
        """Takes the next frame: RGB, uint8, `(height, width, 3)`, at so many seconds."""
        self._times.append(time)
        taken: list[np.ndarray] = []
        for _, follower in self._tracks:
            if not follower.is_waiting(time):
                follower.close()
                continue
            follower.step(frame, time)
            face = follower.faces[-1]
            if face is not None and any(same_place(face, other) for other in taken):
                follower.retract()  # two followers on one face: the one that was there first keeps it
            elif face is not None:
                taken.append(face)
        if not taken or time >= self._next_search:
            self._next_search = time + SEARCH_SECONDS
            for face in self.finder.search(frame):
                if not any(same_place(face, other) for other in taken):
                    follower = FaceFollower(self.finder, which=None)
                    follower.begin(frame, time, face, around(frame, face, 2))
                    self._tracks.append((len(self._times) - 1, follower))
                    taken.append(face)
        self.most_seen = max(self.most_seen, len(taken))

    @property
    def faces(self) -> list[np.ndarray | None]:
        """Landmarks `(478, 3)` of the speaker for each frame so far, None where the face was not found."""
        speaker = max(self._people(), key=self._spoken, default={})
        return [speaker.get(index) for index in range(len(self._times))]

    def take_people(self) -> list[dict[int, np.ndarray]]:
        """Hands over the faces of each person seen since the last call, by frame, and forgets them.

        Those who are still followed go on being followed.
        """
        people = self._people()
        last = self._times[-1] if self._times else 0.0
        self._tracks = [(0, follower) for _, follower in self._tracks if follower.is_waiting(last)]
        for _, follower in self._tracks:
            follower.faces = []
        self._times = []
        return people

    def _people(self) -> list[dict[int, np.ndarray]]:
        """The faces of each person by frame, tracks that one person left joined."""
        people: list[dict[int, np.ndarray]] = []
        shapes: list[np.ndarray] = []
        for track in self._unmixed_tracks():
            shape = face_shape(np.stack(list(track.values())))
            apart = [
                np.inf if _are_two(person, track) else shape_distance(shape, other)
                for person, other in zip(people, shapes, strict=True)
            ]
            if apart and min(apart) < SAME_SHAPE:
                nearest_person = int(np.argmin(apart))
                people[nearest_person] = track | people[nearest_person]
            else:
                people.append(track)
                shapes.append(shape)
        return people

    def _unmixed_tracks(self) -> Iterator[dict[int, np.ndarray]]:
        """The faces of each track by frame, cut where a follower slid from one person to another."""
        for first, follower in self._tracks:
            frames = [first + index for index, face in enumerate(follower.faces) if face is not None]
            faces = [face for face in follower.faces if face is not None]
            if not faces:  # of a track that was handed over and went on without a face
                continue
            times = np.array([self._times[frame] for frame in frames])
            cuts = [0, *identity_switches(np.stack(faces), times), len(faces)]
            for begin, end in zip(cuts, cuts[1:], strict=False):
                yield dict(zip(frames[begin:end], faces[begin:end], strict=True))

    def _spoken(self, person: dict[int, np.ndarray]) -> float:
        """How much a person's lips moved in the whole clip."""
        frames = sorted(person)
        times = np.array([self._times[index] for index in frames])
        return (lip_motion(np.stack([person[index] for index in frames]), times) or 0.0) * len(frames)

    def close(self) -> None:
        """Gives all landmarkers back."""
        for _, follower in self._tracks:
            follower.close()


def face_bounds(face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest x and y, `(2,)` each, of a face `(478, 3)`."""
    flat = np.ascontiguousarray(face[:, :2].T)  # numpy is several times as fast along rows
    return flat.min(axis=1), flat.max(axis=1)


def face_size(face: np.ndarray) -> float:
    """The longer side, in pixels, of the box around a face `(478, 3)`."""
    low, high = face_bounds(face)
    return float((high - low).max())


def nearest(faces: list[np.ndarray], previous: np.ndarray) -> np.ndarray | None:
    """The face nearest to where the previous one was, if it is near enough and large enough to be the same."""
    size = face_size(previous)
    found, least = None, MOST_MOVED * size
    for face in faces:
        if 1 / MOST_GROWN < face_size(face) / size < MOST_GROWN and (distance := _distance(face, previous)) < least:
            found, least = face, distance
    return found


def same_place(face: np.ndarray, other: np.ndarray) -> bool:
    """Whether two detections are of one face rather than of two side by side."""
    return _distance(face, other) < min(face_size(face), face_size(other)) / 2


def distinct(faces: list[np.ndarray]) -> list[np.ndarray]:
    """The faces without repetitions, as overlapping tiles find them."""
    kept: list[np.ndarray] = []
    for face in faces:
        if not any(same_place(face, other) for other in kept):
            kept.append(face)
    return kept


def whole(frame: np.ndarray) -> Region:
    """The region that is the frame."""
    return 0, 0, frame.shape[1], frame.shape[0]


def around(frame: np.ndarray, face: np.ndarray, sizes: float) -> Region:
    """A square around a face, so many times its size, as far as the frame reaches."""
    height, width = frame.shape[:2]
    x, y = face[:, :2].mean(axis=0) * (1, -1)
    half = sizes * face_size(face) / 2
    left, right = (int(np.clip(edge, 0, width)) for edge in (x - half, x + half))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (y - half, y + half))
    return left, top, max(right - left, 1), max(bottom - top, 1)


def touches_edge(face: np.ndarray, region: Region, frame: np.ndarray) -> bool:
    """Whether a face comes near an edge of its region beyond which the frame goes on."""
    if region == whole(frame):
        return False
    left, top, width, height = region
    low, high = face_bounds(face)
    margin = 0.1 * float((high - low).max())
    (low_x, low_y), (high_x, high_y) = low.tolist(), high.tolist()
    return (
        (left > 0 and low_x < left + margin)
        or (left + width < frame.shape[1] and high_x > left + width - margin)
        or (top > 0 and -high_y < top + margin)
        or (top + height < frame.shape[0] and -low_y > top + height - margin)
    )


def _distance(face: np.ndarray, other: np.ndarray) -> float:
    apart = np.subtract(face[:, :2].T, other[:, :2].T, order="C")  # numpy is several times as fast along rows
    return math.hypot(*apart.mean(axis=1).tolist())


def _most_central(faces: list[np.ndarray], frame: np.ndarray) -> np.ndarray:
    middle = np.array([frame.shape[1], -frame.shape[0]]) / 2
    return min(faces, key=lambda face: np.linalg.norm(face[:, :2].mean(axis=0) - middle))


def _search_levels(frame: np.ndarray) -> Iterator[list[Region]]:
    """Regions to search for a face: the whole frame, then ever smaller overlapping squares."""
    height, width = frame.shape[:2]
    yield [whole(frame)]
    if min(height, width) >= SMALLEST_TILED_SIDE:
        for side in (min(height, width), min(height, width) * 2 // 3):
            yield [(left, top, side, side) for top in _starts(height, side) for left in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    """Where squares that overlap by half begin along a length."""
    return np.linspace(0, length - side, math.ceil((length - side) / (side / 2)) + 1).round().astype(int).tolist()


def _are_two(track: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    """Whether two tracks are in the same frames; where one was cut from another's the cut may be off by some."""
    return len(track.keys() & other.keys()) > min(len(track), len(other)) / 5
