# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Uploads code, weights, processor and model card of a checkpoint to the Hub in one commit."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME, SAFE_WEIGHTS_INDEX_NAME

import modeling_lipread
from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.language_model_lipread import checkpoint_files

from .base_model import model_info, resolve_base_model
from .model_card import CardDetails, build_card, read_evaluations

CARD = "README.md"
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
    base_model_revision: str | None = None,
    include_base: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> list[str]:
    """Writes what others need to load a checkpoint, and a model card, to the folder `staging`. Returns notes.

    Checkpoints, optimizer states and logs in the folder of a training run stay out of it.

    Args:
        checkpoint: The `--output_dir` of `train_hf.py`.
        repo_id, revision: The target repository and branch.
        base_model_id, base_model_revision: The language model on the Hub, if the checkpoint names a folder.
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
    base, notes = resolve_base_model(config, checkpoint, base_model_id, base_model_revision, include_base, token)
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
    """Returns the configuration of a checkpoint. Raises ValueError if the folder holds no lipread model."""
    path = checkpoint / CONFIG_NAME
    if not path.is_file():
        checkpoints = sorted(checkpoint.glob("checkpoint-*/config.json"), key=lambda found: found.stat().st_mtime)
        remedy = "give the --output_dir of train_hf.py, or a folder that save_pretrained wrote"
        if checkpoints:
            remedy = f"the run has not ended; let it go on, or publish its last checkpoint, {checkpoints[-1].parent}"
        raise ValueError(f"{checkpoint}: holds no reader ({CONFIG_NAME} is missing): {remedy}")
    try:
        model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is not a JSON object ({error}); save the checkpoint again") from error
    if model_type != LipReadConfig.model_type:
        raise ValueError(f"{checkpoint}: holds a model of type {model_type!r}, not a reader: use `hf upload`")
    return LipReadConfig.from_pretrained(checkpoint)


def push(
    staging: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    keep_card: bool = False,
    token: str | None = None,
) -> CommitInfo:
    """Uploads a staged folder to a repository and branch, created if missing, in one commit.

    If it fails, the repository stays as it was. `private` demands that it is private, and `keep_card` keeps its card.
    Raises ValueError if the repository is public instead of private, or others cannot load the language model.
    """
    api = HfApi(token=token)
    try:
        is_private = api.model_info(repo_id).private
    except RepositoryNotFoundError:
        is_private = bool(private)
    if private and not is_private:
        raise ValueError(f"{repo_id} exists and is public: make it private in its settings, or leave --private out")
    config = LipReadConfig.from_pretrained(staging)
    if config.base_model_name_or_path is not None:
        base = model_info(config.base_model_name_or_path, config.base_model_revision, token)
        if base.private and not is_private:
            raise ValueError(
                f"the language model {base.id} is private, so nobody else could load the reader: make it public, or "
                "give --include_base, or --private"
            )
    api.create_repo(repo_id, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    head = api.model_info(repo_id, revision=revision)
    existing = {file.rfilename for file in head.siblings}
    staged = upload_files(staging)
    if keep_card and CARD in existing:
        staged.pop(CARD)
    outdated = [name for name in sorted(existing) if REPLACED.fullmatch(name) and name not in staged]
    operations = [*map(CommitOperationDelete, outdated), *(CommitOperationAdd(*file) for file in staged.items())]
    message = commit_message or "Publish the reader"
    return api.create_commit(repo_id, operations, commit_message=message, revision=revision, parent_commit=head.sha)


def upload_files(folder: Path) -> dict[str, Path]:
    """Returns the files in a folder by their relative paths, sorted."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def check_repo_id(repo_id: str) -> None:
    """Raises ValueError if a repository cannot have this id."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"--repo_id {repo_id}: {error}") from error
    if "/" not in repo_id:
        raise ValueError(f"--repo_id {repo_id}: give your name on the Hub too: you/{repo_id}")


def check_login(token: str | None) -> None:
    """Raises ValueError if the Hub does not accept the token."""
    try:
        HfApi(token=token).whoami()
    except LocalTokenNotFoundError as error:
        raise ValueError("not logged in: run `hf auth login`, set HF_TOKEN, or give --token") from error
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise ValueError("the Hub rejects this token: run `hf auth login`, or give another --token") from error


@contextmanager
def staging_folder(checkpoint: Path, output: Path | None) -> Iterator[Path]:
    """Yields a folder for the files of the upload: temporary, or kept as `output` after success."""
    if output is None:
        with TemporaryDirectory(prefix="lipread-publish-") as folder:
            yield Path(folder, "reader")
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output}: is not an empty folder; give a new one")
    if checkpoint.resolve() in (output.resolve(), *output.resolve().parents):
        raise ValueError(f"--output {output}: is inside {checkpoint}; give a folder elsewhere")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
        yield Path(folder, "reader")
        if output.exists():
            output.rmdir()
        os.replace(Path(folder, "reader"), output)
