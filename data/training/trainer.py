# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: augmentation on the device, a learning rate for gates, evaluation by generation."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitInfo
from torch.utils.data import DataLoader
from transformers import Trainer

from lipread.hub.model_card import CardDetails
from lipread.hub.publish import push, stage
from modeling_lipread.modeling_lipread import belongs_to_base

from ..collator import ExampleCache
from ..dataset import Clips
from ..evaluation import closing_line, compute_metrics, predict
from . import callbacks
from .arguments import LipReadTrainingArguments
from .augmentation import KeypointAugmentation
from .batching import batch_sampler, train_loader
from .checkpoints import replace_pickled_arguments, training_data

logger = logging.getLogger(__name__)


def leave_out_language_model(model: torch.nn.Module, keys: Any) -> None:
    """Removes the frozen language model from the missing keys of a checkpoint, which does not hold it."""
    if model.config.freeze_language_model:
        keys.missing_keys[:] = [key for key in keys.missing_keys if not belongs_to_base(key)]


class LipReadTrainer(Trainer):
    """Trains a `LipReadForConditionalGeneration`, which computes the loss in its forward pass.

    `augmentation` is applied to training batches on their device.
    """

    args: LipReadTrainingArguments

    def __init__(self, *args, augmentation: KeypointAugmentation | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.model.register_load_state_dict_post_hook(leave_out_language_model)
        self.label_smoother = None  # the model's own loss smooths, by label_smoothing of its configuration
        self.augmentation = augmentation
        # Parts of the loss since the last log, and since the evaluation began.
        self._train_parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._eval_parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._training_data: dict[str, Any] | None = None
        self.data_time = callbacks.DataTimeCallback()
        after = self.args.blank_check_after
        self.blank_check = callbacks.BlankVideoCallback(after) if after else None
        for callback in filter(None, (callbacks.FiniteCallback(), self.data_time, self.blank_check)):
            self.add_callback(callback)

    def get_train_dataloader(self) -> DataLoader:
        sampler = batch_sampler(self.train_dataset, self.args)
        if sampler is None:
            return super().get_train_dataloader()
        return train_loader(self.train_dataset, sampler, self.data_collator, self.args)

    def get_eval_dataloader(self, eval_dataset: Clips | None = None) -> DataLoader:
        # Clips in order, whatever train_sampling_strategy is, and without splicing.
        collator = copy.copy(self.data_collator)
        collator.splicing, collator.cache = None, ExampleCache(0)
        return self.accelerator.prepare(
            DataLoader(
                self.eval_dataset if eval_dataset is None else eval_dataset,
                batch_size=self.args.eval_batch_size,
                collate_fn=collator,
                num_workers=self.args.dataloader_num_workers,
                pin_memory=self.args.dataloader_pin_memory,
            )
        )

    def get_batch_samples(self, *args, **kwargs):
        self.data_time.on_fetch_begin()
        batches = super().get_batch_samples(*args, **kwargs)
        self.data_time.on_fetch_end()
        return batches

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Creates the optimizer with three groups: with weight decay, without, and gates with a learning rate."""
        if self.optimizer is None:
            super().create_optimizer(model)
            named = (self.model if model is None else model).named_parameters()
            gates = {id(gate): gate for name, gate in named if name.endswith(".gate") and gate.requires_grad}
            for group in self.optimizer.param_groups:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in gates]
            group = {"params": list(gates.values()), "weight_decay": 0.0, "lr": self.args.gate_learning_rate}
            self.optimizer.add_param_group(group)
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Returns the model's loss on the augmented batch, and keeps its parts for the log."""
        parts = self._train_parts if model.training else self._eval_parts
        if model.training and self.augmentation is not None:
            names = ("keypoints", "keypoints_mask", "alignment_targets")
            augmented = zip(names, self.augmentation(*map(inputs.get, names)), strict=True)
            inputs = {**inputs, **{name: value for name, value in augmented if value is not None}}
        if self.args.encoder_only:
            inputs = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        # Losses are normalised by the tokens of the whole update; scaled by its batches, their mean can be logged.
        batches = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        batches *= self.current_gradient_accumulation_steps if model.training else 1
        for part in ("lm_loss", "ctc_loss", "alignment_loss"):
            if (value := getattr(outputs, part)) is not None:
                parts[part].append(value.detach().float() * batches)
        return (loss, outputs) if return_outputs else loss

    def _pop_means(self, parts: dict[str, list[torch.Tensor]]) -> dict[str, float]:
        """Returns the mean of each part over its values and all processes, and empties `parts`."""
        local = {part: torch.stack(values).mean().reshape(1) for part, values in parts.items()}
        means = {part: self.accelerator.gather(mean).mean().item() for part, mean in local.items()}
        parts.clear()
        return means

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            model = self.accelerator.unwrap_model(self.model)
            gates = {f"gate/layer_{layer:02d}": value for layer, value in model.gate_values().items()}
            logs = logs | self._pop_means(self._train_parts) | self.data_time.pop_metrics() | gates
        super().log(logs, start_time)

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        """Measures the loss with teacher forcing, then transcribes every clip from its video alone."""
        self._eval_parts.clear()
        # DataLoaders draw from the random state: restored, training does not depend on how often it evaluates.
        with torch.random.fork_rng([self.args.device] if self.args.device.type == "cuda" else []):
            output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
            result = self._pop_means(self._eval_parts)
            model = self.accelerator.unwrap_model(self.model)
            with self.accelerator.autocast():
                predictions = predict(
                    model,
                    self.processing_class,
                    dataloader.dataset,
                    batch_size=self.args.per_device_eval_batch_size,
                    process_index=self.args.process_index,
                    num_processes=self.args.world_size,
                    progress=not self.args.disable_tqdm,
                    encoder_only=self.args.encoder_only,
                    num_beams=self.args.eval_num_beams,
                    max_new_tokens=self.args.eval_max_new_tokens,
                )
        metrics = compute_metrics(predictions)
        output.metrics.update({f"{metric_key_prefix}_{key}": value for key, value in (result | metrics).items()})
        if self.is_world_process_zero():
            for prediction in predictions[:3]:
                logger.info("reference %r, hypothesis %r", prediction.reference, prediction.hypothesis)
            logger.info(closing_line(metrics, model.config.text_unit))
        return output

    def save_model(self, output_dir: str | None = None, **kwargs) -> None:
        super().save_model(output_dir, **kwargs)
        if not self.args.should_save:
            return  # every process calls this, one of them writes
        folder = output_dir or self.args.output_dir
        replace_pickled_arguments(folder, self.args)
        if self.train_dataset is not None:
            self._training_data = self._training_data or training_data(self.train_dataset)
            text = json.dumps(self._training_data, indent=2)
            Path(folder, "training_data.json").write_text(text + "\n", encoding="utf-8")

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **details: Any,
    ) -> CommitInfo | None:
        """Publishes the model in one commit as `lipread publish` does; `details` are fields of `CardDetails`."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        pushes, self.args.push_to_hub = self.args.push_to_hub, False  # `save_model` would push again
        try:
            self.save_model()
        finally:
            self.args.push_to_hub = pushes
        if not self.is_world_process_zero():
            return None
        revision = revision or self.args.hub_revision
        with tempfile.TemporaryDirectory() as folder:
            output, staging = Path(self.args.output_dir), Path(folder, "reader")
            for note in stage(output, staging, self.hub_model_id, details=CardDetails(**details), revision=revision):
                logger.warning(note)
            settings = {"revision": revision, "commit_message": commit_message, "token": token}
            return push(staging, self.hub_model_id, **settings)
