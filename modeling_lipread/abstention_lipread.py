# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""When a reader had better say nothing: no face, lips that do not move, or words that it cannot have seen.

A language model that knows the sentences of a corpus writes one of them whatever it is shown. But the CTC head of the
face encoder, which knows no sentences, spells something else where nobody speaks. So do the two agree? The limits,
`config.abstention`, are stored with a reader by `python -m data.calibrate`. A reader without them says nothing only
where there is no face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from .confidence_lipread import WrittenWord, word_scores
from .geometry_lipread import LONGEST_STEP, NUM_LANDMARKS, lip_motion
from .text_normalizer_lipread import TextNormalizer

NO_FACE = "no face"
FEW_FRAMES = "too few frames a second show the lips"
STILL_LIPS = "the lips do not move"
NO_WORDS = "no words"
OTHER_WORDS = "the words do not fit the lips"
LOW_CONFIDENCE = "low confidence"
REASONS = (NO_FACE, FEW_FRAMES, STILL_LIPS, NO_WORDS, OTHER_WORDS, LOW_CONFIDENCE)
WINDOW_SECONDS = 1.0


def lip_speed(sequence: Any) -> float | None:
    """How fast the lips of a clip move in the second in which they move fastest.

    A few words in a long video are speech as well, so the average over all of it would not do.

    Args:
        sequence: A `LandmarkSequence`.

    Returns:
        Distances between the outer eye corners a second (`lip_motion`); `None` where it cannot be told: of
        landmarks of another kind than MediaPipe's, and of faces seen less than five times a second.
    """
    keypoints, present = np.asarray(sequence.keypoints), np.asarray(sequence.present, bool)
    if keypoints.shape[1] != NUM_LANDMARKS or not present.any():
        return None
    keypoints, times = keypoints[present], np.asarray(sequence.timestamps)[present]
    last = max(times[0], times[-1] - WINDOW_SECONDS)
    starts = np.append(np.arange(times[0], last, WINDOW_SECONDS / 2), last)
    windows = [(times >= start) & (times <= start + WINDOW_SECONDS) for start in starts]
    speeds = [lip_motion(keypoints[window], times[window]) for window in windows]
    return max((speed for speed in speeds if speed is not None), default=None)


def is_seldom_seen(sequence: Any) -> bool:
    """Whether a face is seen less than five times a second, so that nobody can tell how its lips move."""
    times = np.asarray(sequence.timestamps)[np.asarray(sequence.present, bool)]
    return len(times) > 1 and bool(np.median(np.diff(times)) > LONGEST_STEP)


def agreement(text: str, spelled: str) -> float:
    """How alike what was written is to what the CTC head spells on its own, 0 to 1.

    Twice the characters that both have in common, in stretches as long as can be, over the characters of both.

    Args:
        text: What was written.
        spelled: What the CTC head spells (`ctc_decoding_lipread.greedy_ctc`).
    """
    normalize = TextNormalizer()
    return SequenceMatcher(None, normalize(text), normalize(spelled), autojunk=False).ratio()


@dataclass(frozen=True)
class Verdict:
    """What there is to say of what was written.

    Attributes:
        scores: The chance of each word to be right; `None` if the words were not weighed.
        agreed: The `agreement` with the CTC head, if it is known.
        reason: One of `REASONS` not to say it; `None` if there is none.
    """

    scores: list[float] | None
    agreed: float | None
    reason: str | None


def judge(
    text: str,
    words: Sequence[WrittenWord] | None,
    limits: Mapping[str, float] | None,
    calibration: Mapping[str, float] | None,
    *,
    spelled: str | None,
    speed: float | None,
    has_face: bool,
    seldom_seen: bool,
) -> Verdict:
    """Weighs what was written of a clip; the pipeline and the evaluation both go by it.

    Args:
        text: What was written.
        words: Its words, if they were weighed; others are not doubted.
        limits: As `why_nothing` has them.
        calibration: As `word_scores` has it.
        spelled: What the CTC head spells, if it was asked.
        speed: The lips' (`lip_speed`), if it is known.
        has_face: Whether there is a face in any frame.
        seldom_seen: Whether `is_seldom_seen` says so.
    """
    scores = None
    if words is not None:
        scores = word_scores([word.log_prob for word in words], [word.fit for word in words], calibration)
    agreed = None if spelled is None else agreement(text, spelled)
    weighed = [1.0] * len(text.split()) if scores is None else scores
    seen = {"speed": speed, "has_face": has_face, "seldom_seen": seldom_seen}
    return Verdict(scores, agreed, why_nothing(limits, weighed, agreed=agreed, **seen))


def why_nothing(
    limits: Mapping[str, float] | None,
    scores: Sequence[float],
    *,
    speed: float | None = None,
    agreed: float | None = None,
    has_face: bool = True,
    seldom_seen: bool = False,
) -> str | None:
    """The reason not to say what was written; `None` if there is none.

    Args:
        limits: `min_lip_motion`, the least speed of the lips, which must be seen often enough to tell;
            `min_agreement` with the CTC head; and `min_confidence`, the least mean of the scores, which is the share
            of the words that are expected to be right. What is missing limits nothing.
        scores: The chance of each written word to be right.
        speed: The lips' (`lip_speed`), if it is known.
        agreed: The `agreement`, if it is known.
        has_face: Whether there is a face in any frame.
        seldom_seen: Whether `is_seldom_seen` says so.
    """
    limits = limits or {}
    if not has_face:
        return NO_FACE
    if seldom_seen and limits.get("min_lip_motion"):
        return FEW_FRAMES
    if speed is not None and speed < limits.get("min_lip_motion", 0.0):
        return STILL_LIPS
    if not len(scores):
        return NO_WORDS
    if agreed is not None and agreed < limits.get("min_agreement", 0.0):
        return OTHER_WORDS
    return LOW_CONFIDENCE if np.mean(scores) < limits.get("min_confidence", 0.0) else None
