# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Confidence and abstention: the probability that each word is right, and the reasons to return no text.

The evidence for a word is its probability by the language model, its fit to the posteriors of the CTC head, and the
certainty of that head about the whole clip. A language model that knows the sentences of a corpus is confident even
without speech, and of the wrong words of people unlike those it was trained on; then fit and certainty are low.
`config.calibration` holds the weights of a logistic function of the evidence, fitted by `python -m data.calibrate` on
clips that the model was not trained on. `config.abstention` holds the limits below which the pipeline returns no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .configuration_lipread import CALIBRATION
from .ctc_lipread import align_words
from .geometry_lipread import LONGEST_STEP, NUM_LANDMARKS, lip_motion
from .text_normalizer_lipread import split_units

LOWEST_FIT = -10.0  # also the fit of the words of a clip that is too short for them
INCOMPLETE = "\ufffd"  # what a tokenizer decodes the first bytes of a character to
HIGHEST_LOG_PROB = -3e-4  # limits the log-odds to 8
LEAST_SURPRISE = 1e-3  # limits the certainty to 7
NO_FACE = "no face"
FEW_FRAMES = "too few frames a second show the lips"
STILL_LIPS = "the lips do not move"
NO_WORDS = "no words"
UNKNOWN_SPEECH = "no speech that the model knows"
REASONS = (NO_FACE, FEW_FRAMES, STILL_LIPS, NO_WORDS, UNKNOWN_SPEECH)
WINDOW_SECONDS = 1.0


@dataclass(frozen=True)
class WordEvidence:
    """A word of a hypothesis, and what the model says for it; `fit` and `certainty` are 0 without a CTC head."""

    text: str  # as written between spaces, or a character of a script without spaces
    # First frame and the frame after the last; `None` if the clip is too short, or there is no head to align words.
    frames: tuple[int, int] | None
    log_prob: float  # by the language model, given the words before
    fit: float  # mean log-probability of the characters by the CTC head, aligned with the clip
    # Of the CTC head about the clip: negative logarithm of `-log p` of the best character, averaged over the frames.
    certainty: float


def token_log_probs(model: Any, written: torch.Tensor, start: int, **video: Any) -> torch.Tensor:
    """Returns the log-probabilities of generated tokens, float32 `(batch, tokens - start)`, meaningless at padding.

    Args:
        model: The model.
        written: Tokens `(batch, tokens)`, of which the first `start` are the prompt; padding follows the end token.
        video: The clips as `forward` takes them: `keypoints` and `keypoints_mask`, or `conditioning`.
    """
    # No mask is needed: padding follows the text, and the model is causal.
    logits = model(input_ids=written, **video).logits[:, start - 1 : -1].float()
    return logits.gather(-1, written[:, start:, None])[..., 0] - logits.logsumexp(-1)


def head_log_probs(encoded: Any) -> torch.Tensor | None:
    """Returns the log-posteriors of CTC and alignment head, float32 `(batch, 2, frames, vocabulary)`.

    Without an alignment head, those of the CTC head stand for both; without a CTC head it returns `None`.
    """
    if encoded.ctc_logits is None:
        return None
    alignment_logits = encoded.ctc_logits if encoded.alignment_logits is None else encoded.alignment_logits
    return torch.stack([encoded.ctc_logits, alignment_logits], dim=1).float().log_softmax(-1)


def word_evidence(
    processor: Any, config: Any, tokens: Sequence[int], log_probs: Sequence[float], heads: torch.Tensor | None
) -> list[WordEvidence]:
    """Splits the hypothesis of a clip into words.

    Args:
        processor, config: Those of the model.
        tokens, log_probs: The hypothesis without the prompt, and the log-probability of each token.
        heads: `head_log_probs` of the clip up to its last frame with a face, `(2, frames, vocabulary)`.
    """
    units = split_units(processor.decode(list(tokens), skip_special_tokens=True))
    sums = np.zeros(len(units))
    for shares, log_prob in zip(token_units(processor, tokens), log_probs, strict=True):
        sums[shares] += log_prob / max(len(shares), 1)
    texts = [unit.text for unit in units]
    frames, fits, certainty = [None] * len(texts), [0.0] * len(texts), 0.0
    if heads is not None:
        ctc, alignment = heads.cpu().numpy()
        joined, each_frame = [unit.joined for unit in units], config.encoder_config.alignment_head
        placed = align_words(alignment, texts, config.ctc_vocab, each_frame, joined)
        if placed is not None:
            frames = map(tuple, placed.frames.tolist())
        fitted = align_words(ctc, texts, config.ctc_vocab, joined=joined)
        fits = [LOWEST_FIT] * len(texts) if fitted is None else fitted.fit.clip(min=LOWEST_FIT).tolist()
        certainty = -float(np.log(max(LEAST_SURPRISE, -ctc.max(-1).mean()))) if len(ctc) else 0.0
    return [WordEvidence(*word, certainty) for word in zip(texts, frames, sums.tolist(), fits, strict=True)]


