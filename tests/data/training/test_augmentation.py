# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Augmentation changes what it says and nothing else."""

import pytest
import torch

from data.training.augmentation import MIRROR, KeypointAugmentation
from modeling_lipread.geometry_lipread import LIPS

STILL = {"rotation": 0.0, "scale": 0.0, "shift": 0.0, "noise": 0.0, "speed": 0.0, "time_masks": 0}


def clips(batch: int = 3, frames: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.randn(batch, 1, 7, 3, generator=generator) + torch.linspace(0, 1, frames)[None, :, None, None]
    mask = torch.ones(batch, frames, dtype=torch.long)
    mask[0, frames - 10 :] = 0
    return keypoints * mask[..., None, None], mask


def augment(keypoints, mask, labels=None, landmarks=(), **settings):
    augmentation = KeypointAugmentation(**STILL | settings)
    if landmarks:
        augmentation.set_landmarks(landmarks)
    return augmentation(keypoints, mask, labels)


def test_rotation_keeps_distances_and_scale_is_one_for_the_whole_clip():
    keypoints, mask = clips()
    turned, *_ = augment(keypoints, mask, rotation=30.0)
    assert (turned - keypoints).abs().max() > 0.1
    assert torch.allclose(torch.cdist(turned[1], turned[1]), torch.cdist(keypoints[1], keypoints[1]), atol=1e-4)
    scaled, *_ = augment(keypoints, mask, scale=0.2)
    ratio = scaled[1] / keypoints[1]
    assert torch.allclose(ratio, ratio[:1, :1].expand_as(ratio), atol=1e-4)
    assert ((ratio > 0.8 - 1e-4) & (ratio < 1.2 + 1e-4)).all()


def test_speed_changes_the_length_and_keeps_ends_gaps_and_labels():
    keypoints, mask = clips()
    resampled, new_mask, _ = augment(keypoints, mask, speed=0.3)
    assert resampled.shape[:2] == new_mask.shape
    for clip, before in enumerate(mask.sum(1)):
        after = int(new_mask[clip].sum())
        assert before / 1.31 <= after <= before / 0.69
        assert torch.equal(new_mask[clip, :after], torch.ones(after, dtype=mask.dtype))
        assert torch.allclose(resampled[clip, 0], keypoints[clip, 0], atol=1e-5)
        assert torch.allclose(resampled[clip, after - 1], keypoints[clip, before - 1], atol=1e-4)
    assert not torch.equal(new_mask.sum(1), mask.sum(1))
    steps = torch.arange(40)[None, :, None, None].expand_as(keypoints).float() * mask[..., None, None]
    resampled, new_mask, moved = augment(steps, mask, torch.arange(40).expand(3, -1), speed=0.3)
    assert (moved[new_mask == 0] == -100).all()
    assert ((resampled[..., 0, 0] - moved)[new_mask != 0].abs() <= 0.5 + 1e-4).all(), "labels keep to their frames"
    mask[:, 10:20] = 0
    resampled, new_mask, _ = augment(keypoints * mask[..., None, None], mask, speed=0.2)
    assert (new_mask.sum(1) < mask.sum(1) * 1.3).all() and (resampled[new_mask == 0] == 0).all(), "no face in gaps"


def test_a_mirrored_face_is_one_that_mediapipe_could_have_seen():
    face = torch.randn(478, 3, generator=torch.Generator().manual_seed(0))
    seen, *_ = augment(face[list(LIPS)].expand(1, 5, -1, -1), torch.ones(1, 5), landmarks=LIPS, mirror=1.0)
    mirrored = face[torch.from_numpy(MIRROR)] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(seen[0, 0], mirrored[list(LIPS)], atol=1e-6)
    assert not torch.allclose(seen[0, 0], face[list(LIPS)], atol=0.1)
    with pytest.raises(ValueError, match="mirror=1.0: landmark 61 has no counterpart"):
        KeypointAugmentation(mirror=1.0).set_landmarks([61, 13])
    KeypointAugmentation().set_landmarks([61, 13])
    # On the midline only x changes its sign.
    seen, *_ = augment(torch.ones(400, 2, 2, 3), torch.ones(400, 2), landmarks=[13, 14], mirror=0.5)
    assert 0.4 < (seen[:, 0, 0, 0] < 0).float().mean() < 0.6 and (seen[..., 1:] == 1).all()


def test_articulation_changes_movement_and_not_the_average_face():
    keypoints, mask = clips()
    seen, *_ = augment(keypoints, mask, motion=0.5)
    for clip, frames in enumerate(mask.sum(1)):
        before, after = keypoints[clip, :frames], seen[clip, :frames]
        assert torch.allclose(after.mean(0), before.mean(0), atol=1e-5)
        ratio = ((after - after.mean(0)) / (before - before.mean(0)))[0, 0]
        assert ((ratio > 0.5 - 1e-3) & (ratio < 1.5 + 1e-3)).all() and (ratio - 1).abs().max() > 0.01


def test_some_landmarks_stand_still_the_others_move_as_before():
    keypoints, mask = torch.randn(50, 10, 7, 3), torch.ones(50, 10)
    seen, *_ = augment(keypoints, mask, landmark_masks=0.3)
    still = (seen - seen[:, :1]).abs().amax((1, 3)) < 1e-5
    assert 0.2 < still.float().mean() < 0.4
    assert torch.allclose(seen.transpose(1, 2)[~still], keypoints.transpose(1, 2)[~still], atol=1e-5)


def test_a_warp_gives_a_clip_one_other_face():
    keypoints, mask = clips()
    faces = keypoints[:, :1].expand_as(keypoints) * mask[..., None, None]
    warped, *_ = augment(faces, mask, warp=0.1)
    assert (warped[:, 0] - faces[:, 0]).abs().max() > 0.01
    assert torch.allclose(warped[1], warped[1, :1].expand_as(warped[1]), atol=1e-5)
    assert not torch.allclose(warped[1, 0] - faces[1, 0], warped[2, 0] - faces[2, 0], atol=1e-3)


def test_time_masks_hide_but_never_everything():
    keypoints, mask = clips(batch=64, frames=6)
    _, hidden, _ = augment(keypoints, mask, time_masks=3, time_mask_frames=6)
    assert hidden.sum() < mask.sum()
    assert (hidden.sum(1) > 0)[mask.sum(1) > 0].all()
    assert (hidden <= mask).all()


def test_trimmed_clips_keep_every_spoken_frame():
    keypoints, mask = clips(batch=64)
    labels = torch.zeros_like(mask)
    labels[:, 12:25], labels[0], labels[1, 15:20] = 3, 0, 0  # nobody speaks in the first; a pause in the second
    labels[0, 30:] = -100
    cut, cut_mask, cut_labels = augment(keypoints, mask, labels, trim_silence=0.5)
    frames, found = mask.sum(1), cut_mask.sum(1)
    assert found[0] == frames[0] and (found <= frames).all() and (cut_labels[0, : found[0]] == 0).all()
    assert 0.3 < (found < frames).float().mean() < 0.7
    assert (cut_labels > 0).sum(1).tolist() == (labels > 0).sum(1).tolist()
    begins = set()
    for clip in range(1, 64):
        begin = 12 - int((cut_labels[clip] > 0).int().argmax())
        begins.add(begin)
        assert torch.allclose(cut[clip, : found[clip]], keypoints[clip, begin : begin + found[clip]])
        assert torch.equal(cut_labels[clip, : found[clip]], labels[clip, begin : begin + found[clip]])
        assert not cut[clip, found[clip] :].any() and (cut_labels[clip, found[clip] :] == -100).all()
    assert begins <= set(range(13)) and len(begins) > 6


def test_mixing_maps_the_movement_of_each_clip_and_keeps_its_average_face():
    mask = torch.ones(2, 40, dtype=torch.long)
    mask[0, 30:] = 0
    movement = torch.randn(2, 40, 3) @ torch.randn(3, 21)  # three independent movements of seven landmarks
    keypoints = (torch.randn(2, 1, 21) + movement).view(2, 40, 7, 3) * mask[..., None, None]
    mixed, *_ = augment(keypoints, mask, mixing=0.5)
    for clip, frames in enumerate((30, 40)):
        before, after = (each[clip, :frames].flatten(1) for each in (keypoints, mixed))
        assert torch.allclose(after.mean(0), before.mean(0), atol=1e-3)
        before, after = before - before.mean(0), after - after.mean(0)
        assert not torch.allclose(after, before, atol=0.05)
        assert torch.allclose(before @ torch.linalg.lstsq(before, after).solution, after, atol=1e-3), "a linear map"
