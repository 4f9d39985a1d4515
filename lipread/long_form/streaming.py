# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Streams the faces of a video or a camera frame by frame, in memory that does not grow.

People of a long video are identified again by the shape of the face.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeling_lipread.face_tracking_lipread import (
    REACQUIRE_SECONDS,
    FaceFinder,
    FaceFollower,
    SpeakerFollower,
    nearest,
)
from modeling_lipread.geometry_lipread import LEAST_SHAPE_SECONDS, SAME_SHAPE, face_shape, shape_distance
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence, NoFaceError
from modeling_lipread.video_lipread import read_ahead, read_frames

STREAMED_FACES = ("largest", "central", "all")
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


def stream_video(
    extractor: Face3DKeypointExtractor, path: str | os.PathLike, face: str = "largest", **span: Any
) -> Iterator[StreamedFrame]:
    """Yields the faces of each frame of a video, as `read_frames` and `stream_frames`. It goes on behind damage."""
    with closing(read_ahead(read_frames(path, **span, skip_damage=True))) as frames:
        yield from stream_frames(extractor, frames, face)


def stream_frames(
    extractor: Face3DKeypointExtractor, frames: Iterable[tuple[float, np.ndarray | None]], face: str
) -> Iterator[StreamedFrame]:
    """Finds the faces in frames as they arrive, for example from a camera.

    Args:
        frames: Seconds, increasing, and the frame: RGB, uint8, `(height, width, 3)`; None where frames are damaged.
        face: Which face to follow: `largest`, `central`, or `all`.

    Yields:
        The faces of each frame, before the next frame is read. With `all`, frames arrive up to `BLOCK_SECONDS` late,
        after the people of a block have been identified.
    """
    if face not in STREAMED_FACES:
        raise ValueError(f"face must be one of {STREAMED_FACES}, not {face!r}")
    people, follower = PeopleFollower(extractor.finder), FaceFollower(extractor.finder, face)
    for time, frame in frames:
        if frame is None:
            yield from people.flush()
            yield StreamedFrame(time, {}, (0, 0), damaged=True)
        elif face == "all":
            yield from people.step(frame, time)
        else:
            follower.step(frame, time)
            found = follower.faces.pop()  # the follower would keep all faces
            yield StreamedFrame(time, {} if found is None else {ONLY_PERSON: found}, frame.shape[1::-1])
    yield from people.flush()


def people_sequences(frames: Sequence[StreamedFrame], name: str) -> list[LandmarkSequence]:
    """Returns the landmarks of each person in the frames of a video; raises `NoFaceError` if there is none."""
    frames = [frame for frame in frames if not frame.damaged]
    people = sorted(set().union(*(frame.faces for frame in frames)))
    if not people:
        raise NoFaceError(f"{name}: no face found in any of {len(frames)} frames")
    times, size = [frame.time for frame in frames], frames[0].size
    return [LandmarkSequence.from_faces([frame.faces.get(one) for frame in frames], times, size) for one in people]
