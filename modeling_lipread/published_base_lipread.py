# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The language model that a published reader names: one that others can fetch, and the one it was trained on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.sha import sha_fileobj
from transformers import AutoConfig
from transformers.utils import CONFIG_NAME

from .configuration_lipread import LipReadConfig
from .language_model_lipread import check_same_size, is_folder, load_language_model
from .staging_lipread import PublishError

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class NamedBase:
    """The language model under a published reader.

    Args:
        id: On the Hub; `None` if it is not there, or not known.
        revision: Its commit.
        included: Whether the reader's own repository holds its weights.
    """

    id: str | None = None
    revision: str | None = None
    included: bool = False


def settle_base(
    config: LipReadConfig,
    reader: Path,
    base_model_id: str | None,
    base_model_revision: str | None,
    include_base: bool,
    token: str | None,
) -> tuple[NamedBase, list[str]]:
    """Finds the language model that a published reader will name.

    Args:
        config: The reader's configuration.
        reader: Its folder, for errors.
        base_model_id, base_model_revision: What to name instead of what the configuration names.
        include_base: Whether it will be published inside the reader.
        token: For reading the Hub.

    Returns:
        The language model, by its exact commit; and what the publisher should know of it.

    Raises:
        PublishError: Others could not fetch it, or it is not the one that the reader was trained on.
        ValueError: It has another shape.
    """
    name, commit = config.base_model_name_or_path, config.base_model_revision
    if name is None or include_base:
        if base_model_id or base_model_revision:
            raise PublishError(f"{reader}: holds its language model when published; leave --base_model_id out")
        on_hub = name is not None and not is_folder(name)
        return NamedBase(name if on_hub else None, commit if on_hub else None, included=True), []
    if base_model_id is None and is_folder(name):
        raise PublishError(
            f"{reader}: names its language model by a folder, {name}, where nobody else finds it: give "
            "--base_model_id if the same model is on the Hub (put it there with `hf upload you/name FOLDER`), or "
            "--include_base to publish its weights inside the reader"
        )
    if base_model_id is None and base_model_revision is None:
        if commit is None or not COMMIT.fullmatch(commit):
            raise PublishError(
                f"{reader}: names {name} without the commit it was trained with: give --base_model_revision COMMIT"
            )
        return NamedBase(name, commit), []
    found = find_on_hub(base_model_id or name, base_model_revision, token)
    base = NamedBase(found.id, found.sha)
    if (name, commit) == (base.id, base.revision):
        return base, []
    in_the_hub = AutoConfig.from_pretrained(base.id, revision=base.revision, token=token)
    check_same_size(config.get_text_config(), in_the_hub.get_text_config(), base.id, str(reader))
    same = _same_weights(config, found, token)
    if same is False:
        raise PublishError(
            f"{base.id} at {base.revision} has other weights than {name}, which the reader was trained on: upload "
            "that one with `hf upload` and give its id, or give --include_base"
        )
    unknown = f"{name} is not to be had here: whether {base.id} has the same weights could not be checked"
    return base, [unknown] if same is None else []


def find_on_hub(model_id: str, revision: str | None, token: str | None) -> ModelInfo:
    """What the Hub says of a language model.

    Raises:
        PublishError: It is not there, or has no such revision.
    """
    try:
        return HfApi(token=token).model_info(model_id, revision=revision, files_metadata=True)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        at = f" at {revision}" if revision else ""
        raise PublishError(f"the language model {model_id}{at} is not on the Hub, or is kept from you") from error


def _same_weights(config: LipReadConfig, found: ModelInfo, token: str | None) -> bool | None:
    """Whether a language model on the Hub is the one that was trained on; `None` if that one cannot be had."""
    name = config.base_model_name_or_path
    here = {}
    for path in Path(name).glob("*.safetensors"):
        with path.open("rb") as file:
            here[path.name] = sha_fileobj(file).hex()
    there = {file.rfilename: file.lfs.sha256 for file in found.siblings if file.lfs}
    if here and all(there.get(file) == digest for file, digest in here.items()):
        return True
    # Other files may hold the same numbers: saved anew, in other shards, in another type.
    dtype = config.get_text_config().dtype or "auto"
    try:
        trained = load_language_model(name, revision=config.base_model_revision, dtype=dtype).state_dict()
    except OSError:
        return None
    other = load_language_model(found.id, revision=found.sha, dtype=dtype, token=token).state_dict()
    return trained.keys() == other.keys() and all(torch.equal(trained[key], other[key]) for key in trained)


def name_base(folder: Path, base: NamedBase) -> None:
    """Writes the language model's name into a staged configuration, and leaves the rest as it is."""
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.id, "base_model_revision": base.revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
