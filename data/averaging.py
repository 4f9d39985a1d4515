# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The average of a run's last checkpoints, which often reads better than any of them (Izmailov et al., 2018).

Averaged after training, from what the Trainer has written anyway: a run trains, stops and resumes as it would without,
on however many processes, and nothing more is held in memory.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import torch
from safetensors import safe_open

from modeling_lipread.weights_lipread import checkpoint_files

from .trainer import LipReadTrainer, complete_checkpoints

logger = logging.getLogger(__name__)


def averaged_weights(checkpoints: Sequence[str | os.PathLike]) -> dict[str, torch.Tensor]:
    """The mean of checkpoints' weights; what is no weight, as whole numbers, is the last checkpoint's.

    Args:
        checkpoints: Folders with weights in safetensors, of one run.

    Raises:
        OSError: If one holds no weights, or damaged ones.
        ValueError: If their weights are not those of one model.
    """
    sums: dict[str, torch.Tensor] = {}
    types: dict[str, torch.dtype] = {}
    for count, checkpoint in enumerate(checkpoints):
        names = set()
        for path in checkpoint_files(checkpoint, {}):
            with safe_open(path, "pt") as file:
                for name in file.keys():
                    value = file.get_tensor(name)
                    names.add(name)
                    if count and (name not in sums or sums[name].shape != value.shape):
                        raise ValueError(f"{checkpoint}: {name} is not as in {checkpoints[0]}: of another run")
                    types[name] = value.dtype
                    if value.is_floating_point():
                        sums[name] = value.double() + sums[name] if count else value.double()
                    else:
                        sums[name] = value
        if missing := sorted(sums.keys() - names):
            raise ValueError(f"{checkpoint}: {missing[0]}, which is in {checkpoints[0]}, is missing: of another run")
    return {
        name: (value / len(checkpoints)).to(types[name]) if value.is_floating_point() else value
        for name, value in sums.items()
    }


def take_average(trainer: LipReadTrainer) -> None:
    """Puts the average of the last checkpoints in the model's place, unless the best of them is better.

    Args:
        trainer: After training; `args.average_checkpoints` says how many. Where it has clips to evaluate on and has
            loaded the best checkpoint, the average must do as well by `args.metric_for_best_model`.
    """
    args = trainer.args
    trainer.accelerator.wait_for_everyone()  # one process removes old checkpoints
    checkpoints = complete_checkpoints(args.output_dir)[-args.average_checkpoints :]
    if len(checkpoints) < 2:
        logger.warning("%s: fewer than two checkpoints, so there is nothing to average", args.output_dir)
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    average = averaged_weights(checkpoints)
    own = model.state_dict()
    before = {name: own[name].clone() for name in average}
    model.load_state_dict(average, strict=False)  # a frozen language model is in no checkpoint
    best = trainer.state.best_metric if args.load_best_model_at_end else None
    if best is None or trainer.eval_dataset is None:
        logger.info("The reader is the average of the last %d checkpoints", len(checkpoints))
        return
    name = args.metric_for_best_model.removeprefix("eval_")
    found = trainer.evaluate(metric_key_prefix="average")[f"average_{name}"]
    better = found >= best if args.greater_is_better else found <= best
    if not better:
        model.load_state_dict(before, strict=False)
    logger.info(
        "The average of the last %d checkpoints has a %s of %.3f, the best of all %.3f: the reader is %s",
        len(checkpoints),
        name,
        found,
        best,
        "the average" if better else "the best",
    )
