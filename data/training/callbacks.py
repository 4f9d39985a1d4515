# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Callbacks of a training run: early stopping, finite weights, data wait."""

from __future__ import annotations

import logging
import time

import torch
from torch.nn.utils import get_total_norm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..evaluation import RATE_OF_UNIT

logger = logging.getLogger(__name__)

MARGIN = 0.01  # by which the error rate must be lower than on blank video
MIN_STEPS = 500  # before these, a share of the run is too early to judge
WARNING = (
    "The model does not look at the face: at epoch {epoch:.4g} of {epochs} its {name} is {rate:.3f}, and {blank:.3f} "
    "on blank video. It uses the language alone, so training stops here. Things to try: look at the landmarks of its "
    "clips (python -m data.report); see whether ctc_loss falls, and if not, train on more clips or with a higher "
    "--learning_rate; mask more of the transcript, --config_overrides decoder_mask_prob=0.6 (default: 0.4), so "
    "that the language model needs the face. To continue anyway, repeat the command with --blank_check_after 0."
)
MOST_BAD_STEPS = 10  # steps in a row without finite gradients


class BlankVideoCallback(TrainerCallback):
    """Stops a run whose error rate (`text_unit`) on blank video is as low as on the clips, since it ignores the lips.

    `after` is the first evaluation that counts: from 1 on an epoch; below 1 a share of the run, at least 500 steps. A
    model may need a third of its run before it uses the adapters.
    """

    def __init__(self, after: float):
        self.after = after
        self.warning: str | None = None  # why the run was stopped and what to try

    def on_evaluate(
        self, args, state: TrainerState, control: TrainerControl, metrics: dict[str, float], model=None, **kwargs
    ):
        if self.after >= 1:
            due = (state.epoch or 0.0) >= self.after
        else:
            due = state.global_step > max(MIN_STEPS, self.after * state.max_steps)
        name = RATE_OF_UNIT["word" if model is None else model.config.text_unit]
        if self.warning or not due or not {f"eval_{name}", f"eval_blank_{name}"} <= metrics.keys():
            return
        rate, blank = metrics[f"eval_{name}"], metrics[f"eval_blank_{name}"]
        if rate > blank - MARGIN:
            control.should_training_stop = True
            values = {"epoch": state.epoch, "epochs": state.num_train_epochs, "rate": rate, "blank": blank}
            self.warning = WARNING.format(name=name.upper(), **values)
            logger.warning(self.warning)


class TrainingDiverged(RuntimeError):
    """Raised when gradients or weights are not finite; the message names the step and the remedy."""


class FiniteCallback(TrainerCallback):
    """Ends a run whose gradients stay NaN or infinite, and never lets weights be saved that are."""

    def __init__(self):
        self._bad_steps = 0  # in a row; with --fp16 a few are normal, and lower the scale of the loss

    def on_pre_optimizer_step(self, args, state: TrainerState, control, model, **kwargs):
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        finite = not gradients or get_total_norm(gradients).isfinite().item()
        self._bad_steps = 0 if finite else self._bad_steps + 1
        if self._bad_steps == MOST_BAD_STEPS:
            self._stop(f"loss or gradients have not been finite for {MOST_BAD_STEPS} steps", state, **kwargs)

    def on_step_end(self, args, state: TrainerState, control: TrainerControl, **kwargs):
        if control.should_save:
            self.on_train_end(args, state, control, **kwargs)

    def on_epoch_end(self, args, state: TrainerState, control: TrainerControl, **kwargs):
        self.on_step_end(args, state, control, **kwargs)

    def on_train_end(self, args, state: TrainerState, control, model, **kwargs):
        trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
        if not all(parameter.isfinite().all() for parameter in trained):
            self._stop("the weights are not finite", state, **kwargs)

    def _stop(self, reason: str, state: TrainerState, optimizer: torch.optim.Optimizer, **kwargs):
        rate = f"{optimizer.param_groups[0]['lr']:.3g}"
        raise TrainingDiverged(
            f"after step {state.global_step} {reason}, at a learning rate of {rate}. Checkpoints saved before are "
            "good. Give a lower --learning_rate, more --warmup_steps, or --bf16 instead of --fp16, and --restart."
        )


class DataTimeCallback(TrainerCallback):
    """Measures the share of training time spent waiting for batches, without evaluation and saving."""

    def __init__(self):
        self._waited = self._stepped = 0.0
        self._began = time.perf_counter()

    def on_fetch_begin(self) -> None:
        """Starts a step, which begins with fetching its batches."""
        self._began = time.perf_counter()

    def on_fetch_end(self) -> None:
        self._waited += time.perf_counter() - self._began

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs):
        self._stepped += time.perf_counter() - self._began

    def pop_metrics(self) -> dict[str, float]:
        """Returns the share since the last call."""
        share = {"data/wait": self._waited / self._stepped} if self._stepped else {}
        self._waited = self._stepped = 0.0
        return share
