# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread live`: words from a camera while they are being said.

lipread live
lipread live --source rtsp://camera.local/front --format json
lipread live --source clip.mp4
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .landmarks_lipread import Face3DKeypointExtractor
from .live_source_lipread import LiveSource
from .live_windows_lipread import EVERY_FRAMES, LiveTranscript, LiveWindows, Update, Window
from .pipeline_lipread import LipReadingPipeline
from .reader_options_lipread import (
    READ,
    SOME_FAILED,
    generation_arguments,
    load_reader,
    positive,
    reader_options,
    refuse,
    tell,
)
from .segmentation_lipread import SegmentSettings

FORMATS = ("txt", "json")
NO_FACE_SECONDS = 2.0  # without a face until the user is told
_CLEAR, _DIM, _PLAIN = "\r\x1b[K", "\x1b[2m", "\x1b[0m"


def add_live(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    settings = SegmentSettings()
    parser = commands.add_parser(
        "live", parents=[reader_options(("largest", "central"))], help="read a camera while somebody speaks"
    )
    parser.add_argument("--source", default="0", help="number of a camera, stream, or video file (default: 0)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="txt",
        help="txt: a line an utterance, on a terminal also while it is said; json: a line an update (default: txt)",
    )
    parser.add_argument(
        "--every",
        type=positive,
        default=EVERY_FRAMES,
        metavar="FRAMES",
        help=f"frames between two readings of what is being said (default: {EVERY_FRAMES})",
    )
    parser.add_argument(
        "--end_seconds",
        type=float,
        default=settings.end_seconds,
        help=f"rest of the lips that ends an utterance (default: {settings.end_seconds:g})",
    )
    parser.add_argument("--at_once", action="store_true", help="do not play a video file at its own speed")
    parser.set_defaults(run=live)


def live(arguments: argparse.Namespace) -> int:
    """Reads until the source ends or Ctrl-C is pressed, and says how long words took.

    Returns:
        The exit status: 0, also after Ctrl-C, or 1 if the source cannot be read.
    """
    if not 0 < arguments.end_seconds < math.inf:
        refuse(f"--end_seconds must be positive, not {arguments.end_seconds:g}")
    pause_seconds = min(arguments.end_seconds, SegmentSettings.pause_seconds)
    reader = load_reader(arguments)
    if reader.device.type == "cpu":
        # One core is the landmarks'; a second thread here would take turns with them.
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    display = Display(arguments.format)
    session = LiveSession(
        reader,
        SegmentSettings.of_reader(reader.model.config, end_seconds=arguments.end_seconds, pause_seconds=pause_seconds),
        arguments.every,
        display.show,
        **generation_arguments(arguments),
    )
    warm_up(reader)
    source = LiveSource(arguments.source, arguments.at_once)
    tell(f"opening {'camera ' if arguments.source.isdecimal() else ''}{arguments.source}; Ctrl-C ends")
    try:
        with session, ending_by_interrupt():
            session.read(source, reader.processor.keypoint_extractor, arguments.face, display.notice)
    except BrokenPipeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # the last: memory of a GPU
        display.notice("")
        tell(error)
        return SOME_FAILED
    finally:
        source.close()
    display.notice("")
    tell(session.summary(source))
    return READ


@contextmanager
def ending_by_interrupt() -> Iterator[None]:
    """Takes Ctrl-C for the end of the frames, after which what was seen is still read."""
    try:
        yield
    except KeyboardInterrupt:
        pass


def warm_up(reader: LipReadingPipeline) -> None:
    """Lets everything be loaded that otherwise the first frames would wait for."""
    reader.processor.keypoint_extractor.extract(np.zeros((64, 64, 3), np.uint8))
    reader(np.random.default_rng(0).normal(size=(25, 478, 3)).astype(np.float32), max_new_tokens=2)


class LiveSession:
    """Finds landmarks in one thread and reads in another. Leaving its context reads what is left.

    Frames never wait for words: a partial reading that did not begin before the next one is due is left out. Complete
    utterances are all read, in order.

    Args:
        reader: A [`LipReadingPipeline`].
        settings: How speech is cut.
        every_frames: How many frames come between two partial readings.
        show: Told every update, in the reading thread.
        generation: Arguments of the reader, for example `num_beams`.

    Attributes:
        latencies: Seconds from the arrival of the newest frame to the words, of partial readings.
        final_latencies: The same of complete utterances, from the frame that completed them.
        left_out: How many partial readings were left out.
        seconds: Time of the last frame.
        frames: How many frames were looked at.
    """

    def __init__(
        self,
        reader: LipReadingPipeline,
        settings: SegmentSettings,
        every_frames: int,
        show: Callable[[Update], None],
        **generation: Any,
    ):
        self.latencies: list[float] = []
        self.final_latencies: list[float] = []
        self.left_out = 0
        self.seconds, self.frames = 0.0, 0
        self._reader, self._show = reader, show
        timestamps = "word" if reader.model.config.ctc_vocab else False
        self._arguments = {"return_timestamps": timestamps, **generation}
        self._windows = LiveWindows(settings, every_frames)
        self._transcript = LiveTranscript(settings)
        self._jobs: deque[Window] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="live-reader", daemon=True)

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
        self, source: LiveSource, extractor: Face3DKeypointExtractor, face: str, notice: Callable[[str], None]
    ) -> None:
        """Looks at the frames of a source until it ends.

        Args:
            source: Gives the frames.
            extractor: Finds landmarks in them.
            face: `largest` or `central`.
            notice: Told when no face has been seen for `NO_FACE_SECONDS`, and, with nothing to say, when there is one.

        Raises:
            VideoError: The source cannot be read.
        """
        seen, told = 0.0, False
        for frame in extractor.stream_frames(source, face):
            self.seconds, self.frames = frame.time, self.frames + 1
            if frame.faces:
                seen = frame.time
            is_missing = frame.time - seen > NO_FACE_SECONDS
            if is_missing != told:
                notice("no face: it must be lit, seen from the front, and near enough" if is_missing else "")
                told = is_missing
            for window in self._windows.push(frame, source.arrived):
                self._submit(window)
            if self._error is not None:
                raise self._error

    def summary(self, source: LiveSource) -> str:
        """How much was seen and how long words took."""
        text = f"{self.seconds:.1f} seconds, {self.frames} frames"
        if source.left_out:
            text += f" and {source.left_out} left out, because finding faces took too long"
        if self.latencies:
            middle, most = statistics.median(self.latencies), float(np.quantile(self.latencies, 0.95))
            text += (
                f"; words {1000 * middle:.0f} ms after their newest frame (median; 95% within {1000 * most:.0f} ms), "
                f"{len(self.latencies)} partial readings, {self.left_out} left out"
            )
        return text

    def _submit(self, window: Window) -> None:
        with self._changed:
            if self._jobs and not self._jobs[-1].is_final:
                self._jobs.pop()  # this window holds all that is in it
                self.left_out += 1
            self._jobs.append(window)
            self._changed.notify()

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._jobs or self._ended)
                    if not self._jobs:
                        break
                    window = self._jobs.popleft()
                result = self._reader(window.segment.sequence, **self._arguments)
                result = result[0] if isinstance(result, list) else result
                for update in self._transcript.update(window, result):
                    self._tell(update, window)
            for update in self._transcript.flush():
                self._show(update)
        except Exception as error:  # raised where the frames are looked at
            self._error = error

    def _tell(self, update: Update, window: Window) -> None:
        update.latency = time.perf_counter() - window.arrived
        self._show(update)
        (self.final_latencies if update.is_final else self.latencies).append(time.perf_counter() - window.arrived)


