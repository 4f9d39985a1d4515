# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Decoding of videos to upright RGB frames with timestamps, with PyAV (FFmpeg)."""

from __future__ import annotations

import importlib
import os
import struct
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from transformers.utils import logging

logger = logging.get_logger(__name__)

_Item = TypeVar("_Item")
_LARGE_PIXELS = 2**20  # pixels of a frame; smaller frames decode more efficiently in one thread
_PACKETS_PEEKED = 64  # packets in which to look for timestamps
_MOST_STRETCHED = 4  # highest plausible aspect ratio of a pixel; a header with a higher one is damaged


class VideoError(ValueError):
    """Raised for a video that cannot be read: missing, empty, truncated, corrupt, without a video stream, too long."""


def require(module: str, package: str, purpose: str) -> Any:
    """Imports and returns an optional dependency.

    Args:
        module: Name of the module.
        package: Name of the package for pip.
        purpose: The feature that needs it, for the error.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs {package}: pip install {package} ({error})") from error


def read_frames(
    path: str | os.PathLike, start: float | None = None, end: float | None = None, max_seconds: float | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Decodes a video, or a span of it, with one frame in memory at a time.

    Times are the timestamps of the stream. If they are missing or do not rise, as some muxers write them, times follow
    from the nominal frame rate, with a warning. Interlaced frames are deinterlaced (bwdif, one frame for two fields),
    frames are rotated and mirrored by the metadata, non-square pixels are made square, transparency is dropped, and
    all frames are scaled to the size of the first.

    Args:
        path: The video file.
        start: Seconds from the start of the file; earlier frames are skipped.
        end: Seconds from the start of the file; frames at and after it are skipped.
        max_seconds: The longest span allowed.

    Yields:
        Seconds since `start`, strictly rising, and the frame: RGB, uint8, `(height, width, 3)`, contiguous.

    Raises:
        VideoError: The file is missing, empty, truncated or no video, is corrupt in the span, or has no frame in it;
            or the span is longer than `max_seconds`.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file; check the path")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    first = start or 0.0
    if first < 0 or (end is not None and end <= first):
        raise VideoError(f"{path}: start={start} and end={end} are no span; start must be >= 0 and end after it")
    if max_seconds is not None and end is not None and end - first > max_seconds:
        raise VideoError(_too_long(path, end - first, max_seconds))
    av = require("av", "av", "Reading a video")
    try:
        nominal_rate = _nominal_rate(path)
        seek = first > 0 and nominal_rate is None and _seek_lands_before(path, first)
        with _open(path) as (container, stream):
            if seek:
                _seek(container, stream, first)
            if max_seconds is not None and end is None and _declared_seconds(container, stream) - first > max_seconds:
                raise VideoError(_too_long(path, _declared_seconds(container, stream) - first, max_seconds))
            upright = _Upright(stream.sample_aspect_ratio)
            for time, frame in _deinterlaced(_decode(path, container, stream, nominal_rate, first, end)):
                if max_seconds is not None and time >= max_seconds - 1e-6:
                    raise VideoError(_too_long(path, time, max_seconds))
                yield time, upright(frame)
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: not a readable video, or truncated or corrupt ({error.strerror}); "
            "copy or download it again, or re-encode it with ffmpeg"
        ) from error


def read_ahead(items: Generator[_Item, None, None], count: int = 4) -> Generator[_Item, None, None]:
    """Runs a generator of frames in a thread, so that decoding overlaps with the detection of landmarks.

    It decodes several frames at a time, since after each detection the CPU's caches hold the landmarker's data.

    Args:
        items: The generator; it is closed at the end.
        count: Items made at a time; twice as many may be in memory.

    Yields:
        The items in order; an exception of the generator is raised after the items before it.
    """
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        waiting = thread.submit(_take, items, count)
        try:
            while True:
                made, error = waiting.result()
                if made and error is None:
                    waiting = thread.submit(_take, items, count)
                yield from made
                if error is not None:
                    raise error
                if not made:
                    return
        finally:
            error = None  # breaks the reference cycle of the exception, its traceback and this frame
            waiting.cancel()
            thread.submit(items.close).result()


def _take(items: Iterator[_Item], count: int) -> tuple[list[_Item], Exception | None]:
    """Returns the next items, and the exception that ended them early."""
    taken: list[_Item] = []
    try:
        for item in islice(items, count):
            taken.append(item)
    except Exception as error:
        return taken, error
    return taken, None


def _too_long(path: Path, seconds: float, max_seconds: float) -> str:
    return (
        f"{path}: the clip lasts {seconds:.0f} seconds or more, the limit is max_seconds={max_seconds:g}; cut it into "
        "utterances with start and end, or raise max_seconds"
    )


def video_seconds(path: str | os.PathLike) -> float:
    """Returns the duration in the header of a video, in seconds; 0 if it is missing or the video cannot be read."""
    av = require("av", "av", "Reading a video")
    try:
        with _open(Path(path)) as (container, stream):
            return _declared_seconds(container, stream)
    except (av.FFmpegError, OSError, VideoError):
        return 0.0


def video_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns width and height in the header of a video, in pixels; raises `VideoError` if it is no video."""
    av = require("av", "av", "Reading a video")
    try:
        with _open(Path(path)) as (_, stream):
            return stream.width, stream.height
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a readable video ({error.strerror}); give a video file") from error


