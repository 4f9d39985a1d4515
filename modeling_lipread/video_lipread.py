# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video files to upright RGB frames with their times, read with PyAV (FFmpeg)."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

logger = logging.get_logger(__name__)

_PACKETS_PEEKED = 64  # enough to see whether a stream carries timestamps


class VideoError(ValueError):
    """A video that cannot be read: missing, empty, truncated, without pictures, or shorter than asked for."""


def require(module: str, package: str, purpose: str) -> Any:
    """Imports an optional dependency.

    Args:
        module: Its name in Python.
        package: Its name for pip.
        purpose: What needs it, for the error.

    Returns:
        The module.

    Raises:
        ImportError: It is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs {package}: pip install {package} ({error})") from error


def read_frames(
    path: str | os.PathLike, start: float | None = None, end: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Decodes a video, or a span of it, frame by frame.

    Times are the stream's own timestamps, so variable frame rates are read as they were shown. Files whose timestamps
    are missing or do not rise (a few muxers write such) are timed by their nominal frame rate instead, with a warning.
    Rotation metadata is honoured and pixels that are not square are made so.

    Args:
        path: The video file.
        start: Seconds from the start of the file; earlier frames are left out.
        end: Seconds from the start of the file; frames from there on are left out.

    Yields:
        Seconds since `start`, strictly rising, and the frame: RGB, uint8, `(height, width, 3)`, contiguous.

    Raises:
        VideoError: The file is missing, empty, truncated, no video, has no pictures, or holds no frame in the span.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    first = start or 0.0
    if first < 0 or (end is not None and end <= first):
        raise VideoError(f"{path}: start={start} and end={end} hold no span; start must be >= 0 and end after it")
    av = require("av", "av", "Reading a video")
    try:
        nominal_rate = _nominal_rate(path)
        seek = first > 0 and nominal_rate is None and _seek_lands_before(path, first)
        with _open(path) as (container, stream):
            if seek:
                _seek(container, stream, first)
            yield from _decode(path, container, stream, nominal_rate, first, end)
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: not a readable video, or truncated or corrupt ({error.strerror}); "
            "copy or download it again, or re-encode it with ffmpeg"
        ) from error


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    av = require("av", "av", "Reading a video")
    # "file:" keeps a name such as "12:30.mp4" from being read as a protocol; the whitelist keeps a playlist that poses
    # as a video from opening anything but files.
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        attached_picture = av.stream.Disposition.attached_pic  # the cover of a song is no video
        streams = [stream for stream in container.streams.video if not stream.disposition & attached_picture]
        if not streams:
            raise VideoError(f"{path}: the file has no video stream (audio only?); give a video that shows the face")
        entries = streams[0].index_entries
        if len(entries) and entries[-1].pos + entries[-1].size > path.stat().st_size:
            raise VideoError(f"{path}: the file is truncated, its last frames are missing; copy or download it again")
        yield container, streams[0]


def _nominal_rate(path: Path) -> float | None:
    """The frame rate to time frames by if the stream's timestamps are of no use, else None."""
    with _open(path) as (container, stream):
        times = [packet.pts for packet in islice(container.demux(stream), _PACKETS_PEEKED) if packet.size]
        has_timestamps = container.format.name != "avi"  # what FFmpeg gives for AVI is the order of decoding
        if has_timestamps and None not in times and 2 * len(set(times)) > len(times):
            return None
        rates = (stream.guessed_rate, stream.codec_context.framerate, stream.average_rate)
        rate = next((float(rate) for rate in rates if rate and 1 <= rate <= 240), None)
    if rate is None:
        raise VideoError(f"{path}: neither timestamps nor a frame rate in the file; re-encode it with ffmpeg")
    logger.warning_once(
        "Some videos carry no usable timestamps; their frames are timed by the frame rate their stream declares."
    )
    logger.info(f"{path}: no usable timestamps, timed by the declared {rate:g} frames a second")
    return rate


def _origin(container: Any) -> float:
    return (container.start_time or 0) / 1e6  # FFmpeg keeps it in microseconds


def _seek(container: Any, stream: Any, seconds: float) -> None:
    container.seek(int((seconds + _origin(container)) / stream.time_base), stream=stream)


def _seek_lands_before(path: Path, seconds: float) -> bool:
    """Whether seeking reaches a frame before the wanted one; in a stream without an index it may jump past the end."""
    av = require("av", "av", "Reading a video")
    with _open(path) as (container, stream):
        try:
            _seek(container, stream, seconds)
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            return False
        return frame is not None and frame.time - _origin(container) <= seconds


def _decode(
    path: Path, container: Any, stream: Any, nominal_rate: float | None, start: float, end: float | None
) -> Iterator[tuple[float, np.ndarray]]:
    origin = _origin(container)
    reformatter = require("av.video.reformatter", "av", "Reading a video").VideoReformatter()
    time, found = None, False
    for index, frame in enumerate(container.decode(stream)):
        previous, time = time, frame.time - origin if nominal_rate is None else index / nominal_rate
        if previous is not None:
            time = max(time, previous + 1e-3)  # frames come in order of presentation, whatever a stray timestamp says
        if end is not None and time >= end - 1e-6:
            break
        if time >= start - 1e-6:
            found = True
            yield max(time - start, 0.0), _to_rgb(frame, reformatter, stream.sample_aspect_ratio)
    else:
        _check_reached_end(path, stream, time)
    if time is None:
        raise VideoError(f"{path}: no frame could be decoded; re-encode it with ffmpeg")
    if not found:
        span = f"start={start:g}" + ("" if end is None else f", end={end:g}")
        raise VideoError(f"{path}: no frame between {span}; the video ends at about {time:.2f} seconds")


def _check_reached_end(path: Path, stream: Any, last: float | None) -> None:
    # Matroska has no index of frames to compare with the file's size, but its writers note how long the stream is.
    declared = stream.metadata.get("DURATION", "").split(":")
    if last is None or len(declared) != 3:
        return
    duration = 3600 * float(declared[0]) + 60 * float(declared[1]) + float(declared[2])
    if duration - last > max(1.0, 0.1 * duration):
        raise VideoError(
            f"{path}: the file is truncated, its frames end at {last:.2f} of {duration:.2f} seconds; "
            "copy or download it again"
        )


def _to_rgb(frame: Any, reformatter: Any, pixel_aspect: Any) -> np.ndarray:
    width = frame.width if pixel_aspect in (None, 0, 1) else round(frame.width * pixel_aspect)
    array = reformatter.reformat(frame, width=width, format="rgb24").to_ndarray()
    quarter_turns = round(frame.rotation / 90) % 4  # rotation is counter-clockwise, as in rot90
    # Rows are padded to a multiple of 16 pixels or so; MediaPipe finds no face in an array that is not contiguous.
    return np.ascontiguousarray(np.rot90(array, quarter_turns))
