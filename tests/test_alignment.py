# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Forced alignment: the best of all paths, word by word."""

import itertools

import numpy as np
import pytest

from modeling_lipread.alignment_lipread import align_symbols, align_words

VOCABULARY = ["", " ", "a", "b", "c"]


def collapsed(path):
    return [symbol for symbol, _ in itertools.groupby(path) if symbol]


def best_path_score(log_probs, symbols):
    """By trying every path there is."""
    paths = itertools.product(range(log_probs.shape[1]), repeat=len(log_probs))
    return max(
        (sum(log_probs[frame, symbol] for frame, symbol in enumerate(path)), path)
        for path in paths
        if collapsed(path) == list(symbols)
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("symbols", [[1], [1, 2], [1, 1], [2, 1, 2], [1, 1, 2]])
def test_finds_the_best_of_all_paths(seed, symbols):
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), size=6))
    _, path = best_path_score(log_probs, symbols)
    runs, start = [], 0
    for symbol, group in itertools.groupby(path):
        length = len(list(group))
        if symbol:
            runs.append([start, start + length])
        start += length
    assert align_symbols(log_probs, symbols).tolist() == runs


def test_too_few_frames_for_so_much():
    log_probs = np.log(np.full((3, 3), 1 / 3))
    assert align_symbols(log_probs, [1, 2, 1]).tolist() == [[0, 1], [1, 2], [2, 3]]
    assert align_symbols(log_probs, [1, 1, 2]) is None  # a blank must stand between the two
    assert align_symbols(log_probs[:0], [1]) is None
    assert align_symbols(log_probs, []).shape == (0, 2)


def test_words_stand_where_their_letters_are_seen():
    seen = [0, 0, 2, 2, 0, 3, 1, 0, 4, 4, 4, 0]
    log_probs = np.full((len(seen), len(VOCABULARY)), np.log(0.01))
    log_probs[np.arange(len(seen)), seen] = np.log(0.96)
    assert align_words(log_probs, ["ab", "c"], VOCABULARY).tolist() == [[2, 6], [8, 11]]
    # However a word is written, it is spelled as in training; what cannot be spelled takes no time.
    assert align_words(log_probs, ["Ab,", "!", "C"], VOCABULARY).tolist() == [[2, 6], [6, 6], [8, 11]]
    assert align_words(log_probs, ["!"], VOCABULARY).tolist() == [[0, 0]]
    assert align_words(log_probs, ["abcabc"] * 3, VOCABULARY) is None
