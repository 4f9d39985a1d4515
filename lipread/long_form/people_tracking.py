# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Tracks all people of a long video in constant memory and re-identifies them by the shape of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modeling_lipread.face_tracking_lipread import (
    REACQUIRE_SECONDS,
    FaceFinder,
    FaceFollower,
    SpeakerFollower,
    nearest,
)
from modeling_lipread.geometry_lipread import LEAST_SHAPE_SECONDS, SAME_SHAPE, face_shape, shape_distance

BLOCK_SECONDS = 8.0  # long enough to identify a face by its shape
ONLY_PERSON = 0  # number of the person if one face is tracked


@dataclass
class StreamedFrame:
    """The faces of one frame: landmarks `(478, 3)` in pixels by person, `ONLY_PERSON` or numbers from 1.

    A `damaged` frame has no picture: there the video cannot be decoded until the next frame.
    """

    time: float  # seconds from the start of the span that is read
    faces: dict[int, np.ndarray]
    size: tuple[int, int]  # width and height of the frame in pixels
    damaged: bool = False


@dataclass
class _Person:
    """The state of a person between two blocks: the average face shape over `frames`, and the last face seen."""

    shape: np.ndarray
    frames: int
    face: np.ndarray
    last_seen: float


class OnePersonFollower:
    """Tracks one face of a video, the `largest` or the most `central` one, as `ONLY_PERSON`."""

    def __init__(self, finder: FaceFinder, which: str):
        self._follower = FaceFollower(finder, which)

    def step(self, picture: np.ndarray, time: float) -> list[StreamedFrame]:
        """Adds a picture, RGB, uint8, `(height, width, 3)`, at a time in seconds, and returns its frame."""
        self._follower.step(picture, time)
        face = self._follower.faces.pop()  # the follower would keep all faces
        return [StreamedFrame(time, {} if face is None else {ONLY_PERSON: face}, (picture.shape[1], picture.shape[0]))]

    def flush(self) -> list[StreamedFrame]:
        """Returns the frames that `step` has not returned: none."""
        return []


class PeopleFollower:
    """Tracks every face of a video, and numbers the people from 1 in order of appearance.

    Frames are collected in blocks of `BLOCK_SECONDS`. `SpeakerFollower` separates the faces within a block. A track
    belongs to a known person if it continues where their face was, or has the same shape. Tracks shorter than 0.4
    seconds get no number.
    """

    def __init__(self, finder: FaceFinder):
        self._follower = SpeakerFollower(finder)
        self._frames: list[StreamedFrame] = []  # of the current block
        self._known: list[_Person] = []

    def step(self, picture: np.ndarray, time: float) -> list[StreamedFrame]:
        """Adds a picture, RGB uint8 `(height, width, 3)`, at a time in seconds; returns a complete block, or none."""
        self._follower.step(picture, time)
        self._frames.append(StreamedFrame(time, {}, (picture.shape[1], picture.shape[0])))
        return self.flush() if time - self._frames[0].time >= BLOCK_SECONDS else []

    def flush(self) -> list[StreamedFrame]:
        """Returns the frames of the last block as `step` does."""
        tracks = sorted(self._follower.take_people(), key=min)
        for number, track in zip(self._numbered(tracks), tracks, strict=True):
            for index, face in track.items() if number is not None else ():
                self._frames[index].faces[number] = face
        frames, self._frames = self._frames, []
        return frames

    def _numbered(self, tracks: list[dict[int, np.ndarray]]) -> list[int | None]:
        """Returns the person of each track, `{frame: face}`; None for tracks that are too short."""
        shapes = [face_shape(np.stack(list(track.values()))) for track in tracks]
        pairs = sorted(
            (apart, index, number)
            for index, (track, shape) in enumerate(zip(tracks, shapes, strict=True))
            for number, person in enumerate(self._known, start=1)
            if (apart := self._apart(track, shape, person)) < SAME_SHAPE
        )
        numbers: list[int | None] = [None] * len(tracks)
        for _, index, number in pairs:  # closest first; a person has one track a block
            if numbers[index] is None and number not in numbers:
                numbers[index] = number
                self._remember(self._known[number - 1], tracks[index], shapes[index])
        for index, (track, shape) in enumerate(zip(tracks, shapes, strict=True)):
            seconds = self._frames[max(track)].time - self._frames[min(track)].time
            if numbers[index] is None and seconds >= LEAST_SHAPE_SECONDS:
                self._known.append(_Person(shape, 0, track[min(track)], 0.0))
                self._remember(self._known[-1], track, shape)
                numbers[index] = len(self._known)
        return numbers

    def _apart(self, track: dict[int, np.ndarray], shape: np.ndarray, person: _Person) -> float:
        first = min(track)
        follows = self._frames[first].time - person.last_seen <= REACQUIRE_SECONDS
        if follows and nearest([track[first]], person.face) is not None:
            return 0.0
        return shape_distance(shape, person.shape)

    def _remember(self, person: _Person, track: dict[int, np.ndarray], shape: np.ndarray) -> None:
        frames = person.frames + len(track)
        person.shape = (person.shape * person.frames + shape * len(track)) / frames
        person.frames, person.face, person.last_seen = frames, track[max(track)], self._frames[max(track)].time
