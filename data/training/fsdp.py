# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Models sharded over several GPUs by FSDP2.

The decoder layers of the language model are sharded. Encoder, adapters and gates are small and stay in the outermost
FSDP unit, because adapters run inside the language model's layers and their keys and values are computed outside of
`forward`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from modeling_lipread.adapters_lipread import decoder_layers


def shard_by_layer(plugin, model: PreTrainedModel) -> None:
    """Makes accelerate's `FullyShardedDataParallelPlugin` shard the decoder layers and leave precision to autocast."""
    plugin.transformer_cls_names_to_wrap = sorted(
        {type(layer).__name__ for layer in decoder_layers(model.language_model)}
    )
    # Its mixed precision policy would round the input landmarks to the parameters' type; autocast does not.
    plugin.mixed_precision_policy = None


def gather_to_encode(model: PreTrainedModel) -> None:
    """Makes `encode` gather its parameters, as `forward` and `generate` do; does nothing without FSDP."""
    if isinstance(model, FSDPModule) and "encode" not in vars(model):
        register_fsdp_forward_method(model, "encode")


@contextmanager
def gathered(model: PreTrainedModel) -> Iterator[None]:
    """Context in which the parameters of the outermost FSDP unit are gathered; does nothing without FSDP."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


@contextmanager
def own_class(model: PreTrainedModel) -> Iterator[None]:
    """Context in which a model has its original class, which FSDP replaces: checkpoints hold that class's code."""
    replaced = type(model)
    if isinstance(model, FSDPModule):
        model.__class__ = next(base for base in replaced.__bases__ if base is not FSDPModule)
    try:
        yield
    finally:
        model.__class__ = replaced


def unsharded(value: torch.Tensor) -> torch.Tensor:
    """Returns a tensor, gathered from all processes if it is sharded."""
    return value.full_tensor() if isinstance(value, DTensor) else value
