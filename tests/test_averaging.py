# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The average of checkpoints, and label smoothing."""

import json
import logging
import shutil

import pytest
import torch
from readers import make_inputs, make_reader
from safetensors.torch import load_file, save_file
from training import command, make_corpus, run

from data.averaging import averaged_weights, take_average
from data.trainer import complete_checkpoints
from train_hf import build_trainer, main, parse_arguments


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", train=8, validation=2)


@pytest.fixture(scope="module")
def settings(corpus, lm_config):
    settings = {"dataset": corpus, "lm_config": lm_config, "num_train_epochs": 4, "learning_rate": 1e-3}
    return settings | {"average_checkpoints": 3, "label_smoothing_factor": 0.1, "ctc_weight": 0.5}


@pytest.fixture(scope="module")
def averaged(settings, tmp_path_factory):
    output = tmp_path_factory.mktemp("averaged")
    return run(**settings, output_dir=output).stderr, output


def write_weights(folder, **weights):
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_mean_is_taken_in_double_precision_and_keeps_the_types(tmp_path):
    values = [torch.tensor([1.0, 3e8], dtype=torch.float32), torch.tensor([2.0, -3e8]), torch.tensor([6.0, 3.0])]
    folders = [
        write_weights(
            tmp_path / str(i), a=value, half=value[:1].bfloat16(), table=torch.tensor([i], dtype=torch.uint8)
        )
        for i, value in enumerate(values)
    ]
    average = averaged_weights(folders)
    assert average["a"].tolist() == [3.0, 1.0] and average["a"].dtype == torch.float32
    assert average["half"].tolist() == [3.0] and average["half"].dtype == torch.bfloat16
    assert average["table"].tolist() == [2], "what is no weight is the last one's"


def test_weights_of_another_run_and_pickles_are_refused(tmp_path):
    first = write_weights(tmp_path / "1", a=torch.ones(2), b=torch.ones(1))
    for name, weights in {"2": {"a": torch.ones(3), "b": torch.ones(1)}, "3": {"a": torch.ones(2)}}.items():
        with pytest.raises(ValueError, match="another run"):
            averaged_weights([first, write_weights(tmp_path / name, **weights)])
    (tmp_path / "4").mkdir()
    torch.save({"a": torch.ones(2)}, tmp_path / "4" / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        averaged_weights([first, tmp_path / "4"])


def test_a_run_ends_with_the_better_of_average_and_best(averaged):
    printed, output = averaged
    checkpoints = complete_checkpoints(output)
    assert len(checkpoints) == 4, "the best is kept beside those that are averaged"
    state = json.loads((output / "trainer_state.json").read_text())
    (found,) = [entry["average_wer"] for entry in state["log_history"] if "average_wer" in entry]
    best = state["best_metric"]
    result = load_file(output / "model.safetensors")
    expected = averaged_weights(checkpoints[1:])
    if found > best:
        expected = load_file(f"{state['best_model_checkpoint']}/model.safetensors")
    assert f"the reader is the {'average' if found <= best else 'best'}" in printed
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], expected[name]) for name in result)
    assert json.loads((output / "eval_results.json").read_text())["eval_wer"] == min(found, best)


@pytest.mark.parametrize("best", [-1.0, 2.0**20])
def test_the_average_must_read_as_well(averaged, settings, tmp_path, caplog, best):
    _, run_folder = averaged
    shutil.copytree(run_folder, tmp_path / "run")
    options = command(**settings, output_dir=tmp_path / "run")[2:]
    trainer = build_trainer(*parse_arguments(options))
    trainer.state.best_metric = best
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with caplog.at_level(logging.INFO):
        take_average(trainer)
    average = averaged_weights(complete_checkpoints(tmp_path / "run")[-3:])
    expected = before if best < 0 else before | average
    assert all(torch.equal(value, expected[name]) for name, value in trainer.model.state_dict().items())
    assert any(not torch.equal(before[name], value) for name, value in average.items())


def test_the_loss_is_the_weighted_sum_of_its_parts(averaged):
    _, output = averaged
    state = json.loads((output / "trainer_state.json").read_text())
    logged = [entry for entry in state["log_history"] if "lm_loss" in entry and "loss" in entry]
    assert len(logged) == 8
    for entry in logged:
        parts = entry["lm_loss"] + 0.5 * entry["ctc_loss"] + entry["alignment_loss"]
        assert entry["loss"] == pytest.approx(parts, rel=1e-3)
    assert json.loads((output / "config.json").read_text())["label_smoothing"] == 0.1


def test_smoothing_changes_the_loss_in_training_alone():
    inputs = make_inputs()
    inputs["labels"] = inputs["input_ids"].clone()
    inputs["labels"][0, :3] = -100
    settings = {"decoder_mask_prob": 0.0, "adapter_dropout": 0.0, "encoder": {"kp_dropout": 0.0}}
    plain, smoothed = make_reader(**settings), make_reader(label_smoothing=0.1, **settings)
    with torch.no_grad():
        measured = plain(**inputs)
        assert smoothed(**inputs).loss == measured.loss
        logits, labels = measured.logits[:, :-1], inputs["labels"][:, 1:]
        scores = logits.log_softmax(-1)[labels != -100]
        right = -scores.gather(-1, labels[labels != -100][:, None]).mean()
        torch.testing.assert_close(measured.loss, right)
        expected = 0.9 * right - 0.1 * scores.mean()
        torch.testing.assert_close(smoothed.train()(**inputs).loss, expected)
        torch.testing.assert_close(plain.train()(**inputs).loss, right)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--ctc", "false", "--ctc_decoding_weight", "0.3"], "ctc_decoding_weight"),
        (["--ctc_decoding_weight", "3"], "ctc_decoding_weight"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, remedy, tmp_path):
    with pytest.raises(SystemExit, match=remedy):
        main(["--model_id", "x", "--dataset", "y", *arguments, "--output_dir", str(tmp_path), "--use_cpu"])
