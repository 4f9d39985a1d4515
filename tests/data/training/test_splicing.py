# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Spliced clips: the words of others on one's own face, with everything that belongs to a frame still beside it."""

import copy

import numpy as np
import pytest

from data.collator import IGNORED, LipReadCollator
from data.schema import encode_row
from data.tokenizer import build_ctc_vocab, train_tokenizer
from data.training.splicing import SpokenWord, WordSplicing, splice
from modeling_lipread import LipReadFeatureExtractor, LipReadProcessor
from tests.helpers.training import make_clip


def example(words: str, lengths: list[int], face: float, seed: int) -> dict:
    """A silent frame, a word of each length with a silent frame after it; a frame's label is its number."""
    frames, at, spoken = 1 + sum(lengths) + len(lengths), 1, []
    for word, length in zip(words.split(), lengths, strict=True):
        spoken.append(SpokenWord(word, at, at + length))
        at += length + 1
    keypoints = np.random.default_rng(seed).normal(face, 0.1, (frames, 4, 3)).astype(np.float32)
    labels = 100 * seed + np.arange(frames)
    return {"words": spoken, "keypoints": keypoints, "keypoints_mask": np.ones(frames, np.int64), "labels": labels}


@pytest.fixture
def clips():
    return example("bin blue now", [3, 4, 2], 0.0, 0), example("set white soon", [2, 5, 4], 10.0, 1)


def test_a_word_of_another_clip(clips):
    first, second = clips
    second["keypoints_mask"][5] = second["keypoints"][5] = 0
    new = splice(first, {1: (second, 1)})
    assert [word.text for word in new["words"]] == ["bin", "white", "now"]
    assert len(new["keypoints"]) == len(new["keypoints_mask"]) == len(first["keypoints"]) + 1
    was, now = second["words"][1], new["words"][1]
    assert (now.start, now.end) == (5, 10)
    np.testing.assert_array_equal(new["labels"][5:10], second["labels"][was.start : was.end])
    (hidden,) = np.flatnonzero(new["keypoints_mask"] == 0)
    assert hidden == 5 + 5 - was.start and not new["keypoints"][hidden].any(), "where no face was seen none is made"
    own, seen = np.r_[0:5, 10 : len(new["labels"])], new["keypoints_mask"][5:10] > 0
    mean = second["keypoints"][second["keypoints_mask"] > 0].mean(0)
    moved = (second["keypoints"] - mean)[was.start : was.end]
    np.testing.assert_allclose((new["keypoints"][5:10] - first["keypoints"].mean(0))[seen], moved[seen], atol=1e-5)
    for name in ("labels", "keypoints"):
        np.testing.assert_array_equal(new[name][own], np.r_[first[name][:5], first[name][9:]])


def test_how_often_words_are_replaced_and_that_only_the_batch_decides(clips):
    firsts = [WordSplicing(0.5, seed)(clips, ["a", "b"])[0] for seed in range(400)]
    changed = [first is not clips[0] for first in firsts]
    assert 0.35 < np.mean(changed) < 0.53  # a half of them, less those that kept all three words by chance
    words = [word.text in ("set", "white", "soon") for first in firsts for word in first["words"]]
    assert 0.2 < np.mean(words) < 0.3
    assert all(
        len(first[name]) == len(first["keypoints_mask"]) for first in firsts for name in ("keypoints", "labels")
    )
    assert WordSplicing(0.0)(clips, ["a", "b"]) == list(clips)
    draw = lambda names: [word.text for clip in WordSplicing(1.0, 3)(clips, names) for word in clip["words"]]  # noqa: E731
    assert draw(["a", "b"]) == draw(["a", "b"])
    assert any(draw(["a", "b"]) != draw([name, "b"]) for name in "cdef")


def test_sentences_of_other_lengths_and_clips_without_words():
    long, short = example("a b c d e", [2] * 5, 0, 0), example("x y", [2, 2], 0, 1)
    silent = {**short, "words": []}
    for seed in range(20):
        first, second, third = WordSplicing(1.0, seed)([long, short, silent], ["a", "b", "c"])
        places = {"x": {0, 1, 2}, "y": {2, 3, 4}}
        assert all(place in places.get(word.text, {place}) for place, word in enumerate(first["words"]))
        assert len(second["words"]) == 2 and third is silent


TEXTS = ["bin blue now", "set white soon"]
WORDS = [[("bin", 0.04, 0.16), ("blue", 0.2, 0.36), ("now", 0.4, 0.48)], [("set", 0.04, 0.2), ("white", 0.2, 0.4)]]


@pytest.fixture(scope="module")
def rows():
    words = [[dict(zip(("word", "start", "end"), word, strict=True)) for word in clip] for clip in WORDS]
    said = enumerate(zip((TEXTS[0], "set white"), words, strict=True))
    return [encode_row(make_clip("x", seed, 15), text=text, id=str(seed), words=words) for seed, (text, words) in said]


def collator(**kwargs):
    processor = LipReadProcessor(LipReadFeatureExtractor(), train_tokenizer(TEXTS))
    return LipReadCollator(processor, seq_len=64, ctc_vocab=build_ctc_vocab(TEXTS), alignment=True, **kwargs)


def test_what_is_written_and_spelled_follows_the_words(rows):
    vocab = build_ctc_vocab(TEXTS)
    said = set()
    for seed in range(8):
        collate = collator(splicing=WordSplicing(1.0, seed), cache_bytes=2**20)
        batch = collate(rows)
        for labels, ctc, alignment in zip(
            batch["labels"], batch["ctc_targets"], batch["alignment_targets"], strict=True
        ):
            text = collate.tokenizer.decode(labels[labels != IGNORED], skip_special_tokens=True).strip()
            assert "".join(vocab[index] for index in ctc[ctc != IGNORED]) == text
            spoken = [vocab[index] for index in alignment[alignment != IGNORED]]
            letters = iter(text.replace(" ", ""))
            assert all(letter == "" or letter in text for letter in spoken) and next(letters) in spoken
            said.add(text)
    assert len(said - set(TEXTS)) > 1
    assert {word for text in said for word in text.split()} == {*"bin blue now set white".split()}

    # Words keep the spelling of their text.
    collate = collator(splicing=WordSplicing(1.0, 3))
    labels = collate([rows[0] | {"text": "Bin, blue now!"}, rows[1]] * 8)["labels"]
    words = {word for tokens in labels for word in collate.tokenizer.decode(tokens[tokens != IGNORED]).split()}
    assert "Bin," in words and "bin" not in words


def test_evaluation_and_clips_whose_words_are_not_their_text_stay_as_they_are(rows):
    """An evaluation does also where what splicing makes of its clips is kept for training."""
    other = [rows[0] | {"text": "bin blue now please"}, rows[1] | {"words": []}]
    plain, spliced = collator()(other), collator(splicing=WordSplicing(1.0))(other)
    assert all((plain[name] == spliced[name]).all() for name in plain)
    collate = collator(splicing=WordSplicing(1.0), cache_bytes=2**20)
    evaluating = copy.copy(collate)
    evaluating.splicing = None
    plain, evaluated = collator()(rows), evaluating(rows)
    assert all((plain[name] == evaluated[name]).all() for name in plain)
    assert collate(rows)["keypoints"].shape != plain["keypoints"].shape
    assert collator(splicing=WordSplicing(1.0), train=False).splicing is None
