# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py --lora_r`: on a language model warmed up on text, killed and resumed, the best checkpoint kept."""

import json
import signal
import subprocess
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from training import TEXTS, command, environment, losses, run
from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig

import modeling_lipread  # noqa: F401  (registers the reader)
from data.arguments import ModelArguments
from data.checkpoints import check_fits, last_complete_checkpoint
from data.tokenizer import train_tokenizer
from train_hf import main


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A language model that a text-only run has warmed up."""
    folder = tmp_path_factory.mktemp("language_model")
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, 280)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    (folder / "texts.txt").write_text("\n".join(TEXTS * 4), encoding="utf-8")
    run(train_text=folder / "texts.txt", model_id=folder / "base", output_dir=folder / "warm", num_train_epochs=1)
    # The rank of a text-only run if none is given.
    lora = json.loads((next((folder / "warm").glob("checkpoint-*")) / "adapter_config.json").read_text())
    assert (lora["r"], lora["lora_alpha"]) == (16, 32)
    return folder / "warm"


@pytest.fixture(scope="module")
def settings(corpus, warm):
    return {
        "dataset": corpus,
        "model_id": warm,
        "lora_r": 4,
        "lora_dropout": 0.1,
        "num_train_epochs": 2,
        "save_strategy": "steps",
        "save_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 3,
    }


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    run(**settings, output_dir=output)
    return output


def test_a_reading_run_trains_lora_and_saves_it(undisturbed, warm):
    weights = load_file(undisturbed / "model.safetensors")
    assert {key.split(".")[0] for key in weights} == {"encoder", "adapters", "language_model", "token_spelling"}
    lora = {key: value for key, value in weights.items() if key.startswith("language_model.")}
    assert len(lora) == 2 * 7 * 2 and all(".lora_" in key for key in lora)
    assert all(value.abs().max() > 0 for key, value in lora.items() if ".lora_B." in key), "they start at zero"
    reader, base = AutoModel.from_pretrained(undisturbed), AutoModelForCausalLM.from_pretrained(warm)
    assert reader.config.lora == {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": "all-linear"}
    frozen = reader.language_model.state_dict()
    for name, value in base.state_dict().items():
        assert torch.equal(value, frozen.get(name, frozen.get(name.replace(".weight", ".base_layer.weight")))), name


def test_killed_and_resumed_gives_the_same_losses_and_the_same_reader(settings, undisturbed, tmp_path):
    process = subprocess.Popen(
        command(**settings, output_dir=tmp_path),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while last_complete_checkpoint(tmp_path) is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = run(**settings, output_dir=tmp_path)
    assert "Going on from" in resumed.stderr
    assert "missing keys" not in resumed.stderr and "unexpected keys" not in resumed.stderr
    assert losses(tmp_path) == losses(undisturbed)
    assert len(losses(tmp_path)) == 12
    results = []
    for output in (tmp_path, undisturbed):
        best = json.loads((output / "trainer_state.json").read_text())["best_model_checkpoint"].rpartition("-")[2]
        weights = load_file(output / "model.safetensors")
        kept = load_file(output / f"checkpoint-{best}" / "model.safetensors")
        assert all(torch.equal(value, kept[key]) for key, value in weights.items()), "the best is the result"
        results.append((best, weights))
    assert results[0][0] == results[1][0]
    assert results[0][1].keys() == results[1][1].keys()
    assert all(torch.equal(value, results[1][1][key]) for key, value in results[0][1].items())


@pytest.mark.parametrize("change", [{"lora_r": 0, "lora_dropout": None}, {"lora_r": 8}])
def test_going_on_with_another_rank_is_refused(settings, undisturbed, change):
    given = {key: value for key, value in {**settings, **change}.items() if value is not None}
    with pytest.raises(SystemExit, match="lora_A.*--restart"):
        main(command(**given, output_dir=undisturbed)[2:])


def test_going_on_with_lora_that_the_run_had_not_is_refused(undisturbed, tmp_path):
    weights = load_file(undisturbed / "model.safetensors")
    plain = {key: value for key, value in weights.items() if ".lora_" not in key}
    save_file(plain, tmp_path / "model.safetensors", metadata={"format": "pt"})
    reader = AutoModel.from_pretrained(undisturbed)
    check_fits(undisturbed, reader)
    with pytest.raises(ValueError, match="lora_A.*--restart"):
        check_fits(tmp_path, reader)


def test_what_the_command_line_means():
    assert ModelArguments().lora() is None
    assert ModelArguments(lora_r=0).lora() is None
    everywhere = {"dropout": 0.0, "target_modules": "all-linear"}
    assert ModelArguments(lora_r=8).lora() == {"r": 8, "alpha": 16, **everywhere}
    assert ModelArguments().lora(default_rank=16) == {"r": 16, "alpha": 32, **everywhere}
    given = ModelArguments(lora_r=8, lora_alpha=4, lora_dropout=0.1, lora_target_modules=["q_proj", "v_proj"])
    assert given.lora() == {"r": 8, "alpha": 4, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--lm_config", "x", "--dataset", "y", "--lora_r", "4"], "--model_id"),
        (["--model_id", "x", "--train_text", "y", "--lora_r", "0"], "lora_r of at least 1"),
        (["--model_id", "x", "--dataset", "y", "--lora_alpha", "4"], "--lora_alpha.*give --lora_r"),
        (["--model_id", "x", "--dataset", "y", "--lora_target_modules", "q_proj", "v_proj"], "give --lora_r"),
    ],
)
def test_arguments_that_do_not_go_together_say_what_to_give(arguments, remedy, tmp_path):
    with pytest.raises(SystemExit, match=remedy):
        main([*arguments, "--output_dir", str(tmp_path), "--use_cpu"])
