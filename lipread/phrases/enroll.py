# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Records the takes of a phrase book: `lipread enroll`, and `lipread live --confirm`."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from modeling_lipread.phrases_lipread import ACCEPTED, UNKNOWN_PHRASE, spoken_span

from ..diagnosis import brightness
from ..live.source import LiveSource
from ..long_form.segmentation import Segment, Segmenter, SegmentSettings
from ..long_form.streaming import ONLY_PERSON, stream_frames
from ..options import print_message
from ..settings import MAX_PHRASE_SECONDS
from .book import PhraseBook
from .takes import TakeError, check_take

COUNTDOWN_SECONDS = 3.0
NO_FACE_SECONDS = 5.0  # without a face until a notice is shown


def add_recordings(book: PhraseBook, recordings: Iterable[dict[str, Any]], face: str) -> int:
    """Adds the recorded takes that the book does not have yet. Returns the number of refused ones."""
    refused = 0
    for take in recordings:
        span = {"start": take["start"], "end": take["end"]}
        name = hashlib.sha256(repr((str(take["video"].resolve()), span, take["text"])).encode()).hexdigest()[:16]
        if name in book:
            continue
        try:
            sequence = book.pipeline.processor.extract_landmarks([take["video"]], face=face, **span)[0]
            check_take(sequence)
            book.add(take["text"], sequence, name)
        except ImportError:
            raise
        except Exception as error:  # whatever a damaged video breaks, the next one is read
            print_message(f"{take['video']}: not used for {take['text']!r}: {error}")
            refused += 1
    return refused


def record(book: PhraseBook, wanted: Iterable[str], source: LiveSource, face: str, countdown: float) -> int:
    """Asks for phrases in turn and adds a take of each, until all are recorded or the source ends.

    Args:
        wanted: The phrases, once for each take.
        source: The frames.
        face: Which face to follow.
        countdown: Seconds before the lips may move, 0 for none.

    Returns:
        The number of takes that are still missing.
    """
    waiting = deque(wanted)
    total, ready = len(waiting), None
    settings = SegmentSettings(max_seconds=MAX_PHRASE_SECONDS)
    for time, segment, light in _utterances(book, source, face, settings):
        if not waiting:
            break
        if ready is None:
            ready = time + countdown
            wait = f" (in {countdown:g} seconds)" if countdown else ""
            print(f"[{total - len(waiting) + 1}/{total}]{wait} {waiting[0]}")
        if segment is None:
            continue
        span = spoken_span(segment.sequence)
        if span is None or (countdown and span[0] < ready):  # moved before the phrase was asked for
            continue
        if _add_take(book, waiting[0], segment, light):
            waiting.popleft()
        ready = None
    return len(waiting)


def read_and_confirm(book: PhraseBook, source: LiveSource, face: str, settings: SegmentSettings) -> Iterator[str]:
    """Reads phrases, asks after each whether it is right, and adds what the person confirms as a take.

    The answer is Enter or `y` if the phrase that is shown is right, the number of another one, or anything else for
    none of them.

    Yields:
        Each phrase that the person confirmed or chose.
    """
    for _, segment, light in _utterances(book, source, face, settings):
        matches = book.match(segment.sequence) if segment is not None else []
        if not matches:  # no utterance ended, or its lips rest
            continue
        accepted = matches[0].score >= ACCEPTED
        question = f"{matches[0].text}? [Enter: yes, " if accepted else f"({UNKNOWN_PHRASE}) [Enter: right, "
        choices = {str(number): match.text for number, match in enumerate(matches, start=1)}
        question += ", ".join(f"{number}: {text}" for number, text in choices.items() if not accepted or number != "1")
        answer = input(f"{question}, n: none] ").strip().lower()
        text = choices.get("1" if accepted and answer in ("", "y") else answer)
        if text is None:
            continue
        yield text
        if _add_take(book, text, segment, light):
            print(f"    {text!r} has {book.count(text)} takes")


def _add_take(book: PhraseBook, text: str, segment: Segment, light: float) -> bool:
    """Adds a take and returns whether it was good enough; if not, prints what to do."""
    try:
        if segment.cut_before is not None or segment.cut_after is not None:
            raise TakeError(f"longer than {MAX_PHRASE_SECONDS:g} seconds: close your mouth after the phrase")
        check_take(segment.sequence, light)
        book.add(text, segment.sequence)
    except TakeError as error:
        print(f"    not used: {error}")
        return False
    return True


def _utterances(
    book: PhraseBook, source: LiveSource, face: str, settings: SegmentSettings
) -> Iterator[tuple[float, Segment | None, float]]:
    """Yields the time of each frame; an utterance that ended with it, or `None`; and the brightness."""
    lights = deque([0.0], maxlen=25)
    segmenter, seen, time = Segmenter(settings, ONLY_PERSON, live=True), 0.0, 0.0

    def watched() -> Iterator[tuple[float, np.ndarray | None]]:
        for seconds, frame in source:
            if frame is not None:  # None where the video is damaged
                lights.append(brightness(frame))
            yield seconds, frame

    for frame in stream_frames(book.pipeline.processor.keypoint_extractor, watched(), face):
        time = frame.time
        if frame.faces:
            seen = time
        elif time - seen > NO_FACE_SECONDS:
            print("    no face: it must be lit, seen from the front, and near enough")
            seen = time
        for segment in [None, *segmenter.push(time, frame.faces.get(ONLY_PERSON), frame.size)]:
            yield time, segment, float(np.mean(lights))
    for segment in segmenter.flush():
        yield time, segment, float(np.mean(lights))
