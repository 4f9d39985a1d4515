# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What others need of a trained reader's folder, copied to where it can be uploaded from.

A run's folder also holds checkpoints, optimizer states, logs and whatever its owner put there. What is copied is named
here, one kind after the other, and nothing else leaves the folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
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

from .configuration_lipread import LipReadConfig
from .landmarks_lipread import LANDMARKER_FILE, landmarker_path
from .language_model_lipread import checkpoint_files
from .modeling_lipread import LipReadForConditionalGeneration
from .processing_lipread import LipReadProcessor

TOKENIZER_FILES = (TOKENIZER_CONFIG_FILE, FULL_TOKENIZER_FILE, SPECIAL_TOKENS_MAP_FILE, ADDED_TOKENS_FILE)
SETTINGS = (CONFIG_NAME, PROCESSOR_NAME, TOKENIZER_CONFIG_FILE)  # files that may name code


class PublishError(ValueError):
    """A reader that cannot be published as it is; the message names the remedy."""


def read_config(reader: Path) -> LipReadConfig:
    """The configuration of the reader in a folder.

    Args:
        reader: What `train_hf.py --output_dir` left, or one of its checkpoints.

    Raises:
        PublishError: There is no such folder, or no reader in it.
    """
    if not reader.is_dir():
        raise PublishError(f"{reader}: there is no such folder")
    path = reader / CONFIG_NAME
    if not path.is_file():
        checkpoints = sorted(reader.glob("checkpoint-*/config.json"), key=lambda found: found.stat().st_mtime)
        remedy = "give the --output_dir of train_hf.py, or a folder that save_pretrained wrote"
        if checkpoints:
            remedy = f"the run has not ended; let it go on, or publish its last checkpoint, {checkpoints[-1].parent}"
        raise PublishError(f"{reader}: holds no reader ({CONFIG_NAME} is missing): {remedy}")
    model_type = _read_json(path).get("model_type")
    if model_type != LipReadConfig.model_type:
        raise PublishError(f"{reader}: holds a model of type {model_type!r}, not a reader: upload it with `hf upload`")
    return LipReadConfig.from_pretrained(reader)


def checked_weights(reader: Path) -> list[Path]:
    """The files that hold a reader's weights, each of them readable to its end.

    Raises:
        PublishError: A file is missing or damaged, or there is none in safetensors.
    """
    try:
        paths = [Path(path) for path in checkpoint_files(reader, {})]
    except OSError as error:
        raise PublishError(str(error)) from error
    for path in paths:
        if path.parent != reader or path.suffix != ".safetensors":
            raise PublishError(f"{reader / SAFE_WEIGHTS_INDEX_NAME}: names {path}, which is no weight file beside it")
    return paths


def stage_reader(reader: Path, staging: Path, processor: LipReadProcessor, include_base: bool = False) -> None:
    """Copies weights, settings, tokenizer, code and MediaPipe's model file.

    Args:
        reader: The reader's folder, which stays as it is.
        staging: The folder to fill, made if need be.
        processor: The reader's processor.
        include_base: Whether to write the frozen language model's weights too, with the installed code.

    Raises:
        PublishError: Part of the reader is missing or damaged.
        OSError, ValueError: The language model is to be included and cannot be.
    """
    weights = checked_weights(reader)
    staging.mkdir(parents=True, exist_ok=True)
    # The reader in the package has no code beside it: it runs on the package's.
    code = reader if any(reader.glob("*.py")) else Path(__file__).parent
    if include_base:
        LipReadForConditionalGeneration.from_pretrained(reader).save_pretrained(staging, include_base=True)
        code = Path(__file__).parent
    else:
        index = [SAFE_WEIGHTS_INDEX_NAME] if len(weights) > 1 else []
        _copy(reader, staging, [CONFIG_NAME, GENERATION_CONFIG_NAME, *index, *(path.name for path in weights)])
    vocabulary = type(processor.tokenizer).vocab_files_names.values()
    templates = [f"{CHAT_TEMPLATE_DIR}/{path.name}" for path in reader.glob(f"{CHAT_TEMPLATE_DIR}/*.jinja")]
    _copy(reader, staging, [PROCESSOR_NAME, CHAT_TEMPLATE_FILE, *templates, *TOKENIZER_FILES, *vocabulary])
    shutil.copyfile(landmarker_path(processor.landmarker_path), staging / LANDMARKER_FILE)
    for path in _code_files(code, staging):
        shutil.copyfile(path, staging / path.name)


def _copy(reader: Path, staging: Path, names: list[str]) -> None:
    """Copies those of the files that there are."""
    for name in dict.fromkeys(names):
        if (reader / name).is_file():
            (staging / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(reader / name, staging / name)


def _code_files(code: Path, staging: Path) -> list[Path]:
    """The Python files that the staged settings name, and those that these import."""
    modules = {
        module
        for name in SETTINGS
        if (staging / name).is_file()
        for module in _named_modules(_read_json(staging / name))
    }
    if not modules:
        raise PublishError(f"{code}: its settings name no code, so nobody could load it; save the reader again")
    files = {code / f"{module}.py" for module in modules}
    try:
        return sorted(files | {Path(path) for file in files for path in get_relative_import_files(file)})
    except FileNotFoundError as error:
        raise PublishError(f"{error.filename}: this file of the reader's code is missing; save it again") from error


def _named_modules(settings: Any) -> Iterator[str]:
    """Modules in all the `auto_map` and `custom_pipelines` of a file of settings, but those of other repositories."""
    if isinstance(settings, list):
        for item in settings:
            yield from _named_modules(item)
    if not isinstance(settings, dict):
        return
    for key, value in settings.items():
        if key == "auto_map":
            references = [item for entry in value.values() for item in (entry if isinstance(entry, list) else [entry])]
        elif key == "custom_pipelines":
            references = [pipeline["impl"] for pipeline in value.values()]
        else:
            yield from _named_modules(value)
            continue
        yield from (name.split(".")[0] for name in references if name and "--" not in name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PublishError(f"{path}: is not JSON ({error}); save the reader again") from error
    if not isinstance(content, dict):
        raise PublishError(f"{path}: must hold a JSON object; save the reader again")
    return content
