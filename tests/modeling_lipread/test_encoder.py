# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The face encoder: its shortcuts are exact, and no input leaves a weight without a gradient."""

import pytest
import torch

from modeling_lipread import FaceKeypointEncoder, FaceKeypointEncoderConfig, encoder_lipread
from modeling_lipread.encoder_lipread import EncoderLayer

FRAMES, LANDMARKS = 9, 7


def make_encoder(**settings) -> FaceKeypointEncoder:
    torch.manual_seed(0)
    settings = {"num_landmarks": LANDMARKS, "hidden_size": 16, "kp_embed_dim": 8, "kp_heads": 2, **settings}
    return FaceKeypointEncoder(FaceKeypointEncoderConfig(ctc_vocab_size=5, **settings)).eval()


def make_clips(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.ones(batch, FRAMES, dtype=torch.long)
    mask[1, 3:5] = 0
    mask[2, 4:] = 0
    return torch.randn(batch, FRAMES, LANDMARKS, 3, generator=torch.Generator().manual_seed(1)), mask


def test_first_token_alone_is_the_layer_s_first_token():
    layer = EncoderLayer(FaceKeypointEncoderConfig(kp_heads=4), 32).eval()
    tokens = torch.randn(5, 11, 32)
    assert torch.allclose(layer.first_token(tokens), layer(tokens)[:, 0], atol=1e-5)


@pytest.mark.parametrize("tokens_at_once", [1, 3 * (LANDMARKS + 1), 10_000])
def test_frames_in_parts_give_the_same(monkeypatch, tokens_at_once):
    encoder, clips = make_encoder(frame_encoder="transformer"), make_clips()
    expected = encoder(*clips).ctc_logits
    monkeypatch.setitem(encoder_lipread.TOKENS_AT_ONCE, "cpu", tokens_at_once)
    assert torch.allclose(encoder(*clips).ctc_logits, expected, atol=1e-5)


@pytest.mark.parametrize("frame_encoder", ["linear", "transformer"])
def test_a_batch_without_a_face_still_has_every_gradient(frame_encoder):
    """Else processes that train together would wait for each other for ever."""
    encoder = make_encoder(frame_encoder=frame_encoder, ctc_feedback=False)
    keypoints, mask = make_clips()
    output = encoder(keypoints, torch.zeros_like(mask))
    (output.last_hidden_state.sum() + output.ctc_logits.sum()).backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in encoder.parameters())


def test_the_alignment_head_s_posteriors_reach_the_tokens():
    encoder, clips = make_encoder(alignment_head=True), make_clips()
    output = encoder(*clips)
    assert output.alignment_logits.shape == output.ctc_logits.shape
    with torch.no_grad():
        encoder.alignment_head.bias += torch.randn(5)
    changed = encoder(*clips)
    assert torch.equal(changed.ctc_logits, output.ctc_logits)
    assert not torch.allclose(changed.last_hidden_state, output.last_hidden_state)


@pytest.mark.parametrize("frame_encoder", ["linear", "transformer"])
def test_what_stands_in_absent_frames_is_never_seen(frame_encoder):
    encoder, (keypoints, mask) = make_encoder(frame_encoder=frame_encoder), make_clips()
    hidden = keypoints.masked_fill(mask[..., None, None] == 0, float("nan"))
    assert torch.equal(encoder(hidden, mask).last_hidden_state, encoder(keypoints, mask).last_hidden_state)
