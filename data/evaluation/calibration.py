# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Word confidence: measurement, calibration, and the limits below which the pipeline abstains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from lipread.landmark_rows import decode_row
from modeling_lipread import FaceKeypointEncoderOutput, LipReadForConditionalGeneration
from modeling_lipread.confidence_lipread import (
    WordEvidence,
    assess,
    evidence,
    head_log_probs,
    is_seldom_seen,
    lip_speed,
    logistic,
    reason_to_abstain,
    word_evidence,
    word_scores,
)
from modeling_lipread.configuration_lipread import CALIBRATION
from modeling_lipread.ctc_lipread import clip_lengths
from modeling_lipread.text_normalizer_lipread import split_units

from .breakdown import match_words
from .metrics import Prediction, edit_counts, error_rate

BINS = 10
WORD_EVIDENCE = ("log_prob", "fit", "certainty")
# Mean of the normal prior over the weights, of variance 1: a word's score is the language model's probability until
# the clips show otherwise, since a good model makes few errors to learn from.
PRIOR = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
MOST_LOST = 0.02  # share of the clips with speech from which the pipeline may abstain
# The limit lies three tenths of the way from the clips without speech to those with speech, since people outside the
# corpus get lower scores than those of a validation split.
TOWARDS_SPEECH = 0.3


def word_confidence(
    model: LipReadForConditionalGeneration,
    processor: Any,
    rows: Sequence[Mapping[str, Any]],
    tokens: torch.Tensor,
    log_probs: torch.Tensor,
    encoded: FaceKeypointEncoderOutput,
    mask: torch.Tensor,
) -> list[dict[str, Any]]:
    """Computes word scores, word times and abstention of a batch of hypotheses, as the pipeline does.

    Args:
        tokens, log_probs: The hypotheses without the prompt, `(batch, tokens)`; padding follows the first end token.
        mask: Non-zero where there is a face, `(batch, frames)`.

    Returns:
        For each clip `words`, `reference_words`, `lip_speed` and `reason`, as in `Prediction`.
    """
    config, heads = model.config, head_log_probs(encoded)
    lengths = clip_lengths(mask, encoded.frame_hidden_states).tolist()
    result = []
    for index, row in enumerate(rows):
        own = None if heads is None else heads[index, :, : lengths[index]]
        words = word_evidence(processor, config, tokens[index].tolist(), log_probs[index].tolist(), own)
        sequence = decode_row(row)
        video = {
            "speed": lip_speed(sequence),
            "has_face": bool(mask[index].any()),
            "seldom_seen": is_seldom_seen(sequence),
        }
        text = " ".join(word.text for word in words)
        scores, reason = assess(text, words, config.abstention, config.calibration, **video)
        times = processor.feature_extractor.frame_times(row["timestamps"], mask.shape[1])
        result.append(
            {
                "words": [_word(word, score, times) for word, score in zip(words, scores, strict=True)],
                "reference_words": [dict(word) for word in row.get("words", ())],
                "lip_speed": video["speed"],
                "reason": reason,
            }
        )
    return result


def _word(word: WordEvidence, score: float, times: np.ndarray) -> dict[str, Any]:
    start, end = (None, None) if word.frames is None else times[list(word.frames)].round(3).tolist()
    weighed = {name: getattr(word, name) for name in WORD_EVIDENCE}
    return {"word": word.text, "start": start, "end": end, **weighed, "score": score}


def correct_words(predictions: Sequence[Prediction]) -> np.ndarray:
    """Returns whether each of the `words` of all clips is correct, bool `(words,)`."""
    matches = (
        match_words([unit.text for unit in split_units(each.reference)], [word["word"] for word in each.words])
        for each in predictions
    )
    return np.array([index is not None for clip in matches for index in clip], bool)


