# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What an encoder can learn from video that nobody transcribed: to tell hidden frames from those around them.

Spans of frames are hidden, and the encoder tells their landmarks, as masked language models tell words. A line drawn
from the last frame seen to the next tells them too, so its error stands beside the encoder's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from modeling_lipread import FaceKeypointEncoder
from modeling_lipread.encoder_lipread import reconstruction_error


@dataclass
class FrameHiding:
    """Chooses which frames of a batch are hidden.

    Args:
        share: Of the frames, on average; in (0, 1).
        span: Frames that are hidden together, or more where spans meet.
        seed: Of the choice in evaluation, the same each time.
    """

    share: float
    span: int
    seed: int = 0

    def __call__(self, mask: torch.Tensor, train: bool) -> torch.Tensor:
        """Chooses frames.

        Args:
            mask: Non-zero where there is a face, `(batch, frames)`.
            train: Whether to draw from the process's own random state, and anew each time.

        Returns:
            True where a frame is hidden, `(batch, frames)`; at least one frame of a clip that has two stays seen.
        """
        batch, frames = mask.shape
        generator = None if train else torch.Generator().manual_seed(self.seed)
        begins = torch.rand(batch, frames + self.span - 1, generator=generator) < 1 - (1 - self.share) ** (
            1 / self.span
        )
        hidden = torch.nn.functional.max_pool1d(begins.float()[:, None], self.span, stride=1)[:, 0].bool()
        hidden = hidden.to(mask.device) & (mask != 0)
        blind = hidden.sum(1) == (mask != 0).sum(1)
        first = (mask != 0).int().argmax(1)
        hidden[blind, first[blind]] = False
        return hidden


def interpolate(keypoints: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Frames that are not seen, on a line between the nearest two that are; at the ends, as the nearest.

    Args:
        keypoints: `(batch, frames, landmarks, 3)`.
        seen: True where a frame is known, `(batch, frames)`.

    Returns:
        `keypoints`, other frames replaced.
    """
    batch, frames = seen.shape
    time = torch.arange(frames, device=seen.device).expand(batch, -1)
    before = torch.where(seen, time, -1).cummax(1).values
    after = torch.where(seen, time, frames).flip(1).cummin(1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after >= frames, before, after)
    before, after = (index.clamp(0, frames - 1) for index in (before, after))
    weight = ((time - before) / (after - before).clamp(min=1)).clamp(0, 1)[..., None, None]
    rows = torch.arange(batch, device=seen.device)[:, None]
    return keypoints[rows, before] * (1 - weight) + keypoints[rows, after] * weight


def interpolation_loss(
    encoder: FaceKeypointEncoder, keypoints: torch.Tensor, mask: torch.Tensor, hidden_frames: torch.Tensor
) -> torch.Tensor:
    """The error of `interpolate`, measured as `FaceKeypointEncoder.reconstruction_loss` measures the encoder's."""
    mask = mask.bool()
    told = encoder.standardized(interpolate(keypoints, mask & ~hidden_frames), mask)
    return reconstruction_error(told, encoder.standardized(keypoints, mask), mask & hidden_frames)


__all__ = ["FrameHiding", "interpolate", "interpolation_loss"]
