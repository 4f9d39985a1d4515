# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The command line of `train_hf.py`: recipes, overrides, and what it refuses, with the remedy."""

import re
from dataclasses import fields

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from transformers import TrainingArguments

from data.training.arguments import make_parser, parse_arguments
from data.training.checks import check_arguments
from tests.helpers.training import REPOSITORY, run_python
from train_hf import main


def test_command_line_wins_over_the_config_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model_id: some/model\nlearning_rate: 1.0e-3\nhidden_size: 64\nrotation: 3\ngate_type: sigmoid\n"
        "augment: false\n"
    )
    given = parse_arguments(
        [f"--config={path}", "--hidden_size", "128", "--output_dir", str(tmp_path)]
        + ["--config_overrides", "rotation=2,use_velocity=false", "--config_overrides=gate_init=-10,kp_heads=2"]
    )
    model, encoder, adapters = given.model, given.encoder, given.adapters
    assert (model.model_id, given.training.learning_rate, encoder.hidden_size) == ("some/model", 1e-3, 128)
    assert given.data.augment is False and (given.augmentation.rotation, encoder.use_velocity) == (2.0, False)
    assert (adapters.gate_type, adapters.gate_init, encoder.kp_heads) == ("sigmoid", -10.0, 2)


def test_the_help_shows_few_options_of_our_own():
    shown = options_of(make_parser().format_help())
    own = shown.keys() - {item.name for item in fields(TrainingArguments)}
    assert len(own) <= 55
    assert {"cond_len", "adapter_every", "config", "config_overrides"} <= own and "rotation" not in own


def options_of(text: str) -> dict[str, str]:
    """Returns the help of each option without what stands before it, `--name VALUE`, as Python's versions differ."""
    entries = re.findall(r"^  --(?!no_)(\w+)(.*?)(?=^  -|\n\n)", text, re.MULTILINE | re.DOTALL)
    return {name: " ".join(entry[entry.find("  ") :].split()) for name, entry in entries}


def test_the_stored_help_is_the_one_of_the_parser(monkeypatch):
    """It was written by `COLUMNS=100 python -c "import train_hf as t; t.main(['-h'])" > data/training/help.txt`."""
    monkeypatch.setenv("COLUMNS", "100")
    assert options_of(run_python("train_hf.py", "--help").stdout) == options_of(make_parser().format_help())


def test_half_precision_needs_no_further_argument_without_a_gpu(tmp_path):
    args = parse_arguments(["--bf16", "--output_dir", str(tmp_path)]).training
    assert args.bf16 and args.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--config_overrides", "gate_tipe=tanh"], "unknown gate_tipe; did you mean gate_type"),
        (["--config_overrides", "learning_rate=1"], "unknown learning_rate"),
        (["--config_overrides", "gate_type"], "gate_type has no value"),
        (["--config_overrides", "rotation=much"], "rotation: invalid float value"),
        (["--rotation", "3"], "--config_overrides rotation=VALUE"),
        (["--config", "absent.yaml"], "absent.yaml"),
        # The Trainer's own complaint: an error, and no traceback.
        (
            ["--use_cpu", "--save_strategy", "steps", "--save_steps", "3", "--eval_strategy", "epoch"],
            "error: --load_best_model_at_end requires",
        ),
    ],
)
def test_wrong_options_are_named(given, named, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(given)
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("content", ["learning_rat: 1", "- 1", "a: ["])
def test_bad_config_files_are_named(tmp_path, content, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(SystemExit):
        parse_arguments(["--config", str(path)])
    assert str(path) in capsys.readouterr().err


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
    given = ["--dataset", str(corpus), "--lm_config", str(lm_config), "--output_dir", str(tmp_path), "--use_cpu"]
    given = parse_arguments(given)
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match="FSDP and DeepSpeed .* use accelerate_configs/ddp.yaml"):
        check_arguments(given)


@pytest.mark.parametrize(("name", "kind"), [("single", "NO"), ("ddp", "MULTI_GPU")])
def test_files_are_what_accelerate_reads(name, kind):
    path = REPOSITORY / "accelerate_configs" / f"{name}.yaml"
    assert load_config_from_file(str(path)).distributed_type == kind
    known = {*vars(launch_command_parser().parse_args(["train_hf.py"])), "compute_environment", "distributed_type"}
    assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= known
