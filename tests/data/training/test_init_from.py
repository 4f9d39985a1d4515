# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A run that goes on from a reader: what it keeps, what it adds, and what it refuses."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

import train_hf
from data.training.checkpoints import add_characters
from tests.helpers.training import make_corpus, train

SETTINGS = "--max_steps 2 --seq_len 24 --per_device_train_batch_size 4 --learning_rate 1e-2 --use_cpu".split()


def go_on(*arguments):
    train_hf.main([*SETTINGS, *map(str, arguments)])


@pytest.fixture(scope="module")
def reader(corpus, lm_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    train(dataset=corpus, lm_config=lm_config, output_dir=folder, max_steps=1)
    model = AutoModel.from_pretrained(folder)
    model.config.abstention = {"min_confidence": 0.5}
    model.save_pretrained(folder)
    return folder


def test_it_keeps_the_reader_and_trains_what_is_not_frozen(reader, corpus, tmp_path):
    frozen = ("adapters", "language_model")
    go_on("--init_from", reader, "--freeze", *frozen, "--dataset", corpus, "--output_dir", tmp_path)
    before, after = (load_file(folder / "model.safetensors") for folder in (reader, tmp_path))
    assert before.keys() == after.keys()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"encoder"} and torch.equal(before["encoder.input_mean"], after["encoder.input_mean"])
    model = AutoModel.from_pretrained(tmp_path)
    assert model.config.abstention is None, "the limits hold for the old weights"
    assert model.generation_config.max_new_tokens == 24
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == AutoTokenizer.from_pretrained(reader).get_vocab()


def test_characters_of_the_new_texts_are_added_to_the_ctc_vocabulary(reader, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", texts=("bin œuf",))
    go_on("--init_from", reader, "--dataset", corpus, "--output_dir", tmp_path / "run")
    vocabulary = AutoModel.from_pretrained(reader).config.ctc_vocab
    model = AutoModel.from_pretrained(tmp_path / "run")
    assert model.config.ctc_vocab == [*vocabulary, *sorted(set("bin œuf") - set(vocabulary))]
    assert "œ" in model.config.ctc_vocab[len(vocabulary) :]
    assert model.encoder.ctc_head.out_features == len(model.config.ctc_vocab)


def test_new_characters_leave_the_output_for_the_others_as_it_is(reader):
    model = AutoModel.from_pretrained(reader).eval()
    before = model.encoder(**model.encoder.dummy_inputs)
    known = len(model.config.ctc_vocab)
    add_characters(model, ["é", "ü"])
    after = model.encoder(**model.encoder.dummy_inputs)
    assert after.ctc_logits.shape[-1] == after.alignment_logits.shape[-1] == known + 2
    assert torch.equal(after.ctc_logits[..., :known], before.ctc_logits)
    assert torch.equal(after.alignment_logits[..., :known], before.alignment_logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_id", "some/model"], "give one of --model_id"),
        (["--hidden_size", "64", "--landmarks", "lips"], "leave --landmarks, --hidden_size out"),
        (["--lora_r", "4"], "its language model is trained whole"),
        (["--freeze", "decoder"], "--freeze decoder: the parts are encoder, adapters, language_model"),
        (["--freeze", "encoder", "adapters", "language_model"], "nothing is left to train"),
    ],
)
def test_what_it_cannot_combine_is_refused(reader, corpus, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        go_on("--init_from", reader, "--dataset", corpus, "--output_dir", tmp_path, *options)


def test_another_kind_of_model_is_refused(language_model_dir, corpus, tmp_path):
    with pytest.raises(SystemExit, match="a llama model; give a reader"):
        go_on("--init_from", language_model_dir, "--dataset", corpus, "--output_dir", tmp_path)
