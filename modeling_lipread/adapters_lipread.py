# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Gated cross-attention adapters and their hooks in a language model.

Each adapter runs in a forward pre-hook of a decoder layer. The language model passes `conditioning` to every decoder
layer as a keyword argument, and the hooks remove it there. Thus no module keeps a clip between calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lipread import LipReadConfig
from .encoder_lipread import eager_attention_forward

# Name of the language model's cache, as argument and as output: transformers before 5.24 calls it `past_key_values`.
CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"


@dataclass
class Conditioning:
    """Keys and values for the adapters, computed once a clip.

    It is registered with `torch.export`, so that exporters trace a step of generation, also with dynamic shapes.

    Args:
        keys: For each adapter, `(clips, heads, tokens, head_dim)`.
        values: For each adapter, `(clips, heads, tokens, head_dim)`; zero for tokens without a face.
        mask: Added to the attention scores, `(clips, 1, 1, tokens)`: 0, or the lowest number of the type for tokens
            without a face.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    mask: torch.Tensor


# By a name that does not change with the folder from which remote code was imported.
torch.export.register_dataclass(Conditioning, serialized_type_name="modeling_lipread.Conditioning")
torch.serialization.add_safe_globals([Conditioning])  # an exported program holds its example inputs


class GatedCrossAttention(nn.Module):
    """Adds gated cross-attention from text to conditioning tokens to the input of a decoder layer.

    After Flamingo (Alayrac et al., 2022), but with the output projection instead of the gate initialised as zero, so
    that the initial logits equal the language model's bit for bit.
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
        self.gate = nn.Parameter(torch.full((1,), float(config.gate_init), dtype=torch.float32))

    def gate_value(self) -> torch.Tensor:
        """Returns the activated gate, `(1,)` in float32."""
        gate = self.gate.float()
        return {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda value: value}[self.config.gate_type](gate)

    def _heads(self, states: torch.Tensor, clips: int) -> torch.Tensor:
        return states.view(clips, -1, self.config.adapter_heads, self.config.adapter_head_dim).transpose(1, 2)

    def keys_values(self, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns keys and values, `(clips, heads, tokens, head_dim)` each, of conditioning tokens.

        Args:
            tokens: `(clips, tokens, encoder hidden_size)`.
            mask: True for tokens with a face, `(clips, tokens)`. The values of the others are zero, so that a clip
                without a face does not change the language model.
        """
        device = self.k_proj.weight.device
        if device.type != "meta":  # otherwise the weights are offloaded, and accelerate moves the tokens to them
            tokens = tokens.to(device)
        keys, values = self.k_proj(tokens), self.v_proj(tokens)
        values = values * mask[..., None].to(values)
        # Contiguous, since every generated token reads them from memory again.
        return tuple(self._heads(states, tokens.shape[0]).contiguous() for states in (keys, values))

    def forward(self, hidden_states: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Adds the attention's output to the hidden states, `(rows, sequence, text hidden_size)`.

        The rows of a clip, its beams or samples, are consecutive. Raises ValueError if the number of rows is no
        multiple of the number of clips.
        """
        key, value = conditioning.keys[self.adapter_index], conditioning.values[self.adapter_index]
        (rows, length, _), (clips, *_) = hidden_states.shape, key.shape
        if rows % clips:
            raise ValueError(f"{rows} texts cannot be divided among {clips} clips: give as many texts as clips")
        states = hidden_states.to(self.gate.device, self.norm.weight.dtype)
        # All rows of a clip become queries to the same keys, so beams need no copies of the keys.
        query = self._heads(self.q_proj(self.norm(states)), clips).to(key.dtype)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mask = conditioning.mask.to(key)
        output, _ = attend(self, query, key, value, mask, scaling=self.scaling, is_causal=False)
        update = self.dropout(self.o_proj(output.reshape(rows, length, -1))) * self.gate_value()
        return hidden_states + update.to(hidden_states)

    def attention_weights(self, hidden_states: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """Returns the attention weights of `forward`, which a fused kernel does not return.

        They sum to 1 over the tokens, float32 `(rows, heads, sequence, tokens)`.
        """
        key = conditioning.keys[self.adapter_index].float()
        (rows, length, _), clips = hidden_states.shape, len(key)
        states = hidden_states.to(key.device, self.norm.weight.dtype)
        query = self._heads(self.q_proj(self.norm(states)), clips).float()
        _, weights = eager_attention_forward(self, query, key, key, conditioning.mask.to(key), self.scaling)
        return weights.unflatten(2, (rows // clips, length)).transpose(1, 2).flatten(0, 1)

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

    Raises ValueError if no `ModuleList` has `num_hidden_layers` entries.
    """
    num_layers = language_model.config.get_text_config().num_hidden_layers
    for module in language_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise cannot_be_conditioned(language_model, f"has no list of {num_layers} decoder layers")


class Probe(NamedTuple):
    """What a forward pass of a language model shows."""

    devices: list[torch.device]  # of the outputs of the embeddings and of each decoder layer
    can_roll_back: bool  # whether the cache can go back to an earlier token, as assisted decoding requires


def probe(language_model: PreTrainedModel, is_new: bool) -> Probe:
    """Checks, with a forward pass of three tokens, that a language model can be conditioned.

    Every decoder layer must receive keyword arguments and hidden states `(rows, tokens, hidden_size)`, the cache must
    be an output, and no token may depend on a later one: the gradient of its logits with respect to later embeddings
    must be zero. The gradient is computed only if the language model `is_new`, as that of a saved reader has passed,
    and if no `device_map` distributes its weights, which it would hold all in memory. Raises ValueError if it cannot
    be conditioned.
    """
    layers, embeddings = decoder_layers(language_model), language_model.get_input_embeddings()
    device = None if language_model.device.type == "meta" else language_model.device
    token_ids = torch.arange(1, 4, device=device)[None]  # 0 is often padding, embedded as zeros
    received: list[bool] = []
    shapes: list[tuple[int, ...]] = []
    outputs: list[torch.Tensor] = []

    def receive(layer, args, kwargs):
        received.append(kwargs.pop("conditioning", None) is token_ids)
        shapes.append(tuple((args[0] if args else kwargs["hidden_states"]).shape))
        return args, kwargs

    def embed(module, args, output):
        outputs.append(output.detach().requires_grad_())
        return outputs[0].clone()  # which the language model may change in place

    def keep(module, args, output):
        outputs.append(output if isinstance(output, torch.Tensor) else output[0])

    # Prepended, so that the hooks of attached adapters do not receive the tokens.
    hooks = [layer.register_forward_pre_hook(receive, with_kwargs=True, prepend=True) for layer in layers]
    hooks += [embeddings.register_forward_hook(embed), *(layer.register_forward_hook(keep) for layer in layers)]
    is_whole = len(getattr(language_model, "hf_device_map", ())) <= 1
    has_gradient = is_new and is_whole and not torch.is_inference_mode_enabled()
    try:
        # In training, LayerDrop would skip layers.
        with evaluation_mode(language_model), torch.set_grad_enabled(has_gradient):
            output = language_model(token_ids, use_cache=True, conditioning=token_ids)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = "passes no keyword arguments on to its decoder layers" if "conditioning" in str(error) else "fails"
        raise cannot_be_conditioned(language_model, f"{reason} ({error})") from error
    finally:
        for hook in hooks:
            hook.remove()
    if len(received) != len(layers) or not all(received):
        raise cannot_be_conditioned(language_model, "passes no keyword arguments on to its decoder layers")
    expected = (*token_ids.shape, language_model.config.get_text_config().hidden_size)
    if wrong := set(shapes) - {expected}:
        shape = f"gives its decoder layers hidden states {wrong.pop()}, not (rows, tokens, hidden_size) {expected}"
        raise cannot_be_conditioned(language_model, shape)
    if has_gradient:
        (gradient,) = torch.autograd.grad(output.logits[0, 0].float().square().sum(), outputs[0])
        own, *later = gradient[0].abs().amax(-1).tolist()
        if any(1e-4 * own < other < math.inf for other in later):  # kernels may round a zero
            raise cannot_be_conditioned(language_model, "is not causal: the scores of a token depend on later tokens")
    if (cache := output.get(CACHE)) is None:
        raise cannot_be_conditioned(language_model, "returns no cache, but keeps its state in its modules")
    return Probe([output.device for output in outputs], getattr(cache, "is_croppable", False))


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Turns off dropout and the like, and restores the training flag of every submodule afterwards."""
    training = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for submodule, flag in training.items():
            submodule.training = flag


def cannot_be_conditioned(language_model: PreTrainedModel, reason: str) -> ValueError:
    """Returns the error for a language model whose layers cannot receive the conditioning."""
    return ValueError(
        f"{language_model.config.model_type} models cannot be conditioned: this one {reason}. Choose a language model "
        "of another family, such as llama, qwen3, gemma3 or gpt2; for example HuggingFaceTB/SmolLM2-135M."
    )


def attach_adapters(language_model: PreTrainedModel, adapters: nn.ModuleList, adapter_layers: list[int]) -> None:
    """Hooks each [`GatedCrossAttention`] before its decoder layer; modules and parameter names do not change.

    `adapter_layers` are the indices of the decoder layers, ascending. Raises ValueError if the language model already
    has adapters.
    """
    if getattr(language_model, "has_lipread_adapters", False):
        raise ValueError("a reader was built on this language model before: load a language model for each reader")
    language_model.has_lipread_adapters = True
    adapter_of_layer = dict(zip(adapter_layers, adapters, strict=True))
    for index, layer in enumerate(decoder_layers(language_model)):
        hook = adapter_of_layer[index].pre_hook if index in adapter_of_layer else drop_conditioning
        layer.register_forward_pre_hook(hook, with_kwargs=True)


@contextmanager
def recorded_attention(adapters: nn.ModuleList) -> Iterator[list[torch.Tensor]]:
    """Yields a list to which each adapter that runs appends its `attention_weights`."""
    weights: list[torch.Tensor] = []
    hooks = [
        adapter.register_forward_pre_hook(lambda adapter, args: weights.append(adapter.attention_weights(*args)))
        for adapter in adapters
    ]
    try:
        yield weights
    finally:
        for hook in hooks:
            hook.remove()
