# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Word and character error rates, their controls and their bootstrap intervals.

An error rate alone cannot tell lip reading from a language model that knows the sentences. Beside it stand the rates
with blank video (the average training face, motionless) and with shuffled video (the video of another clip).

In scripts without spaces each character counts as a word, as in the mixed error rate of code-switched speech, and
`LipReadConfig.text_unit` names the rate that training and summaries go by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy.stats import bootstrap

from modeling_lipread.text_normalizer_lipread import normalize_text, split_graphemes, split_units

FEWEST_SPEAKERS = 5  # for an interval over speakers
RESAMPLES = 1000
DRAWN_AT_ONCE = 2**22  # clips of all resampled corpora in one batch, 32 MiB
RATE_OF_UNIT = {"word": "wer", "character": "cer"}


@dataclass
class Prediction:
    """A clip, its reference, and the hypotheses of a model.

    `words`, `lip_speed` and `reason` are set only where confidence was asked for.
    """

    id: str
    speaker: str | None
    reference: str
    hypothesis: str
    blank_hypothesis: str  # from blank video of the same length
    ctc_hypothesis: str | None = None  # greedy hypothesis of the CTC head, if the model has one
    # `word`, `start` and `end` (seconds, None where unknown), `log_prob`, `fit`, `certainty`, and their `score`.
    words: list[dict[str, Any]] = field(default_factory=list)
    reference_words: list[dict[str, Any]] = field(default_factory=list)  # with `start` and `end`; empty if unknown
    lip_speed: float | None = None
    reason: str | None = None  # why the pipeline would abstain; None where it would return `hypothesis`

    def as_row(self) -> dict[str, Any]:
        """Returns the fields that are set, for JSON."""
        return {key: value for key, value in asdict(self).items() if key == "speaker" or value not in (None, [])}


def scored_units(text: str) -> list[str]:
    """Returns the words of a text as they are scored; in scripts without spaces its graphemes."""
    return [unit.text for unit in split_units(normalize_text(text))]


def edit_counts(
    hypotheses: Sequence[str], references: Sequence[str], rate: Literal["wer", "cer"] = "wer"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns edits and reference lengths of each clip in words ("wer") or graphemes ("cer"), normalised, `(clips,)`.

    A clip with an empty reference has its hypothesis as insertions. Raises ValueError if no reference holds a word.
    """
    split = {"wer": scored_units, "cer": lambda text: split_graphemes(normalize_text(text))}[rate]
    pairs = [(split(said), split(written)) for said, written in zip(references, hypotheses, strict=True)]
    if not any(said for said, _ in pairs):
        raise ValueError(f"the {len(pairs)} references hold no word, so an error rate is undefined")
    edits, lengths = [Levenshtein.distance(*pair) for pair in pairs], [len(said) for said, _ in pairs]
    return np.array(edits, np.int64), np.array(lengths, np.int64)


def error_rate(edits: np.ndarray, lengths: np.ndarray) -> float:
    """Returns the edits of all clips over the length of all references; NaN where that is 0."""
    return float(edits.sum() / lengths.sum()) if lengths.sum() else math.nan


def bootstrap_interval(edits: np.ndarray, lengths: np.ndarray) -> list[float]:
    """Returns the 95% percentile bootstrap interval of an error rate, drawing clips with replacement.

    Clips of one speaker are correlated, so it holds for further clips of these speakers, not for new ones. The
    difference between the edits of two hypotheses gives the paired interval of the difference between their rates.

    Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", 2004.
    """
    if not lengths.sum():
        return [math.nan, math.nan]
    if len(edits) == 1:  # SciPy needs two
        return [error_rate(edits, lengths)] * 2
    interval = bootstrap(
        (edits, lengths),
        # A resampled corpus without any word has no rate of its own.
        lambda edits, lengths, axis: edits.sum(axis) / np.maximum(lengths.sum(axis), 1),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, DRAWN_AT_ONCE // len(edits)),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return [float(interval.low), float(interval.high)]


def shuffled_partners(references: Sequence[str], seed: int = 0) -> list[int | None]:
    """Returns for each clip the next one with another text in a random order, by its index; None without one."""
    order = np.random.default_rng(seed).permutation(len(references)).tolist()
    partners: list[int | None] = [None] * len(references)
    for place, clip in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, len(order)))
        partners[clip] = next((other for other in following if references[other] != references[clip]), None)
    return partners


def own_and_blank_counts(predictions: Sequence[Prediction]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the `edit_counts` of `wer` and `cer` on the clips, and of `blank_wer` and `blank_cer`."""
    references = [prediction.reference for prediction in predictions]
    own = [prediction.hypothesis for prediction in predictions]
    blank = [prediction.blank_hypothesis for prediction in predictions]
    return {
        f"{prefix}{rate}": edit_counts(hypotheses, references, rate)
        for prefix, hypotheses in (("", own), ("blank_", blank))
        for rate in ("wer", "cer")
    }


def compute_metrics(predictions: Sequence[Prediction], intervals: bool = False) -> dict[str, Any]:
    """Returns error rates with the clips' own, blank and shuffled video, and counts of degenerate hypotheses.

    docs/evaluation.md explains them. Shuffled rates are NaN where all clips have one text. `intervals` adds the
    bootstrap intervals. Raises ValueError if no reference holds a word.
    """
    references = [prediction.reference for prediction in predictions]
    hypotheses = [prediction.hypothesis for prediction in predictions]
    counts = own_and_blank_counts(predictions)
    # A hypothesis depends on the video alone, so the video of another clip gives that clip's hypothesis.
    shuffled = [
        (hypotheses[partner], reference)
        for partner, reference in zip(shuffled_partners(references), references, strict=True)
        if partner is not None
    ]
    nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for rate in ("wer", "cer"):
        counts[f"shuffled_{rate}"] = edit_counts(*zip(*shuffled, strict=True), rate) if shuffled else nothing
    if any(prediction.ctc_hypothesis is not None for prediction in predictions):
        counts["ctc_wer"] = edit_counts([prediction.ctc_hypothesis or "" for prediction in predictions], references)
    result: dict[str, Any] = {name: error_rate(*count) for name, count in counts.items()}
    result["empty"] = sum(not hypothesis for hypothesis in hypotheses)
    result |= {"distinct": len(set(map(normalize_text, hypotheses))), "clips": len(predictions)}
    if intervals:
        result |= {f"{name}_interval": bootstrap_interval(*count) for name, count in counts.items()}
        (edits, lengths), (blank_edits, _) = counts["wer"], counts["blank_wer"]
        result["blank_gain"] = result["blank_wer"] - result["wer"]
        result["blank_gain_interval"] = bootstrap_interval(blank_edits - edits, lengths)
        speakers = [prediction.speaker for prediction in predictions]
        if None not in speakers and len(set(speakers)) >= FEWEST_SPEAKERS:
            _, owner = np.unique(speakers, return_inverse=True)
            by_speaker = np.bincount(owner, edits), np.bincount(owner, lengths)
            result["wer_speaker_interval"] = bootstrap_interval(*by_speaker)
    return result


def closing_line(metrics: dict[str, Any], unit: str = "word") -> str:
    """Returns the line with which every evaluation ends; the rate of the text's unit comes first."""
    main = RATE_OF_UNIT[unit]
    other = "cer" if main == "wer" else "wer"
    name = main.upper()
    return (
        f"{name} {metrics[main]:.3f} {other.upper()} {metrics[other]:.3f} | "
        f"blank video {name} {metrics[f'blank_{main}']:.3f} | "
        f"shuffled video {name} {metrics[f'shuffled_{main}']:.3f} | {metrics['clips']} clips"
    )
