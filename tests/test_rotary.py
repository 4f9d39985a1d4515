# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Rotary positions of the layers over time: only distances count, and only these layers have them."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from readers import FRAMES, LANDMARKS, make_reader

from modeling_lipread import FaceKeypointEncoder, FaceKeypointEncoderConfig
from modeling_lipread.attention_lipread import Attention, rotate_by_position


def make_encoder(position_embedding: str = "rotary", **settings) -> FaceKeypointEncoder:
    settings = {"temporal_encoder": "transformer", "position_embedding": position_embedding, **settings}
    return make_reader(encoder=settings).encoder.eval()


def make_clip(frames: int = FRAMES) -> torch.Tensor:
    return torch.randn(1, frames, LANDMARKS, 3, generator=torch.Generator().manual_seed(0))


def test_scores_depend_on_the_distance_alone():
    query, key = (vector.expand(1, 2, 50, 8) for vector in torch.randn(2, 1, 2, 1, 8))
    query, key = rotate_by_position(query, key)
    scores = query @ key.transpose(-1, -2)
    assert torch.allclose(scores[..., 1:, 1:], scores[..., :-1, :-1], atol=1e-4)
    assert scores[0, 0, 0].std() > 0.1  # and they do depend on it


def test_rotation_is_that_of_the_paper():
    """Pairs of channels are complex numbers, turned by the position times 10,000^(-2i / d)."""
    query, key = torch.randn(2, 3, 2, 7, 8, dtype=torch.float32)
    angle = torch.arange(7)[:, None] * 10_000.0 ** (-torch.arange(4) / 4)
    turn = torch.polar(torch.ones_like(angle), angle)
    q, k = (torch.complex(*states.chunk(2, dim=-1)) * turn for states in (query, key))
    expected = (q @ k.conj().transpose(-1, -2)).real
    q, k = rotate_by_position(query, key)
    assert torch.allclose(q @ k.transpose(-1, -2), expected, atol=1e-4)


def test_half_precision_does_not_blur_far_positions():
    query, key = torch.randn(2, 1, 2, 2000, 8).bfloat16()
    rotated = rotate_by_position(query, key)
    for found, expected in zip(rotated, rotate_by_position(query.float(), key.float()), strict=True):
        assert found.dtype == torch.bfloat16 and torch.equal(found, expected.bfloat16())


@pytest.mark.parametrize("position_embedding, unchanged", [("rotary", True), ("sinusoidal", False)])
def test_a_clip_that_begins_later_reads_the_same(position_embedding, unchanged):
    encoder, clip = make_encoder(position_embedding), make_clip()
    late = torch.cat([torch.zeros(1, 30, LANDMARKS, 3), clip], dim=1)
    mask = (torch.arange(late.shape[1]) >= 30)[None].long()
    expected, found = encoder(clip), encoder(late, mask)
    assert torch.allclose(found.ctc_logits[:, 30:], expected.ctc_logits, atol=1e-4) == unchanged
    assert torch.allclose(found.frame_hidden_states[:, 30:], expected.frame_hidden_states, atol=1e-4) == unchanged


def test_padding_changes_nothing():
    encoder, clip = make_encoder(), make_clip()
    padded = torch.cat([clip, torch.full((1, 9, LANDMARKS, 3), 1e3)], dim=1)
    mask = (torch.arange(padded.shape[1]) < FRAMES)[None].long()
    expected, found = encoder(clip), encoder(padded, mask)
    assert torch.allclose(found.frame_hidden_states[:, :FRAMES], expected.frame_hidden_states, atol=1e-5)
    tokens = expected.last_hidden_state.shape[1]
    assert torch.allclose(found.last_hidden_state[:, :tokens], expected.last_hidden_state, atol=1e-5)


@torch.no_grad()
def test_the_order_of_frames_is_known():
    """Without convolution and velocity nothing else tells it."""
    encoder, clip = make_encoder(conv_kernel_size=0, use_velocity=False), make_clip()
    forward, backward = encoder(clip).frame_hidden_states, encoder(clip.flip(1)).frame_hidden_states.flip(1)
    assert (forward - backward).abs().max() > 1e-2
    for layer in encoder.layers:
        layer.attention.rotary = False
    forward, backward = encoder(clip).frame_hidden_states, encoder(clip.flip(1)).frame_hidden_states.flip(1)
    assert torch.allclose(forward, backward, atol=1e-5)


def test_only_the_layers_over_time_turn():
    encoder = make_encoder(frame_encoder="transformer", resampler="perceiver", kp_temporal_layers=2)
    attention = {name: module.rotary for name, module in encoder.named_modules() if isinstance(module, Attention)}
    assert {name for name, rotary in attention.items() if rotary} == {"layers.0.attention", "layers.1.attention"}
    assert len(attention) == 6  # two in space, two over time, two in the resampler
    assert not any(layer.attention.rotary for layer in make_encoder("sinusoidal").layers)


@pytest.mark.parametrize("frame_encoder", ["linear", "transformer"])
def test_gradient_reaches_every_weight(frame_encoder):
    encoder = make_encoder(frame_encoder=frame_encoder, use_acceleration=True)
    output = encoder(make_clip())
    for part in (output.last_hidden_state, output.ctc_logits):
        (part * torch.randn(part.shape)).sum().backward(retain_graph=True)
    still = [
        name for name, parameter in encoder.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert still == []


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"temporal_encoder": "conformer"}, "for temporal_encoder 'transformer'"),
        ({"temporal_encoder": "transformer", "hidden_size": 12, "kp_heads": 4}, "must be even"),
    ],
)
def test_nonsense_is_refused(settings, remedy):
    assert FaceKeypointEncoderConfig(**settings).position_embedding == "sinusoidal"
    with pytest.raises(StrictDataclassClassValidationError, match=remedy):
        FaceKeypointEncoderConfig(**settings, position_embedding="rotary")
