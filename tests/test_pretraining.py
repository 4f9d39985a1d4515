# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""An encoder that learns from video nobody transcribed, and a reading run that begins with it."""

import json
import shutil

import numpy as np
import pytest
import torch
from clips import write_video
from safetensors.torch import load_file
from training import losses, run

from data.corpora.unlabelled import read
from data.folder import Folder
from data.pretraining import FrameHiding, interpolate, interpolation_loss
from data.records import Skip
from modeling_lipread import FaceKeypointEncoder, FaceKeypointEncoderConfig
from train_hf import main

SMALL = {"num_landmarks": 6, "hidden_size": 16, "kp_temporal_layers": 1, "kp_heads": 2, "kp_dropout": 0.0}


def faces(batch: int = 2, frames: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    mask = torch.ones(batch, frames, dtype=torch.long)
    mask[0, 25:] = 0
    return torch.randn(batch, frames, 6, 3).cumsum(1), mask


def test_about_the_share_is_hidden_in_spans():
    torch.manual_seed(0)
    mask = torch.ones(200, 75, dtype=torch.long)
    mask[:, 60:] = 0
    hidden = FrameHiding(share=0.4, span=5)(mask, train=True)
    assert not hidden[:, 60:].any()
    assert hidden[:, :60].float().mean() == pytest.approx(0.4, abs=0.02)
    runs = "".join("x" if frame else " " for frame in hidden[:, 5:55].flatten()).split()
    assert sum(map(len, runs)) / len(runs) > 5  # spans meet, and some are cut at the ends


def test_evaluation_hides_the_same_each_time_and_something_is_always_seen():
    mask = torch.ones(3, 20, dtype=torch.long)
    hide = FrameHiding(share=0.99, span=20, seed=1)
    assert torch.equal(hide(mask, train=False), hide(mask, train=False))
    assert (~hide(mask, train=False)).any(1).all()


@pytest.mark.parametrize("normalization", ["none", "mean"])
def test_nothing_of_a_hidden_frame_is_seen(normalization):
    keypoints, mask = faces()
    settings = {**SMALL, "use_acceleration": True, "clip_normalization": normalization}
    encoder = FaceKeypointEncoder(FaceKeypointEncoderConfig(**settings, reconstruction_head=True)).eval()
    hidden = torch.zeros_like(mask, dtype=torch.bool)
    hidden[:, 10:15] = True
    other = keypoints.clone()
    other[:, 10:15] += 5.0
    told = [encoder(clip, mask.bool() & ~hidden).frame_hidden_states for clip in (keypoints, other)]
    assert torch.equal(*told)
    losses = [encoder.reconstruction_loss(clip, mask, hidden) for clip in (keypoints, other)]
    assert abs(losses[0] - losses[1]) > 0.1  # yet what is asked for is there
    assert encoder.reconstruction_loss(keypoints, mask, torch.zeros_like(hidden)) == 0


def test_lines_between_frames():
    keypoints, mask = faces()
    line = torch.arange(30.0)[None, :, None, None].expand(2, 30, 6, 3)
    seen = mask.bool()
    seen[:, 10:15] = False
    assert torch.allclose(interpolate(line, seen)[:, :25], line[:, :25])
    seen[:, :3] = False
    assert (interpolate(line, seen)[:, :3] == 3).all() and (interpolate(line, seen)[0, 25:] == 24).all()
    encoder = FaceKeypointEncoder(FaceKeypointEncoderConfig(**SMALL))
    hidden = torch.zeros_like(seen)
    hidden[:, 10:15] = True
    assert (
        interpolation_loss(encoder, line, mask, hidden) < 1e-6 < interpolation_loss(encoder, keypoints, mask, hidden)
    )


def test_it_learns_and_a_reading_run_begins_with_it(corpus, lm_config, tmp_path):
    settings = {"dataset": corpus, "lm_config": lm_config}
    run("--pretrain", **settings, output_dir=tmp_path / "before", num_train_epochs=8, learning_rate=3e-3)
    history = json.loads((tmp_path / "before" / "trainer_state.json").read_text())["log_history"]
    measured = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert measured[-1] < 0.9 * measured[0]
    results = json.loads((tmp_path / "before" / "eval_results.json").read_text())
    assert results["eval_loss"] == pytest.approx(min(measured), rel=1e-3) and results["eval_interpolation_loss"] > 0
    run(**settings, output_dir=tmp_path / "reader", encoder=tmp_path / "before", max_steps=1, learning_rate=1e-9)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "reader"))
    kept = [name for name in before if name.startswith("encoder.") and "reconstruction" not in name]
    assert kept and all(torch.allclose(after[name], before[name], atol=1e-5) for name in kept)
    assert "encoder.ctc_head.weight" in after and not any("reconstruction" in name for name in after)
    assert "lm_loss" in json.loads((tmp_path / "reader" / "trainer_state.json").read_text())["log_history"][0]
    assert losses(tmp_path / "reader")
    line = {**settings, "output_dir": tmp_path / "other", "encoder": tmp_path / "before", "hidden_size": 16}
    with pytest.raises(SystemExit, match="hidden_size 32 instead of 16"):
        main(["--use_cpu", "--kp_temporal_layers", "1", "--kp_heads", "2", *_written(line)])


def test_going_on_from_a_checkpoint_hides_the_same_frames(corpus, lm_config, tmp_path):
    settings = {"dataset": corpus, "lm_config": lm_config, "output_dir": tmp_path, "num_train_epochs": 1}
    settings |= {"save_strategy": "steps", "save_steps": 3, "eval_strategy": "no", "load_best_model_at_end": False}
    run("--pretrain", **settings)
    undisturbed = losses(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-6")  # as if it had been killed before
    assert "Going on from" in run("--pretrain", **settings).stderr
    assert len(undisturbed) == 6 and losses(tmp_path) == undisturbed


@pytest.mark.parametrize(
    "given",
    [
        ["--encoder_only"],
        ["--teachers", "x"],
        ["--encoder", "x"],
        ["--train_text", "x"],
        ["--ctc_weight_end", "0"],
        ["--hidden_share", "1"],
    ],
)
def test_what_pretraining_cannot_use_is_refused(corpus, lm_config, tmp_path, given):
    line = _written({"dataset": corpus, "lm_config": lm_config, "output_dir": tmp_path})
    with pytest.raises(SystemExit, match=f"(--pretrain.*)?{given[0]}"):
        main(["--use_cpu", "--pretrain", *line, *given])


def test_videos_without_transcripts_are_cut_into_spans(tmp_path):

    (tmp_path / "a").mkdir()
    write_video(tmp_path / "a" / "long.mp4", [np.zeros((32, 32, 3), np.uint8)] * 140)  # 5.6 seconds
    write_video(tmp_path / "short.mp4", [np.zeros((32, 32, 3), np.uint8)] * 20)
    spans = list(read(Folder(tmp_path), seconds=2.0))
    assert not any(isinstance(span, Skip) for span in spans)
    assert [(span.source, span.start, span.end, span.text) for span in spans] == [
        ("short.mp4", None, None, ""),
        ("a/long.mp4", None, 2.0, ""),
        ("a/long.mp4", 2.0, 4.0, ""),
        ("a/long.mp4", 4.0, None, ""),
    ]


def _written(settings: dict) -> list[str]:
    return [part for key, value in settings.items() for part in (f"--{key}", str(value))]
