# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Confidence of words: its measurement, its calibration, and the limits below which the pipeline abstains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modeling_lipread.confidence_lipread import (
    WrittenWord,
    head_log_probs,
    is_seldom_seen,
    judge,
    lip_speed,
    logistic,
    weighed_words,
    why_nothing,
    word_scores,
)
from modeling_lipread.configuration_lipread import CALIBRATION
from modeling_lipread.ctc_lipread import clip_lengths
from modeling_lipread.encoder_lipread import FaceKeypointEncoderOutput
from modeling_lipread.modeling_lipread import LipReadForConditionalGeneration

from ..schema import decode_row
from .breakdown import match_words
from .metrics import Prediction, edit_counts, error_rate

BINS = 10
# Mean of the normal prior over the weights, of variance 1: a word's score is the language model's probability until
# the clips show otherwise, since a good model makes few errors to learn from.
PRIOR = np.array([1.0, 0.0, 0.0])
LOST = 0.02  # share of the clips with speech from which the pipeline may abstain
# Each limit lies this far from the clips without speech to those with it: people outside the corpus get lower scores
# than those of a validation split.
TOWARDS_SPEECH = 0.25
STEPS = 100  # of Newton's method, which takes about ten


def word_confidence(
    model: LipReadForConditionalGeneration,
    processor: Any,
    rows: Sequence[Mapping[str, Any]],
    tokens: torch.Tensor,
    log_probs: torch.Tensor,
    encoded: FaceKeypointEncoderOutput,
    mask: torch.Tensor,
    ctc_hypotheses: Sequence[str | None],
) -> list[dict[str, Any]]:
    """Computes confidence, word scores, word times and abstention of a batch of hypotheses, as the pipeline does.

    Args:
        model: The model.
        processor: Its processor.
        rows: The clips, rows of `data.schema`.
        tokens: The hypotheses without the prompt, `(batch, tokens)`; padding follows the first end token.
        log_probs: Log-probabilities of the tokens, `(batch, tokens)`.
        encoded: Output of the face encoder.
        mask: Non-zero where there is a face, `(batch, frames)`.
        ctc_hypotheses: The greedy hypotheses of the CTC head, None where there are none.

    Returns:
        For each clip `confidence`, `words`, `reference_words`, `lip_speed`, `agreement` and `reason`, as in
        `Prediction`.
    """
    config, heads = model.config, head_log_probs(encoded)
    lengths = clip_lengths(mask, encoded.frame_hidden_states).tolist()
    confidences = token_confidence(model, tokens, log_probs).tolist()
    result = []
    for index, (row, confidence) in enumerate(zip(rows, confidences, strict=True)):
        head = None if heads is None else heads[index, : lengths[index]]
        words = weighed_words(processor, config, tokens[index].tolist(), log_probs[index].tolist(), head)
        sequence = decode_row(row)
        seen = {
            "spelled": ctc_hypotheses[index],
            "speed": lip_speed(sequence),
            "has_face": bool(mask[index].any()),
            "seldom_seen": is_seldom_seen(sequence),
        }
        text = " ".join(word.text for word in words)
        verdict = judge(text, words, config.abstention, config.calibration, **seen)
        times = processor.feature_extractor.frame_times(row["timestamps"], mask.shape[1])
        result.append(
            {
                "confidence": confidence,
                "words": [_word(word, score, times) for word, score in zip(words, verdict.scores, strict=True)],
                "reference_words": [dict(word) for word in row.get("words", ())],
                "lip_speed": seen["speed"],
                "agreement": verdict.agreed,
                "reason": verdict.reason,
            }
        )
    return result


def _word(word: WrittenWord, score: float, times: np.ndarray) -> dict[str, Any]:
    start, end = (None, None) if word.frames is None else times[list(word.frames)].round(3).tolist()
    weighed = {"log_prob": word.log_prob, "fit": word.fit, "score": score}
    return {"word": word.text, "start": start, "end": end, **weighed}


def token_confidence(
    model: LipReadForConditionalGeneration, tokens: torch.Tensor, log_probs: torch.Tensor
) -> torch.Tensor:
    """Returns the geometric mean of the probabilities of the tokens, the first end token included, `(batch,)`.

    Args:
        model: The model.
        tokens: The hypotheses without the prompt, `(batch, tokens)`; padding follows the first end token.
        log_probs: Log-probabilities of the tokens, `(batch, tokens)`, from `token_log_probs`.
    """
    ends = model.generation_config.eos_token_id
    ended = torch.isin(tokens, torch.as_tensor([] if ends is None else ends, device=tokens.device)).int()
    counted = (ended.cumsum(-1) - ended == 0).float()
    return ((log_probs * counted).sum(-1) / counted.sum(-1).clamp(min=1)).exp()


