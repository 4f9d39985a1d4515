# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Streams the faces of a video or a camera frame by frame, in memory that does not grow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np

from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence, NoFaceError
from modeling_lipread.video_lipread import read_ahead, read_frames

from .people_tracking import OnePersonFollower, PeopleFollower, StreamedFrame

STREAMED_FACES = ("largest", "central", "all")


def stream_video(
    extractor: Face3DKeypointExtractor,
    path: str | os.PathLike,
    start: float | None = None,
    end: float | None = None,
    face: str = "largest",
    max_seconds: float | None = None,
) -> Iterator[StreamedFrame]:
    """Yields the faces of each frame of a video, or of its span from `start` to `end` seconds, as `stream_frames`.

    It goes on behind damage; a span longer than `max_seconds` is an error.
    """
    with closing(read_ahead(read_frames(path, start, end, max_seconds, skip_damage=True))) as frames:
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

    Raises:
        ValueError: `face` is none of the choices.
    """
    if face not in STREAMED_FACES:
        raise ValueError(f"face must be one of {STREAMED_FACES}, not {face!r}")
    finder = extractor.finder
    follower = PeopleFollower(finder) if face == "all" else OnePersonFollower(finder, face)
    for time, frame in frames:
        if frame is None:
            yield from follower.flush()
            yield StreamedFrame(time, {}, (0, 0), damaged=True)
        else:
            yield from follower.step(frame, time)
    yield from follower.flush()


def people_sequences(frames: Sequence[StreamedFrame], name: str) -> list[LandmarkSequence]:
    """Returns the landmarks of each person in the frames of a video; raises `NoFaceError` if there is none."""
    frames = [frame for frame in frames if not frame.damaged]
    people = sorted(set().union(*(frame.faces for frame in frames)))
    if not people:
        raise NoFaceError(f"{name}: no face found in any of {len(frames)} frames")
    times, size = [frame.time for frame in frames], frames[0].size
    return [LandmarkSequence.from_faces([frame.faces.get(one) for frame in frames], times, size) for one in people]
