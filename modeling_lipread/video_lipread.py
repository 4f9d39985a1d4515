# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Decoding of videos to upright RGB frames with timestamps, with PyAV (FFmpeg)."""

from __future__ import annotations

import codecs
import importlib
import logging
import os
import re
import struct
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from heapq import heappop, heappush
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_LARGE_PIXELS = 2**20  # pixels of a frame; smaller frames decode more efficiently in one thread
_PACKETS_PEEKED = 64  # packets in which to look for timestamps
_MOST_STRETCHED = 4  # highest plausible aspect ratio of a pixel; a header with a higher one is damaged
_JOINED = ("hls", "mpeg", "mpegts")  # containers of recordings that may be joined, each with a clock of its own
_LONGEST_HOLE = 10.0  # seconds between two frames of these, beyond which the clock was set anew
_FRAMES_OF_NEW_CLOCK = 3  # fewer have wrong timestamps
_FRAMES_AHEAD = 4  # decoded at a time; twice as many may be in memory
_MOST_FAILURES = 1000  # failed reads in a row after which the rest of a file counts as lost
# FFmpeg's demuxers of files that are nothing but data. All others are refused, whatever the suffix of the file: those
# of playlists and scripts (hls, dash, concat, sdp, image2) open the files and addresses that the file names.
_CONTAINERS = (
    "apng,asf,av1,avi,dhav,dv,flv,gif,gxf,h264,hevc,ivf,live_flv,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,"
    "obu,ogg,rm,vc1,vvc,wtv,yuv4mpegpipe"
)
_STREAM_CONTAINERS = f"{_CONTAINERS},hls,mpjpeg,rtp,rtsp"
_STREAM_PROTOCOLS = "crypto,http,https,httpproxy,rtmp,rtmps,rtmpt,rtmpts,rtp,srt,tcp,tls,udp"  # no files
_COUNTED_FROM_ZERO = ("asf", "flv", "matroska,webm", "nut")  # the duration in their headers may be the time of the end


class VideoError(ValueError):
    """Raised for a video that cannot be read: missing, empty, truncated, corrupt, without a video stream, too long."""


def require(module: str, package: str, purpose: str) -> Any:
    """Imports and returns an optional dependency; raises ImportError with its `purpose` if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs {package}: pip install {package} ({error})") from error


def read_frames(
    path: str | os.PathLike,
    start: float | None = None,
    end: float | None = None,
    max_seconds: float | None = None,
    skip_damage: bool = False,
) -> Iterator[tuple[float, np.ndarray | None]]:
    """Decodes a video, or a span of it, with one frame in memory at a time.

    Times are the timestamps of the stream. If they are missing or do not rise, as some muxers write them, times follow
    from the nominal frame rate, with a warning. Interlaced frames are deinterlaced (bwdif, one frame for two fields),
    frames are rotated and mirrored by the metadata, non-square pixels are made square, transparency is dropped, and
    all frames are scaled to the size of the first.

    Args:
        path: The video file.
        start, end: The span in seconds from the start of the file, without the frame at `end`.
        max_seconds: The longest span allowed.
        skip_damage: Whether to go on behind damage, from the next key frame, and to accept a truncated file.

    Yields:
        Seconds since `start`, strictly rising, and the frame: RGB, uint8, `(height, width, 3)`, contiguous. With
        `skip_damage`, None in place of a frame where a lost stretch begins, and where it ends if no frame follows.

    Raises:
        VideoError: The file is missing, empty or no video, or has no frame in the span; the span is longer than
            `max_seconds`; or, without `skip_damage`, the file is truncated or corrupt in the span.
    """
    path, first = Path(path), start or 0.0
    with _video_errors(path):
        if first < 0 or (end is not None and end <= first):
            raise VideoError(f"{path}: start={start} and end={end} are no span; start must be >= 0 and end after it")
        if max_seconds is not None and end is not None and end - first > max_seconds:
            raise VideoError(_too_long(path, end - first, max_seconds))
        nominal_rate = _nominal_rate(path)
        seek = first > 0 and nominal_rate is None and _seek_lands_before(path, first)
        with _open(path) as (container, stream):
            if seek:
                _seek(container, stream, first)
            declared = _declared_seconds(container, stream) if end is None and nominal_rate is None else 0.0
            if max_seconds is not None and declared - first > max_seconds:
                raise VideoError(_too_long(path, declared - first, max_seconds))
            if not skip_damage and _missing_end(container, stream, None, skip_damage) is not None:
                raise VideoError(_truncated(path, "its last frames are missing"))
            frames = _decode(path, container, stream, nominal_rate, first, end, skip_damage)
            for time, frame in _upright(stream, frames):
                if max_seconds is not None and time >= max_seconds - 1e-6:
                    raise VideoError(_too_long(path, time, max_seconds))
                yield time, frame


def read_stream(address: str, timeout: float) -> Iterator[tuple[float, np.ndarray | None]]:
    """Decodes the stream at an address as it arrives, as `read_frames` does with `skip_damage`.

    Times are seconds since the first frame. Raises `VideoError` if it cannot be opened, is no video, fails later, or
    sends nothing for `timeout` seconds.
    """
    first: float | None = None
    with _video_errors(address), _open(address, timeout) as (container, stream):
        for time, frame in _upright(stream, _decode(address, container, stream)):
            first = time if first is None else first
            yield time - first, frame


def read_ahead(items: Generator[_Item, None, None], count: int = _FRAMES_AHEAD) -> Generator[_Item, None, None]:
    """Runs a generator of frames in a thread, from now on, so that decoding overlaps with the detection of landmarks.

    It decodes `count` frames at a time, since after each detection the CPU's caches hold the landmarker's data. An
    exception of the generator is raised after the items before it; the generator is closed at the end.
    """
    thread = ThreadPoolExecutor(1, "read-ahead")
    return _read_on(items, count, thread, thread.submit(_take, items, count))


def _read_on(
    items: Generator[_Item, None, None], count: int, thread: ThreadPoolExecutor, waiting: Future
) -> Generator[_Item, None, None]:
    with thread:
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
    with suppress(VideoError), _video_errors(path), _open(Path(path)) as (container, stream):
        return _declared_seconds(container, stream)
    return 0.0


def video_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns width and height in the header of a video, in pixels; raises `VideoError` if it is no video."""
    with _video_errors(path), _open(Path(path)) as (_, stream):
        return stream.width, stream.height


