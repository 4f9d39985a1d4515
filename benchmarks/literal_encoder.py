# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The baseline of `benchmarks.clips`: the face encoder written with torch's Transformer modules.

Every frame of the padded batch, with or without a face, passes a spatial `nn.TransformerEncoder` over CLS and all
landmarks, a temporal `nn.TransformerEncoder`, and a Perceiver with `nn.MultiheadAttention`. Dropout is where those
modules apply it, also on attention weights. In evaluation they use torch's fused fast path. The output equals that of
`FaceKeypointEncoder`, whose weights it has.
"""

import copy

import torch
from torch import nn

from modeling_lipread import FaceKeypointEncoder, FaceKeypointEncoderConfig, FaceKeypointEncoderOutput
from modeling_lipread.encoder_lipread import EncoderLayer, sinusoidal_positions


def literal_config(num_landmarks: int = 478, **settings) -> FaceKeypointEncoderConfig:
    """Returns the settings: 2 spatial layers of width 256, 4 temporal layers of width 576, 8 latents."""
    spatial = {"frame_encoder": "transformer", "kp_embed_dim": 256, "kp_spatial_layers": 2, "use_velocity": False}
    temporal = {"temporal_encoder": "transformer", "hidden_size": 576, "kp_temporal_layers": 4, "conv_kernel_size": 0}
    resampler = {"resampler": "perceiver", "cond_len": 8, "kp_heads": 8}
    return FaceKeypointEncoderConfig(num_landmarks=num_landmarks, **{**spatial, **temporal, **resampler, **settings})


class LiteralPerceiverLayer(nn.Module):
    """A pre-norm cross-attention layer from latents to frames."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, latents, mask, context):
        queries, context = self.norm1(latents), self.norm1(context)
        read, _ = self.attention(queries, context, context, key_padding_mask=~mask, need_weights=False)
        latents = latents + self.dropout(read)
        hidden = self.dropout(nn.functional.gelu(self.linear1(self.norm2(latents))))
        return latents + self.dropout(self.linear2(hidden))


class LiteralEncoder(nn.Module):
    """The baseline, with the weights of an encoder of `literal_config`."""

    def __init__(self, encoder: FaceKeypointEncoder):
        super().__init__()
        config, frames = encoder.config, encoder.frame_encoder
        self.point_mlp, self.projection, self.spatial_norm = frames.point_mlp, frames.projection, frames.norm
        self.landmark_embedding, self.cls_token = frames.landmark_embedding, frames.cls_token
        self.temporal_norm, self.dropout = encoder.norm, nn.Dropout(config.kp_dropout)
        self.spatial = _transformer(frames.layers, config, config.kp_embed_dim)
        self.temporal = _transformer(encoder.layers, config, config.hidden_size)
        self.resampler = copy.deepcopy(encoder.resampler)  # of which only the layers differ
        for index, layer in enumerate(encoder.resampler.layers):
            literal = LiteralPerceiverLayer(*_sizes(config, config.hidden_size))
            _copy(layer, literal, literal.attention)
            self.resampler.layers[index] = literal

    def forward(self, keypoints: torch.Tensor, mask: torch.Tensor) -> FaceKeypointEncoderOutput:
        """Maps landmarks `(batch, frames, landmarks, 3)` and mask `(batch, frames)` to `(batch, latents, width)`."""
        batch, length = mask.shape
        mask = mask.bool()
        points = self.point_mlp(keypoints.flatten(0, 1)) + self.landmark_embedding.weight
        tokens = torch.cat([self.cls_token.expand(batch * length, 1, -1), points], dim=1)
        cls = self.spatial_norm(self.spatial(tokens)[:, 0])
        frames = self.projection(cls).unflatten(0, (batch, length)) * mask[..., None]
        positions = sinusoidal_positions(length, frames.shape[-1], frames.device, frames.dtype)
        frames = self.temporal_norm(self.temporal(self.dropout(frames + positions), src_key_padding_mask=~mask))
        return FaceKeypointEncoderOutput(*self.resampler(frames, mask))


def _sizes(config: FaceKeypointEncoderConfig, width: int) -> tuple[int, int, int, float]:
    return width, config.kp_heads, width * config.kp_ff_mult, config.kp_dropout


def _transformer(layers: nn.ModuleList, config: FaceKeypointEncoderConfig, width: int) -> nn.TransformerEncoder:
    gelu = nn.functional.gelu
    layer = nn.TransformerEncoderLayer(*_sizes(config, width), gelu, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, len(layers), enable_nested_tensor=False)
    for ours, literal in zip(layers, encoder.layers, strict=True):
        _copy(ours, literal, literal.self_attn)
    return encoder


@torch.no_grad()
def _copy(ours: EncoderLayer, literal: nn.Module, attention: nn.MultiheadAttention) -> None:
    """Copies the weights of one of our layers to a torch layer."""
    projections = (ours.attention.q_proj, ours.attention.k_proj, ours.attention.v_proj)
    attention.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
    biases = [torch.zeros(p.out_features) if p.bias is None else p.bias for p in projections]
    attention.in_proj_bias.copy_(torch.cat(biases))
    attention.out_proj.load_state_dict(ours.attention.o_proj.state_dict())
    literal.norm1.load_state_dict(ours.attention_norm.state_dict())
    literal.norm2.load_state_dict(ours.feed_forward_norm.state_dict())
    literal.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    literal.linear2.load_state_dict(ours.feed_forward[3].state_dict())
