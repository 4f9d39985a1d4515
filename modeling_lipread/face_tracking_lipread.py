# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Face detection in frames, and tracking of one face through a clip: the largest, most central, or speaking one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .geometry_lipread import SAME_SHAPE, face_shape, identity_switches, lip_motion, shape_distance
from .landmarker_lipread import FaceTrack, Landmarker, Region, face_bounds

FACES = ("largest", "central", "speaking")
MOST_FACES = 4  # detected in a frame or in a tile of it
REACQUIRE_SECONDS = 0.25  # time until another face may replace a lost one
SEARCH_SECONDS = 0.5  # interval between searches for new faces while others are tracked
MOST_MOVED = 0.8  # largest movement between two frames in sizes of the face; neighbouring faces are farther apart
MOST_GROWN = 4 / 3  # largest ratio of sizes between two frames
SMALLEST_TILED_SIDE = 256  # pixels; tiles of smaller frames would be smaller than the detector's 128-pixel input


class FaceFinder:
    """Detects faces in single frames, and starts to track them, with a `Landmarker` in each thread."""

    def __init__(self, model_path: Path):
        self.model_path = model_path
        self._landmarker: Landmarker | None = None

    def __getstate__(self) -> dict[str, Any]:
        # An interpreter cannot be pickled; copies in other processes create their own on first use.
        return {**self.__dict__, "_landmarker": None}

    def close(self) -> None:
        """Frees the memory of the networks; the finder can be used again afterwards."""
        self._landmarker = None

    def detect(self, frame: np.ndarray, region: Region) -> list[np.ndarray]:
        """Returns all faces in a region, landmarks `(478, 3)` each."""
        return self._open().detect(frame, region, MOST_FACES)

    def track(self, face: np.ndarray, time: float) -> FaceTrack:
        """Starts to track a face, landmarks `(478, 3)` of the frame at `time` seconds."""
        return FaceTrack(self._open(), face, time)

    def search(self, frame: np.ndarray) -> list[np.ndarray]:
        """Returns all faces of a frame, each once; it searches tiles if the search of the whole frame finds none."""
        return distinct(self._search(frame))

    def choose(self, frame: np.ndarray, which: str) -> np.ndarray | None:
        """Returns the `largest` or the most `central` face of a frame, or None."""
        faces = self._search(frame)
        if which == "largest":
            return max(faces, key=face_size, default=None)
        centre = np.array([frame.shape[1], -frame.shape[0]]) / 2
        return min(faces, key=lambda face: np.linalg.norm(face[:, :2].mean(axis=0) - centre), default=None)

    def find_again(self, frame: np.ndarray, previous: np.ndarray) -> np.ndarray | None:
        """Detects the face that continues `previous`, `(478, 3)`, of a recent frame."""
        for region in (whole(frame), around(frame, previous, 3)):
            face = nearest(self.detect(frame, region), previous)
            if face is not None:
                return face
        return None

    def _search(self, frame: np.ndarray) -> list[np.ndarray]:
        for level, regions in enumerate(_search_levels(frame)):
            faces = [face for region in regions for face in self.detect(frame, region)]
            if level:  # small faces are several pixels off until the network sees them enlarged
                faces = [near for face in faces if (near := self._open().find(frame, face)) is not None]
            if faces:
                return faces
        return []

    def _open(self) -> Landmarker:
        if self._landmarker is None:
            self._landmarker = Landmarker(self.model_path)
        return self._landmarker


