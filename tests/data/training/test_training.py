# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` as its users type it: distributed, streamed, killed, resumed, diverged, blind, logged, loaded."""

import itertools
import json
import logging
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModel, TrainerControl, TrainerState, TrainingArguments

from data.evaluation.evaluate import evaluate
from data.training.arguments import parse_arguments
from data.training.callbacks import BlankVideoCallback
from data.training.checkpoints import last_complete_checkpoint, resume_point
from modeling_lipread import LipReadConfig
from tests.helpers.publishing import READ, read_clip, write_clip
from tests.helpers.readers import run_elsewhere, write_language_model
from tests.helpers.training import (
    SAVED,
    STREAMED,
    TORCHRUN,
    command,
    history,
    losses,
    make_corpus,
    run,
    run_python,
    train,
    train_and_kill,
)
from train_hf import build_trainer

LORA = {"lora_r": 4, "lora_dropout": 0.1}
KINDS = {"plain": {}, "lora": LORA, "streamed": STREAMED}


@pytest.mark.slow
def test_two_processes_train_evaluate_and_write_one_reader(corpus, lm_config, tmp_path):
    launcher = ("-m", "accelerate.commands.launch", "--config_file", "accelerate_configs/ddp.yaml")
    # Three clips for two processes: one of them has nothing left to read in the end.
    settings = {"num_train_epochs": 1, "max_eval_clips": 3, "per_device_eval_batch_size": 1}
    result = run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, launcher=launcher, **settings)
    assert "WER" in result.stderr and "blank video WER" in result.stderr and "shuffled video WER" in result.stderr
    metrics = json.loads((tmp_path / "eval_results.json").read_text())
    assert {"eval_wer", "eval_cer", "eval_blank_wer", "eval_shuffled_wer"} <= metrics.keys()
    assert metrics["eval_clips"] == 3  # each clip is read once, by one of the processes
    # 24 clips in batches of 4: two processes take half as many steps as one.
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]
    assert AutoModel.from_pretrained(tmp_path).config.model_type == "lipread"


@pytest.mark.parametrize("kind", ["plain", *(pytest.param(kind, marks=pytest.mark.slow) for kind in list(KINDS)[1:])])
def test_killed_and_resumed_gives_the_same_losses_and_the_same_reader(
    corpus, exported, lm_config, trained, tmp_path, caplog, kind
):
    settings = {"dataset": exported if kind == "streamed" else corpus, **SAVED, **KINDS[kind]}
    settings |= {"model_id": write_language_model(tmp_path / "lm")} if kind == "lora" else {"lm_config": lm_config}
    undisturbed = trained
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
    wanted = {"lm_loss", "ctc_loss", "alignment_loss", "gate/layer_00", "gate/layer_01", "grad_norm"}
    wanted |= {"learning_rate", "eval_wer", "eval_blank_wer"}
    assert wanted <= logged and not list(trained.rglob("training_args.bin"))
    for entry in (entry for entry in history(trained) if "loss" in entry):
        assert entry["grad_norm"] > SAVED["max_grad_norm"], "before clipping"
    (folder,) = (trained / "runs").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/lm_loss", "train/ctc_loss", "train/gate/layer_00", "eval/blank_wer", "eval/empty"} <= scalars


def test_a_fresh_process_without_the_repository_reads_the_same(trained, tmp_path):
    clip = write_clip(tmp_path)
    (read,) = json.loads(run_elsewhere(tmp_path, READ, clip, trained).splitlines()[-1]).values()
    expected = read_clip(trained, clip)
    assert read["ids"] == expected["ids"] and read["scores"] == pytest.approx(expected["scores"], abs=1e-5)


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
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
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


def test_a_missing_state_is_mentioned_and_a_restart_leaves_no_checkpoint_behind(trained, tmp_path, caplog):
    folder = shutil.copytree(trained, tmp_path / "run")
    for path in folder.glob("checkpoint-*/rng_state.pth"):
        path.unlink()
    arguments = ["--output_dir", str(folder), "--use_cpu"]
    with caplog.at_level(logging.WARNING):
        resume_point(parse_arguments(arguments).training)
    assert "holds no rng_state" in caplog.text and "holds no optimizer" not in caplog.text
    assert resume_point(parse_arguments([*arguments, "--restart"]).training) is None
    assert not list(folder.glob("checkpoint-*"))


@pytest.mark.parametrize(
    "settings", [{"per_device_train_batch_size": 8}, {"max_train_clips": 20}, {"hidden_size": 64}]
)
def test_going_on_with_another_batch_size_corpus_or_model_is_refused(corpus, lm_config, trained, settings):
    message = "--restart" if "hidden_size" in settings else "epochs, here they are .*--restart"
    with pytest.raises(SystemExit, match=message):
        train(dataset=corpus, lm_config=lm_config, output_dir=trained, **SAVED, **settings)


def test_a_run_that_ignores_the_face_stops_says_why_and_goes_on_if_told_to(corpus, lm_config, tmp_path, caplog):
    """A run of four epochs that learns nothing: its adapters stay closed, and the face changes no word."""
    caplog.set_level(logging.INFO)
    settings = {"dataset": corpus, "lm_config": lm_config, "output_dir": tmp_path, "num_train_epochs": 4}
    settings |= {"learning_rate": 0, "gate_learning_rate": 0}
    train(**settings, blank_check_after=3)
    evaluated = [entry for entry in history(tmp_path) if "eval_wer" in entry]
    assert all(entry["eval_wer"] == entry["eval_blank_wer"] for entry in evaluated)
    assert max(entry["epoch"] for entry in evaluated) == 3
    assert "does not look at the face: at epoch 3 of 4" in caplog.text and "--blank_check_after 0" in caplog.text
    assert "Do not rely on it." in caplog.messages[-1]
    assert (tmp_path / "model.safetensors").exists() and (tmp_path / "eval_results.json").exists()

    caplog.clear()
    train(**settings, blank_check_after=0)
    assert "Going on from" in caplog.text and "does not look" not in caplog.text
    assert max(entry["epoch"] for entry in history(tmp_path)) == 4


