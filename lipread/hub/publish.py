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

import torch
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, errors
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils.sha import sha_fileobj
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


def resolve_base_model(
    config: LipReadConfig,
    checkpoint: Path,
    base_model_id: str | None,
    base_model_revision: str | None,
    include_base: bool,
    token: str | None,
) -> tuple[BaseModel, list[str]]:
    """Returns the language model, at its exact commit, that a published checkpoint will refer to; and notes.

    `base_model_id` and `base_model_revision` replace those of the configuration. Raises ValueError if others
    could not load it, or it is not the one that the checkpoint was trained on.
    """
    name, commit = config.base_model_name_or_path, config.base_model_revision
    if name is None or include_base:
        if base_model_id or base_model_revision:
            raise ValueError(f"{checkpoint}: is published with its language model inside; leave --base_model_id out")
        on_hub = name is not None and not is_folder(name)
        return BaseModel(name if on_hub else None, commit if on_hub else None, included=True), []
    if base_model_id is None and is_folder(name):
        raise ValueError(
            f"{checkpoint}: refers to its language model by a local folder, {name}: give --base_model_id if the same "
            "model is on the Hub (put it there with `hf upload you/name FOLDER`), or --include_base to publish its "
            "weights too"
        )
    if base_model_id is None and base_model_revision is None:
        if commit is None or not COMMIT.fullmatch(commit):
            raise ValueError(f"{checkpoint}: refers to {name} without a commit: give --base_model_revision COMMIT")
        return BaseModel(name, commit), []
    found = model_info(base_model_id or name, base_model_revision, token)
    base = BaseModel(found.id, found.sha)
    if (name, commit) == (base.id, base.revision):
        return base, []
    in_the_hub = AutoConfig.from_pretrained(base.id, revision=base.revision, token=token)
    check_same_size(config.get_text_config(), in_the_hub.get_text_config(), base.id, str(checkpoint))
    same = _same_weights(config, found, token)
    if same is None:
        return base, [f"could not check that {base.id} has the weights of the training: {name} cannot be loaded here"]
    if not same:
        raise ValueError(
            f"{base.id} at {base.revision} has other weights than {name}, which the reader was trained on: upload "
            "that one with `hf upload` and give its id, or give --include_base"
        )
    return base, []


def model_info(model_id: str, revision: str | None, token: str | None) -> ModelInfo:
    """Returns the Hub's information on a language model. Raises ValueError if there is none."""
    try:
        return HfApi(token=token).model_info(model_id, revision=revision, files_metadata=True)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        name = f"{model_id} at {revision}" if revision else model_id
        raise ValueError(f"the language model {name} is not on the Hub, or your token cannot read it") from error


def _same_weights(config: LipReadConfig, found: ModelInfo, token: str | None) -> bool | None:
    """Returns whether a model on the Hub has the weights of the training; `None` if those cannot be loaded."""
    name, here = config.base_model_name_or_path, {}
    for path in Path(name).glob("*.safetensors"):
        with path.open("rb") as file:
            here[path.name] = sha_fileobj(file).hex()
    there = {file.rfilename: file.lfs.sha256 for file in found.siblings if file.lfs}
    if here and all(there.get(file) == digest for file, digest in here.items()):
        return True
    # Other files may hold the same values, for example in other shards.
    dtype = config.get_text_config().dtype or "auto"
    try:
        trained = load_language_model(name, revision=config.base_model_revision, dtype=dtype, token=token).state_dict()
    except OSError:
        return None
    other = load_language_model(found.id, revision=found.sha, dtype=dtype, token=token).state_dict()
    return trained.keys() == other.keys() and all(torch.equal(trained[key], other[key]) for key in trained)


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
    except errors.RepositoryNotFoundError:
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
    except errors.HFValidationError as error:
        raise ValueError(f"--repo_id {repo_id}: {error}") from error
    if "/" not in repo_id:
        raise ValueError(f"--repo_id {repo_id}: give your name on the Hub too: you/{repo_id}")


def check_login(token: str | None) -> None:
    """Raises ValueError if the Hub does not accept the token."""
    try:
        HfApi(token=token).whoami()
    except errors.LocalTokenNotFoundError as error:
        raise ValueError("not logged in: run `hf auth login`, set HF_TOKEN, or give --token") from error
    except errors.HfHubHTTPError as error:
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
