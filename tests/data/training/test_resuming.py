# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Runs that diverge, and checkpoints that are damaged, incomplete, or of another run."""

import logging
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import modeling_lipread  # noqa: F401  (registers the model)
from data.training.arguments import parse_arguments
from data.training.checkpoints import last_complete_checkpoint, resume_point
from tests.helpers.training import SAVED, train


@pytest.mark.parametrize(
    ("save_steps", "reason"),
    [(3, "after step 3 the weights are not finite"), pytest.param(90, "have not been finite", marks=pytest.mark.slow)],
)
def test_a_run_that_diverges_fails_and_saves_nothing(corpus, lm_config, tmp_path, save_steps, reason):
    (tmp_path / "model.safetensors").write_text("a good model")
    settings = SAVED | {"save_steps": save_steps, "eval_steps": save_steps, "num_train_epochs": 3}
    with pytest.raises(SystemExit, match=f"{reason}.* learning rate of .*--learning_rate"):
        train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, learning_rate=1e30, warmup_steps=0, **settings)
    assert (tmp_path / "model.safetensors").read_text() == "a good model"
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_checkpoint_with_nan_is_not_loaded(corpus, lm_config, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "diverged", ignore=shutil.ignore_patterns("checkpoint-*"))
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.startswith("encoder.") and weights[name].is_floating_point())
    save_file(
        weights | {name: torch.full_like(weights[name], torch.nan)}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ValueError, match=f"1 of its weights are not finite .{name}"):
        AutoModel.from_pretrained(folder)
    with pytest.raises(SystemExit, match="1 of its weights are not finite"):
        train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path / "run", encoder=folder)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt", "model.safetensors"])
def test_a_damaged_checkpoint_is_passed_over(trained, tmp_path, name, caplog):
    folder = shutil.copytree(trained, tmp_path / "run")
    newest = last_complete_checkpoint(folder)
    (other,) = (str(path) for path in folder.glob("checkpoint-*") if str(path) != newest)
    path = os.path.join(newest, name)
    os.truncate(path, os.path.getsize(path) // 2)
    assert last_complete_checkpoint(folder) == other and f"{newest} is ignored" in caplog.text
    arguments = ["--output_dir", str(folder), "--use_cpu", "--resume_from_checkpoint", newest]
    with pytest.raises(OSError, match=f"{newest}: .*give another checkpoint"):
        resume_point(parse_arguments(arguments).training)


def test_a_missing_state_is_mentioned(trained, tmp_path, caplog):
    folder = shutil.copytree(trained, tmp_path / "run")
    for path in folder.glob("checkpoint-*/rng_state.pth"):
        path.unlink()
    with caplog.at_level(logging.WARNING):
        resume_point(parse_arguments(["--output_dir", str(folder), "--use_cpu"]).training)
    assert "holds no rng_state" in caplog.text and "holds no optimizer" not in caplog.text


@pytest.mark.parametrize("settings", [{"per_device_train_batch_size": 8}, {"max_train_clips": 20}])
def test_steps_of_another_batch_size_or_corpus_are_refused(corpus, lm_config, trained, settings):
    with pytest.raises(SystemExit, match="epochs, here they are .*--restart"):
        train(dataset=corpus, lm_config=lm_config, output_dir=trained, **SAVED, **settings)
