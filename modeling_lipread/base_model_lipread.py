# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finding the frozen language model that a checkpoint was trained on: that one, or none."""

import os
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.hub import resolve_revision

from .configuration_lipread import LipReadConfig


def resolved_revision(model_id: str | os.PathLike, revision: str | None) -> str | None:
    """The commit that a Hub id stands for; `None` for a folder."""
    if Path(model_id).is_dir():
        return None
    return resolve_revision(str(model_id), revision)


def load_base_model(config: LipReadConfig, checkpoint: Path, kwargs: dict) -> PreTrainedModel:
    """Loads the language model that a checkpoint names.

    Raises:
        OSError: If it is neither on the Hub nor in the folder named.
        ValueError: If it has another shape than the one the adapters were trained with.
    """
    name = config.base_model_name_or_path
    if kwargs.get("dtype", "auto") == "auto":
        # The type it was trained with, whatever type its own repository stores.
        kwargs["dtype"] = config.get_text_config().dtype or "auto"
    try:
        language_model = AutoModelForCausalLM.from_pretrained(name, revision=config.base_model_revision, **kwargs)
    except (OSError, ValueError) as error:
        raise OSError(
            f"{checkpoint}: this reader was saved without its language model {name!r}"
            f"{f' (revision {config.base_model_revision})' if config.base_model_revision else ''}, which could not be "
            f"loaded: {error}\nMake it available, set base_model_name_or_path in config.json to where it is, or save "
            "the reader with include_base=True."
        ) from error
    expected, found = config.get_text_config(), language_model.config.get_text_config()
    for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
        if getattr(expected, key) != getattr(found, key):
            raise ValueError(
                f"{checkpoint}: the reader was trained on a language model with {key} = {getattr(expected, key)}, but "
                f"{name!r} has {getattr(found, key)}. Point base_model_name_or_path in config.json at the right one."
            )
    return language_model
