# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The command line of `train_hf.py`: recipes, overrides, and what it refuses, with the remedy."""

import re
from dataclasses import fields

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from transformers import TrainingArguments

from data.training.arguments import make_parser, parse_arguments
from data.training.checks import check_arguments
from tests.helpers.corpora import fill
from tests.helpers.training import REPOSITORY, options, run_python
from train_hf import main


def test_command_line_wins_over_the_config_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model_id: some/model\nlearning_rate: 1.0e-3\nhidden_size: 64\nrotation: 3\ngate_type: sigmoid\n"
        "augment: false\n"
    )
    given = parse_arguments(
        [f"--config={path}", "--hidden_size", "128", "--output_dir", str(tmp_path), "--bf16"]
        + ["--config_overrides", "rotation=2,use_velocity=false", "--config_overrides=gate_init=-10,kp_heads=2"]
    )
    model, encoder, adapters = given.model, given.encoder, given.adapters
    assert (model.model_id, given.training.learning_rate, encoder.hidden_size) == ("some/model", 1e-3, 128)
    assert given.data.augment is False and (given.augmentation.rotation, encoder.use_velocity) == (2.0, False)
    assert (adapters.gate_type, adapters.gate_init, encoder.kp_heads) == ("sigmoid", -10.0, 2)
    # Half precision needs no further argument without a GPU.
    assert given.training.bf16 and given.training.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def options_of(text: str) -> dict[str, str]:
    """Returns the help of each option without what stands before it, `--name VALUE`, as Python's versions differ."""
    entries = re.findall(r"^  --(?!no_)(\w+)(.*?)(?=^  -|\n\n)", text, re.MULTILINE | re.DOTALL)
    return {name: " ".join(entry[entry.find("  ") :].split()) for name, entry in entries}


def test_the_stored_help_is_the_one_of_the_parser_and_shows_few_options_of_our_own(monkeypatch):
    """It was written by `COLUMNS=100 python -c "import train_hf as t; t.main(['-h'])" > data/training/help.txt`."""
    monkeypatch.setenv("COLUMNS", "100")
    shown = options_of(make_parser().format_help())
    assert options_of(run_python("train_hf.py", "--help").stdout) == shown
    own = shown.keys() - {item.name for item in fields(TrainingArguments)}
    assert len(own) <= 55
    assert {"cond_len", "adapter_every", "config", "config_overrides"} <= own and "rotation" not in own


BAD_RECIPES = {"key.yaml": "learning_rat: 1", "list.yaml": "- 1", "open.yaml": "a: ["}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("--config_overrides gate_tipe=tanh", "unknown gate_tipe; did you mean gate_type"),
        ("--config_overrides learning_rate=1", "unknown learning_rate"),
        ("--config_overrides gate_type", "gate_type has no value"),
        ("--config_overrides rotation=much", "rotation: invalid float value"),
        ("--rotation 3", "--config_overrides rotation=VALUE"),
        *((f"--config {name}", name) for name in ("absent.yaml", *BAD_RECIPES)),
        # The Trainer's own complaint: an error, and no traceback.
        ("--use_cpu --save_strategy steps --eval_strategy epoch", "error: --load_best_model_at_end requires"),
    ],
)
def test_wrong_options_and_recipes_are_named(tmp_path, monkeypatch, given, named, capsys):
    monkeypatch.chdir(fill(tmp_path, BAD_RECIPES))
    with pytest.raises(SystemExit):
        parse_arguments(given.split())
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ("", "--model_id"),
        ("--model_id x", "--dataset"),
        ("--model_id x --lm_config y --dataset z", "--lm_config"),
        ("--model_id x --dataset nowhere", "nowhere"),
        ("--model_id x --train_text nowhere.txt", "nowhere.txt"),
        ("--lm_config x --dataset y --lora_r 4", "--model_id"),
        ("--model_id x --train_text y --lora_r 0", "lora_r of at least 1"),
        ("--model_id x --train_text y --encoder z --prompt p", "does not use --prompt, --encoder"),
        ("--model_id x --train_text y --speaker_balance 1", "does not use --speaker_balance"),
        ("--model_id x --train_text y --hidden_size 8 --config_overrides mirror=1", "--hidden_size, --mirror"),
        ("--model_id x --dataset y --lora_alpha 4", "--lora_alpha.*give --lora_r"),
        ("--model_id x --dataset y --lora_target_modules q_proj v_proj", "give --lora_r"),
        ("CORPUS --train_text y", "without --dataset"),
        ("CORPUS --streaming", "data.export --parquet"),
        ("CORPUS --config_overrides trim_silence=0.5 --alignment_weight 0", "word times"),
        ("CORPUS --train_sampling_strategy group_by_length", "clips have no token length"),
        ("CORPUS --blank_check_after -1", "--blank_check_after -1.0"),
    ],
)
def test_arguments_that_do_not_go_together_say_what_to_give(arguments, remedy, corpus, lm_config, tmp_path):
    given = arguments.replace("CORPUS", f"--dataset {corpus} --lm_config {lm_config}").split()
    with pytest.raises(SystemExit, match=remedy):
        main([*given, "--output_dir", str(tmp_path), "--use_cpu"])


@pytest.mark.parametrize("variable", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_sharding_is_refused(corpus, lm_config, tmp_path, monkeypatch, variable):
    given = parse_arguments(options(dataset=corpus, lm_config=lm_config, output_dir=tmp_path))
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match="FSDP and DeepSpeed .* use accelerate_configs/ddp.yaml"):
        check_arguments(given)


@pytest.mark.parametrize(("name", "kind"), [("single", "NO"), ("ddp", "MULTI_GPU")])
def test_files_are_what_accelerate_reads(name, kind):
    """Which refuses unknown keys."""
    path = REPOSITORY / "accelerate_configs" / f"{name}.yaml"
    assert load_config_from_file(str(path)).distributed_type == kind
