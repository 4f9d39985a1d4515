# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Gated cross-attention adapters, their hooks in a language model, and their attention to frames.

Each adapter runs in a forward pre-hook of a decoder layer. The language model passes `conditioning` to every decoder
layer as a keyword argument, and the hooks remove it there. Thus no module keeps a clip between calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lipread import FaceKeypointEncoderConfig, LipReadConfig
from .encoder_lipread import eager_attention_forward


class Conditioning(NamedTuple):
    """Keys and values for the adapters, computed once a clip.

    Args:
        keys: For each adapter, `(clips, heads, tokens, head_dim)`.
        values: For each adapter, `(clips, heads, tokens, head_dim)`, scaled by its gate; zero for tokens without a
            face.
        mask: Added to the attention scores, `(clips, 1, 1, tokens)`: 0, or the lowest number of the type for tokens
            without a face.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    mask: torch.Tensor


class GatedCrossAttention(nn.Module):
    """Adds gated cross-attention from text to conditioning tokens to the input of a decoder layer.

    After Flamingo (Alayrac et al., 2022), but with the output projection instead of the gate initialised as zero, so
    that the initial logits equal the language model's bit for bit. The projection is linear, so the gate scales the
    values, once a clip, instead of the output at every token.
    """

    is_causal = False

    def __init__(self, config: LipReadConfig, adapter_index: int):
        super().__init__()
        self.config = config
        self.adapter_index = adapter_index
        text_width = config.get_text_config().hidden_size
        width = config.adapter_heads * config.adapter_head_dim
        self.scaling = config.adapter_head_dim**-0.5
        self.norm = nn.LayerNorm(text_width)
        self.q_proj = nn.Linear(text_width, width, bias=False)
        self.k_proj = nn.Linear(config.encoder_config.hidden_size, width, bias=False)
        self.v_proj = nn.Linear(config.encoder_config.hidden_size, width, bias=False)
        self.o_proj = nn.Linear(width, text_width, bias=False)
        self.dropout = nn.Dropout(config.adapter_dropout)
        self.gate = nn.Parameter(torch.full((1,), float(config.gate_init)))

    def gate_value(self) -> torch.Tensor:
        """Returns the activated gate, `(1,)` in float32."""
        gate = self.gate.float()
        return {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda value: value}[self.config.gate_type](gate)

    def _heads(self, states: torch.Tensor, clips: int) -> torch.Tensor:
        return states.view(clips, -1, self.config.adapter_heads, self.config.adapter_head_dim).transpose(1, 2)

    def keys_values(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes keys and gated values of conditioning tokens.

        Args:
            tokens: `(clips, tokens, encoder hidden_size)`.
            mask: True for tokens with a face, `(clips, tokens)`. The values of the others are zero, so that a clip
                without a face does not change the language model.

        Returns:
            Two tensors `(clips, heads, tokens, head_dim)`.
        """
        tokens, mask = tokens.to(self.k_proj.weight.device), mask.to(self.k_proj.weight.device)
        keys, values = self.k_proj(tokens), self.v_proj(tokens)
        values = (values * (self.gate_value() * mask[..., None])).to(values.dtype)
        # Contiguous, since every generated token reads them from memory again.
        return tuple(self._heads(states, tokens.shape[0]).contiguous() for states in (keys, values))

    def forward(self, hidden_states: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Adds the attention's output to the hidden states.

        Args:
            hidden_states: `(rows, sequence, text hidden_size)`; the rows of a clip, its beams or samples, are
                consecutive.
            conditioning: Keys and values of the clips.

        Raises:
            ValueError: If the number of rows is no multiple of the number of clips.
        """
        key, value = conditioning.keys[self.adapter_index], conditioning.values[self.adapter_index]
        (rows, length, _), (clips, *_) = hidden_states.shape, key.shape
        if rows % clips:
            raise ValueError(f"{rows} texts cannot be divided among {clips} clips: give as many texts as clips")
        states = hidden_states.to(self.norm.weight)
        # All rows of a clip become queries to the same keys, so beams need no copies of the keys.
        query = self._heads(self.q_proj(self.norm(states)), clips).to(key.dtype)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mask = conditioning.mask.to(key)
        output, _ = attend(self, query, key, value, mask, scaling=self.scaling, is_causal=False)
        update = self.dropout(self.o_proj(output.reshape(rows, length, -1)))
        return hidden_states + update.to(hidden_states)

    def attention_weights(self, hidden_states: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Computes the attention weights of `forward`, which a fused kernel does not return.

        Args:
            hidden_states, conditioning: As for `forward`.

        Returns:
            Weights that sum to 1 over the tokens, float32 `(rows, heads, sequence, tokens)`.
        """
        key = conditioning.keys[self.adapter_index]
        (rows, length, _), (clips, heads, tokens, _) = hidden_states.shape, key.shape
        query = self._heads(self.q_proj(self.norm(hidden_states.to(self.norm.weight))), clips)
        scores = query.float() @ key.float().transpose(-1, -2) * self.scaling + conditioning.mask.to(key).float()
        weights = scores.softmax(-1).view(clips, heads, rows // clips, length, tokens)
        return weights.transpose(1, 2).reshape(rows, heads, length, tokens)

    def pre_hook(self, layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Forward pre-hook of a decoder layer; a bound method, which deepcopy and pickle support."""
        conditioning = kwargs.pop("conditioning", None)
        if conditioning is None:
            return args, kwargs
        if args:
            return (self(args[0], conditioning), *args[1:]), kwargs
        kwargs["hidden_states"] = self(kwargs["hidden_states"], conditioning)
        return args, kwargs


def drop_conditioning(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Forward pre-hook of a decoder layer without an adapter; removes the argument that the layer does not accept."""
    kwargs.pop("conditioning", None)
    return args, kwargs


def decoder_layers(language_model: PreTrainedModel) -> nn.ModuleList:
    """Returns the decoder layers of a causal language model.

    Raises:
        ValueError: If no `ModuleList` has `num_hidden_layers` entries.
    """
    num_layers = language_model.config.get_text_config().num_hidden_layers
    for module in language_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise cannot_be_conditioned(language_model, f"has no list of {num_layers} decoder layers")


def check_conditioning(language_model: PreTrainedModel) -> None:
    """Checks, with a forward pass of one token, that keyword arguments reach every decoder layer.

    Skips a language model on the meta device, which cannot compute yet.

    Args:
        language_model: Causal language model, with or without adapters attached.

    Raises:
        ValueError: If they do not reach every layer.
    """
    if language_model.device.type == "meta":
        return
    layers = decoder_layers(language_model)
    training = language_model.training
    token = torch.zeros(1, 1, dtype=torch.long, device=language_model.device)
    received: list[bool] = []

    def record(layer, args, kwargs):
        received.append(kwargs.pop("conditioning", None) is token)
        return args, kwargs

    # Prepended, so that the hooks of attached adapters do not receive the token.
    hooks = [layer.register_forward_pre_hook(record, with_kwargs=True, prepend=True) for layer in layers]
    language_model.eval()  # in training, LayerDrop would skip layers
    try:
        with torch.no_grad():
            language_model(token, use_cache=False, conditioning=token)
    except (TypeError, ValueError):
        received.clear()  # the model accepts no such argument
    finally:
        language_model.train(training)
        for hook in hooks:
            hook.remove()
    if len(received) != len(layers) or not all(received):
        raise cannot_be_conditioned(language_model, "does not pass keyword arguments on to its decoder layers")


def cannot_be_conditioned(language_model: PreTrainedModel, reason: str) -> ValueError:
    """Returns the error for a language model whose layers cannot receive the conditioning."""
    return ValueError(
        f"{language_model.config.model_type} models cannot be conditioned: this one {reason}. Choose a language model "
        "of another family, such as llama, qwen3, gemma3 or gpt2; for example HuggingFaceTB/SmolLM2-135M."
    )


def attach_adapters(language_model: PreTrainedModel, adapters: nn.ModuleList, adapter_layers: list[int]) -> None:
    """Hooks each adapter before its decoder layer.

    Args:
        language_model: Causal language model; its modules and parameter names do not change.
        adapters: One [`GatedCrossAttention`] for each of `adapter_layers`.
        adapter_layers: Indices of decoder layers, ascending.
    """
    adapter_of_layer = dict(zip(adapter_layers, adapters, strict=True))
    for index, layer in enumerate(decoder_layers(language_model)):
        hook = adapter_of_layer[index].pre_hook if index in adapter_of_layer else drop_conditioning
        layer.register_forward_pre_hook(hook, with_kwargs=True)


@torch.no_grad()
def token_attention(model: Any, input_ids: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
    """Computes the attention of text to conditioning tokens, averaged over heads and adapters.

    Args:
        model: A [`LipReadForConditionalGeneration`].
        input_ids: The text, `(rows, sequence)`.
        conditioning: The clips, as `encode` returns them.

    Returns:
        Weights that sum to 1 over the conditioning tokens, float32 `(rows, sequence, tokens)`.
    """
    weights: list[torch.Tensor] = []

    def record(adapter: Any, arguments: tuple) -> None:
        weights.append(adapter.attention_weights(*arguments).mean(1).cpu())

    hooks = [adapter.register_forward_pre_hook(record) for adapter in model.adapters]
    try:
        model(input_ids=input_ids, conditioning=conditioning)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(weights).mean(0)


def token_frames(config: FaceKeypointEncoderConfig, mask: np.ndarray) -> np.ndarray:
    """Returns the share of each frame in each conditioning token.

    A token of the `pool` resampler is an average of neighbouring frames. A token of the `perceiver` resampler attends
    to all frames; here it counts for the segment whose average it starts from.

    Args:
        config: Configuration of the encoder.
        mask: True for frames with a face, bool `(frames,)`; at least one frame has one.

    Returns:
        Shares that sum to 1 over the frames, float64 `(tokens, frames)`; 0 for a token without a face.
    """
    frames = np.arange(len(mask))
    if config.resampler == "pool":
        tokens = np.arange(-(-len(mask) // config.pool_frames))
        covers = frames // config.pool_frames == tokens[:, None]
    else:
        length = int(np.flatnonzero(mask)[-1]) + 1
        centre = (np.arange(config.cond_len) + 0.5) * length / config.cond_len
        covers = np.abs(frames + 0.5 - centre[:, None]) <= max(length / (2 * config.cond_len), 0.5)
    shares = (covers & mask).astype(np.float64)
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)


def word_attention(model: Any, processor: Any, features: dict[str, torch.Tensor], text: str) -> np.ndarray:
    """Computes the attention of each word of a transcript to each frame of its clip.

    Args:
        model: A [`LipReadForConditionalGeneration`].
        processor: Its [`LipReadProcessor`].
        features: Output of the feature extractor for one clip.
        text: The transcript.

    Returns:
        The mean over the tokens of each word; sums to 1 over the frames, float64 `(words, frames)`.
    """
    tokens = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = model.config.start_ids
    keypoints, mask = features["keypoints"].to(model.device), features["keypoints_mask"].to(model.device)
    with torch.no_grad():
        conditioning, _ = model.encode(keypoints, mask)
    ids = torch.tensor([start + tokens], device=model.device)
    # The position before a token predicts it.
    attention = token_attention(model, ids, conditioning)[0, len(start) - 1 : -1].double().numpy()
    frames = attention @ token_frames(model.config.encoder_config, mask[0].bool().cpu().numpy())
    words = len(text.split())
    sums, counts = np.zeros((words, frames.shape[1])), np.zeros((words, 1))
    for count, weights in enumerate(frames, start=1):
        word = len(processor.decode(tokens[:count], skip_special_tokens=True).split()) - 1
        if 0 <= word < words:
            sums[word] += weights
            counts[word] += 1
    sums /= np.maximum(counts, 1)
    return sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
