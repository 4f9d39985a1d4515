# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Runs that go on from a reader, an encoder or a language model that learned alone: what they keep, add and refuse."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from data.training.checkpoints import add_characters
from tests.helpers.readers import write_language_model
from tests.helpers.training import TEXTS, history, losses, make_corpus, train
from train_hf import main

SETTINGS = "--max_steps 2 --seq_len 24 --per_device_train_batch_size 4 --learning_rate 1e-2 --use_cpu".split()


def go_on(*arguments):
    main([*SETTINGS, *map(str, arguments)])


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


@pytest.fixture(scope="module")
def encoder(corpus, lm_config, tmp_path_factory):
    output, settings = tmp_path_factory.mktemp("encoder"), {"num_train_epochs": 30, "learning_rate": 3e-3}
    settings |= {"eval_strategy": "steps", "eval_steps": 90, "save_strategy": "steps", "save_steps": 90}
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


@pytest.mark.parametrize("word_times", [True, False])
def test_a_reading_run_begins_with_it_and_needs_no_word_times(lm_config, encoder, tmp_path, word_times):
    corpus, output = make_corpus(tmp_path / "corpus", word_times=word_times), tmp_path / "run"
    train(dataset=corpus, lm_config=lm_config, output_dir=output, encoder=encoder, max_steps=1, learning_rate=1e-9)
    before, after = (load_file(folder / "model.safetensors") for folder in (encoder, output))
    names = [name for name in before if name.startswith("encoder.")]
    assert names and all(torch.allclose(after[name], before[name], atol=1e-5) for name in names)
    assert {"lm_loss", "ctc_loss"} < history(output)[0].keys()
    assert ("alignment_loss" in history(output)[0]) == word_times


def test_another_kind_of_model_and_an_encoder_of_other_settings_are_refused(
    language_model_dir, corpus, lm_config, encoder, tmp_path
):
    with pytest.raises(SystemExit, match="a llama model; give a reader"):
        go_on("--init_from", language_model_dir, "--dataset", corpus, "--output_dir", tmp_path)
    for changed, named in (({"hidden_size": 16}, "32 instead of 16"), ({"landmarks": "lips"}, "'lower_face'")):
        with pytest.raises(SystemExit, match=f"{next(iter(changed))} {named}"):
            train(dataset=corpus, lm_config=lm_config, encoder=encoder, output_dir=tmp_path, **changed)


@pytest.fixture(scope="module")
def language_models(tmp_path_factory):
    """A language model, and what a text-only run made of it."""
    folder = tmp_path_factory.mktemp("language_models")
    (folder / "texts.txt").write_text("\n".join(TEXTS * 10), encoding="utf-8")
    base, warm = write_language_model(folder / "base"), folder / "warm"
    settings = f"--train_text {folder / 'texts.txt'} --model_id {base} --output_dir {warm} --num_train_epochs 4"
    main(f"{settings} --learning_rate 5e-2 --seq_len 16 --per_device_train_batch_size 4 --use_cpu".split())
    return base, warm


LORA = {"lora_r": 4, "lora_alpha": 4, "lora_dropout": 0.1, "num_train_epochs": 1}


@pytest.fixture(scope="module")
def lora_reader(corpus, language_models, tmp_path_factory):
    output = tmp_path_factory.mktemp("lora_reader")
    train(dataset=corpus, model_id=language_models[1], output_dir=output, **LORA)
    return output


def test_a_text_only_run_warms_up_a_language_model(language_models):
    # The rank of a text-only run if none is given.
    lora = json.loads((next(language_models[1].glob("checkpoint-*")) / "adapter_config.json").read_text())
    assert (lora["r"], lora["lora_alpha"]) == (16, 32)
    # An ordinary model, LoRA merged in.
    base, warm = (AutoModelForCausalLM.from_pretrained(folder) for folder in language_models)
    tokenizer = AutoTokenizer.from_pretrained(language_models[0])
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(TEXTS[0])["input_ids"], tokenizer.eos_token_id]])
    with torch.no_grad():
        assert warm(ids, labels=ids).loss < base(ids, labels=ids).loss - 0.2


def test_a_reading_run_trains_lora_and_saves_it(lora_reader, language_models):
    weights = load_file(lora_reader / "model.safetensors")
    assert {key.split(".")[0] for key in weights} == {"encoder", "adapters", "language_model", "token_spelling"}
    lora = {key: value for key, value in weights.items() if key.startswith("language_model.")}
    assert len(lora) == 2 * 7 * 2 and all(".lora_" in key for key in lora)
    assert all(value.abs().max() > 0 for key, value in lora.items() if ".lora_B." in key), "they start at zero"
    reader, base = AutoModel.from_pretrained(lora_reader), AutoModelForCausalLM.from_pretrained(language_models[1])
    assert reader.config.lora == {"r": 4, "alpha": 4, "dropout": 0.1, "target_modules": "all-linear"}
    frozen = reader.language_model.state_dict()
    for name, value in base.state_dict().items():
        assert torch.equal(value, frozen.get(name, frozen.get(name.replace(".weight", ".base_layer.weight")))), name


def test_going_on_with_other_lora_is_refused(corpus, language_models, lora_reader, tmp_path):
    plain = {"num_train_epochs": 1}
    train(dataset=corpus, model_id=language_models[1], output_dir=tmp_path, **plain)
    for folder, other in ((lora_reader, LORA | {"lora_r": 8}), (lora_reader, plain), (tmp_path, LORA)):
        with pytest.raises(SystemExit, match="lora_A.*--restart"):
            train(dataset=corpus, model_id=language_models[1], output_dir=folder, **other)
