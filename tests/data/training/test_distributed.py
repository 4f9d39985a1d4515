# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Training on several processes with the files of accelerate_configs/: DDP and FSDP2 run, DeepSpeed's is parsed."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from transformers import AutoModel

from data.training.arguments import LipReadTrainingArguments
from data.training.checks import check_sharding
from tests.helpers.readers import write_language_model
from tests.helpers.training import REPOSITORY, STILL, TINY, losses, run_python

CONFIGS = {
    "single": DistributedType.NO,
    "ddp": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "deepspeed": DistributedType.DEEPSPEED,
}
EVEN = {**STILL, "max_steps": 4}
EVEN |= {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "lora_r": 2}
# Three clips for two processes: one of them has nothing of its own left to read in the end.
EVEN |= {"max_eval_clips": 3, "per_device_eval_batch_size": 1}

SIZES = {key: value for key, value in TINY.items() if key != "lm_vocab_size"}


def path(name: str) -> Path:
    return REPOSITORY / "accelerate_configs" / f"{name}.yaml"


def launch(name: str, script: str, *arguments: object, status: int | None = 0, **settings: object) -> str:
    """Runs a script by `accelerate launch` with one of the files, and returns its standard error."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", path(name), script]
    written = [part for key, value in {**SIZES, **settings}.items() for part in (f"--{key}", value)]
    return run_python(*launcher, *arguments, *written, status=status).stderr


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """The same run by DDP and by FSDP2, two processes each."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {"dataset": corpus, "model_id": write_language_model(folder / "lm"), **EVEN}
    scripts = {"ddp": "train_hf.py", "fsdp2": "tests/helpers/fsdp_on_processors.py"}
    for name, script in scripts.items():
        launch(name, script, output_dir=folder / name, **settings)
    return folder, settings


@pytest.mark.parametrize("name", CONFIGS)
def test_files_are_what_accelerate_reads(name):
    assert load_config_from_file(str(path(name))).distributed_type == CONFIGS[name]
    known = set(vars(launch_command_parser().parse_args(["train_hf.py"])))
    settings = yaml.safe_load(path(name).read_text(encoding="utf-8"))
    # accelerate takes any key under these two, and forgets what it does not know.
    for part in ("fsdp_config", "deepspeed_config"):
        assert set(settings.get(part, {})) <= known
    assert set(settings) - {"fsdp_config", "deepspeed_config"} <= known | {"compute_environment", "distributed_type"}


@pytest.mark.slow
def test_fsdp_trains_and_saves_what_ddp_does(runs):
    folder, _ = runs
    assert sorted(losses(folder / "ddp")) == [1, 2, 3, 4]
    trained = json.loads((folder / "ddp" / "trainer_state.json").read_text())
    assert trained["epoch"] == pytest.approx(4 * 2 * TINY["per_device_train_batch_size"] / 24)
    assert losses(folder / "fsdp2") == pytest.approx(losses(folder / "ddp"), rel=1e-5)
    ddp, fsdp = (load_file(folder / name / "model.safetensors") for name in ("ddp", "fsdp2"))
    assert ddp.keys() == fsdp.keys()
    for key, value in ddp.items():  # to the bit on some processors; others add up in another order
        torch.testing.assert_close(fsdp[key], value, rtol=1e-4, atol=1e-6)
    read = [json.loads((folder / name / "eval_results.json").read_text()) for name in ("ddp", "fsdp2")]
    assert read[0]["eval_clips"] == read[1]["eval_clips"] == 3
    measured = [{key: each[f"eval_{key}"] for key in ("wer", "cer", "blank_wer", "loss")} for each in read]
    assert measured[0] == pytest.approx(measured[1], rel=1e-5)
    # A reader with its own code, as DDP saves it.
    names, expected = (
        {file.name for file in (folder / name).iterdir() if file.is_file()} for name in ("fsdp2", "ddp")
    )
    assert names == expected
    config = json.loads((folder / "fsdp2" / "config.json").read_text())
    assert config["auto_map"]["AutoModel"] == "modeling_lipread.LipReadForConditionalGeneration"
    assert config["architectures"] == ["LipReadForConditionalGeneration"]
    AutoModel.from_pretrained(folder / "fsdp2")


@pytest.mark.slow
def test_fsdp_goes_on_from_a_checkpoint(runs, tmp_path):
    folder, settings = runs
    shutil.copytree(folder / "fsdp2", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoint-4")
    said = launch("fsdp2", "tests/helpers/fsdp_on_processors.py", output_dir=tmp_path / "again", **settings)
    assert "Going on from" in said, said
    assert losses(tmp_path / "again") == losses(folder / "fsdp2")
    again, first = (load_file(name / "model.safetensors") for name in (tmp_path / "again", folder / "fsdp2"))
    assert all(again[key].equal(first[key]) for key in first)


@pytest.mark.slow
def test_fsdp_computes_in_half_precision_where_it_is_asked_to(runs, tmp_path):
    folder, settings = runs
    settings = {**settings, "max_steps": 1, "eval_strategy": "no", "load_best_model_at_end": "false"}
    launch("fsdp2", "tests/helpers/fsdp_on_processors.py", "--bf16", output_dir=tmp_path, **settings)
    half, full = losses(tmp_path)[1], losses(folder / "fsdp2")[1]
    assert half != full and half == pytest.approx(full, rel=0.05)


@pytest.mark.slow
def test_fsdp_on_processors_is_refused_rather_than_left_out(corpus, lm_config, tmp_path):
    settings = {"lm_config": lm_config, "dataset": corpus, "output_dir": tmp_path / "run", "max_steps": 1}
    assert "error: FSDP needs GPUs, one for each process" in launch("fsdp2", "train_hf.py", status=None, **settings)
    assert not (tmp_path / "run").exists()


SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}


@pytest.mark.parametrize(
    ("variables", "reading", "message"),
    [
        (SHARDED, False, "a text-only run merges LoRA"),
        ({**SHARDED, "FSDP_VERSION": "1"}, True, "FSDP version 1: only version 2"),
        ({**SHARDED, "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT"}, True, "checkpoints are saved unsharded"),
        (ZERO, True, "DeepSpeed ZeRO-3 shards the adapters"),
        (SHARDED, True, None),
        ({**ZERO, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, True, None),
        ({}, True, None),
    ],
)
def test_what_would_not_train_or_save_a_reader_is_refused(monkeypatch, tmp_path, variables, reading, message):
    args = LipReadTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("data.training.checks.PartialState", lambda: type("", (), {"distributed_type": "MULTI_GPU"}))
    with nullcontext() if message is None else pytest.raises(ValueError, match=message):
        check_sharding(args, not reading)
