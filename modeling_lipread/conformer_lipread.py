# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Conformer layers over time: attention for the sentence, convolution for the syllable (Gulati et al., 2020)."""

import torch
from torch import nn

from .attention_lipread import EncoderLayer
from .configuration_lipread import FaceKeypointEncoderConfig


class ConvolutionModule(nn.Module):
    """A gated convolution over neighbouring frames, each channel on its own.

    As in the Conformer, but for a LayerNorm in place of the BatchNorm, whose statistics padding and small batches
    would disturb.
    """

    def __init__(self, config: FaceKeypointEncoderConfig, width: int):
        super().__init__()
        kernel = config.conformer_kernel_size
        self.norm = nn.LayerNorm(width)
        self.expansion = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise_norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        gated = nn.functional.glu(self.expansion(self.norm(hidden_states)), dim=-1) * mask[..., None]
        local = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.projection(nn.functional.silu(self.depthwise_norm(local)))


class ConformerLayer(EncoderLayer):
    """Attention that knows how far apart two frames are, then convolution, then feed-forward; all pre-norm.

    The Conformer's first half of a feed-forward is left out.
    """

    def __init__(self, config: FaceKeypointEncoderConfig, width: int):
        super().__init__(config, width, max_distance=config.max_relative_distance)
        self.convolution = ConvolutionModule(config, width)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Runs the layer.

        Args:
            hidden_states: `(batch, frames, width)`.
            mask: True where there is a face, `(batch, frames)`; other frames are neither attended to nor convolved.
        """
        frames = self.attention_norm(hidden_states)
        hidden_states = hidden_states + self.dropout(self.attention(frames, frames, mask))
        hidden_states = hidden_states + self.dropout(self.convolution(hidden_states, mask))
        return self._feed_forward(hidden_states)


__all__ = ["ConformerLayer"]