def reliability(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Compares the scores of words with the share of the words that is correct.

    Returns:
        The number of `words`; the share that is `correct`; the `mean_score`; `ece`, the expected calibration error
        over ten bins of equal width; `probability_ece`, the same for the language model's probabilities; and the
        non-empty `bins`, each with the number of words, their mean score and the share that is correct. Empty where no
        word has a score.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    if not (words := [word for prediction in predictions for word in prediction.words]):
        return {}
    correct = correct_words(predictions)
    scores = np.array([word["score"] for word in words])
    bins, ece = _reliability_bins(scores, correct)
    _, probability_ece = _reliability_bins(np.exp([word["log_prob"] for word in words]), correct)
    rates = {"correct": float(correct.mean()), "mean_score": float(scores.mean())}
    return {"words": len(words), **rates, "ece": ece, "probability_ece": probability_ece, "bins": bins}


def _reliability_bins(scores: np.ndarray, correct: np.ndarray) -> tuple[list[dict[str, Any]], float]:
    """Returns the non-empty bins of a reliability diagram and the expected calibration error."""
    indices = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = [
        {"words": int(inside.sum()), "score": float(scores[inside].mean()), "correct": float(correct[inside].mean())}
        for inside in (indices == index for index in np.unique(indices))
    ]
    return bins, sum(row["words"] * abs(row["score"] - row["correct"]) for row in bins) / len(scores)


def abstention(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Measures the cost of abstaining, as the pipeline does.

    Returns:
        `clips`, the number of abstentions; their `reasons` with counts; how many of the `correct_words` are lost
        (`correct_words_lost`); and the `wer` with empty hypotheses for these clips. Empty without word scores.
    """
    known = [prediction for prediction in predictions if prediction.words or prediction.reason]
    if not known:
        return {}
    abstained = [prediction for prediction in known if prediction.reason]
    counts = edit_counts(
        ["" if prediction.reason else prediction.hypothesis for prediction in predictions],
        [prediction.reference for prediction in predictions],
    )
    return {
        "clips": len(abstained),
        "reasons": dict(Counter(prediction.reason for prediction in abstained)),
        "correct_words_lost": int(correct_words(abstained).sum()),
        "correct_words": int(correct_words(known).sum()),
        "wer": error_rate(*counts),
    }


def fit_calibration(evidence: np.ndarray, correct: np.ndarray) -> dict[str, float]:
    """Returns `config.calibration`, the weights of the logistic function from evidence, `(words, 5)`, to scores.

    They have the maximum posterior probability, with a normal prior about `PRIOR`.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999, here with four inputs and a prior.
    """
    # Newton's method diverges where many confident words are wrong.
    weights = minimize(_negative_log_posterior, PRIOR, (evidence, correct), method="BFGS", jac=True).x
    return dict(zip(CALIBRATION, weights.round(5).tolist(), strict=True))


def _negative_log_posterior(
    weights: np.ndarray, evidence: np.ndarray, correct: np.ndarray
) -> tuple[float, np.ndarray]:
    """Returns the objective of `fit_calibration` and its gradient."""
    values, difference = evidence @ weights, weights - PRIOR
    loss = np.logaddexp(0, values).sum() - values[correct].sum() + difference @ difference / 2
    return loss, evidence.T @ (logistic(values) - correct) + difference


def word_inputs(prediction: Prediction) -> np.ndarray:
    """Returns the `evidence` for the words of a prediction, float64 `(words, 5)`."""
    return evidence(*([word[name] for word in prediction.words] for name in WORD_EVIDENCE))


def rescore(prediction: Prediction, calibration: dict[str, float]) -> None:
    """Replaces the scores of a prediction's words by those of a new calibration."""
    columns = ([word[name] for word in prediction.words] for name in WORD_EVIDENCE)
    for word, score in zip(prediction.words, word_scores(*columns, calibration), strict=True):
        word["score"] = score


def fit_limits(speech: Sequence[Prediction], non_speech: Sequence[Prediction]) -> dict[str, float]:
    """Returns `config.abstention`, the limits that separate clips with speech from clips without, all with scores.

    The limit of lip motion is half of the lowest speed among the clips with speech. The limit of confidence lies
    between the highest mean score of the remaining clips without speech and the 2% quantile of the clips with speech.
    """
    speeds = [prediction.lip_speed for prediction in speech if prediction.lip_speed is not None]
    limits = {"min_lip_motion": round(min(speeds, default=0.0) / 2, 3)}
    least = float(np.quantile(list(map(_mean_score, speech)), MOST_LOST, method="lower"))
    remaining = [_mean_score(prediction) for prediction in non_speech if not abstention_reason(prediction, limits)]
    most = max((score for score in remaining if score < least), default=0.0)
    return limits | {"min_confidence": round(most + TOWARDS_SPEECH * (least - most), 3)}


def _mean_score(prediction: Prediction) -> float:
    return float(np.mean([word["score"] for word in prediction.words])) if prediction.words else 0.0


def abstention_reason(prediction: Prediction, limits: dict[str, float]) -> str | None:
    """Returns why the pipeline would abstain with these limits; None where it would answer."""
    scores = [word["score"] for word in prediction.words]
    return reason_to_abstain(limits, scores, speed=prediction.lip_speed)
