# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finds the language model that a published checkpoint refers to: on the Hub, and the one it was trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.sha import sha_fileobj
from transformers import AutoConfig

from modeling_lipread import LipReadConfig
from modeling_lipread.language_model_lipread import check_same_size, is_folder, load_language_model

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class BaseModel:
    """The language model of a published checkpoint."""

    id: str | None = None  # on the Hub
    revision: str | None = None  # a commit
    included: bool = False  # whether the checkpoint's own repository holds the weights


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
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
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
