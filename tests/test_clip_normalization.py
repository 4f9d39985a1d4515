# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What an encoder with `clip_normalization` does not see of a clip, and what it still sees."""

import pytest
import torch
from readers import FRAMES, LANDMARKS, make_reader


def encode(kind, keypoints, mask):
    encoder = make_reader(encoder={"clip_normalization": kind}).encoder.eval()
    return encoder(keypoints, mask).frame_hidden_states


@pytest.fixture
def clip():
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.randn(1, FRAMES, LANDMARKS, 3, generator=generator)
    mask = torch.ones(1, FRAMES, dtype=torch.long)
    mask[:, -2:] = 0
    return keypoints, mask


@pytest.mark.parametrize("kind, unseen", [("none", False), ("mean", True), ("spread", True)])
def test_another_average_face(kind, unseen, clip):
    keypoints, mask = clip
    other = keypoints + torch.randn(1, 1, LANDMARKS, 3)
    assert torch.allclose(encode(kind, keypoints, mask), encode(kind, other, mask), atol=1e-4) == unseen


@pytest.mark.parametrize("kind, unseen", [("mean", False), ("spread", True)])
def test_another_size_of_all_movement(kind, unseen, clip):
    keypoints, mask = clip
    assert torch.allclose(encode(kind, keypoints, mask), encode(kind, 1.7 * keypoints, mask), atol=1e-4) == unseen


@pytest.mark.parametrize("kind", ["mean", "spread"])
def test_frames_without_a_face_have_no_part_in_it(kind, clip):
    keypoints, mask = clip
    elsewhere = keypoints.masked_fill(mask.bool()[..., None, None], 0.0) * 100
    assert torch.allclose(encode(kind, keypoints, mask), encode(kind, keypoints + elsewhere, mask), atol=1e-5)


def test_a_face_that_stands_still_is_not_made_to_move(clip):
    keypoints, mask = clip
    encoder = make_reader(encoder={"clip_normalization": "spread"}).encoder
    trembling = keypoints[:, :1] + 1e-5 * torch.randn_like(keypoints)
    assert encoder._channels(trembling, mask.bool()).abs().max() < 0.05
