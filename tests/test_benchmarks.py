# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Benchmarks compare equal computations, print every row and write it."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks import adaptation, contention, extraction, live, run
from benchmarks.literal_encoder import LiteralEncoder, literal_config
from benchmarks.measure import Row
from benchmarks.reading import reading_rows
from modeling_lipread import FaceKeypointEncoder
from tests.helpers.clips import moving_portrait, write_video

TINY = {"num_landmarks": 6, "kp_embed_dim": 16, "hidden_size": 32, "kp_heads": 2}


@pytest.mark.slow
def test_contention_times_work_in_a_process_of_its_own(monkeypatch):
    for name in contention.VARIABLES:
        monkeypatch.setenv(name, "1")  # is restored afterwards
    assert 0 < contention.measure("read", 0.0, contention.SINGLE) < 60_000


@torch.no_grad()
def test_literal_encoder_computes_the_same():
    ours = FaceKeypointEncoder(literal_config(**TINY)).eval()
    for parameter in ours.parameters():  # none is zero, so that each one counts
        parameter.add_(torch.randn_like(parameter) * 0.01)
    literal, mask = LiteralEncoder(ours).eval(), torch.ones(3, 20, dtype=torch.long)
    mask[0, 4:6] = mask[1, 7:] = mask[2, 3:] = 0
    keypoints = torch.randn(3, 20, 6, 3) * mask[..., None, None]
    found, expected = (encoder(keypoints, mask).last_hidden_state for encoder in (literal, ours))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_reading_is_measured_in_each_form():
    rows = list(reading_rows(1, clips=32))
    forms = ["clips in random order", "clips in slices of 16", "clips mixed from a stream of Parquet"]
    assert [row.name for row in rows] == forms
    assert [row.goal for row in rows] == [0.8, 0.8, 0.5] and all(row.ratio > 0 for row in rows)


def test_a_goal_is_a_least_speed_or_a_most_cost():
    assert Row("", 2.0, 1.0, "ms", goal=1.9).met and not Row("", 2.0, 1.1, "ms", goal=1.9).met
    assert Row("", 10.0, 130.0, "frames/s", goal=12).ratio == 13.0 and Row("", 1.0, 1.1, "ms").met is None
    assert [Row("", 1.0, cost, "ms", goal=1.08, at_most=True).met for cost in (1.05, 1.1)] == [True, False]


def test_prints_a_table_and_writes_it(tmp_path, capsys):
    size = {"vocab_size": 1000, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(LlamaConfig(**size, intermediate_size=32)).save_pretrained(tmp_path / "lm")
    output, parts = tmp_path / "benchmark.json", ["--only", "decoding", "training", "--repeats", "1"]
    run.main([*parts, "--model_id", str(tmp_path / "lm"), "--output", str(output)])
    rows = json.loads(output.read_text())["rows"]
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("|")]) == len(rows) + 2
    assert "a token, batch 16, 4 beams" in {row["name"] for row in rows}
    assert all(row["ratio"] > 0 for row in rows)
    with pytest.raises(SystemExit):
        run.main(["--only", "nothing"])


@pytest.mark.slow
def test_extraction_beside_the_landmarker_and_the_classic_loop(tmp_path, capsys):
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", moving_portrait(3))
    arguments = [str(tmp_path), "--num_clips", "3", "--output", str(tmp_path / "found.json")]
    met = extraction.main(arguments) == 0  # how fast three frames are says nothing
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["clips"] == 3 and met == all(row["met"] is not False for row in found["rows"])
    assert [row["goal"] for row in found["rows"]] == [1.3, 1.0, None]
    assert all(row["ratio"] > 0 for row in found["rows"]) and "classic loop" in capsys.readouterr().out


@pytest.mark.slow
def test_live_reading_of_the_talking_head(tmp_path, capsys):
    output = tmp_path / "live.json"
    live.main(["--num_clips", "1", "--output", str(output)])  # how soon words come on a busy machine says nothing
    found = json.loads(output.read_text())
    assert found["machine"]["partial_hypotheses"] > 2 and found["machine"]["frames_skipped"] == 0
    assert found["machine"]["real_time_factor"] > 0
    assert [row["baseline"] for row in found["rows"]] == [1000, 1000, 300, 300, 1, 1]
    assert all(row["ratio"] > 0 for row in found["rows"])
    assert "| | limit |" in capsys.readouterr().out


@pytest.mark.slow
def test_each_half_of_a_persons_clips_is_read_after_training_on_the_other(trained, corpus, capsys):
    options = "--max_steps 1 --per_device_train_batch_size 4 --save_strategy no --load_best_model_at_end false"
    given, options = [str(trained), str(corpus / "train")], [*options.split(), "--report_to", "none"]
    adaptation.main([*given, "--", *options])
    person, everyone = capsys.readouterr().out.splitlines()[-2:]
    assert person.startswith("s1: WER ") and person.count(", 24 clips") == 2  # before and after, from both halves
    assert everyone.startswith("all: WER ") and "adapted: WER " in everyone
    adaptation.main(["--clips", "5", "--", *given, *options])
    unadapted, *rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("s1")]
    assert unadapted.endswith(", 12 clips") and all(", 12 clips | " in row for row in rows)
    assert [row.split(":")[0] for row in rows] == [f"s1, 5 clips, {each}" for each in adaptation.FROZEN]
