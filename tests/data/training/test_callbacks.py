# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Runs that cannot fool anybody: stopped where blank video does as well; gradients and transcripts in the logs."""

import json
import logging
import math
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerControl, TrainerState, TrainingArguments

from data.evaluation import Prediction
from data.training.callbacks import BlankVideoCallback, transcript_table
from modeling_lipread import LipReadConfig
from tests.helpers.training import TEXTS, history, make_corpus, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 16, 12)


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


def test_transcripts_and_gradients_are_in_tensorboard(corpus, lm_config, tmp_path):
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=2, max_grad_norm=0.1)
    (folder,) = (tmp_path / "runs").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    written = events.Tensors("eval/transcripts/text_summary")
    assert [event.step for event in written] == [4, 8], "at each evaluation"
    tables = [event.tensor_proto.string_val[0].decode().splitlines() for event in written]
    assert all(len(table) == 2 + 8 for table in tables)
    shown = [[line.split(" | ")[:2] for line in table[2:]] for table in tables]
    assert shown[0] == shown[1], "always the same clips"
    assert shown[0][0] == ["| validation0", TEXTS[0]] and shown[0][-1] == ["| validation11", TEXTS[11 % len(TEXTS)]]
    odd = transcript_table([Prediction("a|b", None, "two\nlines", "", "x | y")])
    assert odd.splitlines()[2] == "| a\\|b | two lines |  | x \\| y |"
    scalars = set(events.Tags()["scalars"])
    assert {"train/lm_loss", "train/ctc_loss", "train/gate/layer_00", "eval/blank_wer", "eval/loops"} <= scalars

    for entry in history(tmp_path):
        if "loss" in entry:
            parts = {name: value for name, value in entry.items() if name.startswith("grad_norm/")}
            assert set(parts) == {f"grad_norm/{part}" for part in ("encoder", "adapters", "gates", "language_model")}
            # Before clipping, as the norm of all of them is logged.
            assert math.hypot(*parts.values()) == pytest.approx(entry["grad_norm"], rel=1e-4)
            assert entry["grad_norm"] > 0.1


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
