# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Words from a camera while they are being said: `lipread live`."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from modeling_lipread import LipReadingPipeline
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor

from ..long_form.segmentation import SegmentSettings
from ..long_form.streaming import StreamedFrame, stream_frames
from ..long_form.transcription import read_segments
from ..options import print_message
from ..transcript import text_of, text_width
from .source import LiveSource
from .windows import LiveTranscript, LiveWindows, Update, Window

NO_FACE_SECONDS = 2.0  # without a face until a notice is shown
_CLEAR, _DIM, _PLAIN = "\r\x1b[K", "\x1b[2m", "\x1b[0m"


def warm_up(pipeline: LipReadingPipeline) -> None:
    """Runs the landmarker and the model once, so that the first frames do not wait for their initialization."""
    pipeline.processor.keypoint_extractor.extract(np.zeros((64, 64, 3), np.uint8))
    pipeline(np.random.default_rng(0).normal(size=(25, 478, 3)).astype(np.float32), max_new_tokens=2)


class LiveSession:
    """Finds landmarks in the calling thread and reads windows in another. Exiting its context reads the last frames.

    A partial window that is still queued when the next one arrives is dropped. Complete utterances are all read, in
    order.

    Args:
        every_frames: Number of frames between two partial windows.
        on_update: Callback that gets every update, in the reading thread.
        generation: Arguments of the pipeline, for example `num_beams`.
    """

    def __init__(
        self,
        pipeline: LipReadingPipeline,
        settings: SegmentSettings,
        every_frames: int,
        on_update: Callable[[Update], None],
        **generation: Any,
    ):
        self.latencies: list[float] = []  # seconds from the arrival of the newest frame to each partial update
        self.dropped = 0  # number of partial windows
        self.seconds, self.frames = 0.0, 0  # time of the last frame, and number of frames
        self._pipeline, self._on_update, self._generation = pipeline, on_update, generation
        self._windows = LiveWindows(settings, every_frames)
        # The pipeline would judge a partial hypothesis by all of its words, also by those that are still to come.
        config = pipeline.model.config
        limits = config.abstention if generation.get("abstain", True) and config.abstention else {}
        self._partial = {**generation, "min_confidence": 0.0} if config.ctc_vocab else generation
        self._transcript = LiveTranscript(settings, limits.get("min_confidence", 0.0))
        self._queue: deque[Window] = deque()
        self._changed = threading.Condition()
        self._ended, self._error = False, None
        self._thread = threading.Thread(target=self._read_windows, name="live-reader", daemon=True)

    def __enter__(self) -> LiveSession:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, *exception: object) -> None:
        if kind is None:
            for window in self._windows.flush():
                self._submit(window)
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def read(
        self, source: LiveSource, extractor: Face3DKeypointExtractor, face: str, on_notice: Callable[[str], None]
    ) -> None:
        """Processes the frames of a source until it ends, as `stream_frames`.

        `on_notice` gets a notice after `NO_FACE_SECONDS` without a face, and "" once there is one.
        """
        last_seen, noticed = 0.0, False
        for frame in stream_frames(extractor, source, face):
            if frame.faces:
                last_seen = frame.time
            is_missing = frame.time - last_seen > NO_FACE_SECONDS
            if is_missing != noticed:
                on_notice("no face: it must be upright, lit, seen from the front and near" if is_missing else "")
                noticed = is_missing
            self.push(frame, source.arrived)

    def push(self, frame: StreamedFrame, arrived: float) -> None:
        """Adds a frame with its faces, which arrived at a time of `time.perf_counter`.

        Raises:
            Exception: Reading an earlier window failed.
        """
        self.seconds, self.frames = frame.time, self.frames + 1
        for window in self._windows.push(frame, arrived):
            self._submit(window)
        if self._error is not None:
            raise self._error

    def summary(self, source: LiveSource) -> str:
        """Returns a sentence with the number of frames and the latencies."""
        text = f"{self.seconds:.1f} seconds, {self.frames} frames"
        if source.dropped:
            text += f" and {source.dropped} dropped, because finding faces took too long"
        if self.latencies:
            median, most = statistics.median(self.latencies), float(np.quantile(self.latencies, 0.95))
            text += (
                f"; words {1000 * median:.0f} ms after their newest frame (median; 95% within {1000 * most:.0f} ms), "
                f"{len(self.latencies)} partial updates, {self.dropped} dropped"
            )
        return text

    def _submit(self, window: Window) -> None:
        with self._changed:
            if self._queue and not self._queue[-1].is_final:
                self._queue.pop()  # the new window contains it
                self.dropped += 1
            self._queue.append(window)
            self._changed.notify()

    def _read_windows(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._ended)
                    if not self._queue:
                        break
                    window = self._queue.popleft()
                generation = self._generation if window.is_final else self._partial
                ((_, hypothesis),) = read_segments(self._pipeline, [window.segment], **generation)
                for update in self._transcript.update(window, hypothesis):
                    update.latency = time.perf_counter() - window.arrived
                    if not update.is_final:
                        self.latencies.append(update.latency)
                    self._on_update(update)
            for update in self._transcript.flush():
                self._on_update(update)
        except Exception as error:  # raised again in the thread of the frames
            self._error = error


class Display:
    """Writes updates to standard output as `txt` or `json`."""

    def __init__(self, kind: str):
        self._is_json = kind == "json"
        self._is_terminal = kind == "txt" and sys.stdout.isatty()
        self._lock = threading.Lock()

    def show(self, update: Update) -> None:
        """Writes an update. On a terminal, words that may still change are dim."""
        if self._is_json:
            self._write(json.dumps(update_dict(update), ensure_ascii=False) + "\n")
        elif update.is_final:
            line = update.text or (f"({update.reason})" if update.reason else "")
            self._write((_CLEAR if self._is_terminal else "") + (line + "\n" if line else ""))
        elif self._is_terminal:
            room = shutil.get_terminal_size().columns - 1
            words, first = update.words, 0
            while first < len(words) - 1 and text_width(text_of(words[first:])) > room:  # the newest words stay
                first += 1
            self.notice(text_of(words[first:]))

    def notice(self, text: str) -> None:
        """Shows a notice in place of the current words, or removes it if the text is empty."""
        if self._is_json:
            if text:
                self._write(json.dumps({"type": "notice", "text": text}) + "\n")
        elif self._is_terminal:
            self._write(f"{_CLEAR}{_DIM}{text}{_PLAIN}" if text else _CLEAR)
        elif text:
            print_message(text)

    def _write(self, text: str) -> None:
        with self._lock:
            sys.stdout.write(text)
            sys.stdout.flush()


def update_dict(update: Update) -> dict[str, Any]:
    """Returns an update as an object for JSON."""
    found = {
        "type": "final" if update.is_final else "partial",
        "start": round(update.start, 3),
        "end": round(update.end, 3),
        "text": update.text,
        "chunks": [
            {"text": word.text, "timestamp": [round(word.start, 3), round(word.end, 3)], "score": word.score}
            for word in update.words
        ],
        "latency": round(update.latency, 4),
    }
    return found | ({"reason": update.reason} if update.reason else {})