def read_sound(
    path: str | os.PathLike, start: float | None = None, end: float | None = None
) -> Iterator[tuple[float, Any]]:
    """Decodes the sound of a video, or of its span from `start` to `end` seconds, without what is damaged.

    It yields the seconds since `start` and PyAV's audio frame, whose timestamp begins there too.
    """
    av = require("av", "av", "Reading a video")
    with _open(Path(path)) as (container, _), suppress(av.FFmpegError):
        stream = next((stream for stream in container.streams.audio if stream.codec_context is not None), None)
        for packet in container.demux(stream) if stream is not None else ():
            frames = []
            with suppress(av.FFmpegError):
                frames = packet.decode()
            for frame in frames:
                if frame.pts is None:
                    continue
                frame.pts -= round((_origin(container) + (start or 0.0)) / frame.time_base)
                if end is not None and frame.time >= end - (start or 0.0):
                    return
                if frame.time >= 0:
                    yield frame.time, frame


@contextmanager
def _video_errors(source: str | os.PathLike) -> Iterator[None]:
    """Turns all exceptions that a video causes, also those of parsers that fail, into `VideoError`."""
    av = require("av", "av", "Reading a video")
    try:
        yield
    except PermissionError as error:
        raise VideoError(f"{source}: cannot be opened ({error.strerror}); check its permissions") from error
    except Exception as error:
        if isinstance(error, (VideoError, ImportError, MemoryError)) and not isinstance(error, av.FFmpegError):
            raise
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        if "://" in str(source):
            raise VideoError(f"{source}: the stream cannot be read ({reason}); check the address") from error
        raise VideoError(
            f"{source}: not a readable video, or truncated or corrupt ({reason}); "
            "copy or download it again, or re-encode it with ffmpeg"
        ) from error


def _check_file(path: Path) -> None:
    if not path.exists():
        address = "; addresses are not read here, download the video" if ":/" in str(path) else ""
        raise VideoError(f"{path}: no such file; check the path{address}")
    if not path.is_file():
        raise VideoError(f"{path}: not a video file, but a folder, a pipe or a device; save the video in a file")
    if not path.stat().st_size:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")


