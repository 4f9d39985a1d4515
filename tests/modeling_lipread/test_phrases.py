# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Matching of phrases: time warping, the text score and what a book's takes teach it; and the benchmark."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.phrases import Utterance, accuracy_line
from modeling_lipread.phrases_lipread import (
    PhraseIndex,
    alignment_symbols,
    embed_spans,
    fit_text_weight,
    warped_similarities,
)


def test_texts_count_by_how_well_they_tell_the_takes_apart():
    random, own = np.random.default_rng(0), np.arange(20)
    noise = random.normal(size=(20, 20))
    weights = [fit_text_weight(noise * 10 + np.eye(20) * right, own) for right in (0, 40)]
    assert weights[0] < 0.002 and weights[1] > 0.01  # of a foreign language, of somebody whom the reader reads
    assert fit_text_weight(np.zeros((1, 3)), np.zeros(1, int)) == 0.0


def test_takes_correct_the_alignment_head_for_their_speaker():
    """The head sees "b" in everything that this speaker says; the states differ."""
    symbols, spoken = ["", "a", "b"], {"a": [0.9, 0.1], "b": [0.1, 0.9]}
    frame = {text: [*state, *np.log([0.1, 0.44, 0.46])] for text, state in spoken.items()}
    take = {text: np.array([frame[letter] for letter in text], np.float32) for text in ("aaab", "abbb", "aabb")}
    index = PhraseIndex(["aaab", "abbb"], [take["aaab"], take["abbb"]], symbols, text_weight=0.01)
    scores = index.text_scores(take["aaab"], ["aaab", "abbb"])
    assert scores["abbb"] < scores["aaab"] <= 0
    assert index.text_scores(take["aaab"], ["aaab", "abbb"], leave_out=0) != scores
    saved = PhraseIndex.from_takes(["aaab", "abbb"], index.embeddings, symbols)
    assert 0 < saved.text_weight <= 0.05 and saved.match(take["aaab"])[0].text == "aaab"


def test_the_benchmark_reads_each_utterance_by_takes_from_other_clips():
    said = [("yes", 0, [1.0, 0.0]), ("no", 0, [0.0, 1.0]), ("yes", 1, [0.9, 0.1]), ("no", 1, [0.1, 0.9])]
    said.append(("once", 2, [0.5, 0.5]))  # an answer to choose, but nothing to ask
    none = np.zeros((1, 0))
    found = [Utterance(person, clip, text, np.array([at]), none) for person in "ab" for text, clip, at in said]
    line = accuracy_line(found, [], "word", shots=1, ways=20, draws=3)
    assert line == "word: 20-way 1-shot 1.000 (1.00-1.00, n=8) | unknown rejected 1.00 at 0.95 accepted"
    swapped = [replace(one, embedding=one.embedding[:, :: -1 if one.clip == 1 else 1]) for one in found]
    assert accuracy_line(swapped, [], "word", 1, 20, 3).startswith("word: 20-way 1-shot 0.000")


def test_takes_are_compared_at_any_speed():
    random = np.random.default_rng(0)
    take = random.normal(size=(12, 8)).astype(np.float32)
    take /= np.linalg.norm(take, axis=1, keepdims=True)
    slower, other = np.repeat(take, [1, 3] * 6, axis=0), take[::-1]
    similarities = warped_similarities(slower, [take, other, slower])
    assert similarities[[0, 2]] == pytest.approx([1.0, 1.0], abs=1e-6) and similarities[1] < 0.5
    # By hand: all costs are 1; three frames against one are three steps, two against two are two of both at once.
    east, north = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    found = [
        warped_similarities(east.repeat(3, 0), [north]),
        warped_similarities(east.repeat(2, 0), [north.repeat(2, 0)]),
    ]
    assert np.concatenate(found) == pytest.approx([1 - 3 / 2, 1 - 2 / 2])


def test_a_frame_has_the_states_of_all_layers_and_the_characters(pipeline):
    model, random = pipeline.model, np.random.default_rng(0)
    shape = (1, 6, model.config.encoder_config.num_landmarks, 3)
    clip, mask = torch.from_numpy(random.normal(size=shape).astype(np.float32)), torch.ones(1, 6)
    (embedding,) = embed_spans(model, clip, mask, [(2, 5)])
    with torch.no_grad():
        encoded = model.encoder(clip, mask, output_hidden_states=True)
    states = sum(encoded.hidden_states)[0, 2:5].numpy()
    count = len(alignment_symbols(model))
    assert embedding[:, :-count] == pytest.approx(states / np.linalg.norm(states, axis=1, keepdims=True), abs=1e-5)
    assert np.exp(embedding[:, -count:]).sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
