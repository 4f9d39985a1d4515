# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How sure a reader is of each word that it wrote: the chance that the word is right.

Two things tell: the probability that the language model gave the word, and how well the word fits what the face
encoder's heads saw in its frames. A language model that knows the sentences of a corpus is sure of itself even where
nobody speaks; the lips then do not fit its words. `config.calibration` says how both make a chance; `python -m
data.calibrate` measures it on clips that the reader was not trained on. Without it a word's score is its probability.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .alignment_lipread import align_words
from .configuration_lipread import CALIBRATION

LOWEST_FIT = -10.0  # of a word that cannot be laid into the frames at all
HIGHEST_LOG_PROB = -1e-6  # keeps the log-odds of a certain word finite


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
