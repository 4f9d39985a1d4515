# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Word and character error rate over a corpus, and how sure they are.

>>> ReadingErrorRate().compute(predictions=["bin blue at f two"], references=["bin blue at f two now"])["wer"]
0.16666666666666666
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import datasets
import evaluate
import jiwer
import numpy as np

from modeling_lipread.text_normalizer_lipread import TextNormalizer

_DRAWN_AT_ONCE = 2**22  # clips over all resampled corpora, 32 MiB
_DESCRIPTION = "Word error rate (wer) and character error rate (cer) of transcripts, over the whole corpus."
_INPUTS = """
Args:
    predictions (`list[str]`): What was read, a text a clip.
    references (`list[str]`): What was said, a text a clip.

Returns:
    `dict[str, float]`: "wer" and "cer", 0.0 when all is right; insertions can take them above 1.0.
"""


class ReadingErrorRate(evaluate.Metric):
    """`wer` and `cer` as an `evaluate.Metric` that needs no Hub.

    Edits of all clips over words (characters) of all references, after normalising both. A clip whose reference is
    empty adds its prediction's words as insertions and nothing to the length. Predictions stay in memory, so any
    number of processes and experiments may score at once without lock files.

    Args:
        normalizer (`TextNormalizer`, *optional*): Applied to predictions and references. Default: `TextNormalizer()`.

    Raises:
        ValueError: From `compute`, if the references hold no word at all, where an error rate is undefined.
    """

    def __init__(self, normalizer: TextNormalizer | None = None, **kwargs):
        self.normalizer = normalizer or TextNormalizer()
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, *, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        result = {}
        for rate in ("wer", "cer"):
            edits, lengths = edit_counts(predictions, references, rate, self.normalizer)
            result[rate] = float(edits.sum() / lengths.sum())
        return result


@lru_cache(maxsize=2**16)
def normalized(text: str, normalizer: TextNormalizer | None = None) -> str:
    """A text as it is scored; remembered, since a report scores each text many times."""
    return (normalizer or TextNormalizer())(text)


def edit_counts(
    predictions: Sequence[str],
    references: Sequence[str],
    rate: Literal["wer", "cer"] = "wer",
    normalizer: TextNormalizer | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Edits and reference length of each clip, in words or characters (spaces count).

    Args:
        predictions, references (`Sequence[str]`): A text a clip.
        rate (`str`): "wer" counts words, "cer" characters.
        normalizer (`TextNormalizer`, *optional*): Applied to both. Default: `TextNormalizer()`.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: int64 edits and lengths, each `(clips,)`.

    Raises:
        ValueError: If there are not as many predictions as references, or the references hold no word at all.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references; give one a clip")
    predictions = [normalized(text, normalizer) for text in predictions]
    references = [normalized(text, normalizer) for text in references]
    if not any(references):
        raise ValueError(f"the {len(references)} references hold no word, so an error rate is undefined")
    process = {"wer": jiwer.process_words, "cer": jiwer.process_characters}[rate]
    output = process(references, predictions)
    edits = [sum(_chunk_edits(chunk) for chunk in alignment) for alignment in output.alignments]
    return np.array(edits, dtype=np.int64), np.array([len(units) for units in output.references], dtype=np.int64)


def _chunk_edits(chunk: jiwer.AlignmentChunk) -> int:
    if chunk.type == "equal":
        return 0
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)


def bootstrap_interval(
    predictions: Sequence[str],
    references: Sequence[str],
    rate: Literal["wer", "cer"] = "wer",
    *,
    confidence: float = 0.95,
    num_samples: int = 1000,
    seed: int = 0,
    normalizer: TextNormalizer | None = None,
) -> tuple[float, float]:
    """Confidence interval of an error rate, drawing clips with replacement.

    Clips of one speaker are alike, so the interval speaks of further clips of these speakers, not of new ones.

    Args:
        predictions, references (`Sequence[str]`): A text a clip.
        rate (`str`): "wer" or "cer".
        confidence, num_samples, seed: As for `ratio_interval`.
        normalizer (`TextNormalizer`, *optional*): Applied to both. Default: `TextNormalizer()`.

    Returns:
        `tuple[float, float]`: Lower and upper end.
    """
    edits, lengths = edit_counts(predictions, references, rate, normalizer)
    return ratio_interval(edits, lengths, confidence=confidence, num_samples=num_samples, seed=seed)


def ratio_interval(
    edits: np.ndarray, lengths: np.ndarray, *, confidence: float = 0.95, num_samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of a sum of edits over a sum of lengths, drawing what they were counted on with replacement.

    Args:
        edits (`np.ndarray`): Edits of each clip (or speaker), `(clips,)`. The difference of two readings' edits gives
            the interval of the difference of their rates, which is narrower than the rates' own ones suggest.
        lengths (`np.ndarray`): Units of the references, `(clips,)`.
        confidence (`float`): Share of the resampled corpora inside the interval, in (0, 1).
        num_samples (`int`): Resampled corpora.
        seed (`int`): Seed of the draws; the same seed gives the same interval.

    Returns:
        `tuple[float, float]`: Lower and upper end.

    Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", 2004.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    generator, clips = np.random.default_rng(seed), len(edits)
    counts = np.stack([edits, lengths], axis=1)
    at_once = max(1, _DRAWN_AT_ONCE // clips)
    sums = np.concatenate(
        [
            generator.multinomial(clips, np.full(clips, 1 / clips), size=min(at_once, num_samples - start)) @ counts
            for start in range(0, num_samples, at_once)
        ]
    )
    # A clip without reference has no rate of its own; a draw of such clips only would divide by zero.
    sums = sums[sums[:, 1] > 0]
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
