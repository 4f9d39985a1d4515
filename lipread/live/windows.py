# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The logic of live reading without clock, thread or camera: which windows to read, and which words to show.

An utterance is read every few frames while it grows, and again when the lips rest. A reader of whole sentences also
guesses the words that are still to come; only the words before them are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..long_form.segmentation import Segment, Segmenter, SegmentSettings
from ..long_form.streaming import ONLY_PERSON, StreamedFrame
from ..long_form.transcription import segment_words, stitch_utterances
from ..settings import EVERY_FRAMES
from ..transcript import Utterance, Word, text_of


@dataclass(frozen=True)
class Window:
    """A segment to read."""

    segment: Segment  # the utterance, or its frames so far
    is_final: bool  # whether the utterance is complete
    arrived: float  # when the newest frame arrived, by the caller's clock


@dataclass
class Update:
    """The current hypothesis of an utterance."""

    start: float  # seconds from the first frame
    end: float
    words: list[Word] = field(default_factory=list)
    is_final: bool = False  # whether this is the last update of the utterance
    reason: str = ""  # why a final update has no words
    latency: float = 0.0  # seconds from the arrival of the newest frame to this update

    @property
    def text(self) -> str:
        """The words as one text."""
        return text_of(self.words)


class LiveWindows:
    """Turns the frames of one face into windows to read, a partial one every `every_frames` frames."""

    def __init__(self, settings: SegmentSettings, every_frames: int = EVERY_FRAMES):
        self._segmenter = Segmenter(settings, ONLY_PERSON, live=True)
        self._every_frames, self._since_window = every_frames, 0
        self._arrived = 0.0

    def push(self, frame: StreamedFrame, arrived: float) -> Iterator[Window]:
        """Adds a frame that arrived at a time of the caller's clock. Yields the windows to read now, usually none."""
        self._arrived = arrived
        self._since_window += 1
        for segment in self._segmenter.push(frame.time, frame.faces.get(ONLY_PERSON), frame.size):
            self._since_window = 0
            yield Window(segment, True, arrived)
        if self._since_window >= self._every_frames and (segment := self._segmenter.partial()) is not None:
            self._since_window = 0
            yield Window(segment, False, arrived)

    def flush(self) -> Iterator[Window]:
        """Yields the remaining windows after the last frame."""
        for segment in self._segmenter.flush():
            yield Window(segment, True, self._arrived)


class LiveTranscript:
    """Turns the results of windows into updates. Results come in order; partial ones may be missing.

    Args:
        min_confidence: Lowest mean score of the words of a partial update. Its words are the longest beginning of the
            hypothesis that has it.
    """

    def __init__(self, settings: SegmentSettings, min_confidence: float = 0.0):
        self._overlap, self._min_confidence = settings.overlap_seconds, min_confidence
        self._pending: Utterance | None = None  # ends at a cut; the next utterance decides on its last words

    def update(self, window: Window, result: dict[str, Any]) -> Iterator[Update]:
        """Adds the pipeline's result for the next window. Yields updates of its utterance and the one before a cut."""
        segment = window.segment
        words = segment_words(result, segment)
        if not window.is_final:
            words = _sure_beginning(words, self._min_confidence)
        if not window.is_final and result.get("chunks") is not None and not any(word.timed for word in words):
            return  # no words, or more than fit into the time, as models of whole sentences predict at first
        utterance = Utterance(segment.start, segment.end, words, continues=segment.cut_after is not None)
        before = copy(self._pending)
        if before is not None and segment.cut_before is not None:
            stitch_utterances(before, utterance, segment.cut_before, self._overlap)
        if not window.is_final:
            begin, words = (before.start, before.words) if before is not None else (utterance.start, [])
            yield Update(begin, utterance.end, [*words, *utterance.words])
            return
        if before is not None:
            yield _final(before)
        self._pending = utterance if utterance.continues else None
        if self._pending is None:
            yield _final(utterance, result.get("reason") or "")

    def flush(self) -> Iterator[Update]:
        """Yields the pending utterance after the last window."""
        if self._pending is not None:
            yield _final(self._pending)
        self._pending = None


def _sure_beginning(words: list[Word], min_confidence: float) -> list[Word]:
    """Returns the longest beginning with a mean score of at least `min_confidence`; all of words without scores."""
    if any(word.score is None for word in words):
        return words
    sums = enumerate(accumulate(word.score for word in words), start=1)
    return words[: max((count for count, total in sums if total >= count * min_confidence), default=0)]


def _final(utterance: Utterance, reason: str = "") -> Update:
    return Update(utterance.start, utterance.end, utterance.words, True, "" if utterance.words else reason)