class FaceFollower:
    """Tracks one face through the frames of one clip.

    Args:
        finder: Detects the face.
        which: The face to track if there is no previous one, `largest` or `central`; None for none.

    Attributes:
        faces: Landmarks `(478, 3)` for each frame so far, None if the face was not found.
    """

    def __init__(self, finder: FaceFinder, which: str | None = "largest"):
        self.finder = finder
        self.which = which
        self.faces: list[np.ndarray | None] = []
        self.previous: np.ndarray | None = None
        self.last_seen = 0.0
        self._before: tuple[np.ndarray | None, float] = (None, 0.0)
        self._track: FaceTrack | None = None

    def step(self, frame: np.ndarray, time: float) -> None:
        """Processes the next frame, RGB uint8 `(height, width, 3)`, at `time` seconds."""
        if not self.is_waiting(time):
            self.previous = None
        self._before = self.previous, self.last_seen
        face = None
        if self._track is not None and self.previous is not None:
            face = self._track.step(frame, time)
            face = None if face is None else nearest([face], self.previous)
        if face is None:
            face = self._acquire(frame, time)
        self.faces.append(face)
        if face is not None:
            self.previous, self.last_seen = face, time

    def is_waiting(self, time: float) -> bool:
        """Returns whether the face was found at most `REACQUIRE_SECONDS` ago, so that no other may replace it."""
        return time - self.last_seen <= REACQUIRE_SECONDS

    def begin(self, face: np.ndarray, time: float) -> None:
        """Starts to track a face, landmarks `(478, 3)` of the frame at `time` seconds."""
        self._track = self.finder.track(face, time)
        self.faces.append(face)
        self.previous, self.last_seen = face, time

    def retract(self) -> None:
        """Removes the face of the last step, which belongs to another person."""
        self.faces[-1] = None
        self.previous, self.last_seen = self._before
        self._track = None

    def _acquire(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        face = None
        if self.previous is not None:
            face = self.finder.find_again(frame, self.previous)
        elif self.which is not None:
            face = self.finder.choose(frame, self.which)
        self._track = None if face is None else self.finder.track(face, time)
        return face


class SpeakerFollower:
    """Tracks every face of a clip and selects the one whose lips move most, relative to the size of the face.

    Tracks of one person, who was lost and found again, are joined by the shape of the face. The time is proportional
    to the number of faces.
    """

    def __init__(self, finder: FaceFinder):
        self.finder = finder
        self._times: list[float] = []
        self._tracks: list[tuple[int, FaceFollower]] = []  # each with the index of its first frame
        self._next_search = 0.0

    def step(self, frame: np.ndarray, time: float) -> None:
        """Processes the next frame, RGB uint8 `(height, width, 3)`, at `time` seconds."""
        self._times.append(time)
        taken: list[np.ndarray] = []
        for _, follower in self._tracks:
            if not follower.is_waiting(time):
                continue
            follower.step(frame, time)
            face = follower.faces[-1]
            if face is not None and any(same_place(face, other) for other in taken):
                follower.retract()  # of two trackers on one face, the older one keeps it
            elif face is not None:
                taken.append(face)
        if not taken or time >= self._next_search:
            self._next_search = time + SEARCH_SECONDS
            for face in self.finder.search(frame):
                if not any(same_place(face, other) for other in taken):
                    follower = FaceFollower(self.finder, which=None)
                    follower.begin(face, time)
                    self._tracks.append((len(self._times) - 1, follower))
                    taken.append(face)

    @property
    def faces(self) -> list[np.ndarray | None]:
        """Landmarks `(478, 3)` of the speaker for each frame so far, None if the face was not found."""
        speaker = max(self._people(), key=self._spoken, default={})
        return [speaker.get(index) for index in range(len(self._times))]

    def take_people(self) -> list[dict[int, np.ndarray]]:
        """Returns and removes the faces of each person since the last call, by frame; tracking continues."""
        people = self._people()
        last = self._times[-1] if self._times else 0.0
        self._tracks = [(0, follower) for _, follower in self._tracks if follower.is_waiting(last)]
        for _, follower in self._tracks:
            follower.faces = []
        self._times = []
        return people

    def _people(self) -> list[dict[int, np.ndarray]]:
        """Returns the faces of each person by frame, after joining the tracks of the same person."""
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
        """Yields the faces of each track by frame, cut where the track changed from one person to another."""
        for first, follower in self._tracks:
            frames = [first + index for index, face in enumerate(follower.faces) if face is not None]
            faces = [face for face in follower.faces if face is not None]
            if not faces:  # the track found no face after the last `take_people`
                continue
            times = np.array([self._times[frame] for frame in frames])
            cuts = [0, *identity_switches(np.stack(faces), times), len(faces)]
            for begin, end in zip(cuts, cuts[1:], strict=False):
                yield dict(zip(frames[begin:end], faces[begin:end], strict=True))

    def _spoken(self, person: dict[int, np.ndarray]) -> float:
        """Returns the lip motion of a person, times the number of frames."""
        frames = sorted(person)
        times = np.array([self._times[index] for index in frames])
        return (lip_motion(np.stack([person[index] for index in frames]), times) or 0.0) * len(frames)


def face_size(face: np.ndarray) -> float:
    """Returns the longer side of the bounding box of a face `(478, 3)`, in pixels."""
    low, high = face_bounds(face)
    return float((high - low).max())


def nearest(faces: list[np.ndarray], previous: np.ndarray) -> np.ndarray | None:
    """Returns the face nearest to `previous` if its position and size allow it to be the same face, else None."""
    size = face_size(previous)
    found, least = None, MOST_MOVED * size
    for face in faces:
        if 1 / MOST_GROWN < face_size(face) / size < MOST_GROWN and (distance := _distance(face, previous)) < least:
            found, least = face, distance
    return found


def same_place(face: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether two detections are of the same face."""
    return _distance(face, other) < min(face_size(face), face_size(other)) / 2


def distinct(faces: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the faces without duplicates from overlapping tiles."""
    kept: list[np.ndarray] = []
    for face in faces:
        if not any(same_place(face, other) for other in kept):
            kept.append(face)
    return kept


def whole(frame: np.ndarray) -> Region:
    """Returns the region of the whole frame."""
    return 0, 0, frame.shape[1], frame.shape[0]


def around(frame: np.ndarray, face: np.ndarray, sizes: float) -> Region:
    """Returns a square around a face, `sizes` times as large as the face, clipped to the frame."""
    height, width = frame.shape[:2]
    x, y = face[:, :2].mean(axis=0) * (1, -1)
    half = sizes * face_size(face) / 2
    left, right = (int(np.clip(edge, 0, width)) for edge in (x - half, x + half))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (y - half, y + half))
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _distance(face: np.ndarray, other: np.ndarray) -> float:
    apart = np.subtract(face[:, :2].T, other[:, :2].T, order="C")  # as in `face_bounds`
    return math.hypot(*apart.mean(axis=1).tolist())


def _search_levels(frame: np.ndarray) -> Iterator[list[Region]]:
    """Yields the regions of each level of the search: the whole frame, then smaller and smaller overlapping tiles."""
    height, width = frame.shape[:2]
    yield [whole(frame)]
    if min(height, width) >= SMALLEST_TILED_SIDE:
        for side in (min(height, width), min(height, width) * 2 // 3):
            yield [(left, top, side, side) for top in _starts(height, side) for left in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    """Returns the positions of tiles of size `side` that cover `length` and overlap by half."""
    return np.linspace(0, length - side, math.ceil((length - side) / (side / 2)) + 1).round().astype(int).tolist()


def _are_two(track: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    """Returns whether two tracks share too many frames to be one person; an inexact cut may make them share a few."""
    return len(track.keys() & other.keys()) > min(len(track), len(other)) / 5
