# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Cached examples are those that would be made anew, and stay within their memory."""

import pickle

import numpy as np
import pytest
import torch

from data.collator import LipReadCollator
from data.schema import encode_row
from data.tokenizer import build_ctc_vocab, train_tokenizer
from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor
from modeling_lipread.processing_lipread import LipReadProcessor
from tests.helpers.training import TEXTS, make_clip


class CountingExtractor(LipReadFeatureExtractor):
    """The real one, which also counts the clips that it is given."""

    clips = 0

    def _extract(self, clip):
        self.clips += 1
        return super()._extract(clip)


@pytest.fixture
def processor():
    return LipReadProcessor(CountingExtractor(), train_tokenizer(TEXTS))


def row(frames, seed, id="clip"):
    return encode_row(make_clip("x", seed, frames), text=TEXTS[0], id=id)


def collator(processor, **kwargs):
    return LipReadCollator(processor, seq_len=64, ctc_vocab=build_ctc_vocab(TEXTS), **kwargs)


def test_the_same_batch_without_x_again(processor):
    rows = [row(30, 0, "a"), row(12, 1, "b")]
    fresh, cached = collator(processor)(rows), collator(processor, cache_bytes=2**20)
    for batch in (cached(rows), cached(rows), cached(rows[::-1])):
        assert processor.feature_extractor.clips == 4
        order = slice(None) if torch.equal(batch["keypoints"][0], fresh["keypoints"][0]) else [1, 0]
        assert all(torch.equal(batch[key][order], fresh[key]) for key in fresh)


def test_a_clip_twice_in_a_batch(processor):
    rows = [row(12, 1)] * 2
    batch = collator(processor)(rows)
    assert torch.equal(batch["keypoints"][0], batch["keypoints"][1]) and processor.feature_extractor.clips == 1


def test_clips_of_two_splits_may_share_an_id(processor):
    collate = collator(processor, cache_bytes=2**20)
    first, second = collate([row(12, 1)])["keypoints"], collate([row(12, 2)])["keypoints"]
    assert not torch.equal(first, second)


def test_it_keeps_to_its_memory(processor):
    rows = [row(20, seed, str(seed)) for seed in range(5)]
    size = 20 * 79 * 3 * 4 + 20 * 8
    collate = collator(processor, cache_bytes=2 * size)
    for _ in range(2):
        collate(rows)
    assert (len(collate.cache), collate.cache.bytes) == (2, 2 * size)
    assert processor.feature_extractor.clips == 5 + 3


def test_a_worker_process_begins_with_an_empty_one_and_makes_the_same_batch(processor):
    collate = collator(LipReadProcessor(LipReadFeatureExtractor(), processor.tokenizer), cache_bytes=2**20)
    expected, sent = collate([row(12, 1)]), pickle.loads(pickle.dumps(collate))
    assert (len(collate.cache), len(sent.cache), sent.cache.max_bytes) == (1, 0, 2**20)
    batch = sent([row(12, 1)])
    assert batch.keys() == expected.keys() and all(torch.equal(batch[name], expected[name]) for name in expected)


def test_what_is_done_to_a_batch_does_not_reach_the_cache(processor):
    collate, rows = collator(processor, cache_bytes=2**20), [row(12, 1)]
    first = collate(rows)["keypoints"]
    kept = first.clone()
    first.zero_()
    np.testing.assert_array_equal(collate(rows)["keypoints"], kept)
