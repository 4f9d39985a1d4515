# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Batches: what the model learns from, and that an evaluation batch keeps the transcript from `generate`."""

import functools
import logging
import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from data.collator import LipReadCollator
from data.schema import encode_row, load_split, rows_to_table
from data.tokenizer import build_ctc_vocab, train_tokenizer
from modeling_lipread import LipReadFeatureExtractor, LipReadProcessor
from tests.helpers.training import make_clip

TEXTS = ["Bin blue at f two now", "set white", "lay red by t nine soon, please"]
FRAMES = [30, 12, 21]
SEQUENCES = [make_clip(text, seed, FRAMES[seed]) for seed, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    encoded = [encode_row(sequence, text=text, id=text[:3]) for sequence, text in zip(SEQUENCES, TEXTS, strict=True)]
    Dataset(rows_to_table(encoded)).save_to_disk(folder)
    return load_split(folder)


@pytest.fixture(scope="module")
def processor():
    return LipReadProcessor(LipReadFeatureExtractor(), train_tokenizer(TEXTS))


def test_the_character_of_each_frame_follows_the_words_times(processor):
    words = [{"word": "Set", "start": 0.08, "end": 0.2}, {"word": "white", "start": 0.24, "end": 0.4}]
    row = dict(encode_row(SEQUENCES[1], text="set white", id="set", words=words))
    twice_as_fast = make_clip("set white", 1, 24)
    twice_as_fast.timestamps = np.arange(24) / 50
    vocab = build_ctc_vocab(TEXTS)
    collate = LipReadCollator(processor, seq_len=64, ctc_vocab=vocab, alignment=True)
    fast = encode_row(twice_as_fast, text="set white", id="fast", words=words)
    said, resampled, unknown = collate([row, fast, row | {"words": [], "id": "silent"}])["alignment_targets"]
    # Frames of 40 ms: two before the word, a letter in each of three, one between the words, four for five letters.
    assert [vocab[label] for label in said] == ["", "", "s", "e", "t", "", "w", "h", "t", "e", "", ""]
    assert said.equal(resampled) and unknown.eq(-100).all()
    assert "alignment_targets" not in LipReadCollator(processor, seq_len=64, ctc_vocab=vocab)([row])


def unpadded(labels):
    return [[token for token in row if token != -100] for row in labels.tolist()]


def test_training_batch_has_the_features_of_inference(processor, rows):
    collator = LipReadCollator(processor, seq_len=64)
    batch = next(iter(DataLoader(rows, batch_size=3, collate_fn=collator)))
    tokenizer = processor.tokenizer
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    for index, text in enumerate(TEXTS):
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        padding = batch["input_ids"].shape[1] - len(tokens) - 2
        assert batch["input_ids"][index].tolist() == [start, *tokens, end] + [pad] * padding
        assert batch["attention_mask"][index].tolist() == [1] * (len(tokens) + 2) + [0] * padding
        assert batch["labels"][index].tolist() == [-100, *tokens, end] + [-100] * padding
    assert batch["keypoints_mask"].sum(1).tolist() == FRAMES
    assert batch["keypoints"].shape == (3, 30, 79, 3) and batch["keypoints"].dtype == torch.float32
    assert all(batch[name].dtype == torch.int64 for name in batch if name != "keypoints")
    direct = processor.feature_extractor(SEQUENCES, return_tensors="pt")
    torch.testing.assert_close(batch["keypoints_mask"], direct["keypoints_mask"])
    # float16 costs half a thousandth of the largest coordinate, here some six lengths of the feature extractor.
    torch.testing.assert_close(batch["keypoints"], direct["keypoints"], atol=3e-3, rtol=0)


@pytest.fixture(scope="module")
def start_ids(processor):
    """The start token and a prompt, as a configuration has them."""
    prompt = processor.tokenizer("The person says:", add_special_tokens=False)["input_ids"]
    return [processor.tokenizer.bos_token_id, *prompt]


def test_prompt_is_given_but_never_learned(processor, rows, start_ids):
    batch = LipReadCollator(processor, seq_len=64, start_ids=start_ids)(list(rows))
    assert all(row[: len(start_ids)] == start_ids for row in batch["input_ids"].tolist())
    assert (batch["labels"][:, : len(start_ids)] == -100).all()
    texts = processor.tokenizer.batch_decode(unpadded(batch["labels"]), skip_special_tokens=True)
    assert [text.strip() for text in texts] == TEXTS


@pytest.mark.parametrize(("prompt", "seq_len"), [(False, 2), (True, 17)])
def test_evaluation_batch_holds_no_transcript(processor, rows, start_ids, prompt, seq_len):
    given = {"start_ids": start_ids} if prompt else {}
    collator = LipReadCollator(processor, seq_len=seq_len, train=False, ctc_vocab=build_ctc_vocab(TEXTS), **given)
    batch = collator(list(rows))
    assert batch["input_ids"].tolist() == [start_ids if prompt else start_ids[:1]] * len(rows)
    # Whatever is said, the model is given the same.
    other = collator([{**row, "text": "something else altogether"} for row in rows])
    assert set(batch) == {"keypoints", "keypoints_mask", "input_ids", "attention_mask", "labels"}
    for name in set(batch) - {"labels"}:
        torch.testing.assert_close(batch[name], other[name], rtol=0, atol=0)
    assert (batch["attention_mask"] == 1).all()
    references = processor.tokenizer.batch_decode(unpadded(batch["labels"]))
    assert [text.strip() for text in references] == TEXTS, "references are whole, whatever seq_len"


def test_long_texts_are_cut_with_a_warning(processor, rows, caplog):
    tokens = processor.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    exact = LipReadCollator(processor, seq_len=len(tokens) + 1)
    with caplog.at_level(logging.WARNING):
        assert unpadded(exact([rows[0]])["labels"]) == [tokens], "no room for EOS, but nothing lost"
        assert not caplog.records
        short = LipReadCollator(processor, seq_len=len(tokens))
        for _ in range(2):
            assert unpadded(short([rows[0]])["labels"]) == [tokens[:-1]]
    assert [record.getMessage() for record in caplog.records] == [
        f"texts longer than seq_len={len(tokens)} are cut; the first is {TEXTS[0]!r}"
    ]
    with pytest.raises(ValueError, match="seq_len 1 leaves no room"):
        LipReadCollator(processor, seq_len=1)


def test_ctc_targets_leave_out_what_has_no_label(processor, rows, caplog):
    labels = LipReadCollator(processor, seq_len=64, ctc_vocab=build_ctc_vocab(TEXTS))(list(rows))["ctc_targets"]
    assert labels.dtype == torch.int64 and not (labels == 0).any(), "the blank is no label"
    with caplog.at_level(logging.WARNING):
        few = LipReadCollator(processor, seq_len=64, ctc_vocab=["", "e", "t"])([rows[1]])["ctc_targets"]
    assert few.tolist() == [[1, 2, 2, 1]], "set white"
    assert "CTC labels leave out [' ', 'h', 'i', 's', 'w']" in caplog.records[0].getMessage()
    assert "ctc_targets" not in LipReadCollator(processor, seq_len=64, ctc_vocab=[])([rows[1]])


def test_cached_examples_are_those_made_anew_and_keep_to_their_memory(processor, rows):
    cached = functools.partial(LipReadCollator, processor, seq_len=64, ctc_vocab=build_ctc_vocab(TEXTS))
    size = 20 * 79 * 3 * 4 + 20 * 8
    collate = cached(cache_bytes=2 * size)
    for _ in range(2):
        collate([encode_row(make_clip("x", seed, 20), text=TEXTS[0], id=str(seed)) for seed in range(5)])
    assert (len(collate.cache), collate.cache.bytes) == (2, 2 * size)

    collate, rows = cached(cache_bytes=2**20), list(rows)
    expected = cached(cache_bytes=0)(rows)
    collate(rows)["keypoints"].zero_()  # which does not reach the cache
    # Clips of two splits may share an id.
    other = collate([encode_row(make_clip("x", 7, 12), text=TEXTS[1], id=rows[1]["id"])])["keypoints"][0]
    assert not torch.equal(other, expected["keypoints"][1, :12])
    # A worker process begins with an empty cache.
    sent = pickle.loads(pickle.dumps(collate))
    assert (len(sent.cache), sent.cache.max_bytes) == (0, 2**20)
    assert all(torch.equal(value, expected[name]) for name, value in sent(rows).items())
    collate.feature_extractor = None  # nothing is extracted twice
    for order in ([0, 1, 2], [2, 1, 0]):
        batch = collate([rows[index] for index in order])
        assert all(torch.equal(batch[name], expected[name][order]) for name in expected)