class Display:
    """Writes updates to standard output.

    Args:
        kind: `txt` or `json`.
    """

    def __init__(self, kind: str):
        self._kind = kind
        self._is_terminal = kind == "txt" and sys.stdout.isatty()
        self._lock = threading.Lock()

    def show(self, update: Update) -> None:
        """Writes an update: words that are not agreed on yet are dim."""
        if self._kind == "json":
            self._write(json.dumps(as_dictionary(update), ensure_ascii=False) + "\n")
        elif update.is_final:
            line = update.text or (f"({update.reason})" if update.reason else "")
            self._write((_CLEAR if self._is_terminal else "") + (line + "\n" if line else ""))
        elif self._is_terminal:
            room = shutil.get_terminal_size().columns - 1
            words = [word.text for word in update.words]
            agreed = update.agreed
            while len(words) > 1 and len(" ".join(words)) > room:  # the newest are of more interest
                del words[0]
                agreed = max(0, agreed - 1)
            shown = " ".join(words[:agreed]), f"{_DIM}{' '.join(words[agreed:])}{_PLAIN}" if words[agreed:] else ""
            self._write(_CLEAR + " ".join(part for part in shown if part))

    def notice(self, text: str) -> None:
        """Says something on the line of what is being said, or takes it away."""
        if self._kind == "json":
            if text:
                self._write(json.dumps({"type": "notice", "text": text}) + "\n")
        elif self._is_terminal:
            self._write(f"{_CLEAR}{_DIM}{text}{_PLAIN}" if text else _CLEAR)
        elif text:
            tell(text)

    def _write(self, text: str) -> None:
        with self._lock:
            sys.stdout.write(text)
            sys.stdout.flush()


def as_dictionary(update: Update) -> dict[str, Any]:
    """An update as a line of JSON holds it."""
    found = {
        "type": "final" if update.is_final else "partial",
        "start": round(update.start, 3),
        "end": round(update.end, 3),
        "text": update.text,
        "agreed": " ".join(word.text for word in update.words[: update.agreed]),
        "chunks": [
            {"text": word.text, "timestamp": [round(word.start, 3), round(word.end, 3)], "score": word.score}
            for word in update.words
        ],
        "latency": round(update.latency, 4),
    }
    return found | ({"reason": update.reason} if update.reason else {})
