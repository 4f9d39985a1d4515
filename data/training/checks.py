# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Checks of the arguments of `train_hf.py` and of the way it was launched."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from accelerate.utils import parse_flag_from_env

from modeling_lipread.language_model_lipread import is_folder

from .arguments import INHERITED, PARTS, Arguments

# The options of our own that a text-only run uses.
TEXT_OPTIONS = set(
    "train_text seq_len model_id model_revision lm_dtype lora_r lora_alpha lora_dropout lora_target_modules restart "
    "output_dir".split()
)
# What --init_from takes from the reader, beside the settings of its encoder and adapters.
READER_OPTIONS = set(
    "landmarks pose normalize frame_rate prompt encoder ctc_decoding_weight lm_dtype lm_vocab_size "
    "model_revision".split()
)
SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")  # variables that `accelerate launch` sets


def _refuse(condition: Any, message: str) -> None:
    if condition:
        raise ValueError(message)


def check_arguments(arguments: Arguments) -> None:
    """Raises ValueError, with the remedy, for arguments that contradict each other."""
    data, model, args = arguments.data, arguments.model, arguments.training
    text_only, own_model, rank = data.dataset is None, model.lm_config is not None, model.lora_r
    sources = model.model_id, model.lm_config, model.init_from
    _refuse(
        sum(source is not None for source in sources) != 1,
        "give one of --model_id (a frozen language model), --lm_config (a new one) and --init_from (a reader)",
    )
    _refuse(not text_only and data.train_text is not None, "--train_text is for a run without --dataset")
    _refuse(text_only and data.train_text is None, "give --dataset, or --train_text for a text-only run")
    _refuse(text_only and own_model, "a text-only run needs --model_id")
    _refuse(text_only and args.push_to_hub, "--push_to_hub is for lip readers; use `hf upload you/name FOLDER`")
    _refuse(text_only and rank == 0, "a text-only run trains LoRA: give --lora_r of at least 1")
    given = {
        item.name: group
        for group in arguments
        for item in fields(group)
        if item.init and getattr(group, item.name) != item.default
    }
    ignored = ", ".join(f"--{name}" for name in given if name not in TEXT_OPTIONS | INHERITED)
    _refuse(text_only and ignored, f"a text-only run does not use {ignored}: leave them out")
    settings = (arguments.encoder, arguments.adapters)
    kept = ", ".join(f"--{name}" for name, group in given.items() if name in READER_OPTIONS or group in settings)
    _refuse(model.init_from is not None and kept, f"--init_from keeps the reader's settings: leave {kept} out")
    frozen = set(model.freeze or ())
    _refuse(frozen - set(PARTS), f"--freeze {' '.join(frozen - set(PARTS))}: the parts are {', '.join(PARTS)}")
    _refuse(frozen == set(PARTS), "--freeze: nothing is left to train")
    _refuse(
        rank and own_model, "--lora_r needs a frozen --model_id; the language model of --lm_config is trained whole"
    )
    for name in ("lora_alpha", "lora_dropout", "lora_target_modules"):
        unused = getattr(model, name) is not None and not text_only and not rank
        _refuse(unused, f"--{name} needs LoRA: give --lora_r, its rank, too")
    for name, group in {"ctc_decoding_weight": model, "word_splicing": data, "speaker_balance": args}.items():
        _refuse(not 0 <= (value := getattr(group, name)) <= 1, f"--{name} {value}: must be in [0, 1]")
    after = args.blank_check_after
    _refuse(after < 0, f"--blank_check_after {after}: give an epoch, a share of the run, or 0 for never")
    _refuse(args.speaker_balance and data.streaming, "--speaker_balance does not work with --streaming")
    grouped = args.train_sampling_strategy == "group_by_length"
    _refuse(grouped, "--train_sampling_strategy group_by_length: clips have no token length; leave it out")
    _refuse(
        args.push_to_hub and model.model_id is not None and is_folder(model.model_id),
        f"--push_to_hub: the language model {model.model_id} is a local folder: upload it and give its id, "
        "or leave --push_to_hub out and use `lipread publish --include_base` in the end",
    )
    pushed = args.push_to_hub and args.hub_strategy != "end"
    _refuse(pushed, "--hub_strategy: checkpoints hold pickles and are not pushed; give `end`")
    sharded = args.fsdp or args.deepspeed or any(map(parse_flag_from_env, SHARDING))
    _refuse(
        sharded,
        "FSDP and DeepSpeed shard the adapters, which run inside the language model's layers: use "
        "accelerate_configs/ddp.yaml, and --lm_dtype bfloat16 for a large language model",
    )
    _refuse(args.n_gpu > 1, f"{args.n_gpu} GPUs in one process: use `accelerate launch`, one process per GPU")