def token_units(processor: Any, tokens: Sequence[int]) -> list[list[int]]:
    """Returns, for each token of a text, the indices of the words (`split_units`) that it writes.

    In scripts without spaces, a token may write several words, and a word may need several tokens. Special tokens
    write none.
    """
    special = set(processor.tokenizer.all_special_ids)
    last = len(split_units(processor.decode(list(tokens), skip_special_tokens=True))) - 1
    written, before = [], 0
    for count, token in enumerate(tokens, start=1):
        text = processor.decode(list(tokens[:count]), skip_special_tokens=True)
        complete = len(split_units(text.rstrip(INCOMPLETE)))
        # Without a new word, the token goes on with the last one, or begins a character of the next one.
        first = before if complete > before or text.endswith(INCOMPLETE) else before - 1
        indices = range(max(first, 0), max(complete, first + 1))
        written.append([] if token in special else [index for index in indices if index <= last])
        before = max(before, complete)
    return written


def evidence(log_probs: Sequence[float], fits: Sequence[float], certainties: Sequence[float]) -> np.ndarray:
    """Returns the evidence for words from `log_prob`, `fit` and `certainty` of each `WordEvidence`.

    Returns:
        Float64 `(words, 5)`, in the order of `CALIBRATION`: the log-odds of the word's probability, its fit, the
        certainty about its clip, the product of log-odds and certainty, and 1.
    """
    log_probs = np.minimum(np.asarray(log_probs, np.float64), HIGHEST_LOG_PROB)
    log_odds, certainty = log_probs - np.log(-np.expm1(log_probs)), np.asarray(certainties, np.float64)
    columns = [log_odds, np.asarray(fits, np.float64), certainty, log_odds * certainty, np.ones(len(log_odds))]
    return np.stack(columns, axis=1)


def word_scores(
    log_probs: Sequence[float],
    fits: Sequence[float],
    certainties: Sequence[float],
    calibration: Mapping[str, float] | None,
) -> list[float]:
    """Estimates the probability that each word is right: by its `evidence`, or without calibration by `log_probs`."""
    if calibration is None:
        return np.exp(log_probs).tolist()
    return logistic(evidence(log_probs, fits, certainties) @ [calibration[name] for name in CALIBRATION]).tolist()


def logistic(values: np.ndarray) -> np.ndarray:
    """Computes the logistic function with the hyperbolic tangent, which does not overflow."""
    return (1 + np.tanh(values / 2)) / 2


def lip_speed(sequence: Any) -> float | None:
    """Returns the highest speed of the lips in any second of a `LandmarkSequence`; a long video may hold few words.

    Returns:
        Distances between the outer eye corners a second (`lip_motion`); `None` if it is unknown, for landmarks of
        another kind than MediaPipe's and for fewer than five frames with a face a second.
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
    """Returns whether fewer than five frames a second of a `LandmarkSequence` have a face, too few for a lip speed."""
    times = np.asarray(sequence.timestamps)[np.asarray(sequence.present, bool)]
    return len(times) > 1 and bool(np.median(np.diff(times)) > LONGEST_STEP)


def assess(
    text: str,
    words: Sequence[WordEvidence] | None,
    limits: Mapping[str, float] | None,
    calibration: Mapping[str, float] | None,
    **video: Any,
) -> tuple[list[float] | None, str | None]:
    """Scores a hypothesis and decides on abstention, for the pipeline and for evaluation.

    Args:
        text: The hypothesis.
        words: Its `word_evidence`; without it all scores count as 1.
        limits, calibration: `LipReadConfig.abstention` and `LipReadConfig.calibration`.
        video: `speed`, `has_face` and `seldom_seen`, as for `reason_to_abstain`.

    Returns:
        The probability that each word is right, `None` without `words`; and one of `REASONS` to return no text, or
        `None`.
    """
    if words is None:
        return None, reason_to_abstain(limits, [1.0] * len(text.split()), **video)
    columns = ([getattr(word, name) for word in words] for name in ("log_prob", "fit", "certainty"))
    scores = word_scores(*columns, calibration)
    return scores, reason_to_abstain(limits, scores, **video)


def reason_to_abstain(
    limits: Mapping[str, float] | None,
    scores: Sequence[float],
    *,
    speed: float | None = None,
    has_face: bool = True,
    seldom_seen: bool = False,
) -> str | None:
    """Returns the first of `REASONS` that applies to a hypothesis, or `None`.

    Args:
        limits: `LipReadConfig.abstention`. `min_confidence` limits the mean of the scores, which is the expected share
            of right words. A missing limit does not apply.
        scores: The estimated probability that each word is right.
        speed: The `lip_speed`; `None` if it is unknown.
        has_face: Whether any frame has a face.
        seldom_seen: The result of `is_seldom_seen`.
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
    return UNKNOWN_SPEECH if np.mean(scores) < limits.get("min_confidence", 0.0) else None
