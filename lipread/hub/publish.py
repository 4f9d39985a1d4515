# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Uploads code, weights, processor and model card of a checkpoint to the Hub in one commit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from transformers import AutoConfig
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME

import modeling_lipread
from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.language_model_lipread import checkpoint_files, is_folder

from .model_card import BaseModel, CardDetails, build_card, read_evaluations

CARD = "README.md"
COMMIT = re.compile(r"[0-9a-f]{40}")
# Every module of the package but `__init__`, which a checkpoint's code does without.
CODE = sorted(Path(modeling_lipread.__file__).parent.glob("*_lipread.py"))
# Files of an earlier upload to delete: `from_pretrained` could load old weights beside new ones.
REPLACED = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|\w+_lipread\.py")


def stage(
    checkpoint: Path,
    staging: Path,
    repo_id: str,
    *,
    details: CardDetails | None = None,
    include_base: bool = False,
    revision: str | None = None,
) -> list[str]:
    """Writes what others need to load a checkpoint, and a model card, to the folder `staging`. Returns notes.

    Checkpoints, optimizer states and logs in the folder of a training run stay out of it.

    Args:
        checkpoint: The `--output_dir` of `train_hf.py`.
        repo_id, revision: The target repository and branch.
        include_base: Whether the weights of the frozen language model are among the files.

    Raises OSError or ValueError if the checkpoint cannot be published as it is.
    """
    config, details = read_config(checkpoint), details or CardDetails()
    weights = [Path(path) for path in checkpoint_files(checkpoint, {})]
    for path in weights:
        if path.parent != checkpoint or path.suffix != ".safetensors":
            raise ValueError(f"{checkpoint / SAFE_WEIGHTS_INDEX_NAME}: names {path}, which is not beside it")
    try:
        processor = LipReadProcessor.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise ValueError(f"{checkpoint}: its processor cannot be loaded: {error}") from error
    base = published_base(config, checkpoint, include_base)
    evaluations, notes = read_evaluations(checkpoint, weights)
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
    card = build_card(checkpoint, repo_id, config, processor, evaluations, base, details, revision)
    card.save(staging / CARD)
    if not evaluations:
        notes.append(f"the card has no results; to measure some: python evaluate_hf.py {checkpoint} CORPUS/test")
    if details.license is None:
        notes.append("the card states no licence for the weights: give --license")
    return notes


def read_config(checkpoint: Path) -> LipReadConfig:
    """Returns the configuration of a checkpoint. Raises OSError or ValueError if the folder holds no lipread model."""
    config = AutoConfig.from_pretrained(checkpoint)
    if not isinstance(config, LipReadConfig):
        raise ValueError(f"{checkpoint}: holds a model of type {config.model_type!r}, not a reader: use `hf upload`")
    return config


def published_base(config: LipReadConfig, checkpoint: Path, include_base: bool) -> BaseModel:
    """Returns the language model that a published checkpoint refers to. Raises ValueError if others cannot load it."""
    name, commit = config.base_model_name_or_path, config.base_model_revision
    on_hub, included = name is not None and not is_folder(name), name is None or include_base
    if not included and not (on_hub and COMMIT.fullmatch(commit or "")):
        raise ValueError(
            f"{checkpoint}: names its language model, {name}, by no commit on the Hub: give --include_base to publish "
            "its weights too; or, if the same model is there, write its id and commit into config.json, as "
            "base_model_name_or_path and base_model_revision"
        )
    return BaseModel(name if on_hub else None, commit if on_hub else None, included)


def push(
    staging: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
) -> CommitInfo:
    """Uploads a staged folder to a repository and branch, created if missing, in one commit.

    If it fails, the repository stays as it was. Raises ValueError if `private` is demanded and it is public.
    """
    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise ValueError(f"{repo_id} exists and is public: make it private in its settings, or leave --private out")
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    head = api.model_info(repo_id, revision=revision)
    existing = {file.rfilename for file in head.siblings}
    staged = upload_files(staging)
    outdated = [name for name in sorted(existing) if REPLACED.fullmatch(name) and name not in staged]
    operations = [*map(CommitOperationDelete, outdated), *(CommitOperationAdd(*file) for file in staged.items())]
    message = commit_message or "Publish the reader"
    return api.create_commit(repo_id, operations, commit_message=message, revision=revision, parent_commit=head.sha)


def upload_files(staging: Path) -> dict[str, Path]:
    """Returns the files in a staged folder by their relative paths, sorted."""
    return {path.relative_to(staging).as_posix(): path for path in sorted(staging.rglob("*")) if path.is_file()}
