# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""When each word was said: forced alignment of the written words with the CTC head's scores.

The Viterbi path is found in numpy, so that a checkpoint needs no audio library to say when a word was seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .text_normalizer_lipread import TextNormalizer

BLANK = 0


def align_symbols(log_probs: np.ndarray, symbols: Sequence[int]) -> np.ndarray | None:
    """The likeliest frames of each symbol (Graves et al., 2006: the best path through blanks and symbols).

    Args:
        log_probs: Logarithms of the CTC head's posteriors, `(frames, vocabulary)`; symbol 0 is the blank.
        symbols: What is known to be said, without blanks.

    Returns:
        For each symbol its first frame and the one after its last, int `(symbols, 2)`; `None` if there are too few
        frames to say so much.
    """
    if not len(symbols):
        return np.zeros((0, 2), int)
    if not len(log_probs):
        return None
    # Blank, symbol, blank, ..., symbol, blank: a path stays, goes one state on, or skips a blank between two symbols,
    # unless these are alike.
    states = np.full(2 * len(symbols) + 1, BLANK)
    states[1::2] = symbols
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    emissions = log_probs[:, states]
    score = np.full(len(states), -np.inf)
    score[:2] = emissions[0, :2]
    moves = np.zeros(emissions.shape, np.int8)
    for frame in range(1, len(emissions)):
        one_on = np.concatenate([[-np.inf], score[:-1]])
        two_on = np.where(may_skip, np.concatenate([[-np.inf] * 2, score[:-2]]), -np.inf)
        options = np.stack([score, one_on, two_on])
        moves[frame] = options.argmax(0)
        score = options.max(0) + emissions[frame]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    if not np.isfinite(score[state]):
        return None
    spans = np.zeros((len(symbols), 2), int)
    for frame in range(len(emissions) - 1, -1, -1):
        if state % 2:
            spans[state // 2, 0] = frame
            spans[state // 2, 1] = spans[state // 2, 1] or frame + 1
        state -= moves[frame, state]
    return spans


def align_words(log_probs: np.ndarray, words: Sequence[str], ctc_vocab: Sequence[str]) -> np.ndarray | None:
    """The frames of each word.

    Args:
        log_probs: Logarithms of the CTC head's posteriors, `(frames, vocabulary)`.
        words: What is known to be said.
        ctc_vocab: Characters of the CTC head, the blank first.

    Returns:
        For each word its first frame and the one after its last, int `(words, 2)`; a word without any character that
        the CTC head knows has no frames where it stands. `None` if there are too few frames.
    """
    known = {character: index for index, character in enumerate(ctc_vocab) if index != BLANK}
    normalize = TextNormalizer()
    symbols, owners = [], []
    for index, word in enumerate(words):
        spelled = [known[character] for character in normalize(word) if character in known]
        if spelled and symbols and " " in known:
            symbols.append(known[" "])
            owners.append(-1)
        symbols += spelled
        owners += [index] * len(spelled)
    spans = align_symbols(log_probs, symbols)
    if spans is None:
        return None
    found = np.zeros((len(words), 2), int)
    end = 0
    for index in range(len(words)):
        own = spans[np.array(owners, int) == index]
        found[index] = (own[0, 0], own[-1, 1]) if len(own) else (end, end)
        end = found[index, 1]
    return found
