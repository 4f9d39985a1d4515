# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` as its users type it: distributed, killed and resumed, diverged, logged, and loaded elsewhere."""

import json
import logging
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from data.training.arguments import parse_arguments
from data.training.checkpoints import last_complete_checkpoint, resume_point
from tests.helpers.publishing import READ, read_clip, write_clip
from tests.helpers.readers import run_elsewhere, write_language_model
from tests.helpers.training import BUDGET, SAVED, STREAMED, TORCHRUN, history, losses, run, train, train_and_kill

ACCELERATE = ("-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu")
LORA = {"lora_r": 4, "lora_dropout": 0.1}
KINDS = {"plain": {}, "lora": LORA, "streamed": STREAMED, "budget": BUDGET, "both": {**STREAMED, **BUDGET}}


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "steps"), [(TORCHRUN, 3), (ACCELERATE, 6)], ids=["torchrun", "accelerate"])
def test_launchers_train_evaluate_and_write_one_reader(corpus, lm_config, tmp_path, launcher, steps):
    result = run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=1, launcher=launcher)
    assert "WER" in result.stderr and "blank video WER" in result.stderr and "shuffled video WER" in result.stderr
    metrics = json.loads((tmp_path / "eval_results.json").read_text())
    assert {"eval_wer", "eval_cer", "eval_blank_wer", "eval_shuffled_wer", "eval_perplexity"} <= metrics.keys()
    assert metrics["eval_clips"] == 4  # each clip is read once, by one of the processes
    # 24 clips in batches of 4: two processes take half as many steps as one.
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{steps}"]
    assert AutoModel.from_pretrained(tmp_path).config.model_type == "lipread"


def settings_of(kind, corpus, exported, lm_config, folder):
    settings = {"dataset": exported if "streaming" in KINDS[kind] else corpus, **SAVED, **KINDS[kind]}
    language_model = {"model_id": write_language_model(folder / "lm")} if kind == "lora" else {"lm_config": lm_config}
    return settings | language_model


@pytest.mark.parametrize("kind", ["plain", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(KINDS)[1:])])
def test_killed_and_resumed_gives_the_same_losses_and_the_same_reader(
    corpus, exported, lm_config, trained, tmp_path, caplog, kind
):
    settings, undisturbed = settings_of(kind, corpus, exported, lm_config, tmp_path), trained
    if kind != "plain":
        undisturbed = tmp_path / "undisturbed"
        train(output_dir=undisturbed, **settings)
    output = tmp_path / "killed"
    train_and_kill(output, **settings)
    (output / "checkpoint-10").mkdir()  # as a kill in the middle of writing leaves it
    with caplog.at_level(logging.INFO):
        train(output_dir=output, **settings)
    assert "Going on from" in caplog.text
    assert "missing keys" not in caplog.text and "unexpected keys" not in caplog.text
    assert losses(output) == losses(undisturbed) and len(losses(output)) >= 12
    results = []
    for folder in (output, undisturbed):
        best = json.loads((folder / "trainer_state.json").read_text())["best_model_checkpoint"].rpartition("-")[2]
        weights = load_file(folder / "model.safetensors")
        kept = load_file(folder / f"checkpoint-{best}" / "model.safetensors")
        assert all(torch.equal(value, kept[key]) for key, value in weights.items()), "the best is the result"
        results.append((best, weights))
    assert results[0][0] == results[1][0] and results[0][1].keys() == results[1][1].keys()
    assert all(torch.equal(value, results[1][1][key]) for key, value in results[0][1].items())


def test_logs_hold_what_a_researcher_watches(trained):
    logged = set().union(*history(trained))
    wanted = {"lm_loss", "ctc_loss", "alignment_loss", "perplexity", "gate/layer_00", "gate/layer_01", "grad_norm"}
    wanted |= {"learning_rate", "system/cpu_percent", "system/ram_gib", "eval_wer", "eval_blank_wer"}
    assert wanted <= logged
    assert list((trained / "runs").rglob("events.out.tfevents.*"))
    assert not list(trained.rglob("training_args.bin"))


def test_a_fresh_process_without_the_repository_reads_the_same(trained, tmp_path):
    clip = write_clip(tmp_path)
    (read,) = json.loads(run_elsewhere(tmp_path, READ, clip, trained).splitlines()[-1]).values()
    expected = read_clip(trained, clip)
    assert read["ids"] == expected["ids"] and read["scores"] == pytest.approx(expected["scores"], abs=1e-5)


def test_restart_leaves_no_older_checkpoint_behind(tmp_path):
    (tmp_path / "checkpoint-90").mkdir()
    (tmp_path / "checkpoint-90" / "trainer_state.json").write_text("{}")
    args = parse_arguments(["--output_dir", str(tmp_path), "--use_cpu", "--restart"]).training
    assert resume_point(args) is None
    assert not list(tmp_path.glob("checkpoint-*"))


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


@pytest.mark.parametrize("name", ["encoder.input_std", "encoder.norm.weight"])
def test_a_checkpoint_with_nan_is_not_loaded(corpus, lm_config, trained, tmp_path, name):
    """In a parameter or in a buffer."""
    folder = shutil.copytree(trained, tmp_path / "diverged", ignore=shutil.ignore_patterns("checkpoint-*"))
    weights = load_file(folder / "model.safetensors")
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


@pytest.mark.parametrize(
    "settings", [{"per_device_train_batch_size": 8}, {"max_train_clips": 20}, {"hidden_size": 64}]
)
def test_going_on_with_another_batch_size_corpus_or_model_is_refused(corpus, lm_config, trained, settings):
    message = "--restart" if "hidden_size" in settings else "epochs, here they are .*--restart"
    with pytest.raises(SystemExit, match=message):
        train(dataset=corpus, lm_config=lm_config, output_dir=trained, **SAVED, **settings)
