# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Gated cross-attention adapters, and how they hook into a language model that knows nothing of them.

Each adapter runs in a forward pre-hook of a decoder layer. The conditioning travels through the language model's own
keyword arguments and is taken out at every layer, so that no module holds a clip between calls.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lipread import LipReadConfig
from .encoder_lipread import additive_mask, eager_attention_forward


class Conditioning(NamedTuple):
    """What a language model's adapters attend to: computed once a clip, however many tokens are written.

    Args:
        keys: For each adapter, `(batch, heads, tokens, head_dim)`.
        values: For each adapter, `(batch, heads, tokens, head_dim)`; zero where there was no face.
        mask: True where a token saw a face, `(batch, tokens)`.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    mask: torch.Tensor

    def repeat_interleave(self, repeats: int) -> Conditioning:
        """The same conditioning for `repeats` beams or samples a clip."""
        return Conditioning(
            tuple(key.repeat_interleave(repeats, dim=0) for key in self.keys),
            tuple(value.repeat_interleave(repeats, dim=0) for value in self.values),
            self.mask.repeat_interleave(repeats, dim=0),
        )


class GatedCrossAttention(nn.Module):
    """Cross-attention from the text to the face, added to a decoder layer's input through a learned gate.

    With the output projection at zero the language model is unchanged at the start, to the bit (after Flamingo,
    Alayrac et al., 2022, where the gate is what starts at zero).
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
        """The factor on what the adapter adds, `(1,)` in float32."""
        gate = self.gate.float()
        return {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda value: value}[self.config.gate_type](gate)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.config.adapter_heads, -1)).transpose(1, 2)

    def keys_values(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the conditioning tokens.

        Args:
            tokens: `(batch, tokens, encoder hidden_size)`.
            mask: True where a token saw a face, `(batch, tokens)`. The others' values are zero, so that a clip without
                any face leaves the language model alone.

        Returns:
            Two tensors `(batch, heads, tokens, head_dim)`.
        """
        return self._heads(self.k_proj(tokens)), self._heads(self.v_proj(tokens)) * mask[:, None, :, None]

    def forward(self, hidden_states: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Adds what the face says to the text's hidden states, `(batch, sequence, text hidden_size)`."""
        key, value = conditioning.keys[self.adapter_index], conditioning.values[self.adapter_index]
        query = self._heads(self.q_proj(self.norm(hidden_states.to(self.norm.weight.dtype)))).to(key.dtype)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mask = additive_mask(conditioning.mask, query.dtype)
        output, _ = attend(self, query, key, value, mask, scaling=self.scaling, dropout=0.0, is_causal=False)
        update = self.dropout(self.o_proj(output.flatten(-2)))
        return hidden_states + (self.gate_value() * update).to(hidden_states.dtype)

    def pre_hook(self, layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Forward pre-hook of a decoder layer. A bound method, so that it survives deepcopy and pickle."""
        conditioning = kwargs.pop("conditioning", None)
        if conditioning is None:
            return args, kwargs
        if args:
            return (self(args[0], conditioning), *args[1:]), kwargs
        kwargs["hidden_states"] = self(kwargs["hidden_states"], conditioning)
        return args, kwargs


def drop_conditioning(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Forward pre-hook of the decoder layers without an adapter: what they do not know must not reach them."""
    kwargs.pop("conditioning", None)
    return args, kwargs


def decoder_layers(language_model: PreTrainedModel) -> nn.ModuleList:
    """Finds the decoder layers of a causal language model.

    Raises:
        ValueError: If no list of modules has the length the configuration names.
    """
    num_layers = language_model.config.get_text_config().num_hidden_layers
    for module in language_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise ValueError(
        f"{type(language_model).__name__} cannot be conditioned: it has no list of {num_layers} decoder layers to "
        "hook adapters into. Choose a decoder-only Transformer, for example HuggingFaceTB/SmolLM2-135M."
    )


def require_conditioning(language_model: PreTrainedModel) -> None:
    """Makes sure, with one token, that what `forward` is given as a keyword reaches every decoder layer.

    Raises:
        ValueError: If it does not: adapters would be hooked in and never see a face.
    """
    arrived: list[bool] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: arrived.append("conditioning" in kwargs), with_kwargs=True
        )
        for layer in decoder_layers(language_model)
    ]
    hooks += [
        layer.register_forward_pre_hook(drop_conditioning, with_kwargs=True)
        for layer in decoder_layers(language_model)
    ]
    try:
        with torch.no_grad():
            language_model(torch.zeros(1, 1, dtype=torch.long, device=language_model.device), conditioning=None)
    except (TypeError, ValueError):
        arrived.append(False)
    finally:
        for hook in hooks:
            hook.remove()
    if not arrived or not all(arrived):
        raise ValueError(
            f"{type(language_model).__name__} cannot be conditioned: it does not pass keyword arguments on to its "
            "decoder layers. Choose another language model, for example HuggingFaceTB/SmolLM2-135M."
        )


def attach_adapters(language_model: PreTrainedModel, adapters: nn.ModuleList, adapter_layers: list[int]) -> None:
    """Hooks each adapter before its decoder layer.

    Args:
        language_model: Causal language model; its modules and parameter names stay as they are.
        adapters: One [`GatedCrossAttention`] for each of `adapter_layers`.
        adapter_layers: Indices of decoder layers, ascending.
    """
    adapter_of_layer = dict(zip(adapter_layers, adapters, strict=True))
    for index, layer in enumerate(decoder_layers(language_model)):
        hook = adapter_of_layer[index].pre_hook if index in adapter_of_layer else drop_conditioning
        layer.register_forward_pre_hook(hook, with_kwargs=True)


__all__ = ["Conditioning", "GatedCrossAttention"]
