# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The face encoder: input channels and statistics, exact shortcuts, and gradients for every batch."""

import pytest
import torch

from data.evaluation.generation import blank_video
from modeling_lipread import FaceKeypointEncoder, encoder_lipread
from tests.helpers.readers import FRAMES, LANDMARKS, make_reader

BOTH = pytest.mark.parametrize("frame_encoder", ["linear", "transformer"])


def make_encoder(**settings) -> FaceKeypointEncoder:
    return make_reader(encoder=settings).encoder


@pytest.fixture
def clips():
    """Three clips: a whole one, one with gaps, one with a single face between gaps and an early end."""
    mask = torch.ones(3, FRAMES, dtype=torch.long)
    mask[1, 4:6] = 0
    mask[2, [0, 2, 5]] = mask[2, 8:] = 0
    return torch.randn(3, FRAMES, LANDMARKS, 3, generator=torch.Generator().manual_seed(0)), mask


def test_a_clip_of_one_frame_is_read():
    output = make_encoder()(torch.randn(2, 1, LANDMARKS, 3))
    assert output.frame_hidden_states.shape == (2, 1, 16) and output.frame_hidden_states.isfinite().all()


@pytest.mark.parametrize("use_velocity", [False, True])
def test_statistics_standardise_every_channel(clips, use_velocity):
    model = make_reader(encoder={"use_velocity": use_velocity})
    keypoints, mask = clips[0] * 0.1 + 2, clips[1]
    model.encoder.fit_statistics([{"keypoints": keypoints, "keypoints_mask": mask}])
    channels = 6 if use_velocity else 3
    assert model.encoder.input_mean.shape == model.encoder.input_std.shape == (LANDMARKS, channels)
    inputs = []
    model.encoder.frame_encoder.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    model.encoder(keypoints, mask)
    standardised = inputs[0][mask.bool()]
    assert torch.allclose(standardised.mean(0), torch.zeros(()), atol=1e-4)
    assert torch.allclose(standardised.std(0, correction=0), torch.ones(()), atol=1e-3)
    average = keypoints[mask.bool()].mean(0)
    assert torch.allclose(model.encoder.average_face, average, atol=1e-5)
    assert torch.allclose(blank_video(model, keypoints), average.expand_as(keypoints), atol=1e-5)


@pytest.mark.parametrize("clip_normalization", ["none", "mean"])
def test_clip_normalization_removes_the_average_face(clip_normalization, clips):
    keypoints, mask = clips
    encoder = make_encoder(clip_normalization=clip_normalization)
    other = keypoints + torch.randn(len(mask), 1, LANDMARKS, 3)
    expected, found = (encoder(given, mask).frame_hidden_states for given in (keypoints, other))
    assert torch.allclose(found, expected, atol=1e-4) == (clip_normalization == "mean")


@BOTH
@pytest.mark.parametrize("clip_normalization", ["none", "mean"])
def test_what_stands_in_absent_frames_is_never_seen(frame_encoder, clip_normalization, clips):
    encoder = make_encoder(frame_encoder=frame_encoder, clip_normalization=clip_normalization)
    keypoints, mask = clips
    hidden = keypoints.masked_fill(mask[..., None, None] == 0, float("nan"))
    assert torch.equal(encoder(hidden, mask).last_hidden_state, encoder(keypoints, mask).last_hidden_state)


def test_frames_in_parts_give_the_same(monkeypatch, clips):
    encoder = make_encoder(frame_encoder="transformer")
    expected = encoder(*clips).ctc_logits
    for tokens_at_once in (1, 3 * (LANDMARKS + 1), 10_000):
        monkeypatch.setitem(encoder_lipread.TOKENS_AT_ONCE, "cpu", tokens_at_once)
        assert torch.allclose(encoder(*clips).ctc_logits, expected, atol=1e-5)


@BOTH
def test_a_batch_without_a_face_still_has_every_gradient(frame_encoder, clips):
    """Else processes that train together would wait for each other for ever."""
    encoder = make_encoder(frame_encoder=frame_encoder, ctc_feedback=False)
    output = encoder(clips[0], torch.zeros_like(clips[1]))
    (output.last_hidden_state.sum() + output.ctc_logits.sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())
