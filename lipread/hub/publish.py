# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Uploads code, weights, processor and model card of a checkpoint to the Hub in one commit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from transformers.utils import CONFIG_NAME

from modeling_lipread import LipReadConfig, LipReadProcessor

from .base_model import model_info, resolve_base_model
from .model_card import CardDetails, build_card, read_evaluations
from .staging import PublishError, check_weights, read_config, stage_checkpoint

CARD = "README.md"
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
    """Writes the files of an upload, with a model card, to the folder `staging`. Returns notes for the user.

    Args:
        checkpoint: The `--output_dir` of `train_hf.py`.
        repo_id, revision: The target repository and branch.
        base_model_id, base_model_revision: The language model on the Hub, if the checkpoint names a folder.
        token: Access token for reading the language model.

    Raises:
        PublishError: The checkpoint cannot be published as it is; the message names the remedy.
    """
    config = read_config(checkpoint)
    weights, details = check_weights(checkpoint), details or CardDetails()
    try:
        processor = LipReadProcessor.from_pretrained(checkpoint)
    except (OSError, ValueError) as error:
        raise PublishError(f"{checkpoint}: its processor cannot be loaded: {error}") from error
    base, notes = resolve_base_model(config, checkpoint, base_model_id, base_model_revision, include_base, token)
    evaluations, rejected = read_evaluations(checkpoint, weights)
    stage_checkpoint(checkpoint, staging, processor, include_base)
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

    Raises:
        PublishError: The repository is public instead of private, or others cannot load the language model.
    """
    api = HfApi(token=token)
    try:
        is_private = api.model_info(repo_id).private
    except RepositoryNotFoundError:
        is_private = bool(private)
    if private and not is_private:
        raise PublishError(f"{repo_id} exists and is public: make it private in its settings, or leave --private out")
    config = LipReadConfig.from_pretrained(staging)
    if config.base_model_name_or_path is not None:
        base = model_info(config.base_model_name_or_path, config.base_model_revision, token)
        if base.private and not is_private:
            raise PublishError(
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
    """Raises `PublishError` if a repository cannot have this id."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(f"--repo_id {repo_id}: {error}") from error
    if "/" not in repo_id:
        raise PublishError(f"--repo_id {repo_id}: give your name on the Hub too: you/{repo_id}")


def check_login(token: str | None) -> None:
    """Raises `PublishError` if the Hub does not accept the token."""
    try:
        HfApi(token=token).whoami()
    except LocalTokenNotFoundError as error:
        raise PublishError("not logged in: run `hf auth login`, set HF_TOKEN, or give --token") from error
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise PublishError("the Hub rejects this token: run `hf auth login`, or give another --token") from error


@contextmanager
def staging_folder(checkpoint: Path, output: Path | None) -> Iterator[Path]:
    """Yields a folder for the files of the upload: temporary, or kept as `output` after success."""
    if output is None:
        with TemporaryDirectory(prefix="lipread-publish-") as folder:
            yield Path(folder, "reader")
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise PublishError(f"--output {output}: is not an empty folder; give a new one")
    if checkpoint.resolve() in (output.resolve(), *output.resolve().parents):
        raise PublishError(f"--output {output}: is inside {checkpoint}; give a folder elsewhere")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
        yield Path(folder, "reader")
        if output.exists():
            output.rmdir()
        os.replace(Path(folder, "reader"), output)