def checked(after, wer=None, blank=None, step=6000, epoch=6.0, unit="word"):
    measured = {"eval_loss": 1.0} if wer is None else {"eval_wer": wer, "eval_blank_wer": blank}
    measured |= {} if wer is None else {"eval_cer": 0.4, "eval_blank_cer": 0.9}
    state = TrainerState(global_step=step, max_steps=10000, epoch=epoch, num_train_epochs=10)
    control, guard = TrainerControl(), BlankVideoCallback(after)
    model = SimpleNamespace(config=LipReadConfig(text_unit=unit))
    guard.on_evaluate(TrainingArguments(use_cpu=True), state, control, measured, model=model)
    assert control.should_training_stop == (guard.warning is not None)
    return control.should_training_stop


def test_when_it_stops():
    assert checked(0.5, 0.8, 0.8) and checked(0.5, 0.9, 0.8) and checked(0.5, 0.795, 0.8), "lower, but not by enough"
    assert not checked(0.5, 0.78, 0.8), "it reads, if badly yet"
    assert not checked(0.6, 0.9, 0.8) and checked(0.59, 0.9, 0.8), "past the share"
    assert not checked(7, 0.9, 0.8) and checked(6, 0.9, 0.8) and checked(1, 0.9, 0.8), "from the epoch on"
    assert not checked(0.5, 0.9, 0.8, unit="character"), "the rate of the script's unit counts"
    assert not checked(0.01, 0.9, 0.8, step=500) and checked(0.01, 0.9, 0.8, step=501), "too early for anybody"
    assert not checked(0.5), "an evaluation of another kind"


def test_a_corpus_in_a_script_without_spaces_is_scored_by_characters(lm_config, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    texts = ("今天天气好", "我坐火车去南方", "她昨天下午回家")
    corpus = make_corpus(tmp_path / "corpus", 4, 4, texts=texts)
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path / "run", num_train_epochs=1)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert saved["text_unit"] == "character"
    assert state["best_metric"] == min(entry["eval_cer"] for entry in state["log_history"] if "eval_cer" in entry)
    assert any(message.startswith("CER ") and "| blank video CER" in message for message in caplog.messages)


# The loaders of a run as they are, in each of two processes: what they hand to the collator, for two epochs.
WATCH = """
import json, sys
from data.training.arguments import parse_arguments
from train_hf import build_trainer
arguments = parse_arguments(sys.argv[2:])
trainer = build_trainer(arguments)
collate, seen = trainer.data_collator, []
def watch(rows):
    seen[-1].append([str(row["id"]) for row in rows])
    return collate(rows)
trainer.data_collator = watch
loader = trainer.get_train_dataloader()
for epoch in range(2):
    seen.append([])
    loader.set_epoch(epoch)
    assert sum(1 for _ in loader) == len(loader)
with open(f"{sys.argv[1]}-{arguments.training.process_index}.json", "w") as file:
    json.dump(seen, file)
"""


@pytest.mark.slow
def test_two_processes_see_disjoint_clips_and_all_of_them(exported, lm_config, tmp_path):
    line = command(dataset=exported, lm_config=lm_config, output_dir=tmp_path / "run", **STREAMED)
    (tmp_path / "watch.py").write_text(WATCH)
    run_python(*TORCHRUN, tmp_path / "watch.py", tmp_path / "seen", *line[2:])
    seen = [json.loads((tmp_path / f"seen-{process}.json").read_text()) for process in range(2)]
    for epoch in range(2):
        first, second = (process[epoch] for process in seen)
        assert len(first) == len(second)
        one, two = (list(itertools.chain.from_iterable(batches)) for batches in (first, second))
        assert {*one, *two} == {f"train{index}" for index in range(24)}
        assert len(one) + len(two) == 24
    assert seen[0][0] != seen[0][1]


def test_a_stream_is_trained_on_and_evaluated(exported, lm_config, tmp_path):
    train(dataset=exported, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=1, **STREAMED)
    assert all(0 < entry["data/wait"] < 1 for entry in history(tmp_path) if "loss" in entry)
    trained = json.loads((tmp_path / "training_data.json").read_text())
    assert trained["clips"] == 24 and trained["seconds"] == pytest.approx(8 * (20 + 12 + 25) / 25)
    assert LipReadConfig.from_pretrained(tmp_path).clip_seconds == pytest.approx(25 / 25)
    figures = evaluate(str(tmp_path), str(exported), split="validation")
    assert figures["metrics"]["clips"] == 4 and figures["split"] == "validation"


def test_features_are_cached_once(corpus, lm_config, tmp_path):
    settings = {"feature_cache_gib": 0.5, "dataloader_num_workers": 2}
    line = command(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, **settings)
    trainer = build_trainer(parse_arguments(line[2:]))
    assert trainer.data_collator.cache.max_bytes == 2**28  # in each of two workers
    assert trainer.get_eval_dataloader().collate_fn.cache.max_bytes == 0
