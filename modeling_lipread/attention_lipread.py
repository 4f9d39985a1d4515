# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Attention, Transformer layers and positions, as the face encoder and the adapters use them."""

import math

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lipread import FaceKeypointEncoderConfig


def eager_attention_forward(module, query, key, value, attention_mask, scaling, **kwargs):
    """Attention written out; `(batch, heads, tokens, head_dim)` in, `(batch, tokens, heads, head_dim)` out."""
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def additive_mask(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A mask to add to attention scores. Finite, so that a clip without any face gives no NaN.

    Args:
        mask: True where a key may be attended to, `(batch, keys)`.
        dtype: Type of the attention scores.

    Returns:
        `(batch, 1, 1, keys)`, 0 or the type's lowest number; `None` for no mask.
    """
    if mask is None:
        return None
    lowest = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, lowest)[:, None, None, :]


def sinusoidal_positions(length: int, width: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Sines and cosines of each position, `(length, width)` (Vaswani et al., 2017). Any length; nothing is stored."""
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(dtype)


class Attention(nn.Module):
    """Multi-head attention from queries to keys and values, by whichever kernel the configuration names.

    With `max_distance` frames attend to each other, always with a mask, and each head learns to prefer some distances
    in time (Shaw et al., 2018, as in T5: one number a head and distance, added to the scores). Larger distances count
    as `max_distance`.
    """

    is_causal = False

    def __init__(self, config: FaceKeypointEncoderConfig, width: int, max_distance: int = 0):
        super().__init__()
        self.config = config
        self.max_distance = max_distance
        self.distance_bias = nn.Embedding(2 * max_distance + 1, config.kp_heads) if max_distance else None
        self.num_heads = config.kp_heads
        self.scaling = (width // self.num_heads) ** -0.5
        self.q_proj = nn.Linear(width, width)
        # A bias on the keys shifts all scores of a query alike, which the softmax takes out again.
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, queries, keys_values, mask=None):
        query, key, value = (
            self._heads(projection(states))
            for projection, states in ((self.q_proj, queries), (self.k_proj, keys_values), (self.v_proj, keys_values))
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mask = additive_mask(mask, query.dtype)
        if self.distance_bias is not None:
            mask = mask + self._distance_bias(query.shape[2], query)
        output, _ = attend(self, query, key, value, mask, scaling=self.scaling, is_causal=False)
        return self.o_proj(output.flatten(-2))

    def _distance_bias(self, frames: int, like: torch.Tensor) -> torch.Tensor:
        """Returns what is added to the scores, `(1, heads, frames, frames)`."""
        positions = torch.arange(frames, device=like.device)
        distance = positions[None, :] - positions[:, None]
        bias = self.distance_bias(distance.clamp(-self.max_distance, self.max_distance) + self.max_distance)
        return bias.permute(2, 0, 1)[None].to(like.dtype)

    def read_by_one(self, query: torch.Tensor, keys_values: torch.Tensor) -> torch.Tensor:
        """The same attention for a single query, without ever making keys and values.

        Projecting the query back through the keys' weights, and the attended average forward through the values',
        costs a few vectors; projecting every token to a key and a value costs two matrices.

        Args:
            query: `(batch, 1, width)`.
            keys_values: `(batch, tokens, width)`.

        Returns:
            `(batch, 1, width)`.
        """
        heads = (self.num_heads, -1)
        query = torch.einsum(
            "bhd,hdw->bhw", self.q_proj(query)[:, 0].unflatten(-1, heads), self.k_proj.weight.unflatten(0, heads)
        )
        scores = query @ keys_values.transpose(1, 2) * self.scaling
        weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(keys_values.dtype)
        value = torch.einsum("bhw,hdw->bhd", weights @ keys_values, self.v_proj.weight.unflatten(0, heads))
        return self.o_proj(value.flatten(1) + self.v_proj.bias)[:, None]


class EncoderLayer(nn.Module):
    """A pre-norm Transformer layer. With `context`, its queries read the context instead of themselves."""

    def __init__(self, config: FaceKeypointEncoderConfig, width: int, max_distance: int = 0):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(config, width, max_distance)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width * config.kp_ff_mult),
            nn.GELU(),
            nn.Dropout(config.kp_dropout),
            nn.Linear(width * config.kp_ff_mult, width),
        )
        self.dropout = nn.Dropout(config.kp_dropout)

    def forward(self, hidden_states, mask=None, context=None):
        """Runs the layer.

        Args:
            hidden_states: `(batch, queries, width)`.
            mask: True where a key may be attended to, `(batch, keys)`.
            context: What the queries read, normalised with them, `(batch, keys, width)`; themselves if `None`.
        """
        queries = self.attention_norm(hidden_states)
        keys_values = queries if context is None else self.attention_norm(context)
        return self._feed_forward(hidden_states + self.dropout(self.attention(queries, keys_values, mask)))

    def first_token(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The layer's output for the first token alone, `(batch, width)`, at a fraction of the cost."""
        tokens = self.attention_norm(hidden_states)
        update = self.attention.read_by_one(tokens[:, :1], tokens)
        return self._feed_forward(hidden_states[:, :1] + self.dropout(update))[:, 0]

    def _feed_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.dropout(self.feed_forward(self.feed_forward_norm(hidden_states)))
