# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Runs that go on from a reader or from an encoder that learned alone: what they keep, add and refuse."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

import train_hf
from data.training.checkpoints import add_characters
from tests.helpers.training import history, losses, make_corpus, train

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
    before, after = (AutoModel.from_pretrained(folder).eval() for folder in (reader, tmp_path / "run"))
    vocabulary, known = before.config.ctc_vocab, len(before.config.ctc_vocab)
    assert after.config.ctc_vocab == [*vocabulary, *sorted(set("bin œuf") - set(vocabulary))]
    assert "œ" in after.config.ctc_vocab[known:]
    assert after.encoder.ctc_head.out_features == len(after.config.ctc_vocab)
    # The outputs for the others stay as they are.
    expected = before.encoder(**before.encoder.dummy_inputs)
    add_characters(before, ["é", "ü"])
    found = before.encoder(**before.encoder.dummy_inputs)
    for name in ("ctc_logits", "alignment_logits"):
        assert found[name].shape[-1] == known + 2 and torch.equal(found[name][..., :known], expected[name])


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


@pytest.fixture(scope="module")
def encoder(corpus, lm_config, tmp_path_factory):
    output, settings = tmp_path_factory.mktemp("encoder"), {"num_train_epochs": 30, "learning_rate": 3e-3}
    train("--encoder_only", dataset=corpus, lm_config=lm_config, output_dir=output, **settings)
    return output


def test_the_encoder_learns_alone_and_nothing_else_does(encoder):
    assert not any("lm_loss" in entry for entry in history(encoder))
    trained = losses(encoder)
    assert trained[max(trained)] < 0.5 * trained[1]
    assert min(entry["eval_wer"] for entry in history(encoder) if "eval_wer" in entry) < 1.0  # what the CTC head reads
    weights = load_file(encoder / "model.safetensors")
    adapters = [name for name in weights if name.startswith("adapters.") and name.endswith("o_proj.weight")]
    assert adapters and not any(weights[name].any() for name in adapters)


def test_a_reading_run_begins_with_it(corpus, lm_config, encoder, tmp_path):
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, encoder=encoder, max_steps=1, learning_rate=1e-9)
    before, after = (load_file(folder / "model.safetensors") for folder in (encoder, tmp_path))
    names = [name for name in before if name.startswith("encoder.")]
    assert names and all(torch.allclose(after[name], before[name], atol=1e-5) for name in names)
    assert losses(tmp_path) and "lm_loss" in history(tmp_path)[0]  # the language model's is among them


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"hidden_size": 16}, "hidden_size 32 instead of 16"),
        ({"landmarks": "lips"}, "landmarks 'lower_face'"),
        ({"ctc": "false"}, "has a CTC head"),
    ],
)
def test_an_encoder_of_other_settings_is_refused(corpus, lm_config, encoder, tmp_path, changed, named):
    with pytest.raises(SystemExit, match=named):
        train(dataset=corpus, lm_config=lm_config, encoder=encoder, output_dir=tmp_path, **changed)


def test_an_encoder_with_an_alignment_head_reads_a_corpus_without_word_times(lm_config, encoder, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", word_times=False)
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path / "run", encoder=encoder, max_steps=1)
    logged = history(tmp_path / "run")
    assert "ctc_loss" in logged[0] and "alignment_loss" not in logged[0]
