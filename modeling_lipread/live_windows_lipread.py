# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What to read of a face that is being watched, and what the readings say: no clock, no thread, no camera.

An utterance is read again every few frames while it grows, and once more when the lips rest. As in simultaneous
speech translation (LocalAgreement, Liu et al., 2020), the words on which two readings in a row agree from the first on
are likely to stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from .landmarks_lipread import ONLY_PERSON, StreamedFrame
from .reading_lipread import join_at_cut, words_of
from .segmentation_lipread import Segment, Segmenter, SegmentSettings
from .stitching_lipread import Word
from .text_normalizer_lipread import TextNormalizer
from .transcript_lipread import Utterance

EVERY_FRAMES = 5  # 0.2 seconds of 25 frames a second
normalize = TextNormalizer()


@dataclass(frozen=True)
class Window:
    """What is to be read.

    Attributes:
        segment: The utterance, or what there is of it so far.
        is_final: Whether it is complete.
        arrived: When its newest frame arrived, by the caller's clock.
    """

    segment: Segment
    is_final: bool
    arrived: float


@dataclass
class Update:
    """What is known of an utterance.

    Attributes:
        start: Seconds from the first frame.
        end: Seconds from the first frame.
        words: What was read.
        is_final: Whether this is the last of it.
        agreed: How many of the words, from the first on, the reading before gave as well; all of a final one.
        reason: Why nothing was read; empty if something was.
        latency: Seconds from the arrival of the newest frame that was read to these words.
    """

    start: float
    end: float
    words: list[Word] = field(default_factory=list)
    is_final: bool = False
    agreed: int = 0
    reason: str = ""
    latency: float = 0.0

    @property
    def text(self) -> str:
        """Its words between spaces."""
        return " ".join(word.text for word in self.words)


class LiveWindows:
    """Cuts the landmarks of a face into what is to be read of them, as they come.

    Args:
        settings: How speech is cut.
        every_frames: How many frames come between two partial readings.
    """

    def __init__(self, settings: SegmentSettings, every_frames: int = EVERY_FRAMES):
        self._segmenter = Segmenter(settings, ONLY_PERSON, live=True)
        self._every_frames = every_frames
        self._unread = 0  # frames since the last window
        self._arrived = 0.0

    def push(self, frame: StreamedFrame, arrived: float) -> Iterator[Window]:
        """Takes the next frame.

        Args:
            frame: Its face.
            arrived: When it arrived, by a clock of the caller's.

        Yields:
            What is to be read now, usually nothing.
        """
        self._arrived = arrived
        self._unread += 1
        for segment in self._segmenter.push(frame.time, frame.faces.get(ONLY_PERSON), frame.size):
            self._unread = 0
            yield Window(segment, True, arrived)
        if self._unread >= self._every_frames:
            segment = self._segmenter.so_far()
            if segment is not None:
                self._unread = 0
                yield Window(segment, False, arrived)

    def flush(self) -> Iterator[Window]:
        """Yields what is left when no more frames come."""
        for segment in self._segmenter.flush():
            yield Window(segment, True, self._arrived)


class LiveTranscript:
    """Makes updates of the readings of windows, in their order; some of the partial ones may be missing.

    Args:
        settings: How the windows were cut.
    """

    def __init__(self, settings: SegmentSettings):
        self._reach = settings.overlap_seconds
        self._held: Utterance | None = None  # cut from what follows it, whose words decide about its last ones
        self._before: list[str] = []  # the words of the last reading

    def update(self, window: Window, result: dict[str, Any]) -> Iterator[Update]:
        """Takes the reading of the next window.

        Args:
            window: What was read.
            result: What the pipeline gave for it.

        Yields:
            What is known now: of an utterance cut through speech, and of the one read.
        """
        segment = window.segment
        words = words_of(result, segment)
        if not window.is_final and result.get("chunks") is not None and not any(word.timed for word in words):
            return  # nothing yet, or more words than there is time for, as readers of whole sentences make them up
        said = Utterance(segment.start, segment.end, words, goes_on=segment.cut_after is not None)
        held = None
        if self._held is not None:
            held = copy(self._held)
            if segment.cut_before is not None:
                join_at_cut(held, said, segment.cut_before, self._reach)
        if not window.is_final:
            yield self._partial([held, said] if held else [said])
            return
        if held is not None:
            yield _final(held)
        self._before = []
        self._held = said if said.goes_on else None
        if self._held is None:
            yield _final(said, result.get("reason") or "")

    def flush(self) -> Iterator[Update]:
        """Yields the utterance that waited for what follows it."""
        if self._held is not None:
            yield _final(self._held)
        self._held = None

    def _partial(self, said: list[Utterance]) -> Update:
        words = [word for utterance in said for word in utterance.words]
        spelled = [normalize(word.text) for word in words]
        agreed = 0
        for word, before in zip(spelled, self._before, strict=False):
            if word != before:
                break
            agreed += 1
        self._before = spelled
        return Update(said[0].start, said[-1].end, words, agreed=agreed)


def _final(said: Utterance, reason: str = "") -> Update:
    return Update(said.start, said.end, said.words, True, len(said.words), "" if said.words else reason)
