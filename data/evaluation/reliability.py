# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Whether a word is as often right as its score says, and what saying nothing below a limit would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics import edit_counts
from .figures import rate_of
from .reading import Reading
from .word_times import matches

BINS = 10


def right_words(readings: Sequence[Reading]) -> np.ndarray:
    """Whether each word that was read is right, of all clips' `words` in order, bool `(words,)`."""
    right = []
    for reading in readings:
        found = matches(reading.reference.split(), [word["word"] for word in reading.words])
        right += [place is not None for place in found]
    return np.array(right, bool)


def reliability(readings: Sequence[Reading]) -> dict[str, Any]:
    """How far words' scores are from how often they are right.

    Returns:
        `words`, how many were read; `right`, the share that is; `mean_score`; `ece`, the expected calibration error
        over ten bins of scores of one width; `probability_ece`, the same of the language model's own probabilities;
        and `bins`, those with words in them: how many, their mean score, and which share is right. Empty where no word
        has a score.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    words = [word for reading in readings for word in reading.words]
    if not words:
        return {}
    right = right_words(readings)
    scores = np.array([word["score"] for word in words])
    bins = _bins(scores, right)
    return {
        "words": len(words),
        "right": float(right.mean()),
        "mean_score": float(scores.mean()),
        "ece": _calibration_error(bins),
        "probability_ece": _calibration_error(_bins(np.exp([word["log_prob"] for word in words]), right)),
        "bins": bins,
    }


def _bins(scores: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    chosen = [places == place for place in range(BINS)]
    return [
        {"words": int(inside.sum()), "score": float(scores[inside].mean()), "right": float(right[inside].mean())}
        for inside in chosen
        if inside.any()
    ]


def _calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    total = sum(row["words"] for row in bins)
    return sum(row["words"] * abs(row["score"] - row["right"]) for row in bins) / total


def abstention(readings: Sequence[Reading]) -> dict[str, Any]:
    """What saying nothing where the pipeline would say nothing does to this reading.

    Returns:
        `clips`, from how many nothing would be read; `reasons` with how many; `right_words_lost` of so many
        `right_words`; and the word error rate, `wer`, if nothing is read from them. Empty where that is not known.
    """
    known = [reading for reading in readings if reading.words or reading.reason]
    if not known:
        return {}
    given_up = [reading for reading in known if reading.reason]
    counts = edit_counts(
        ["" if reading.reason else reading.hypothesis for reading in readings],
        [reading.reference for reading in readings],
    )
    return {
        "clips": len(given_up),
        "reasons": dict(Counter(reading.reason for reading in given_up)),
        "right_words_lost": int(right_words(given_up).sum()),
        "right_words": int(right_words(known).sum()),
        "wer": rate_of(*counts),
    }


def abstention_line(found: dict[str, Any], clips: int) -> str:
    """What an evaluation says of abstaining in one line."""
    reasons = ", ".join(f"{reason}: {count}" for reason, count in found["reasons"].items())
    return (
        f"abstaining, as the pipeline does: nothing from {found['clips']} of {clips} clips"
        f"{reasons and f' ({reasons})'}, {found['right_words_lost']} of {found['right_words']} right words lost, "
        f"WER {found['wer']:.3f}"
    )