def correct_words(predictions: Sequence[Prediction]) -> np.ndarray:
    """Returns whether each of the `words` of all clips is correct, bool `(words,)`."""
    correct = []
    for prediction in predictions:
        found = match_words(prediction.reference.split(), [word["word"] for word in prediction.words])
        correct += [place is not None for place in found]
    return np.array(correct, bool)


def reliability(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Compares the scores of words with how often the words are correct.

    Returns:
        The number of `words`; the share that is `correct`; the `mean_score`; `ece`, the expected calibration error
        over ten bins of equal width; `probability_ece`, the same for the language model's probabilities; and the
        non-empty `bins`, each with the number of words, their mean score and the share that is correct. Empty where no
        word has a score.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    words = [word for prediction in predictions for word in prediction.words]
    if not words:
        return {}
    correct = correct_words(predictions)
    scores = np.array([word["score"] for word in words])
    bins = _bins(scores, correct)
    return {
        "words": len(words),
        "correct": float(correct.mean()),
        "mean_score": float(scores.mean()),
        "ece": _calibration_error(bins),
        "probability_ece": _calibration_error(_bins(np.exp([word["log_prob"] for word in words]), correct)),
        "bins": bins,
    }


def _bins(scores: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    return [
        {"words": int(inside.sum()), "score": float(scores[inside].mean()), "correct": float(correct[inside].mean())}
        for inside in (places == place for place in range(BINS))
        if inside.any()
    ]


def _calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    total = sum(row["words"] for row in bins)
    return sum(row["words"] * abs(row["score"] - row["correct"]) for row in bins) / total


def abstention(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Measures what abstaining as the pipeline does would change.

    Returns:
        `clips`, the number of clips without an answer; the `reasons` with their numbers; `correct_words_lost` of so
        many `correct_words`; and the `wer` with empty hypotheses for these clips. Empty where it is not known.
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
    """Fits the weights of the logistic function that makes scores of evidence.

    Args:
        evidence: Evidence of the words, `(words, 3)`.
        correct: Whether each word is correct, bool `(words,)`.

    Returns:
        `config.calibration`: the weights of maximum posterior probability, with a normal prior about `PRIOR`.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999, here with two inputs and a prior.
    """
    weights = PRIOR.copy()
    for _ in range(STEPS):
        scores = logistic(evidence @ weights)
        gradient = evidence.T @ (scores - correct) + weights - PRIOR
        curvature = (evidence * (scores * (1 - scores))[:, None]).T @ evidence + np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return dict(zip(CALIBRATION, weights.round(5).tolist(), strict=True))


def rescore(prediction: Prediction, calibration: dict[str, float]) -> None:
    """Replaces the scores of a prediction's words by those of a new calibration."""
    log_probs, fits = ([word[name] for word in prediction.words] for name in ("log_prob", "fit"))
    for word, score in zip(prediction.words, word_scores(log_probs, fits, calibration), strict=True):
        word["score"] = score


def fit_limits(speech: Sequence[Prediction], non_speech: Sequence[Prediction]) -> dict[str, float]:
    """Fits the limits that tell clips with speech from clips without it.

    Args:
        speech: Clips in which people speak, with scored words.
        non_speech: Clips in which nobody speaks.

    Returns:
        `config.abstention`. Lips move if they are half as fast as the slowest of the clips with speech. Then the limit
        of agreement lies between the best of the remaining clips without speech and the worst clip with speech, the
        2% that may be lost left out; and the limit of confidence likewise, of the clips that then remain.
    """
    speeds = [prediction.lip_speed for prediction in speech if prediction.lip_speed is not None]
    limits = {"min_lip_motion": round(min(speeds, default=0.0) / 2, 3)}
    for name, measure in (("min_agreement", lambda prediction: prediction.agreement), ("min_confidence", _mean_score)):
        found = [measure(prediction) for prediction in speech]
        if None in found:  # a model without a CTC head
            continue
        least = float(np.quantile(found, LOST, method="lower"))
        remaining = [measure(prediction) for prediction in non_speech if not abstention_reason(prediction, limits)]
        most = max((other for other in remaining if other < least), default=0.0)
        limits[name] = round(most + TOWARDS_SPEECH * (least - most), 3)
    return limits


def _mean_score(prediction: Prediction) -> float:
    return float(np.mean([word["score"] for word in prediction.words])) if prediction.words else 0.0


def abstention_reason(prediction: Prediction, limits: dict[str, float]) -> str | None:
    """Returns why the pipeline would abstain with these limits; None where it would answer."""
    scores = [word["score"] for word in prediction.words]
    return why_nothing(limits, scores, speed=prediction.lip_speed, agreed=prediction.agreement)
