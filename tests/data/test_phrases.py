# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`python -m data.phrases`: the phrase head, and its benchmark."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel

from benchmarks.phrases import Utterance, accuracy_line
from data.collator import SpokenWord
from data.phrases import main
from data.training.phrase_head import Stretches, contrastive_loss, whiten
from modeling_lipread.phrases_lipread import embedder_hash, warped_similarities
from tests.helpers.training import make_corpus


def test_the_command_adds_a_head_and_leaves_the_rest(corpus, reader_dir, tmp_path):
    main([str(reader_dir), str(corpus / "train"), "--output", str(tmp_path / "out"), "--steps", "4", "--copies", "1"])
    before, after = AutoModel.from_pretrained(reader_dir), AutoModel.from_pretrained(tmp_path / "out")
    added = after.state_dict().keys() - before.state_dict().keys()
    assert added == {"phrase_head.weight", "phrase_head.bias"}
    assert all(torch.equal(weight, after.state_dict()[name]) for name, weight in before.state_dict().items())
    assert embedder_hash(before) != embedder_hash(after)
    assert not any(parameter.requires_grad for parameter in after.phrase_head.parameters())


def test_without_word_times_the_command_says_what_is_missing(reader_dir, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", train=4, validation=1, word_times=False)
    with pytest.raises(SystemExit, match="give more clips"):
        main([str(reader_dir), str(corpus / "train"), "--output", str(tmp_path / "out"), "--copies", "0"])


def test_whitening_shrinks_what_differs_between_takes_of_a_word():
    random, stretches = np.random.default_rng(0), Stretches()
    for take in range(40):
        for word, meaning in (("yes", -1.0), ("no", 1.0)):
            states = torch.zeros(20, 2)
            states[:, 0], states[:, 1] = (
                meaning,
                10 * torch.tensor(random.normal()),
            )  # the second one is the take's own
            stretches.add(states.half(), [SpokenWord(word, 0, 20)], f"s{take % 4}")
    head = nn.Linear(2, 2)
    whiten(head, stretches, random)
    moved = head(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 10.0], [0.0, -10.0]]))
    assert (moved[0] - moved[1]).norm() > (moved[2] - moved[3]).norm() / 4  # 1 to 10 before


def test_the_contrastive_loss_is_that_of_the_paper():
    east, north = [1.0, 0.0], [0.0, 1.0]
    loss = contrastive_loss(torch.tensor([east, east, north, north]), torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-1 / 0.07)), rel=0.1)  # float32 near 1
    assert contrastive_loss(torch.tensor([east, north, north, east]), torch.tensor([0, 0, 1, 1])).item() > 10


def test_the_benchmark_reads_each_utterance_by_takes_from_other_clips():
    said = [("yes", 0, [1.0, 0.0]), ("no", 0, [0.0, 1.0]), ("yes", 1, [0.9, 0.1]), ("no", 1, [0.1, 0.9])]
    said.append(("once", 2, [0.5, 0.5]))  # an answer to choose, but nothing to ask
    found = [Utterance(person, clip, text, np.array([at])) for person in "ab" for text, clip, at in said]
    line = accuracy_line(found, "word", shots=1, ways=20, draws=3)
    assert line == "word: 20-way 1-shot 1.000 (1.00-1.00, n=8) | unknown rejected 1.00 at 0.95 accepted"
    swapped = [
        Utterance(one.person, one.clip, one.text, one.embedding[:, :: -1 if one.clip == 1 else 1]) for one in found
    ]
    assert accuracy_line(swapped, "word", 1, 20, 3).startswith("word: 20-way 1-shot 0.000")


def test_takes_are_compared_at_any_speed():
    random = np.random.default_rng(0)
    take = random.normal(size=(12, 8)).astype(np.float32)
    take /= np.linalg.norm(take, axis=1, keepdims=True)
    slower, other = np.repeat(take, [1, 3] * 6, axis=0), take[::-1]
    similarities = warped_similarities(slower, [take, other, slower])
    assert similarities[[0, 2]] == pytest.approx([1.0, 1.0], abs=1e-6) and similarities[1] < 0.6
    # By hand: two frames against one, the costs are 0 and 1, the second one a step in one stretch alone.
    east, north = [1.0, 0.0], [0.0, 1.0]
    found = warped_similarities(np.array([east, north], np.float32), [np.array([east], np.float32)])
    assert found == pytest.approx([1 - 1 / 3])