def _declared_seconds(container: Any, stream: Any) -> float:
    """Returns the declared duration in seconds; 0 if it is missing."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    av = require("av", "av", "Reading a video")
    # Without "file:", FFmpeg reads a name such as "12:30.mp4" as a protocol. The whitelist stops a playlist with the
    # name of a video from opening anything but files.
    with av.open(f"file:{path}", options={"protocol_whitelist": "file"}) as container:
        attached_picture = av.stream.Disposition.attached_pic  # such as the cover of a song
        streams = [stream for stream in container.streams.video if not stream.disposition & attached_picture]
        if not streams:
            raise VideoError(f"{path}: the file has no video stream (audio only?); give a video that shows the face")
        entries = streams[0].index_entries
        if len(entries) and entries[-1].pos + entries[-1].size > path.stat().st_size:
            raise VideoError(f"{path}: the file is truncated, its last frames are missing; copy or download it again")
        # With PyAV's default, several threads for one frame, FFmpeg does not notice damage in H.264.
        small = streams[0].width * streams[0].height < _LARGE_PIXELS
        streams[0].thread_type, streams[0].thread_count = "FRAME", 1 if small else min(4, os.cpu_count() or 1)
        yield container, streams[0]


def _nominal_rate(path: Path) -> float | None:
    """Returns the nominal frame rate if the stream has no usable timestamps, else None."""
    with _open(path) as (container, stream):
        times = [packet.pts for packet in islice(container.demux(stream), _PACKETS_PEEKED) if packet.size]
        has_timestamps = container.format.name != "avi"  # for AVI, FFmpeg returns the order of decoding
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
    return (container.start_time or 0) / 1e6  # from microseconds


def _seek(container: Any, stream: Any, seconds: float) -> None:
    container.seek(int((seconds + _origin(container)) / stream.time_base), stream=stream)


def _seek_lands_before(path: Path, seconds: float) -> bool:
    """Returns whether seeking reaches a frame before the wanted one; without an index it may jump past the end."""
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
) -> Iterator[tuple[float, Any]]:
    """Yields the decoded frames of a span with their seconds since `start`."""
    origin = _origin(container)
    time, step, index, begun, found = None, 1e-3, 0, False, False
    broken: float | None = None  # time of the first damaged frame since the last key frame
    for frame in _decoded(container, stream):
        if frame is None:
            broken = broken if broken is not None else time or 0.0
            continue
        previous = time
        if nominal_rate is not None:
            time = index / nominal_rate
        elif frame.time is not None:
            time = frame.time - origin
        else:
            time = (previous or 0.0) + step
        index += 1
        if previous is not None:
            time = max(time, previous + 1e-3)  # frames come in presentation order; a lower timestamp is wrong
            step = time - previous
        if end is not None and time >= end - 1e-6:
            break
        if not (begun or frame.key_frame) and frame.is_corrupt:
            continue  # the first frames of a stream cut from a longer one refer to missing frames
        begun = True
        if frame.key_frame and broken is not None and broken < start:
            broken = None  # damage before the span does not matter
        if frame.is_corrupt and broken is None:
            broken = time
        if time >= start - 1e-6:
            if broken is not None:
                raise VideoError(_corrupt(path, broken))
            found = True
            yield max(time - start, 0.0), frame
    else:
        _check_reached_end(path, stream, time)
        if time is not None and broken is not None:
            raise VideoError(_corrupt(path, broken))
    if time is None:
        raise VideoError(f"{path}: no frame could be decoded; re-encode it with ffmpeg")
    if not found:
        span = f"from {start:g} seconds on" if end is None else f"between {start:g} and {end:g} seconds"
        raise VideoError(f"{path}: no frame {span}; the video ends at about {time:.2f} seconds")


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yields frames in presentation order, and None for a damaged packet.

    It ignores damage before the first key frame, which is normal in a stream cut from a longer one.
    """
    av = require("av", "av", "Reading a video")
    packets, begun = container.demux(stream), False
    while True:
        frames: list[Any] = []
        try:
            packet = next(packets, None)
            if packet is None:
                return
            begun = begun or packet.is_keyframe
            if packet.is_corrupt and begun:
                frames.append(None)
            frames += packet.decode()
        except av.FFmpegError:
            frames += [None] if begun else []
        yield from frames


