# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Prefix scores of the CTC head against all paths there are, and what they add to a language model's scores."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_lipread.ctc_lipread import (
    IMPOSSIBLE,
    CTCLogitsProcessor,
    CTCPrefixScores,
    CTCSpelling,
    clip_lengths,
    greedy_ctc,
)
from modeling_lipread.text_normalizer_lipread import TextNormalizer

VOCABULARY = ["", "a", "b"]


def all_texts(logits: torch.Tensor) -> dict[str, float]:
    """The probability of every text, by trying every path there is."""
    probabilities = logits.double().softmax(-1).numpy()
    texts: dict[str, float] = defaultdict(float)
    for path in itertools.product(range(len(VOCABULARY)), repeat=len(probabilities)):
        text = "".join(VOCABULARY[symbol] for symbol, _ in itertools.groupby(path))
        texts[text] += float(np.prod([probabilities[frame, symbol] for frame, symbol in enumerate(path)]))
    return texts


def as_logits(clips: list[list[list[float]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded with scores that must not matter."""
    lengths = torch.tensor([len(clip) for clip in clips])
    logits = torch.full((len(clips), int(lengths.max()), len(VOCABULARY)), 7.0)
    for row, clip in zip(logits, clips, strict=True):
        row[: len(clip)] = torch.tensor(clip)
    return logits, lengths


scores_of_a_frame = st.lists(st.floats(-8, 8, width=32), min_size=len(VOCABULARY), max_size=len(VOCABULARY))
some_clips = st.lists(st.lists(scores_of_a_frame, min_size=1, max_size=6), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(some_clips, st.data())
def test_prefix_scores_are_those_of_all_paths(clips, data):
    logits, lengths = as_logits(clips)
    scores = CTCPrefixScores(logits, lengths, VOCABULARY)
    text = st.tuples(st.integers(0, len(clips) - 1), st.text("ab", max_size=5))
    exact = [all_texts(logits[clip, :length]) for clip, length in enumerate(lengths)]
    for _ in range(3):  # what was kept, or forgotten, in between must not matter
        asked = data.draw(st.lists(text, min_size=1, max_size=6))
        begin = [sum(p for said, p in exact[clip].items() if said.startswith(prefix)) for clip, prefix in asked]
        assert scores.prefix_log_probs(asked).exp().tolist() == pytest.approx(begin, rel=1e-9, abs=1e-300)
        end = [exact[clip].get(said, 0.0) for clip, said in asked]
        assert scores.text_log_probs(asked).exp().tolist() == pytest.approx(end, rel=1e-9, abs=1e-300)
        scores.keep(asked)


WORDS = st.text("abcé'’-.,3 ßÅ\u0301\u00b4 Ω\u00ad", max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=4))
def test_texts_are_spelled_as_the_collator_spells_them(pieces):
    known = set("abcés å'.3 ")
    spelling, text = CTCSpelling(known), ""
    for piece in pieces:
        text += piece
        expected = "".join(character for character in TextNormalizer()(text) if character in known)
        assert spelling(text.encode()) == expected


def processor(logits, lengths, **arguments):
    """Tokens 0 and 6 are special ones, 5 is the end."""
    settings = {"weight": 0.4, "prompt_length": 1, "end_ids": [5], "num_candidates": 4} | arguments
    spellings = [b"", b"a", b"b", b"Ab", b"!", b""]
    return CTCLogitsProcessor(CTCPrefixScores(logits, lengths, VOCABULARY), spellings, **settings)


def test_candidates_are_the_likeliest_tokens_and_the_end():
    """Special tokens, which spell nothing, are none, however likely."""
    logits, scores = torch.zeros(1, 6, 3), torch.tensor([[0.0, 3, 2, 1, 0, -9, 0]])
    for count, expected in ((2, [1, 2, 5]), (7, [1, 2, 3, 4, 5])):
        fused = processor(logits, torch.tensor([6]), num_candidates=count)(torch.tensor([[0]]), scores)
        assert torch.where(fused[0] > 0.4 * IMPOSSIBLE)[0].tolist() == expected


def test_a_clip_without_a_face_leaves_the_choice_to_the_language_model():
    scores = torch.randn(2, 7)
    logits = torch.randn(2, 5, 3)
    mask = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 1, 0]])
    assert clip_lengths(mask, logits).tolist() == [0, 4]
    fused = processor(logits, clip_lengths(mask, logits), num_candidates=7)(torch.tensor([[0, 1], [0, 1]]), scores)
    torch.testing.assert_close(fused[0, 1:6], 0.6 * scores[0, :].log_softmax(-1)[1:6])


def allowed(written: bytes, *tokens: bytes) -> list[bool]:
    """Which tokens may follow a text whose tokens are its bytes."""
    spellings = [bytes([byte]) for byte in range(256)] + list(tokens)
    scores = CTCPrefixScores(torch.zeros(1, 40, 5), torch.tensor([40]), ["", " ", "a", "b", "名"])
    fuse = CTCLogitsProcessor(
        scores, spellings, weight=0.5, prompt_length=0, end_ids=[], num_candidates=len(spellings)
    )
    fused = fuse(torch.tensor([list(written)], dtype=torch.long).view(1, -1), torch.zeros(1, len(spellings)))
    return (fused[0, 256:] > 0.5 * IMPOSSIBLE).tolist()


def test_characters_that_the_ctc_head_does_not_know_are_never_said():
    assert allowed(b"ab", b" a", b"7", b" a7", b"A,", "ä".encode()) == [True, False, False, True, False]
    assert allowed(b"7", b"a", b"7") == [True, False], "unless they were there before"


def test_punctuation_does_not_put_off_what_must_be_said():
    assert allowed(b"", b",", b" ") == [True, True]
    assert allowed(b'a,"', b".", b" b", b"b") == [True, True, True]
    assert allowed(b'a,".', b".", b" ", b" b", b".b") == [False, False, True, True]
    first, second, third = (bytes([byte]) for byte in "名".encode())
    assert allowed("名".encode() + first, second, second + third) == [True, True]
    assert allowed("名".encode() + first + second, third) == [True]


def test_greedy_reading_of_the_ctc_head():
    best = torch.tensor([[0, 1, 1, 0, 1, 2, 2], [2, 0, 3, 3, 1, 1, 1]])
    logits = torch.nn.functional.one_hot(best, 4).float()
    mask = torch.tensor([[1] * 7, [1, 1, 0, 1, 0, 0, 0]])
    assert greedy_ctc(logits, mask, ["", "a", "b", " "]) == ["aab", "b"]
    assert greedy_ctc(logits, None, ["", "a", "b", " "]) == ["aab", "b a"]
