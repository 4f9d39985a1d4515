# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the encoder sees of each landmark: with or without depth, velocity and acceleration."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from readers import ENCODERS, FRAMES, LANDMARKS, make_inputs, make_reader
from training import run
from transformers import AutoModel, AutoProcessor

from data.arguments import parse_arguments
from data.evaluation.reading import blank_video
from modeling_lipread import FaceKeypointEncoder, FaceKeypointEncoderConfig
from train_hf import main

LEVERS = ENCODERS[2]


def make_encoder(**settings) -> FaceKeypointEncoder:
    return make_reader(encoder=settings).encoder.eval()


@pytest.fixture
def clips():
    """Three clips: a whole one, one with gaps, one with a single face between gaps and an early end."""
    mask = torch.ones(3, FRAMES, dtype=torch.long)
    mask[1, 4:6] = 0
    mask[2, [0, 2, 5]] = mask[2, 8:] = 0
    return torch.randn(3, FRAMES, LANDMARKS, 3, generator=torch.Generator().manual_seed(0)), mask


@pytest.mark.parametrize("frame_encoder", ["linear", "transformer"])
@pytest.mark.parametrize("clip_normalization", ["none", "mean", "spread"])
@pytest.mark.parametrize("use_depth", [False, True])
def test_without_depth_z_is_not_seen(clips, use_depth, clip_normalization, frame_encoder):
    encoder = make_encoder(
        use_depth=use_depth, clip_normalization=clip_normalization, frame_encoder=frame_encoder, use_acceleration=True
    )
    keypoints, mask = clips
    nearer = keypoints.clone()
    nearer[..., 2] += torch.randn(nearer.shape[:-1])
    same = torch.equal(encoder(keypoints, mask).last_hidden_state, encoder(nearer, mask).last_hidden_state)
    assert same != use_depth


def test_without_depth_x_and_y_are_as_with_it(clips):
    keypoints, mask = clips[0], clips[1].bool()
    full, flat = (make_encoder(use_depth=use)._channels(keypoints, mask) for use in (True, False))
    assert torch.equal(flat, full[..., [0, 1, 3, 4]])


def test_without_depth_inputs_keep_their_shape(clips):
    encoder = make_encoder(use_depth=False)
    assert encoder(**encoder.dummy_inputs).last_hidden_state.isfinite().all()
    with pytest.raises(ValueError, match="must have the shape"):
        encoder(clips[0][..., :2], clips[1])


@pytest.mark.parametrize("use_depth", [True, False])
def test_velocity_and_acceleration_are_what_they_say(clips, use_depth):
    keypoints, mask = clips
    coordinates = 3 if use_depth else 2
    channels = make_encoder(use_depth=use_depth, use_acceleration=True)._channels(keypoints, mask.bool())
    places, velocity, acceleration = channels.split(coordinates, dim=-1)
    seen = 0
    for clip in range(len(mask)):
        for frame in range(FRAMES):
            now, before, earlier = (keypoints[clip, max(frame - i, 0), :, :coordinates] for i in range(3))
            faces = [frame >= i and bool(mask[clip, frame - i]) for i in range(3)]
            expected = now if faces[0] else torch.zeros_like(now)
            assert torch.equal(places[clip, frame], expected)
            expected = now - before if all(faces[:2]) else torch.zeros_like(now)
            assert torch.allclose(velocity[clip, frame], expected, atol=1e-5)
            expected = now - 2 * before + earlier if all(faces) else torch.zeros_like(now)
            assert torch.allclose(acceleration[clip, frame], expected, atol=1e-5)
            seen += all(faces)
    assert seen == (FRAMES - 2) + (2 + 4) + 0  # whole; 4 frames, a gap, 6 frames; never three in a row


def test_even_motion_has_no_acceleration():
    steps = torch.arange(FRAMES, dtype=torch.float32)[None, :, None, None]
    keypoints = steps * torch.randn(1, 1, LANDMARKS, 3)
    channels = make_encoder(use_acceleration=True)._channels(keypoints, torch.ones(1, FRAMES, dtype=torch.bool))
    assert channels[:, 1:, :, 3:6].abs().max() > 0.1
    assert channels[..., 6:].abs().max() < 1e-5


