# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Following a face through a clip: the largest, the most central, or, of all that are seen, the one that speaks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .face_measures_lipread import SAME_SHAPE, face_shape, identity_switches, lip_motion, shape_distance
from .face_search_lipread import FaceFinder, around, nearest, same_place, touches_edge, whole
from .landmarker_lipread import Landmarker, Region

FACES = ("largest", "central", "speaking")
REACQUIRE_SECONDS = 0.25  # how long a lost face is waited for before another one may be followed
SEARCH_SECONDS = 0.5  # how often newcomers are looked for while other faces are followed


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
            found = self.finder.find_again(frame, self.previous)
        elif self.which is not None:
            face = self._begin_alone(frame, time)
            if face is not None:
                return face
            found = self.finder.choose(frame, self.which)
        else:
            return None
        self.most_seen = max(self.most_seen, found.seen)
        return None if found.face is None else self._begin(frame, time, found.face, found.region)

    def _begin_alone(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        """Follows the only face of a frame. There is none to choose, so what follows it finds it too, all the same."""
        if self.finder.count(frame) != 1:
            return None
        self.region, self.landmarker = whole(frame), self.finder.lend_landmarker()
        faces = self.landmarker.detect(frame, self.region, time)
        if not faces:
            self.close()
            return None
        self.most_seen = max(self.most_seen, 1)
        return faces[0]

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


def _are_two(track: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> bool:
    """Whether two tracks are in the same frames; where one was cut from another's the cut may be off by some."""
    return len(track.keys() & other.keys()) > min(len(track), len(other)) / 5
