# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How sure a transcript is: the probability that each word is right, and the reasons to return no text.

Two things tell whether a word is right: the probability that the language model gives it, and how well it fits the
posteriors of the face encoder's heads in its frames. A language model that knows the sentences of a corpus is sure of
itself even where nobody speaks; the lips then do not fit its words. `config.calibration` holds the weights of a
logistic function of both, which `python -m data.calibrate` fits on clips that the model was not trained on; without it
a word's score is its probability. `config.abstention` holds the limits below which a transcript is not returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import torch

from .configuration_lipread import CALIBRATION
from .ctc_lipread import align_words
from .geometry_lipread import LONGEST_STEP, NUM_LANDMARKS, lip_motion
from .text_normalizer_lipread import TextNormalizer

LOWEST_FIT = -10.0  # of a word that cannot be laid into the frames at all
HIGHEST_LOG_PROB = -1e-6  # keeps the log-odds of a certain word finite
NO_FACE = "no face"
FEW_FRAMES = "too few frames a second show the lips"
STILL_LIPS = "the lips do not move"
NO_WORDS = "no words"
OTHER_WORDS = "the words do not fit the lips"
LOW_CONFIDENCE = "low confidence"
REASONS = (NO_FACE, FEW_FRAMES, STILL_LIPS, NO_WORDS, OTHER_WORDS, LOW_CONFIDENCE)
WINDOW_SECONDS = 1.0


@dataclass(frozen=True)
class WrittenWord:
    """A word that a reader wrote.

    Attributes:
        text: As it was written, between spaces.
        frames: Its first frame and the one after its last; `None` where the clip is too short for so many words, or
            the reader has no head that can tell.
        log_prob: Logarithm of the probability that the language model gave it, after the words before.
        fit: Mean log-probability, by a head of the face encoder, of its characters in its frames; 0 without a head.
    """

    text: str
    frames: tuple[int, int] | None
    log_prob: float
    fit: float


def token_log_probs(model: Any, written: torch.Tensor, start: int, **video: Any) -> torch.Tensor:
    """What the language model gives the tokens that were written.

    Args:
        model: The reader.
        written: Tokens with the prompt before them, `(batch, tokens)`; padding follows the first end token.
        start: Tokens of the prompt.
        video: The clips, as `forward` takes them: `keypoints` and `keypoints_mask`, or `conditioning`.

    Returns:
        Log-probabilities of the tokens after the prompt, float32 `(batch, tokens - start)`; those of padding mean
        nothing.
    """
    # The first padding follows an end token, and a model that is causal does not look ahead: no mask is needed.
    logits = model(input_ids=written, **video).logits[:, start - 1 : -1].float()
    return logits.gather(-1, written[:, start:, None])[..., 0] - logits.logsumexp(-1)


def head_log_probs(encoded: Any) -> torch.Tensor | None:
    """Logarithms of the posteriors of the head that tells best when a word is said, `(batch, frames, vocabulary)`.

    Args:
        encoded: The face encoder's output.

    Returns:
        Those of the alignment head, or else of the CTC head; `None` if the reader has neither.
    """
    logits = encoded.ctc_logits if encoded.alignment_logits is None else encoded.alignment_logits
    return None if logits is None else logits.float().log_softmax(-1)


def written_words(
    tokens: Sequence[int],
    log_probs: Sequence[float],
    decode: Callable[[list[int]], str],
    special_ids: Sequence[int],
    head: np.ndarray | None = None,
    ctc_vocab: Sequence[str] = (),
    each_frame: bool = False,
) -> list[WrittenWord]:
    """The words that stand between spaces, with what there is to say of each.

    Args:
        tokens: What was written.
        log_probs: Their log-probabilities.
        decode: Turns tokens into text.
        special_ids: Tokens that are no text.
        head: Logarithms of a head's posteriors, `(frames, vocabulary)`; see `align_words` for these three.
        ctc_vocab: Characters of the head.
        each_frame: Whether it is the alignment head.
    """
    special = set(special_ids)
    texts: list[str] = []
    sums: list[float] = []
    for count, (token, log_prob) in enumerate(zip(tokens, log_probs, strict=True), start=1):
        if token in special:
            continue
        texts = decode(list(tokens[:count])).split()
        sums += [0.0] * (len(texts) - len(sums))
        if sums:
            sums[-1] += log_prob
    if head is None:
        return [WrittenWord(text, None, sure, 0.0) for text, sure in zip(texts, sums, strict=True)]
    found = align_words(head, texts, ctc_vocab, each_frame)
    if found is None:
        return [WrittenWord(text, None, sure, LOWEST_FIT) for text, sure in zip(texts, sums, strict=True)]
    fits = found.fit.clip(min=LOWEST_FIT).tolist()
    spans = [(first, after) for first, after in found.frames.tolist()]
    return [WrittenWord(*word) for word in zip(texts, spans, sums, fits, strict=True)]


def weighed_words(
    processor: Any, config: Any, tokens: Sequence[int], log_probs: Sequence[float], head: torch.Tensor | None
) -> list[WrittenWord]:
    """The words that a reader wrote of one clip (`written_words`).

    Args:
        processor: The reader's.
        config: The reader's.
        tokens: What it wrote.
        log_probs: Their log-probabilities.
        head: `head_log_probs` of the clip, `(frames, vocabulary)`, up to its last frame that has a face.
    """
    return written_words(
        tokens,
        log_probs,
        lambda ids: processor.decode(ids, skip_special_tokens=True),
        processor.tokenizer.all_special_ids,
        head.cpu().numpy() if head is not None and config.ctc_vocab else None,
        config.ctc_vocab,
        config.encoder_config.alignment_head,
    )


def evidence(log_probs: Sequence[float], fits: Sequence[float]) -> np.ndarray:
    """What tells whether words are right: the log-odds of their probability, their fit, and 1.

    Args:
        log_probs: `WrittenWord.log_prob` of each.
        fits: `WrittenWord.fit` of each.

    Returns:
        Float64 `(words, 3)`.
    """
    log_probs = np.minimum(np.asarray(log_probs, np.float64), HIGHEST_LOG_PROB)
    log_odds = log_probs - np.log(-np.expm1(log_probs))
    return np.stack([log_odds, np.asarray(fits, np.float64), np.ones(len(log_probs))], axis=1)


def word_scores(
    log_probs: Sequence[float], fits: Sequence[float], calibration: Mapping[str, float] | None
) -> list[float]:
    """The chance, 0 to 1, that each word is right.

    Args:
        log_probs: `WrittenWord.log_prob` of each.
        fits: `WrittenWord.fit` of each.
        calibration: Weights `log_odds`, `fit` and `bias` of a logistic function of the evidence; with `None` it is the
            language model's probability.
    """
    if calibration is None:
        return np.exp(log_probs).tolist()
    return logistic(evidence(log_probs, fits) @ [calibration[name] for name in CALIBRATION]).tolist()


def logistic(values: np.ndarray) -> np.ndarray:
    """The logistic function, by the hyperbolic tangent, which does not overflow."""
    return (1 + np.tanh(values / 2)) / 2


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
        spelled: What the CTC head spells (`ctc_lipread.greedy_ctc`).
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
