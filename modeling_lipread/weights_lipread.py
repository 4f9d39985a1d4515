# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint's weights: whole safetensors files that hold what its configuration describes, or a refusal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file


def checkpoint_files(checkpoint: str | os.PathLike, file_arguments: dict[str, Any]) -> list[str]:
    """The files with a checkpoint's weights, each looked into: its header and its length agree.

    Args:
        checkpoint: Folder or Hub id.
        file_arguments: Arguments of `cached_file`, such as `revision`.

    Raises:
        OSError: If there is none, or one is missing or damaged. Pickles are not even opened.
    """
    optional = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    single = cached_file(checkpoint, SAFE_WEIGHTS_NAME, **optional, **file_arguments)
    index = None if single else cached_file(checkpoint, SAFE_WEIGHTS_INDEX_NAME, **optional, **file_arguments)
    if single is None and index is None:
        raise OSError(
            f"{checkpoint}: there is no {SAFE_WEIGHTS_NAME}, or it cannot be reached. A reader's weights are read "
            "from safetensors alone, never from a pickle such as pytorch_model.bin, which can run code as it is "
            "opened. Fetch the checkpoint again, or save the reader anew with save_pretrained."
        )
    files = [single]
    if index is not None:
        try:
            names = sorted(set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OSError(f"{index}: not an index of weights ({error!r}); fetch the checkpoint again") from error
        files = [cached_file(checkpoint, name, **optional, **file_arguments) for name in names]
        if None in files:
            lost = names[files.index(None)]
            raise OSError(f"{checkpoint}: {lost}, which its index names, is missing; fetch the checkpoint again")
    for path in files:
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise OSError(
                f"{path}: not a safetensors file, or not all of one ({error}); fetch or save the checkpoint again"
            ) from error
    return files


def saved_weights(files: Iterable[str], prefix: str) -> dict[str, torch.Tensor]:
    """The weights in files whose names begin with a prefix, by the rest of their names."""
    weights = {}
    for path in files:
        with safe_open(path, "pt") as file:
            weights.update(
                {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}
            )
    return weights


def refuse_wrong_weights(
    checkpoint: str | os.PathLike,
    whose: str,
    missing: Iterable[str] = (),
    mismatched: Iterable[tuple] = (),
    unexpected: Iterable[str] = (),
) -> None:
    """Makes sure that nothing is filled in at random, or left out, where weights and configuration disagree.

    Args:
        checkpoint: Where the weights come from.
        whose: What they are the weights of, for the error.
        missing: Names that the configuration asks for and the files do not hold.
        mismatched: Names with the size in the files and the size that the configuration asks for.
        unexpected: Names that the files hold and the configuration has no place for.

    Raises:
        ValueError: If there is any.
    """
    wrong = [f"{name} is missing" for name in sorted(missing)]
    wrong += [
        f"{name} is {tuple(found)} instead of {tuple(asked)}" for name, found, asked in sorted(mismatched, key=str)
    ]
    wrong += [f"{name} belongs nowhere" for name in sorted(unexpected)]
    if wrong:
        raise ValueError(
            f"{checkpoint}: {len(wrong)} of {whose} weights are not those that its config.json describes "
            f"({'; '.join(wrong[:5])}{'; ...' if len(wrong) > 5 else ''}). Nothing is filled in at random: weights or "
            "config.json are damaged, or belong to different runs; fetch or save the checkpoint again."
        )


def refuse_peft_adapter(model: PreTrainedModel, checkpoint: str | os.PathLike) -> None:
    """Makes sure that transformers laid no adapter of peft over a model, as it does for an adapter_config.json.

    What it then reports about the weights is about the adapter's alone.

    Raises:
        ValueError: If it did.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"{checkpoint}: its adapter_config.json lays an adapter of peft over the model. Merge it first, once, by "
            "peft's merge_and_unload().save_pretrained(FOLDER), and give that folder; or remove adapter_config.json."
        )


__all__ = ["checkpoint_files", "refuse_peft_adapter", "refuse_wrong_weights", "saved_weights"]
