# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` on text alone, and `--lora_r` on the language model that came of it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from data.training.checkpoints import check_fits
from tests.helpers.readers import write_language_model
from tests.helpers.training import TEXTS, train
from train_hf import main


@pytest.fixture(scope="module")
def language_models(tmp_path_factory):
    """A language model, and what a text-only run made of it."""
    folder = tmp_path_factory.mktemp("language_models")
    (folder / "texts.txt").write_text("\n".join(TEXTS * 10), encoding="utf-8")
    base, warm = write_language_model(folder / "base"), folder / "warm"
    settings = f"--train_text {folder / 'texts.txt'} --model_id {base} --output_dir {warm} --num_train_epochs 4"
    main(f"{settings} --learning_rate 5e-2 --seq_len 16 --per_device_train_batch_size 4 --use_cpu".split())
    return base, warm


@pytest.fixture(scope="module")
def settings(corpus, language_models):
    return {"dataset": corpus, "model_id": language_models[1], "lora_r": 4, "lora_dropout": 0.1, "num_train_epochs": 1}


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    train(**settings, output_dir=output)
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


def test_a_reading_run_trains_lora_and_saves_it(trained, language_models):
    weights = load_file(trained / "model.safetensors")
    assert {key.split(".")[0] for key in weights} == {"encoder", "adapters", "language_model", "token_spelling"}
    lora = {key: value for key, value in weights.items() if key.startswith("language_model.")}
    assert len(lora) == 2 * 7 * 2 and all(".lora_" in key for key in lora)
    assert all(value.abs().max() > 0 for key, value in lora.items() if ".lora_B." in key), "they start at zero"
    reader, base = AutoModel.from_pretrained(trained), AutoModelForCausalLM.from_pretrained(language_models[1])
    assert reader.config.lora == {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
    frozen = reader.language_model.state_dict()
    for name, value in base.state_dict().items():
        assert torch.equal(value, frozen.get(name, frozen.get(name.replace(".weight", ".base_layer.weight")))), name


def test_going_on_with_other_lora_is_refused(settings, trained, tmp_path):
    without = {key: value for key, value in settings.items() if not key.startswith("lora")}
    for change in ({**settings, "lora_r": 8}, without):
        with pytest.raises(SystemExit, match="lora_A.*--restart"):
            train(**change, output_dir=trained)
    weights = load_file(trained / "model.safetensors")
    plain = {key: value for key, value in weights.items() if ".lora_" not in key}
    save_file(plain, tmp_path / "model.safetensors", metadata={"format": "pt"})
    reader = AutoModel.from_pretrained(trained)
    check_fits(trained, reader)
    with pytest.raises(ValueError, match="lora_A.*--restart"):
        check_fits(tmp_path, reader)
