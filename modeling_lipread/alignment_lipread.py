# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""When each word was said: forced alignment of the written words with what the face encoder's heads saw.

Two heads can tell. The alignment head says for every frame which character is spoken, silence among them, so a word
lies where its characters are. The CTC head says each character once, in whatever frame it likes, and blanks elsewhere:
its words come out too short, and the first one often far too early. The Viterbi path is found in numpy, so that a
checkpoint needs no audio library to say when a word was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .text_normalizer_lipread import TextNormalizer

BLANK = 0  # of the CTC head; the alignment head's silence
NO_WORD = -1


class WordAlignment(NamedTuple):
    """Where words lie in a clip.

    Attributes:
        frames: For each word its first frame and the one after its last, int `(words, 2)`.
        fit: How well it fits what was seen: the mean log-probability of its characters in the frames they were given,
            `(words,)`; 0 for a word without any.
    """

    frames: np.ndarray
    fit: np.ndarray


def align_words(
    log_probs: np.ndarray, words: Sequence[str], ctc_vocab: Sequence[str], each_frame: bool = False
) -> WordAlignment | None:
    """The frames of each word, and how well it fits what was seen in them.

    Args:
        log_probs: Logarithms of a head's posteriors, `(frames, vocabulary)`.
        words: What is known to be said.
        ctc_vocab: Characters of both heads, the blank first.
        each_frame: Whether they are the alignment head's, which names the character of each frame, and not the CTC
            head's.

    Returns:
        Their alignment; a word without any character that the heads know has no frames where it stands. `None` if
        there are too few frames to say so much.
    """
    known = {character: index for index, character in enumerate(ctc_vocab) if index != BLANK}
    normalize = TextNormalizer()
    spelled = [[known[character] for character in normalize(word) if character in known] for word in words]
    symbols, owners, may_skip = _frame_states(spelled) if each_frame else _ctc_states(spelled, known.get(" "))
    path = best_path(log_probs[:, symbols], may_skip)
    if path is None:
        return None
    emissions, owner = log_probs[np.arange(len(path)), symbols[path]], owners[path]
    frames, fit = np.zeros((len(words), 2), int), np.zeros(len(words))
    end = 0
    for index in range(len(words)):
        own = np.flatnonzero(owner == index)
        if len(own):
            frames[index], fit[index] = (own[0], own[-1] + 1), emissions[own].mean()
        else:
            frames[index] = end
        end = frames[index, 1]
    return WordAlignment(frames, fit)


def _ctc_states(words: Sequence[Sequence[int]], space: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states that a path of the CTC head goes through: characters, with a blank before and after each.

    Source: Graves et al., "Connectionist temporal classification", 2006.

    Returns:
        Of each state its symbol, the index of its word or `NO_WORD`, and whether the state before may be left out: a
        blank between two characters, unless these are alike.
    """
    symbols, owners = [BLANK], [NO_WORD]
    for index, word in enumerate(words):
        between = [(space, NO_WORD)] if word and len(symbols) > 1 and space is not None else []
        for symbol, owner in [*between, *((symbol, index) for symbol in word)]:
            symbols += [symbol, BLANK]
            owners += [owner, NO_WORD]
    states = np.array(symbols)
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    return states, np.array(owners), may_skip


def _frame_states(words: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The states that a path of the alignment head goes through: characters, and silence before and after each word.

    Returns:
        As for the CTC head. What may be left out is the silence between two words, and a character between two others
        of a word: in training too, a word with fewer frames than characters lacks some of them.
    """
    symbols, owners, may_skip = [BLANK], [NO_WORD], [False]
    for index, word in enumerate(words):
        if word:
            may_skip += [len(symbols) > 1, *(place > 1 for place in range(1, len(word))), False]
            symbols += [*word, BLANK]
            owners += [*[index] * len(word), NO_WORD]
    return np.array(symbols), np.array(owners), np.array(may_skip)


def best_path(emissions: np.ndarray, may_skip: np.ndarray) -> np.ndarray | None:
    """The likeliest way through states in their order, each frame in one of them (Viterbi).

    A path begins in the first or second state and ends in the last or last but one. From a frame to the next it stays,
    goes one state on, or goes two on where the state between may be left out.

    Args:
        emissions: Log-probabilities of the states, `(frames, states)`.
        may_skip: For each state whether the one before it may be left out, bool `(states,)`.

    Returns:
        The state of every frame, int `(frames,)`; `None` if there is no path, the frames being too few.
    """
    frames, states = emissions.shape
    score = np.full(states, -np.inf)
    score[:2] = 0.0
    moves = np.zeros(emissions.shape, np.int8)
    for frame in range(frames):
        if frame:
            one_on = np.concatenate([[-np.inf], score])[:states]
            two_on = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score])[:states], -np.inf)
            options = np.stack([score, one_on, two_on])
            moves[frame], score = options.argmax(0), options.max(0)
        score = score + emissions[frame]
    state = states - 1 if states == 1 or score[-1] >= score[-2] else states - 2
    if not np.isfinite(score[state]) or (not frames and states > 1):
        return None
    path = np.zeros(frames, int)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= moves[frame, state]
    return path
