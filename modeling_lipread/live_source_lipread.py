# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Frames as they happen: of a camera, of a stream, or of a video file that is played in place of a camera."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .video_lipread import VideoError, read_frames, require

WAITING_FRAMES = 8  # that may wait to be looked at: a third of a second
STREAM_SECONDS = 10.0  # a stream that says nothing for so long is given up


class LiveSource:
    """Takes frames in a thread of its own, so that none waits in a camera's buffer for the one before to be read.

    Where frames come faster than they are looked at, the oldest of those that wait are left out, and counted; those of
    a file wait, since nothing of it gets lost by waiting.

    Args:
        source: Number of a camera, path of a video, or address of a stream (`rtsp://...`).
        at_once: Whether frames of a file come as fast as they are looked at; otherwise at the file's own speed.

    Attributes:
        arrived: When the frame given last arrived, by `time.perf_counter`.
        left_out: How many frames were left out.
    """

    def __init__(self, source: str, at_once: bool = False):
        self.arrived = 0.0
        self.left_out = 0
        self._stop = threading.Event()
        self._waiting: queue.Queue = queue.Queue(WAITING_FRAMES)
        self._waits = False
        if source.isdecimal():
            self._frames = _camera_frames(int(source))
        elif "://" in source:
            self._frames = self._at_their_time(_stream_frames(source))
        else:
            self._waits = True
            self._frames = read_frames(Path(source)) if at_once else self._at_their_time(read_frames(Path(source)))
        self._thread = threading.Thread(target=self._take, name="live-source", daemon=True)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields seconds since the first frame, and the frame, RGB, uint8, `(height, width, 3)`.

        Raises:
            VideoError: The source cannot be opened, or breaks off.
        """
        self._thread.start()
        while True:
            item = self._waiting.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            seconds, frame, self.arrived = item
            yield seconds, frame

    def close(self) -> None:
        """Lets go of the camera, the stream or the file."""
        self._stop.set()
        if self._thread.is_alive():
            while not self._waiting.empty():  # the thread may wait for room
                self._waiting.get_nowait()
            self._thread.join(timeout=2 * STREAM_SECONDS)

    def _take(self) -> None:
        last: Exception | None = None
        try:
            for seconds, frame in self._frames:
                self._put((seconds, frame, time.perf_counter()))
                if self._stop.is_set():
                    break
        except Exception as error:  # raised where the frames are used
            last = error
        finally:
            self._frames.close()
        self._put(last, must_arrive=True)

    def _put(self, item: object, must_arrive: bool = False) -> None:
        while not self._stop.is_set():
            try:
                self._waiting.put(item, timeout=0.1 if self._waits or must_arrive else 0)
                return
            except queue.Full:
                if self._waits or must_arrive:
                    continue
            try:
                self._waiting.get_nowait()
                self.left_out += 1
            except queue.Empty:
                pass

    def _at_their_time(self, frames: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
        """Frames no earlier than they are due: a file, or a stream of something recorded, comes faster."""
        begun: float | None = None
        try:
            for seconds, frame in frames:
                begun = time.perf_counter() - seconds if begun is None else begun
                if self._stop.wait(max(0.0, begun + seconds - time.perf_counter())):
                    return
                yield seconds, frame
        finally:
            frames.close()


def _camera_frames(number: int) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a camera with the seconds since the first."""
    cv2 = require("cv2", "opencv-contrib-python", "Reading a camera")
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(
        log.LOG_LEVEL_SILENT
    )  # what it writes of a camera that is not there says less than the error below
    try:
        camera = cv2.VideoCapture(number)
    finally:
        log.setLogLevel(level)
    try:
        if not camera.isOpened():
            raise VideoError(
                f"camera {number} cannot be opened: is it plugged in, free of other programs, and are you allowed to "
                "use it? Give another number, a video file or a stream with --source"
            )
        first: float | None = None
        while True:
            found, picture = camera.read()
            now = time.perf_counter()
            if not found:
                raise VideoError(f"camera {number} gives no pictures{'' if first is None else ' any more'}")
            first = now if first is None else first
            yield now - first, np.ascontiguousarray(picture[..., ::-1])
    finally:
        camera.release()


def _stream_frames(address: str) -> Iterator[tuple[float, np.ndarray]]:
    """Frames of a stream with the seconds since the first."""
    av = require("av", "av", "Reading a stream")
    options = {"rtsp_transport": "tcp"} if address.startswith("rtsp") else {}
    try:
        with av.open(address, options=options, timeout=STREAM_SECONDS) as container:
            if not container.streams.video:
                raise VideoError(f"{address}: the stream has no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "SLICE"  # threads that take a frame each would hold several back
            first = last = None
            for frame in container.decode(stream):
                seconds = frame.time if frame.time is not None else time.perf_counter()
                first = seconds if first is None else first
                seconds -= first
                if last is not None and seconds <= last:
                    seconds = last + 1e-3  # a clock that was set back
                last = seconds
                yield seconds, np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    except av.FFmpegError as error:
        raise VideoError(f"{address}: the stream cannot be read ({error.strerror}); check the address") from error
