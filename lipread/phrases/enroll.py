# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Records the takes of a phrase book: `lipread enroll`, and `lipread live --confirm`."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence
from modeling_lipread.phrases_lipread import ACCEPTED, UNKNOWN_PHRASE, spoken_span

from ..live import conditions
from ..live.source import LiveSource
from ..long_form.segmentation import Segmenter, SegmentSettings
from ..long_form.streaming import ONLY_PERSON, stream_frames
from ..options import print_message
from ..settings import MAX_PHRASE_SECONDS
from .takes import TakeError, check_take

COUNTDOWN_SECONDS = 3.0
NO_FACE_SECONDS = 5.0  # without a face until a notice is shown


def add_recordings(book: Any, recordings: Iterable[dict[str, Any]], face: str) -> int:
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


def record(
    book: Any,
    wanted: Iterable[str],
    source: LiveSource,
    extractor: Face3DKeypointExtractor,
    face: str,
    countdown: float,
    say: Callable[[str], None],
) -> int:
    """Asks for phrases in turn and adds a take of each, until all are recorded or the source ends.

    Args:
        book: The `PhraseBook`.
        wanted: The phrases, once for each take.
        source: The frames.
        extractor: Finds the landmarks.
        face: Which face to follow.
        countdown: Seconds before the lips may move, 0 for none.
        say: Shows a line to the person.

    Returns:
        The number of takes that are still missing.
    """
    waiting = deque(wanted)
    total, ready = len(waiting), None
    settings = SegmentSettings(max_seconds=MAX_PHRASE_SECONDS)
    for moment, sequence, brightness, cut in _utterances(extractor, source, face, settings, say):
        if not waiting:
            break
        if ready is None:
            ready = moment + countdown
            wait = f" (in {countdown:g} seconds)" if countdown else ""
            say(f"[{total - len(waiting) + 1}/{total}]{wait} {waiting[0]}")
        if sequence is None:
            continue
        span = spoken_span(sequence)
        if span is None or (countdown and span[0] < ready):  # moved before the phrase was asked for
            continue
        if _add_take(book, waiting[0], sequence, brightness, cut, say):
            waiting.popleft()
        ready = None
    return len(waiting)


def read_and_confirm(
    book: Any,
    source: LiveSource,
    extractor: Face3DKeypointExtractor,
    face: str,
    settings: SegmentSettings,
    ask: Callable[[str], str],
    say: Callable[[str], None],
) -> Iterator[str]:
    """Reads phrases, asks after each whether it is right, and adds what the person confirms as a take.

    Args:
        book: The `PhraseBook`.
        source: The frames.
        extractor: Finds the landmarks.
        face: Which face to follow.
        settings: How utterances are segmented.
        ask: Shows a question and returns the answer: Enter or `y` if the phrase that is shown is right, the number of
            another one, or anything else for none of them.
        say: Shows a line to the person.

    Yields:
        Each phrase that the person confirmed or chose.
    """
    for _, sequence, brightness, cut in _utterances(extractor, source, face, settings, say):
        matches = book.match(sequence) if sequence is not None else []
        if not matches:  # no utterance ended, or its lips rest
            continue
        accepted = matches[0].score >= ACCEPTED
        question = f"{matches[0].text}? [Enter: yes, " if accepted else f"({UNKNOWN_PHRASE}) [Enter: right, "
        choices = {str(number): match.text for number, match in enumerate(matches, start=1)}
        question += ", ".join(f"{number}: {text}" for number, text in choices.items() if not accepted or number != "1")
        answer = ask(f"{question}, n: none] ").strip().lower()
        text = choices.get("1" if accepted and answer in ("", "y") else answer)
        if text is None:
            continue
        yield text
        if _add_take(book, text, sequence, brightness, cut, say):
            say(f"    {text!r} has {book.count(text)} takes")


def _add_take(
    book: Any, text: str, sequence: LandmarkSequence, brightness: float, cut: bool, say: Callable[[str], None]
) -> bool:
    """Adds a take and returns whether it was good enough; if not, says what to do."""
    try:
        if cut:
            raise TakeError(f"longer than {MAX_PHRASE_SECONDS:g} seconds: close your mouth after the phrase")
        check_take(sequence, brightness)
        book.add(text, sequence)
    except TakeError as error:
        say(f"    not used: {error}")
        return False
    return True


def _utterances(
    extractor: Face3DKeypointExtractor,
    source: LiveSource,
    face: str,
    settings: SegmentSettings,
    say: Callable[[str], None],
) -> Iterator[tuple[float, LandmarkSequence | None, float, bool]]:
    """Yields for each frame its time; an utterance that ended, or `None`; the brightness; and whether it was cut."""
    brightness = deque([0.0], maxlen=25)
    segmenter = Segmenter(settings, ONLY_PERSON, live=True)
    seen = 0.0

    def watched() -> Iterator[tuple[float, np.ndarray | None]]:
        for seconds, frame in source:
            if frame is not None:  # None where the video is damaged
                brightness.append(conditions.brightness(frame))
            yield seconds, frame

    def finished(segments: Iterable[Any], time: float) -> Iterator[tuple[float, LandmarkSequence | None, float, bool]]:
        for segment in segments:
            cut = segment.cut_before is not None or segment.cut_after is not None
            yield time, segment.sequence, float(np.mean(brightness)), cut

    time = 0.0
    for frame in stream_frames(extractor, watched(), face):
        time = frame.time
        if frame.faces:
            seen = time
        elif time - seen > NO_FACE_SECONDS:
            say("    no face: it must be lit, seen from the front, and near enough")
            seen = time
        yield time, None, 0.0, False
        yield from finished(segmenter.push(time, frame.faces.get(ONLY_PERSON), frame.size), time)
    yield from finished(segmenter.flush(), time)
