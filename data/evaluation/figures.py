# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Error rates beside their controls, how sure they are, and the signs of a decoder that has lost its way.

Word error rate alone cannot tell a reader from a language model that knows the sentences. Beside it stand the rate
with blank video (the average training face, motionless) and with shuffled video (another clip's).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics import edit_counts, normalized, ratio_interval
from .reading import Reading

LONGEST_PHRASE = 8  # words of a phrase that a loop repeats
FEWEST_SPEAKERS = 5  # to draw speakers from


def shuffled_partners(references: Sequence[str], seed: int = 0) -> list[int | None]:
    """For each clip another clip with another text; `None` where there is none.

    Every clip is the next one's partner in a random order, so no clip serves twice unless texts repeat.
    """
    order = np.random.default_rng(seed).permutation(len(references)).tolist()
    partners: list[int | None] = [None] * len(references)
    for place, clip in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, len(order)))
        partners[clip] = next((other for other in following if references[other] != references[clip]), None)
    return partners


def figures(readings: Sequence[Reading], intervals: bool = False) -> dict[str, Any]:
    """Error rates with the clips' own, blank and shuffled video, and what betrays a decoder that has lost its way.

    Args:
        readings: Every clip.
        intervals: Whether to add 95% bootstrap intervals.

    Returns:
        Numbers: `wer`, `cer`, `blank_wer`, `shuffled_wer` (NaN where all clips say the same), `oracle_wer` (with
        n-best hypotheses: the best of each clip), `ctc_wer` (with a CTC head: what it alone reads), `mean_confidence`
        (if it was asked for), how many hypotheses are `empty`, are `loops` and are `distinct`, and the number of
        `clips`. With `intervals` also a `RATE_interval` for each rate, `blank_gain` (by how much the rate with blank
        video is higher) with its `blank_gain_interval`, and `wer_speaker_interval`, for new speakers, where there are
        five or more.

    Raises:
        ValueError: If no clip's transcript holds a word.
    """
    references = [reading.reference for reading in readings]
    hypotheses = [reading.hypothesis for reading in readings]
    blank = [reading.blank_hypothesis for reading in readings]
    counts = {
        "wer": edit_counts(hypotheses, references),
        "cer": edit_counts(hypotheses, references, "cer"),
        "blank_wer": edit_counts(blank, references),
        "shuffled_wer": _shuffled_counts(references, hypotheses),
    }
    if any(reading.nbest for reading in readings):
        counts["oracle_wer"] = oracle_counts(readings)
    if any(reading.ctc_hypothesis is not None for reading in readings):
        counts["ctc_wer"] = edit_counts([reading.ctc_hypothesis or "" for reading in readings], references)
    result: dict[str, Any] = {name: rate_of(*found) for name, found in counts.items()}
    sure = [reading.confidence for reading in readings if reading.confidence is not None]
    if sure:
        result["mean_confidence"] = float(np.mean(sure))
    written = [normalized(hypothesis) for hypothesis in hypotheses]
    result["empty"] = sum(not hypothesis for hypothesis in hypotheses)
    result["loops"] = sum(
        has_loop(words) and not has_loop(normalized(reference))
        for words, reference in zip(written, references, strict=True)
    )
    result["distinct"] = len(set(written))
    result["clips"] = len(readings)
    if intervals:
        result |= {f"{name}_interval": interval_of(*found) for name, found in counts.items()}
        (edits, lengths), (blank_edits, _) = counts["wer"], counts["blank_wer"]
        result["blank_gain"] = result["blank_wer"] - result["wer"]
        result["blank_gain_interval"] = interval_of(blank_edits - edits, lengths)
        speakers = [reading.speaker for reading in readings]
        if None not in speakers and len(set(speakers)) >= FEWEST_SPEAKERS:
            _, owner = np.unique(speakers, return_inverse=True)
            result["wer_speaker_interval"] = interval_of(np.bincount(owner, edits), np.bincount(owner, lengths))
    return result


def rate_of(edits: np.ndarray, lengths: np.ndarray) -> float:
    """An error rate; NaN where nothing was said."""
    return float(edits.sum() / lengths.sum()) if lengths.sum() else math.nan


def interval_of(edits: np.ndarray, lengths: np.ndarray) -> list[float]:
    """Its 95% bootstrap interval."""
    return list(ratio_interval(edits, lengths)) if lengths.sum() else [math.nan, math.nan]


def _shuffled_counts(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    # What is read depends on nothing but the video, so another clip's video gives another clip's hypothesis.
    pairs = zip(shuffled_partners(references), references, strict=True)
    shuffled = [(hypotheses[partner], reference) for partner, reference in pairs if partner is not None]
    if not shuffled:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    predictions, others = map(list, zip(*shuffled, strict=True))
    return edit_counts(predictions, others)


def oracle_counts(readings: Sequence[Reading], best: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Edits and reference lengths in words, of the best among each clip's first `best` hypotheses (default: all)."""
    candidates = [(reading.nbest or [reading.hypothesis])[:best] for reading in readings]
    owners = [reading.reference for reading, texts in zip(readings, candidates, strict=True) for _ in texts]
    edits, lengths = edit_counts([text for texts in candidates for text in texts], owners)
    starts = np.cumsum([0, *(len(texts) for texts in candidates[:-1])])
    return np.minimum.reduceat(edits, starts), lengths[starts]


def has_loop(text: str) -> bool:
    """Whether a word stands three times in a row, or a phrase of two to eight words twice."""
    words = text.split()
    for size in range(1, LONGEST_PHRASE + 1):
        times = 3 if size == 1 else 2
        for start in range(len(words) - times * size + 1):
            phrase = words[start : start + size]
            if words[start : start + times * size] == phrase * times:
                return True
    return False


def most_frequent(texts: Sequence[str], most: int = 5) -> list[dict[str, Any]]:
    """The texts that come most often, with how many clips they were read from."""
    return [{"text": text, "clips": count} for text, count in Counter(texts).most_common(most)]


def closing_line(result: dict[str, Any]) -> str:
    """The one line every evaluation closes with."""
    return (
        f"WER {result['wer']:.3f} CER {result['cer']:.3f} | blank video WER {result['blank_wer']:.3f} | "
        f"shuffled video WER {result['shuffled_wer']:.3f} | {result['clips']} clips"
    )
