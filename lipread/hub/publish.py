# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Uploads code, weights, processor and model card of a checkpoint to the Hub in one commit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from transformers import AutoConfig
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME

import modeling_lipread
from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.language_model_lipread import check_same_size, checkpoint_files, is_folder, load_language_model

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
    base_model_id: str | None = None,
    include_base: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> list[str]:
    """Writes what others need to load a checkpoint, and a model card, to the folder `staging`. Returns notes.

    Checkpoints, optimizer states and logs in the folder of a training run stay out of it.

    Args:
        checkpoint: The `--output_dir` of `train_hf.py`.
        repo_id, revision: The target repository and branch.
        base_model_id: The language model on the Hub, if the checkpoint names a folder or no commit.
        include_base: Whether the weights of the frozen language model are among the files.
        token: Access token for reading the language model.

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
    base, notes = resolve_base_model(config, checkpoint, base_model_id, include_base, token)
    evaluations, rejected = read_evaluations(checkpoint, weights)
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
    if not base.included:  # others load the language model from the Hub, at this commit
        path = staging / CONFIG_NAME
        content = json.loads(path.read_text(encoding="utf-8"))
        content |= {"base_model_name_or_path": base.id, "base_model_revision": base.revision}
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    card = build_card(checkpoint, repo_id, config, processor, evaluations, base, details, revision)
    card.save(staging / CARD)
    notes += rejected
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


def resolve_base_model(
    config: LipReadConfig, checkpoint: Path, base_model_id: str | None, include_base: bool, token: str | None
) -> tuple[BaseModel, list[str]]:
    """Returns the language model, at its exact commit, that a published checkpoint will refer to; and notes.

    `base_model_id` replaces that of the configuration. Raises OSError or ValueError if others could not load it, or it
    is not the one that the checkpoint was trained on.
    """
    name, commit = config.base_model_name_or_path, config.base_model_revision
    if name is None or include_base:
        if base_model_id:
            raise ValueError(f"{checkpoint}: is published with its language model inside; leave --base_model_id out")
        on_hub = name is not None and not is_folder(name)
        return BaseModel(name if on_hub else None, commit if on_hub else None, included=True), []
    if base_model_id is None:
        if is_folder(name) or commit is None or not COMMIT.fullmatch(commit):
            raise ValueError(
                f"{checkpoint}: names its language model, {name}, by no commit on the Hub: give --base_model_id if "
                "the same model is there (put it there with `hf upload you/name FOLDER`), or --include_base to "
                "publish its weights too"
            )
        return BaseModel(name, commit), []
    found = HfApi(token=token).model_info(base_model_id)
    base = BaseModel(found.id, found.sha)
    if (name, commit) == (base.id, base.revision):
        return base, []
    in_the_hub = AutoConfig.from_pretrained(base.id, revision=base.revision, token=token)
    check_same_size(config.get_text_config(), in_the_hub.get_text_config(), base.id, str(checkpoint))
    options = {"dtype": config.get_text_config().dtype or "auto", "token": token}
    try:
        trained = load_language_model(name, revision=commit, **options).state_dict()
    except OSError:
        return base, [f"could not check that {base.id} has the weights of the training: {name} cannot be loaded here"]
    other = load_language_model(base.id, revision=base.revision, **options).state_dict()
    if trained.keys() != other.keys() or not all(torch.equal(trained[key], other[key]) for key in trained):
        raise ValueError(
            f"{base.id} at {base.revision} has other weights than {name}, which the reader was trained on: upload "
            "that one with `hf upload` and give its id, or give --include_base"
        )
    return base, []


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
