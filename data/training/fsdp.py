# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Readers whose parameters are spread over several GPUs by FSDP2, and the ways of spreading that are refused.

What is cut up is the language model: each of its decoder layers is gathered when it is its turn. Encoder, adapters and
gates are small and stay together in the outermost unit, since adapters run inside the language model's layers and
their keys and values are computed outside of `forward`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, parse_flag_from_env
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from modeling_lipread.adapters_lipread import decoder_layers

from .arguments import LipReadTrainingArguments

FULL_STATE = "FULL_STATE_DICT"


def check_sharding(args: LipReadTrainingArguments, reading: bool) -> None:
    """Refuses ways of spreading a model that would train something else, or save nothing.

    Args:
        args: The run's arguments; `accelerate launch` says the rest by the environment.
        reading: Whether it is a reading run, rather than one on text alone.

    Raises:
        ValueError: With what to use instead.
    """
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED") or args.deepspeed:
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
        given = getattr(args, "hf_deepspeed_config", None)  # of --deepspeed FILE
        if stage == "3" or (given is not None and given.is_zero3()):
            raise ValueError(
                "DeepSpeed ZeRO-3 cuts up the adapters, which run inside the language model's layers: use "
                "accelerate_configs/fsdp2.yaml, or ZeRO stage 1 or 2"
            )
        return
    if not (parse_flag_from_env("ACCELERATE_USE_FSDP") or args.fsdp):
        return
    if PartialState().distributed_type in (DistributedType.NO, DistributedType.MULTI_CPU):
        raise ValueError(
            "FSDP needs GPUs, one for each process: on processors accelerate trains without it and does not say so. "
            "Use accelerate_configs/ddp.yaml"
        )
    if not reading:
        raise ValueError("a text-only run merges LoRA, which FSDP has cut up: use accelerate_configs/ddp.yaml")
    # --fsdp and --fsdp_config of the Trainer, or accelerate's environment.
    given = args.fsdp_plugin_args or {}
    version = int(given.get("fsdp_version", os.environ.get("FSDP_VERSION", "1")))
    if version != 2:
        raise ValueError(f"FSDP version {version}: only version 2 keeps frozen layers apart")
    state = given.get("state_dict_type", os.environ.get("FSDP_STATE_DICT_TYPE", FULL_STATE))
    if state != FULL_STATE:
        raise ValueError(f"fsdp_state_dict_type {state}: a reader is saved whole; give {FULL_STATE}")


def shard_by_layer(plugin, model: PreTrainedModel) -> None:
    """Tells accelerate's FSDP plugin to cut up the language model by its decoder layers, and to cast nothing itself.

    Args:
        plugin: `FullyShardedDataParallelPlugin` of the run.
        model: The reader.
    """
    plugin.transformer_cls_names_to_wrap = sorted(
        {type(layer).__name__ for layer in decoder_layers(model.language_model)}
    )
    # Its policy would round landmarks to the parameters' type on their way in; autocast does not.
    plugin.mixed_precision_policy = None


def gather_to_encode(model: PreTrainedModel) -> None:
    """Makes `encode` gather what it needs, as `forward` and `generate` do; nothing happens where nothing is spread."""
    if isinstance(model, FSDPModule) and "encode" not in vars(model):
        register_fsdp_forward_method(model, "encode")


@contextmanager
def gathered(model: PreTrainedModel) -> Iterator[None]:
    """Keeps together meanwhile what is around the language model's layers, where a model is spread at all."""
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
    """Gives a model back the class that FSDP replaced, meanwhile: a checkpoint holds the code of its model's class."""
    given = type(model)
    if isinstance(model, FSDPModule):
        model.__class__ = next(base for base in given.__bases__ if base is not FSDPModule)
    try:
        yield
    finally:
        model.__class__ = given


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor that may be spread over the processes, put together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
