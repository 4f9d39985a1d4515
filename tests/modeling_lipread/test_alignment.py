# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Forced alignment: the best of all paths, word by word, by the CTC head and by the alignment head."""

import itertools

import numpy as np
import pytest

from modeling_lipread.ctc_lipread import align_words

VOCABULARY = ["", " ", "a", "b", "c"]
NO_SPACE = ["", "a", "b", "c"]


def some_log_probs(seed, frames, symbols):
    return np.log(np.random.default_rng(seed).dirichlet(np.ones(symbols), size=frames))


def best_by_trying(log_probs, paths):
    """The likeliest of paths, each `((symbol, word), ...)`, a pair a frame."""
    return max(paths, key=lambda path: sum(log_probs[frame, symbol] for frame, (symbol, _) in enumerate(path)))


def expected(log_probs, path, count):
    """The frames and the fit of words, by what is written in a path."""
    frames, fit = [], []
    for word in range(count):
        own = [frame for frame, (_, owner) in enumerate(path) if owner == word]
        frames.append([own[0], own[-1] + 1])
        fit.append(np.mean([log_probs[frame, path[frame][0]] for frame in own]))
    return frames, fit


def ctc_paths(words, frames, vocabulary):
    """Every path that collapses to the words: repeats, then blanks, are taken out."""
    symbols = [(vocabulary.index(character), word) for word, text in enumerate(words) for character in text]
    for path in itertools.product(range(len(vocabulary)), repeat=frames):
        runs = [(symbol, len(list(group))) for symbol, group in itertools.groupby(path)]
        if [symbol for symbol, _ in runs if symbol] == [symbol for symbol, _ in symbols]:
            owners = iter(word for _, word in symbols)
            labelled = [(symbol, next(owners) if symbol else None, length) for symbol, length in runs]
            yield [(symbol, owner) for symbol, owner, length in labelled for _ in range(length)]


def frame_paths(words, frames, vocabulary):
    """Every path that says the words in their order, silence where it likes but inside a word.

    A word begins with its first character and ends with its last; of those between no two on end are left out.
    """
    states = [(word, place) for word, text in enumerate(words) for place in range(len(text))]
    for path in itertools.product([None, *states], repeat=frames):
        runs = [state for state, _ in itertools.groupby(path)]
        spoken = [state for state in runs if state]
        whole = True
        for word, text in enumerate(words):
            places = [place for owner, place in spoken if owner == word]
            steps = np.diff(places)
            whole &= bool(places) and places[0] == 0 and places[-1] == len(text) - 1
            whole &= bool(((steps == 1) | (steps == 2)).all())
            where = [index for index, state in enumerate(runs) if state and state[0] == word]
            whole &= bool(where) and where == list(range(where[0], where[-1] + 1))
        if whole and spoken == sorted(spoken):
            yield [(0, None) if s is None else (vocabulary.index(words[s[0]][s[1]]), s[0]) for s in path]


CTC_WORDS = [["a"], ["aa"], ["a", "b"], ["bab"], ["aa", "b"]]
FRAME_WORDS = [["a"], ["abc"], ["ab", "ba"], ["abca"], ["c", "ab", "a"]]


@pytest.mark.parametrize(
    ("each_frame", "words"), [*((False, words) for words in CTC_WORDS), *((True, words) for words in FRAME_WORDS)]
)
def test_the_best_of_all_paths_is_found(each_frame, words):
    vocabulary, frames, paths = (NO_SPACE, 5, frame_paths) if each_frame else (NO_SPACE[:3], 6, ctc_paths)
    for seed in range(3):
        log_probs = some_log_probs(seed, frames, len(vocabulary))
        path = best_by_trying(log_probs, paths(words, frames, vocabulary))
        found = align_words(log_probs, words, vocabulary, each_frame)
        assert found.frames.tolist() == expected(log_probs, path, len(words))[0]
        assert found.fit == pytest.approx(expected(log_probs, path, len(words))[1])


def seen(labels):
    log_probs = np.full((len(labels), len(VOCABULARY)), np.log(0.01))
    log_probs[np.arange(len(labels)), labels] = np.log(0.96)
    return log_probs


def test_words_stand_where_their_letters_are_seen():
    log_probs = seen([0, 0, 2, 2, 0, 3, 1, 0, 4, 4, 4, 0])
    frames, fit = align_words(log_probs, ["ab", "c"], VOCABULARY)
    assert frames.tolist() == [[2, 6], [8, 11]]
    assert fit == pytest.approx(np.log(0.96))
    # However a word is written, it is spelled as in training; what cannot be spelled takes no time.
    assert align_words(log_probs, ["Ab,", "!", "C"], VOCABULARY).frames.tolist() == [[2, 6], [6, 6], [8, 11]]
    assert align_words(log_probs, ["!"], VOCABULARY).frames.tolist() == [[0, 0]]
    assert align_words(log_probs, [], VOCABULARY).frames.shape == (0, 2)
    assert align_words(log_probs, ["b", "c"], VOCABULARY).fit[0] == pytest.approx(np.log(0.96))
    assert align_words(log_probs, ["a", "b", "a"], VOCABULARY).fit[2] == pytest.approx(np.log(0.01)), "not seen there"


@pytest.mark.parametrize("each_frame", [False, True])
def test_too_few_frames_for_so_much(each_frame):
    log_probs = some_log_probs(0, 3, len(NO_SPACE))
    assert align_words(log_probs, ["a", "b", "c"], NO_SPACE, each_frame).frames.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert align_words(log_probs, ["ab", "ca"], NO_SPACE, each_frame) is None
    assert align_words(log_probs[:0], ["a"], NO_SPACE, each_frame) is None
    # A blank must stand between two alike, silence need not.
    assert (align_words(log_probs, ["a", "a", "b"], NO_SPACE, each_frame) is None) == (not each_frame)
