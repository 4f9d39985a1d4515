# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Augmentation of landmark batches on their device.

It runs in the training step, vectorised over the batch, and draws from torch's global random state, which checkpoints
store, so that a resumed run repeats the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from modeling_lipread.geometry_lipread import NUM_LANDMARKS

MOVEMENTS = 12  # principal components that `mixing` maps; they hold 98% of the variance of a mouth
MOST_AMPLIFIED = 2.0  # largest ratio of the standard deviations of the components that a map leads to and from
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # landmarks, mask, labels


def _mirror() -> np.ndarray:
    # The mesh numbers the midline and the subject's right half first; landmark 248 + k mirrors the k-th of that half.
    midline = {*range(3), *range(4, 7), *range(8, 20), 94, 151, 152, 164, 168, 175, 195, 197, 199, 200}
    mirror = np.arange(NUM_LANDMARKS)
    right = [index for index in range(248) if index not in midline] + [468, 469, 470, 471, 472]
    left = [*range(248, 468), 473, 476, 475, 474, 477]
    mirror[right], mirror[left] = left, right
    return mirror


# `keypoints[:, MIRROR] * (-1, 1, 1)` is the mirrored face in MediaPipe's numbering.
MIRROR = _mirror()


@dataclass
class KeypointAugmentation:
    """Augments head pose, size, face shape, articulation, speed and quality, and masks time and landmarks."""

    rotation: float = 8.0  # largest rotation about each axis, in degrees
    scale: float = 0.1  # largest relative change of size, drawn for each axis
    shift: float = 0.02  # standard deviation of a shift of the whole clip, in the landmarks' unit
    noise: float = 0.002  # standard deviation of noise on every landmark, in the landmarks' unit
    # Standard deviation of the coefficients of a random quadratic deformation of space, constant over a clip; 0.1
    # moves landmarks by some hundredths of their unit.
    warp: float = 0.0
    motion: float = 0.0  # largest relative change of movement about the clip's average face, drawn for each axis
    # Largest standard deviation of a random linear map of the movement, constant over a clip: people make the same
    # sound with other proportions of the same movements. Its axes are the principal components of the batch's
    # movement, each in units of its standard deviation. The coefficients that map words of one speaker of GRID to
    # those of another differ from the identity by about 0.3.
    mixing: float = 0.0
    mirror: float = 0.0  # probability that a clip is mirrored, with left and right landmarks swapped
    landmark_masks: float = 0.0  # probability that a landmark is fixed at its average position in a clip
    speed: float = 0.15  # largest relative change of the speaking rate
    # Probability that a random share of the frames before the first and after the last word of a clip is removed,
    # since sentences of a long video follow each other more closely than clips of a corpus.
    trim_silence: float = 0.0
    time_masks: int = 2  # number of masked stretches of frames
    time_mask_frames: int = 8  # largest length of a masked stretch
    mirror_order: torch.Tensor | None = field(default=None, init=False, repr=False)

    def set_landmarks(self, indices: Sequence[int]) -> None:
        """Sets MediaPipe's indices of the landmarks; raises ValueError if `mirror` lacks a landmark's counterpart."""
        places = {index: place for place, index in enumerate(indices)}
        opposite = [places.get(int(MIRROR[index])) if index < len(MIRROR) else None for index in indices]
        if self.mirror and None in opposite:
            alone = indices[opposite.index(None)]
            raise ValueError(
                f"mirror={self.mirror}: landmark {alone} has no counterpart in --landmarks; use a symmetric set "
                "(face, lips, lower_face), or set mirror to 0"
            )
        self.mirror_order = None if None in opposite else torch.tensor(opposite)

    def __call__(self, keypoints: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor | None = None) -> Batch:
        """Returns an augmented batch, with as many frames as its longest clip now has.

        Landmarks are `(batch, frames, landmarks, 3)`. The mask, `(batch, frames)`, is non-zero where there is a face.
        Labels, `(batch, frames)`, are above 0 in speech and resampled with the frames.
        """
        if self.trim_silence and labels is not None:
            keypoints, mask, labels = self._trim(keypoints, mask, labels)
        if self.speed:
            keypoints, mask, labels = self._change_speed(keypoints, mask, labels)
        keypoints = self._change_face(keypoints, mask)
        batch, device, dtype = len(keypoints), keypoints.device, keypoints.dtype
        scale = 1 + self.scale * (2 * torch.rand(batch, 1, 3, device=device, dtype=dtype) - 1)
        keypoints = keypoints @ (self._rotations(batch, device, dtype) * scale)[:, None]
        keypoints = keypoints + self.shift * torch.randn(batch, 1, 1, 3, device=device, dtype=dtype)
        keypoints = keypoints + self.noise * torch.randn_like(keypoints)
        return keypoints * (mask != 0)[..., None, None], self._mask_time(mask), labels

    def _change_face(self, keypoints: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Applies `mirror`, `motion`, `mixing`, `landmark_masks` and `warp`."""
        batch, _, landmarks, _ = keypoints.shape

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(batch, 1, *shape, device=keypoints.device, dtype=keypoints.dtype)

        if self.mirror:
            if self.mirror_order is None:
                raise ValueError("mirror needs the landmarks' indices: call set_landmarks first")
            mirrored = keypoints[:, :, self.mirror_order.to(keypoints.device)] * keypoints.new_tensor([-1.0, 1.0, 1.0])
            keypoints = torch.where(uniform(1, 1) < self.mirror, mirrored, keypoints)
        if not (self.motion or self.mixing or self.landmark_masks or self.warp):
            return keypoints
        present = (mask != 0).to(keypoints.dtype)[..., None, None]
        average = (keypoints * present).sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
        movement = keypoints - average
        if self.motion:
            movement = movement * (1 + self.motion * (2 * uniform(1, 3) - 1))
        if self.mixing:
            movement = self._mix(movement * present)
        if self.landmark_masks:
            movement = movement * (uniform(landmarks, 1) >= self.landmark_masks)
        keypoints = average + movement
        if self.warp:
            x, y, z = (keypoints - average.mean(2, keepdim=True)).unbind(-1)
            squares = torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], dim=-1)
            coefficients = self.warp * torch.randn(batch, 1, 6, 3, device=keypoints.device, dtype=keypoints.dtype)
            keypoints = keypoints + squares @ coefficients
        return keypoints

    def _mix(self, movement: torch.Tensor) -> torch.Tensor:
        """Applies `mixing` to movement about the average face, `(batch, frames, landmarks, 3)`."""
        batch, flat = len(movement), movement.flatten(2)
        _, spread, components = torch.pca_lowrank(flat.flatten(0, 1), q=min(MOVEMENTS, *flat.shape[1:]), center=False)
        strength = self.mixing * torch.rand(batch, 1, 1, device=flat.device, dtype=flat.dtype)
        change = strength * torch.randn(batch, *2 * [len(spread)], device=flat.device, dtype=flat.dtype)
        ratio = spread / spread[:, None].clamp(min=torch.finfo(flat.dtype).tiny)
        change = change * ratio.clamp(max=MOST_AMPLIFIED)  # or it would turn noise into large movement
        return movement + (flat @ components @ change @ components.T).view_as(movement)

    def _trim(self, keypoints: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> Batch:
        """Removes silent frames at both ends of clips."""
        batch, frames = mask.shape
        steps = torch.arange(frames, device=mask.device)
        spoken = labels > 0
        chosen = (torch.rand(batch, device=mask.device) < self.trim_silence) & spoken.any(1)
        lengths = ((mask != 0) * (steps + 1)).amax(1)
        silent = spoken.int().argmax(1), (lengths - (spoken * (steps + 1)).amax(1)).clamp(min=0)  # before, after
        begin, left_out = (((count + 1) * torch.rand(batch, device=mask.device)).long() * chosen for count in silent)
        new_lengths = lengths - begin - left_out
        time = steps[: max(1, int(new_lengths.max()))]
        inside = time < new_lengths[:, None]
        rows, kept = torch.arange(batch, device=mask.device)[:, None], (time + begin[:, None]).clamp(max=frames - 1)
        mask = mask[rows, kept] * inside
        return keypoints[rows, kept] * inside[..., None, None], mask, labels[rows, kept].masked_fill(~inside, -100)

    def _rotations(self, batch: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Returns small random rotations, `(batch, 3, 3)`."""
        angles = torch.deg2rad(self.rotation * (2 * torch.rand(batch, 3, device=device, dtype=torch.float32) - 1))
        generator = angles.new_zeros(batch, 3, 3)
        for axis, (row, column) in enumerate(((1, 2), (2, 0), (0, 1))):
            generator[:, row, column] = -angles[:, axis]
            generator[:, column, row] = angles[:, axis]
        return torch.linalg.matrix_exp(generator).to(dtype)

    def _change_speed(self, keypoints: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor | None) -> Batch:
        """Resamples each clip to a random speed, by linear interpolation between frames that both have a face."""
        batch, frames = mask.shape
        steps = torch.arange(1, frames + 1, device=mask.device)
        lengths = ((mask != 0) * steps).amax(1)
        factor = 1 + self.speed * (2 * torch.rand(batch, device=mask.device) - 1)
        new_lengths = torch.where(lengths > 0, (lengths / factor).round().long().clamp(min=1), 0)
        last = (lengths - 1).clamp(min=0)
        time = torch.arange(max(1, int(new_lengths.max())), device=mask.device)
        position = torch.minimum(time * (last / (new_lengths - 1).clamp(min=1))[:, None], last[:, None])
        before = position.floor().long()
        after = torch.minimum(before + 1, last[:, None])
        weight = (position - before).to(keypoints.dtype)[..., None, None]
        rows = torch.arange(batch, device=mask.device)[:, None]
        resampled = keypoints[rows, before] * (1 - weight) + keypoints[rows, after] * weight
        present = (mask[rows, before] != 0) & (mask[rows, after] != 0) & (time < new_lengths[:, None])
        if labels is not None:
            labels = labels[rows, position.round().long()].masked_fill(time >= new_lengths[:, None], -100)
        return resampled * present[..., None, None], present.to(mask.dtype), labels

    def _mask_time(self, mask: torch.Tensor) -> torch.Tensor:
        """Masks stretches of frames, but never a whole clip."""
        batch, frames = mask.shape
        time, hidden = torch.arange(frames, device=mask.device), mask
        for _ in range(self.time_masks):
            length = torch.randint(0, self.time_mask_frames + 1, (batch, 1), device=mask.device)
            start = (torch.rand(batch, 1, device=mask.device) * frames).long()
            hidden = hidden * ~((time >= start) & (time < start + length))
        return torch.where(hidden.any(1, keepdim=True), hidden, mask)