def _is_text(path: Path) -> bool:
    """Returns whether a file begins with text in UTF-8, as playlists and scripts do."""
    with open(path, "rb") as file:
        start = file.read(256)
    with suppress(UnicodeDecodeError):
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(start)
    return False


def _truncated(source: object, reason: str) -> str:
    return f"{source}: the file is truncated, {reason}; copy or download it again"


def _declared_seconds(container: Any, stream: Any) -> float:
    """Returns the seconds from the start of the file to the declared end of the stream; 0 if it is missing."""
    if container.format.name in _COUNTED_FROM_ZERO:
        end = (container.duration or 0) / 1e6 - (inf if container.start_time is None else _origin(container))
    elif stream.duration:
        end = float(((stream.start_time or 0) + stream.duration) * stream.time_base) - _origin(container)
    else:
        end = (container.duration or 0) / 1e6
    return max(0.0, end)


@contextmanager
def _open(source: Path | str, timeout: float | None = None) -> Iterator[tuple[Any, Any]]:
    """Opens a file, given as a `Path`, or the stream at an address, and yields the container and its video stream."""
    av = require("av", "av", "Reading a video")
    if isinstance(source, Path):
        _check_file(source)
        # Without "file:", FFmpeg reads a name such as "12:30.mp4" as a protocol.
        name, options = f"file:{source}", {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
    else:
        name, options = source, {"protocol_whitelist": _STREAM_PROTOCOLS, "format_whitelist": _STREAM_CONTAINERS}
        options["rtsp_transport"] = "tcp"
    options["enable_drefs"] = "0"  # a QuickTime file may name the files of its frames
    try:
        opened = av.open(name, options=options, timeout=timeout, metadata_errors="replace")
    except av.FFmpegError as error:
        if not (isinstance(error, av.ArgumentError) or (isinstance(source, Path) and _is_text(source))):
            raise
        raise VideoError(
            f"{source}: not a video file, such as mp4, mkv or avi; playlists, scripts, pictures and sound alone are "
            "not read"
        ) from error
    with opened as container:
        attached_picture = av.stream.Disposition.attached_pic  # such as the cover of a song
        streams = [stream for stream in container.streams.video if not stream.disposition & attached_picture]
        if not streams:
            raise VideoError(f"{source}: the file has no video stream (audio only?); give a video that shows the face")
        stream = next((stream for stream in streams if stream.codec_context is not None), None)
        if stream is None:
            raise VideoError(f"{source}: its video codec is unknown here; re-encode it with ffmpeg, such as to H.264")
        # With PyAV's default, several threads for one frame, FFmpeg does not notice damage in H.264. In a live stream,
        # each thread would delay by a frame.
        single = stream.width * stream.height < _LARGE_PIXELS or timeout is not None
        stream.thread_type, stream.thread_count = "FRAME", 1 if single else min(4, os.cpu_count() or 1)
        yield container, stream


def _nominal_rate(path: Path) -> float | None:
    """Returns the nominal frame rate if the stream has no usable timestamps, else None."""
    av = require("av", "av", "Reading a video")
    times: list[int | None] = []
    with _open(path) as (container, stream):
        with suppress(av.InvalidDataError):  # damage
            packets = islice(container.demux(stream), _PACKETS_PEEKED)
            times += (packet.dts if _is_avi(container) else packet.pts for packet in packets if packet.size)
        known = set(times) - {None}  # a damaged packet may have no timestamp
        if not times or (times.count(None) < len(times) / 8 and 2 * len(known) > len(times)):
            return None
        rates = (stream.guessed_rate, stream.codec_context.framerate, stream.average_rate)
        rate = next((float(rate) for rate in rates if rate and 1 <= rate <= 240), None)
    if rate is None:
        raise VideoError(f"{path}: neither timestamps nor a frame rate in the file; re-encode it with ffmpeg")
    _warn_of_missing_times()
    logger.info(f"{path}: no usable timestamps, timed by the declared {rate:g} frames a second")
    return rate


@cache
def _warn_of_missing_times() -> None:
    logger.warning(
        "Some videos carry no usable timestamps; their frames are timed by the frame rate their stream declares."
    )


def _is_avi(container: Any) -> bool:
    return container.format.name == "avi"  # which has times of decoding only


def _origin(container: Any) -> float:
    return (container.start_time or 0) / 1e6  # from microseconds


def _seek(container: Any, stream: Any, seconds: float) -> None:
    container.seek(int((seconds + _origin(container)) / stream.time_base), stream=stream)


def _seek_lands_before(path: Path, seconds: float) -> bool:
    """Returns whether seeking reaches a frame before the wanted one; without an index it may jump past the end."""
    av = require("av", "av", "Reading a video")
    with _open(path) as (container, stream):
        if container.start_time is None or _is_avi(container):  # the origin, or times, depend on the first frame
            return False
        try:
            _seek(container, stream, seconds)
            frame = next(container.decode(stream), None)
        except av.FFmpegError:
            return False
        return frame is not None and frame.time is not None and frame.time - _origin(container) <= seconds


def _decode(source, container, stream, nominal_rate=None, start=0.0, end=None, skip_damage=True):
    """Yields the frames of a span with their seconds since `start`, and None for damage as `read_frames` does."""
    time, shown, found = None, start - 1e-3, False  # times of the last decoded and of the last yielded frame
    damage: list[float] = []  # times of damaged packets and frames since the last intact key frame
    begun, marked = skip_damage, False  # whether the beginning of this damage was yielded
    for moment, frame in _timed(container, stream, nominal_rate, begun):
        if frame is None:
            damage.append(moment)
            continue
        time = moment
        if end is not None and time >= end - 1e-6:
            ends = end if damage and min(damage) < end - 1e-6 else None
            break
        if not (begun or frame.key_frame) and frame.is_corrupt:
            continue  # the first frames of a stream cut from a longer one refer to missing frames
        begun = True
        damage += [time] if frame.is_corrupt else []
        intact = frame.key_frame and time > max(damage, default=-1.0)
        if intact and damage and min(damage) < start:
            damage, marked = [], False  # damage before the span does not matter
        if time < start - 1e-6:
            continue
        if damage and time >= min(damage) - 1e-6:
            if not skip_damage:
                raise VideoError(_corrupt(source, min(damage)))
            if not marked:
                marked, shown = True, max(min(damage), shown + 1e-3)
                yield shown - start, None
            if not intact:
                continue
            damage, marked = [], False
        shown, found = max(time, shown + 1e-3), True
        yield shown - start, frame
    else:
        if time is None:
            raise VideoError(f"{source}: no frame can be decoded: all are damaged, or in another file; copy it again")
        ends = _missing_end(container, stream, time, skip_damage)
        if ends is not None and not skip_damage:
            raise VideoError(_truncated(source, f"its frames end at {time:.2f} of {ends:.2f} seconds"))
        ends = time + 0.04 if ends is None and damage else ends
    if ends is not None and not (skip_damage and found):
        raise VideoError(_corrupt(source, min([*damage, time])))
    if not found:
        span = f"from {start:g} seconds on" if end is None else f"between {start:g} and {end:g} seconds"
        raise VideoError(f"{source}: no frame {span}; the video ends at about {time:.2f} seconds")
    if ends is not None:
        if not marked:
            shown = max(min([*damage, time]), shown + 1e-3)
            yield shown - start, None
        yield max(ends, shown + 1e-3) - start, None


def _timed(container: Any, stream: Any, nominal_rate: float | None, begun: bool) -> Iterator[tuple[float, Any]]:
    """Yields each frame, in presentation order, with its seconds from the start of the file.

    Yields None and the time of each damaged packet too; unless `begun`, only after the first key frame, since damage
    before it is normal in a stream cut from a longer one.
    """
    origin = None if container.start_time is None else _origin(container)
    longest = _LONGEST_HOLE if container.format.name in _JOINED else inf
    time, step, index, strange = None, 1e-3, 0, 0
    for frame, packet_time in _decoded(container, stream, begun):
        previous, known = time, packet_time if frame is None else frame.time
        if nominal_rate is not None:
            time = index / nominal_rate
        elif known is not None:
            origin = known if origin is None else origin
            time = known - origin
        else:
            time = 0.0 if previous is None else previous + step
        index += 1
        is_strange = previous is not None and not previous - 1 < time < previous + longest
        if is_strange:  # a wrong timestamp; or the clock was set anew, as where recordings were joined
            time = previous + step
        if frame is None:
            yield time, None
            time = previous
            continue
        strange = strange + 1 if is_strange else 0
        if strange == _FRAMES_OF_NEW_CLOCK:
            origin = known - time
        if previous is not None:
            time = max(time, previous + 1e-3)  # a lower timestamp is wrong
            step = time - previous
        yield time, frame


def _decoded(container: Any, stream: Any, begun: bool) -> Iterator[tuple[Any, float | None]]:
    """Yields the frames in presentation order with None, and None with the time of each damaged packet if known."""
    av = require("av", "av", "Reading a video")
    packets, failures = container.demux(stream), 0
    # In order of presentation, the frames of an AVI have the times of decoding; behind damage only its index has them.
    times: list[int] = []
    places = {entry.pos: entry.timestamp for entry in stream.index_entries} if _is_avi(container) else {}
    while failures < _MOST_FAILURES:
        frames: list[Any] = []
        try:
            packet = next(packets, None)
        except av.InvalidDataError:  # the demuxer continues behind the damage
            packets, failures = container.demux(stream), failures + 1
            if begun:
                yield None, None
            continue
        if packet is None:
            return
        begun, failures, damaged = begun or packet.is_keyframe, 0, packet.is_corrupt
        moment = packet.pts
        if _is_avi(container) and packet.size:
            moment = places.get(packet.pos, packet.dts)
            heappush(times, moment)
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged = True
            times = [time for time in times if time != moment]
        if damaged and begun:
            yield None, None if moment is None else float(moment * packet.time_base)
        for frame in frames:
            if times:
                frame.pts, frame.time_base = heappop(times), stream.time_base
            yield frame, None


def _corrupt(source: object, seconds: float) -> str:
    return (
        f"{source}: the video is corrupt at about {seconds:.2f} seconds; copy or download it again, or leave that "
        "part out with start and end"
    )


def _missing_end(container: Any, stream: Any, last: float | None, skip_damage: bool) -> float | None:
    """Returns the seconds from the start of the file to the end of a truncated video; None if it is complete.

    `last` is the time of the last frame; None before reading, when only an index of the frames shows what is missing.
    """
    entries = stream.index_entries
    if len(entries) and entries[-1].pos + entries[-1].size > container.size > 0:
        return float(entries[-1].timestamp * stream.time_base) - _origin(container)
    # A declared duration may be that of the sound. Matroska declares the end of each stream, on the timestamps' clock.
    end = _declared_seconds(container, stream) if skip_damage and container.format.name not in _JOINED else 0.0
    declared = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if declared is not None:
        hours, minutes, seconds = map(float, declared.groups())
        end = min(3600 * hours + 60 * minutes + seconds, (container.duration or inf) / 1e6) - _origin(container)
    return end if last is not None and end - last > max(1.0, 0.1 * end) else None


def _upright(stream: Any, frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, np.ndarray | None]]:
    """Yields frames as upright RGB arrays of the size of the first, deinterlaced; None as it is."""
    aspect = stream.sample_aspect_ratio
    if not aspect or not 1 / _MOST_STRETCHED <= aspect <= _MOST_STRETCHED:
        aspect = 1
    reformatter = require("av.video.reformatter", "av", "Reading a video").VideoReformatter()
    size = matrix = None
    for time, frame in _deinterlaced(frames):
        if frame is None:
            yield time, None
            continue
        if size is None:  # width and height before turning
            size, matrix = (max(1, round(frame.width * aspect)), frame.height), _display_matrix(frame)
        # One thread, since starting several for each clip takes longer than converting a few hundred small frames.
        array = reformatter.reformat(frame, *size, format="rgb24", threads=1).to_ndarray()
        # FFmpeg pads rows, and a turn leaves them in another order.
        yield time, np.ascontiguousarray(_turn(array, matrix))


def _deinterlaced(frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    """Yields frames with the two fields of interlaced ones merged; other frames do not change."""
    graph, shape = None, None
    times: deque[float] = deque()  # of the frames in the graph, which returns each frame after it gets the next one
    for time, frame in frames:
        new = None if frame is None else (frame.width, frame.height, frame.format.name)
        if graph is not None and shape != new:
            yield from ((times.popleft(), picture) for picture in _filtered(graph, None))
            graph = None
        if frame is None or (graph is None and not frame.interlaced_frame):
            yield time, frame
            continue
        if graph is None:
            shape, graph = new, _deinterlacer(frame)
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