@pytest.mark.parametrize("frames", [1, 2])
def test_clips_too_short_to_accelerate_are_read(frames):
    encoder = make_encoder(use_acceleration=True)
    output = encoder(torch.randn(2, frames, LANDMARKS, 3))
    assert output.frame_hidden_states.shape == (2, frames, 16) and output.frame_hidden_states.isfinite().all()


def test_acceleration_reaches_the_encoder(clips):
    """Its channels have weights of their own, and every weight a gradient."""
    encoder = make_encoder(use_acceleration=True, use_depth=False)
    output = encoder(*clips)
    generator = torch.Generator().manual_seed(2)
    sum((part * torch.randn(part.shape, generator=generator)).sum() for part in output[:1] + output[3:4]).backward()
    weight = encoder.frame_encoder.projection.weight.grad.unflatten(1, (LANDMARKS, 6))
    assert (weight.abs().amax((0, 1)) > 0).all()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("use_depth", [True, False])
def test_statistics_standardise_every_channel(clips, use_depth):
    model = make_reader(encoder={"use_depth": use_depth, "use_acceleration": True})
    keypoints, mask = clips[0] * 0.1 + 2, clips[1]
    model.encoder.fit_statistics([{"keypoints": keypoints, "keypoints_mask": mask}])
    coordinates = 3 if use_depth else 2
    assert model.encoder.input_mean.shape == model.encoder.input_std.shape == (LANDMARKS, 3 * coordinates)
    values = model.encoder._channels(keypoints, mask.bool())[mask.bool()]
    standardised = (values - model.encoder.input_mean) / model.encoder.input_std
    assert torch.allclose(standardised.mean(0), torch.zeros(()), atol=1e-4)
    assert torch.allclose(standardised.std(0, correction=0), torch.ones(()), atol=1e-3)
    average = keypoints[mask.bool()].mean(0)
    average[:, coordinates:] = 0
    assert torch.allclose(model.encoder.average_face, average, atol=1e-5)
    assert torch.allclose(blank_video(model, keypoints), average.expand_as(keypoints), atol=1e-5)


def test_acceleration_without_velocity_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="set use_velocity too") as refusal:
        FaceKeypointEncoderConfig(use_acceleration=True, use_velocity=False)
    assert isinstance(refusal.value.__cause__, ValueError)


def test_settings_come_back_from_json(tmp_path):
    FaceKeypointEncoderConfig(**LEVERS).save_pretrained(tmp_path)
    again = FaceKeypointEncoderConfig.from_pretrained(tmp_path)
    assert {name: getattr(again, name) for name in LEVERS} == LEVERS


def test_a_checkpoint_from_before_these_settings_reads_the_same(tmp_path):
    model, inputs = make_reader(open_gates=True), make_inputs()
    model.save_pretrained(tmp_path, include_base=True)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("use_depth", "use_acceleration", "position_embedding"):
        del config["encoder_config"][name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(AutoModel.from_pretrained(tmp_path)(**inputs).logits, model(**inputs).logits)


def test_the_command_line_sets_them():
    defaults = parse_arguments([])[2]
    assert (defaults.use_depth, defaults.use_acceleration, defaults.position_embedding) == (True, False, "sinusoidal")
    given = parse_arguments([part for name, value in LEVERS.items() for part in (f"--{name}", str(value))])[2]
    assert {name: getattr(given, name) for name in LEVERS} == LEVERS


def test_the_command_line_refuses_nonsense_without_a_traceback(corpus, lm_config, tmp_path):
    arguments = ["--use_cpu", "--dataset", str(corpus), "--lm_config", str(lm_config), "--output_dir", str(tmp_path)]
    with pytest.raises(SystemExit, match="set use_velocity too"):
        main([*arguments, "--use_velocity", "false", "--use_acceleration"])


def test_a_run_with_all_of_them_writes_a_reader(corpus, lm_config, tmp_path):
    run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=1, **LEVERS)
    model, processor = AutoModel.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    encoder = model.config.encoder_config
    assert {name: getattr(encoder, name) for name in LEVERS} == LEVERS
    assert model.encoder.input_mean.shape == (79, 6) and model.encoder.input_mean.abs().max() > 0
    assert processor.feature_extractor is not None
    assert "eval_blank_wer" in json.loads((tmp_path / "eval_results.json").read_text())