def _corrupt(path: Path, seconds: float) -> str:
    return (
        f"{path}: the video is corrupt at about {seconds:.2f} seconds; copy or download it again, or leave that part "
        "out with start and end"
    )


def _check_reached_end(path: Path, stream: Any, last: float | None) -> None:
    # Matroska has no index of frames to compare with the file's size, but usually a duration.
    declared = stream.metadata.get("DURATION", "").split(":")
    if last is None or len(declared) != 3:
        return
    duration = 3600 * float(declared[0]) + 60 * float(declared[1]) + float(declared[2])
    if duration - last > max(1.0, 0.1 * duration):
        raise VideoError(
            f"{path}: the file is truncated, its frames end at {last:.2f} of {duration:.2f} seconds; "
            "copy or download it again"
        )


def _deinterlaced(frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    """Yields frames with the two fields of interlaced ones merged; other frames do not change."""
    graph, shape = None, None
    times: deque[float] = deque()  # of the frames in the graph, which returns each frame after it gets the next one
    for time, frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield time, frame
            continue
        if shape != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from ((times.popleft(), picture) for picture in _filtered(graph, None))
            shape, graph = (frame.width, frame.height, frame.format.name), _deinterlacer(frame)
        times.append(time)
        yield from ((times.popleft(), picture) for picture in _filtered(graph, frame))
    if graph is not None:
        yield from ((times.popleft(), picture) for picture in _filtered(graph, None))


def _deinterlacer(frame: Any) -> Any:
    graph = require("av.filter", "av", "Reading a video").Graph()
    time_base = frame.time_base or Fraction(1, 1000)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _filtered(graph: Any, frame: Any) -> Iterator[Any]:
    av = require("av", "av", "Reading a video")
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return


class _Upright:
    """Converts decoded frames to upright RGB arrays, all of the size of the first."""

    def __init__(self, pixel_aspect: Any):
        self.pixel_aspect = 1
        if pixel_aspect and 1 / _MOST_STRETCHED <= pixel_aspect <= _MOST_STRETCHED:
            self.pixel_aspect = pixel_aspect
        self.reformatter = require("av.video.reformatter", "av", "Reading a video").VideoReformatter()
        self.size: tuple[int, int] | None = None  # width and height before turning

    def __call__(self, frame: Any) -> np.ndarray:
        if self.size is None:
            self.size = (max(1, round(frame.width * self.pixel_aspect)), frame.height)
            self.matrix = _display_matrix(frame)
        width, height = self.size
        # One thread, since starting several for each clip takes longer than converting a few hundred small frames.
        array = self.reformatter.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        # FFmpeg pads rows, and MediaPipe finds no face in an array that is not contiguous.
        return np.ascontiguousarray(_turn(array, self.matrix))


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """Returns a, b, c, d of the transformation x' = a x + c y, y' = b x + d y to the screen, Y pointing down."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    return a, b, c, d


def _turn(array: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Mirrors and rotates a frame by multiples of 90 degrees, the nearest to the matrix."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        array, a, d = array.swapaxes(0, 1), c, b
    if a < 0:
        array = array[:, ::-1]
    return array[::-1] if d < 0 else array
