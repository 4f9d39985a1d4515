# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Reads a visitor's camera for the page, in a process of its own.

The browser sends each picture as a JPEG behind its time, a big-endian double of seconds. Pictures are not stored.
"""

from __future__ import annotations

import io
import struct
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np
from PIL import Image

from modeling_lipread import LipReadingPipeline

from ..diagnosis import find_problem
from ..live.session import LiveSession, warm_up
from ..live.windows import EVERY_FRAMES, Update
from ..long_form.segmentation import SegmentSettings
from ..long_form.streaming import ONLY_PERSON, StreamedFrame, stream_frames
from .processes import ZIP
from .reading import CONTOURS, MAX_PIXELS, drawn_points, load_pipeline_quietly

TIME = struct.Struct(">d")


class CameraPictures:
    """Iterates over the pictures that arrive on a connection until it ends.

    Args:
        on_other: Callback that gets what is no picture: text, or a ZIP archive.
    """

    def __init__(self, connection: Connection, on_other: Callable[[str | bytes], None] | None = None):
        self.arrived = 0.0  # time of the last picture, by `time.perf_counter`
        self.picture: np.ndarray | None = None
        self._connection, self._on_other = connection, on_other

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the seconds of each picture, strictly rising, and the picture, RGB, uint8 `(height, width, 3)`."""
        last = -1.0
        while True:
            try:
                message = self._connection.recv()
            except EOFError:
                return
            if self._on_other is not None and (isinstance(message, str) or message.startswith(ZIP)):
                self._on_other(message)
                continue
            (seconds,) = TIME.unpack_from(message)
            if not seconds > last:  # also leaves out NaN
                seconds = last + 1e-3
            last, self.arrived = seconds, time.perf_counter()
            self.picture = decode_jpeg(message[TIME.size :])
            yield seconds, self.picture


def decode_jpeg(data: bytes) -> np.ndarray:
    """Returns a JPEG as RGB, uint8 `(height, width, 3)`. Raises ValueError for other data and for large pictures."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"a picture of {image.width} x {image.height} pixels is too large")
        return np.ascontiguousarray(image.convert("RGB"))


def watch(
    pictures: CameraPictures, pipeline: LipReadingPipeline, send: Callable[..., None]
) -> Iterator[StreamedFrame]:
    """Sends `ready`, and for each picture its landmarks and what is wrong with it. Yields the face of each."""
    warm_up(pipeline)
    send(type="ready", contours=[len(contour) for contour in CONTOURS])
    for frame in stream_frames(pipeline.processor.keypoint_extractor, pictures, "largest"):
        face = frame.faces.get(ONLY_PERSON)
        send(type="picture", points=drawn_points(frame), problem=find_problem(pictures.picture, face))
        yield frame


def read_camera(connection: Connection, model: str | None, device: str) -> None:
    """Sends the messages of `watch`, and words as they are read."""
    pipeline = load_pipeline_quietly(model, device)
    settings = SegmentSettings.for_model(pipeline.model.config)
    lock = threading.Lock()  # words are sent from the reading thread

    def send(**message: object) -> None:
        with lock:
            connection.send(message)

    def show(update: Update) -> None:
        words = [{"word": word.text, "score": word.score} for word in update.words]
        send(type="final" if update.is_final else "partial", words=words, reason=update.reason)

    pictures = CameraPictures(connection)
    with LiveSession(pipeline, settings, EVERY_FRAMES, show) as session:
        for frame in watch(pictures, pipeline, send):
            session.push(frame, pictures.arrived)
