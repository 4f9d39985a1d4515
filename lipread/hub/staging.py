# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes the files that others need to load a checkpoint to a folder for uploading.

A training run's folder also holds checkpoints, optimizer states and logs, which stay out of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME

import modeling_lipread
from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.language_model_lipread import checkpoint_files

# Every module of the package but `__init__`, which a checkpoint's code does without.
CODE = sorted(Path(modeling_lipread.__file__).parent.glob("*_lipread.py"))


class PublishError(ValueError):
    """A checkpoint that cannot be published as it is; the message names the remedy."""


def read_config(checkpoint: Path) -> LipReadConfig:
    """Returns the configuration of a checkpoint. Raises `PublishError` if the folder holds no lipread model."""
    if not checkpoint.is_dir():
        raise PublishError(f"{checkpoint}: no such folder")
    path = checkpoint / CONFIG_NAME
    if not path.is_file():
        checkpoints = sorted(checkpoint.glob("checkpoint-*/config.json"), key=lambda found: found.stat().st_mtime)
        remedy = "give the --output_dir of train_hf.py, or a folder that save_pretrained wrote"
        if checkpoints:
            remedy = f"the run has not ended; let it go on, or publish its last checkpoint, {checkpoints[-1].parent}"
        raise PublishError(f"{checkpoint}: holds no reader ({CONFIG_NAME} is missing): {remedy}")
    try:
        model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise PublishError(f"{path}: is not a JSON object ({error}); save the checkpoint again") from error
    if model_type != LipReadConfig.model_type:
        raise PublishError(f"{checkpoint}: holds a model of type {model_type!r}, not a reader: use `hf upload`")
    return LipReadConfig.from_pretrained(checkpoint)


def check_weights(checkpoint: Path) -> list[Path]:
    """Returns the weight files of a checkpoint. Raises `PublishError` if one is missing, damaged or no safetensors."""
    try:
        paths = [Path(path) for path in checkpoint_files(checkpoint, {})]
    except OSError as error:
        raise PublishError(str(error)) from error
    for path in paths:
        if path.parent != checkpoint or path.suffix != ".safetensors":
            raise PublishError(f"{checkpoint / SAFE_WEIGHTS_INDEX_NAME}: names {path}, which is not beside it")
    return paths


def stage_checkpoint(checkpoint: Path, staging: Path, processor: LipReadProcessor, include_base: bool = False) -> None:
    """Writes weights, processor, MediaPipe's model file and the installed code to the folder `staging`.

    With `include_base`, the weights of the frozen language model are among them.
    """
    weights = check_weights(checkpoint)
    processor.save_pretrained(staging)
    if include_base:
        LipReadForConditionalGeneration.from_pretrained(checkpoint).save_pretrained(staging, include_base=True)
    else:
        index = [checkpoint / SAFE_WEIGHTS_INDEX_NAME] if len(weights) > 1 else []
        for path in (checkpoint / CONFIG_NAME, checkpoint / GENERATION_CONFIG_NAME, *index, *weights):
            if path.is_file():
                shutil.copyfile(path, staging / path.name)
    for path in CODE:
        shutil.copyfile(path, staging / path.name)
