# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Copies the files that others need to load a checkpoint to a folder for uploading.

A training run's folder also holds checkpoints, optimizer states and logs. Only files named here are copied.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_relative_import_files
from transformers.tokenization_utils_base import (
    ADDED_TOKENS_FILE,
    FULL_TOKENIZER_FILE,
    SPECIAL_TOKENS_MAP_FILE,
    TOKENIZER_CONFIG_FILE,
)
from transformers.utils import (
    CHAT_TEMPLATE_DIR,
    CHAT_TEMPLATE_FILE,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    PROCESSOR_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
)

from modeling_lipread.configuration_lipread import LipReadConfig
from modeling_lipread.landmarker_lipread import LANDMARKER_FILE, landmarker_path
from modeling_lipread.language_model_lipread import checkpoint_files
from modeling_lipread.modeling_lipread import LipReadForConditionalGeneration
from modeling_lipread.processing_lipread import LipReadProcessor

PACKAGE = Path(inspect.getfile(LipReadForConditionalGeneration)).parent
TOKENIZER_FILES = (TOKENIZER_CONFIG_FILE, FULL_TOKENIZER_FILE, SPECIAL_TOKENS_MAP_FILE, ADDED_TOKENS_FILE)
CODE = "*_lipread.py"  # every module of the package but `__init__`, which a checkpoint's code does without


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
    model_type = _read_json(path).get("model_type")
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
    """Copies weights, settings, tokenizer, code and MediaPipe's model file to the folder `staging`.

    With `include_base`, adds the weights of the frozen language model; the code is then the installed one.
    """
    weights = check_weights(checkpoint)
    staging.mkdir(parents=True, exist_ok=True)
    # The checkpoint in the package has no code of its own.
    code = checkpoint if any(checkpoint.glob(CODE)) else PACKAGE
    if include_base:
        LipReadForConditionalGeneration.from_pretrained(checkpoint).save_pretrained(staging, include_base=True)
        code = PACKAGE
    else:
        index = [SAFE_WEIGHTS_INDEX_NAME] if len(weights) > 1 else []
        _copy(checkpoint, staging, [CONFIG_NAME, GENERATION_CONFIG_NAME, *index, *(path.name for path in weights)])
    vocabulary = type(processor.tokenizer).vocab_files_names.values()
    templates = [f"{CHAT_TEMPLATE_DIR}/{path.name}" for path in checkpoint.glob(f"{CHAT_TEMPLATE_DIR}/*.jinja")]
    _copy(checkpoint, staging, [PROCESSOR_NAME, CHAT_TEMPLATE_FILE, *templates, *TOKENIZER_FILES, *vocabulary])
    shutil.copyfile(landmarker_path(processor.landmarker_path), staging / LANDMARKER_FILE)
    _copy(code, staging, [path.name for path in code.glob(CODE)])
    settings = [staging / name for name in (CONFIG_NAME, PROCESSOR_NAME)]
    modules = set(re.findall(r'"(\w+_lipread)\.\w+"', "".join(path.read_text(encoding="utf-8") for path in settings)))
    if not modules:
        raise PublishError(f"{checkpoint}: its settings refer to no code; save the checkpoint again")
    try:
        for module in modules:
            get_relative_import_files(staging / f"{module}.py")
    except FileNotFoundError as error:
        missing = code / Path(error.filename).name
        raise PublishError(f"{missing}: this file of the reader's code is missing; save it again") from error


def _copy(checkpoint: Path, staging: Path, names: list[str]) -> None:
    """Copies the files that exist."""
    for name in dict.fromkeys(names):
        if (checkpoint / name).is_file():
            (staging / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(checkpoint / name, staging / name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PublishError(f"{path}: is not JSON ({error}); save the checkpoint again") from error
    if not isinstance(content, dict):
        raise PublishError(f"{path}: must hold a JSON object; save the checkpoint again")
    return content
