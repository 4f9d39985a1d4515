# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Frames in real time: from a camera, a stream, or a video file played at its own speed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from modeling_lipread.video_lipread import VideoError, read_frames, read_stream, require

QUEUE_FRAMES = 8  # a third of a second
STREAM_TIMEOUT = 10.0  # seconds


class LiveSource:
    """Captures frames in its own thread, so that slow processing does not fill a camera's buffer.

    If frames of a camera or stream arrive faster than they are processed, the oldest queued ones are dropped. Frames
    of a file wait instead.

    Args:
        source: Number or device (`/dev/video0`) of a camera, path of a video, or address of a stream (`rtsp://...`).
        at_once: Whether to process a file as fast as possible instead of at its own speed.
    """

    def __init__(self, source: str, at_once: bool = False):
        self.arrived = 0.0  # time of the last yielded frame, by `time.perf_counter`
        self.dropped = 0  # number of frames
        self._stop = threading.Event()
        self._queue: queue.Queue = queue.Queue(QUEUE_FRAMES)
        source, camera = source.removeprefix("file://"), source.removeprefix("/dev/video")
        self.is_file = not camera.isdecimal() and "://" not in source
        if camera.isdecimal():
            self._frames = camera_frames(int(camera))
        else:
            file = self.is_file
            frames = read_frames(source, skip_damage=True) if file else read_stream(source, STREAM_TIMEOUT)
            self._frames = frames if at_once and file else self._in_real_time(frames)
        self._thread = threading.Thread(target=self._capture, name="live-source", daemon=True)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray | None]]:
        """Yields the seconds since the first frame and the frame, RGB, uint8 `(height, width, 3)`; None if it is lost.

        Raises:
            VideoError: The source cannot be opened, or fails later.
        """
        self._thread.start()
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            seconds, frame, self.arrived = item
            yield seconds, frame

    def close(self) -> None:
        """Releases the camera, the stream or the file."""
        self._stop.set()
        if self._thread.is_alive():
            while not self._queue.empty():  # unblocks the thread
                self._queue.get_nowait()
            self._thread.join(timeout=2 * STREAM_TIMEOUT)

    def _capture(self) -> None:
        end: Exception | None = None
        try:
            for seconds, frame in self._frames:
                self._put((seconds, frame, time.perf_counter()), wait=self.is_file)
                if self._stop.is_set():
                    break
        except Exception as error:  # raised again in __iter__
            end = error
        finally:
            self._frames.close()
        self._put(end, wait=True)

    def _put(self, item: object, wait: bool) -> None:
        """Queues an item. Without `wait`, drops the oldest one if the queue is full."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1 if wait else 0)
                return
            except queue.Full:
                with suppress(queue.Empty):
                    if not wait:
                        self._queue.get_nowait()
                        self.dropped += 1

    def _in_real_time(self, frames: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
        """Yields each frame at its time: files and recorded streams deliver them faster."""
        start: float | None = None
        try:
            for seconds, frame in frames:
                start = time.perf_counter() - seconds if start is None else start
                if self._stop.wait(max(0.0, start + seconds - time.perf_counter())):
                    return
                yield seconds, frame
        finally:
            frames.close()


def camera_frames(number: int) -> Iterator[tuple[float, np.ndarray]]:
    """Yields the seconds since the first frame and each frame of a camera, RGB, uint8 `(height, width, 3)`.

    Raises:
        VideoError: The camera cannot be opened, or gives no pictures.
    """
    cv2 = require("cv2", "opencv-contrib-python", "Reading a camera")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # else an error for each interface
    camera = cv2.VideoCapture(number)
    cv2.utils.logging.setLogLevel(level)
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
