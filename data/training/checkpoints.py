# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a training run leaves in its folder beside the weights, and which checkpoint it goes on from."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from transformers import TrainingArguments

from modeling_lipread.modeling_lipread import belongs_to_base

from ..dataset import Clips, seconds_of
from .arguments import LipReadTrainingArguments

logger = logging.getLogger(__name__)


def replace_pickled_arguments(folder: str | os.PathLike, args: TrainingArguments) -> None:
    """Replaces the Trainer's pickle of its arguments by JSON."""
    pickled = Path(folder, "training_args.bin")
    if pickled.exists():
        Path(folder, "training_args.json").write_text(args.to_json_string() + "\n", encoding="utf-8")
        pickled.unlink()


def training_data(clips: Clips) -> dict[str, Any]:
    """Returns the split, its number of clips and their seconds, for the model card."""
    seconds = float(seconds_of(clips).sum())
    return {"split": None if clips.split is None else str(clips.split), "clips": len(clips), "seconds": seconds}


def check_fits(checkpoint: str | os.PathLike, model: torch.nn.Module) -> None:
    """Checks that a checkpoint holds the weights of a model, by names and shapes.

    Raises:
        ValueError: If it does not, because the run was started with other settings.
        OSError: If its weights are in a pickle, or damaged.
    """
    path = Path(checkpoint, "model.safetensors")
    if not path.is_file():
        if Path(checkpoint, "pytorch_model.bin").exists():
            raise OSError(f"{checkpoint}: holds a pickle, and only safetensors are read; give --restart to start anew")
        return  # shards or adapters of peft are checked by what loads them
    expected = {key: list(value.shape) for key, value in model.state_dict().items()}
    try:
        with safe_open(path, "pt") as file:
            held = {key: file.get_slice(key).get_shape() for key in file.keys()}
    except SafetensorError as error:
        raise OSError(f"{path}: damaged ({error}); remove this checkpoint to go on from the one before") from error
    wrong = [key for key, shape in held.items() if expected.get(key) != shape]
    # Tied weights are saved once; a frozen language model's own are not saved at all.
    apart = model.config.freeze_language_model and model.config.base_model_name_or_path
    absent = expected.keys() - held.keys() - model.all_tied_weights_keys.keys()
    wrong += sorted(key for key in absent if not (apart and belongs_to_base(key)))
    if wrong:
        raise ValueError(
            f"{checkpoint} was written by a run with other settings ({wrong[0]} differs); give --restart to start "
            "anew, or another --output_dir"
        )


def last_complete_checkpoint(output_dir: str | os.PathLike) -> str | None:
    """Returns the newest complete checkpoint in a folder; `None` if there is none.

    The Trainer writes `trainer_state.json` last: a checkpoint without it is incomplete.
    """
    steps = {}
    for folder in Path(output_dir).glob("checkpoint-*"):
        if step := re.fullmatch(r"checkpoint-(\d+)", folder.name):
            steps[int(step[1])] = folder
    for step in sorted(steps, reverse=True):
        try:
            json.loads((steps[step] / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("%s is incomplete and is left out", steps[step])
        else:
            return str(steps[step])
    return None


def resume_point(args: LipReadTrainingArguments) -> str | None:
    """Returns the checkpoint to resume from: the one named, else the last complete one, else none."""
    if args.resume_from_checkpoint not in (None, "True", "true"):
        return args.resume_from_checkpoint
    if args.restart:
        if args.process_index == 0:
            for checkpoint in Path(args.output_dir).glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
        PartialState().wait_for_everyone()
    checkpoint = last_complete_checkpoint(args.output_dir)
    if checkpoint:
        logger.info("Going on from %s (give --restart to start anew)", checkpoint)
    return checkpoint
