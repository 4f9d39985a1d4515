# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The Trainer of readers: gates on their own learning rate, and evaluation that reads."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import re
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import PartialState
from huggingface_hub import CommitInfo
from safetensors import SafetensorError, safe_open
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from modeling_lipread.model_card_lipread import CardDetails
from modeling_lipread.pretrained_lipread import belongs_to_base
from modeling_lipread.publish_lipread import push, stage

from .arguments import LipReadTrainingArguments
from .augmentation import KeypointAugmentation
from .evaluation import closing_line, compute_metrics, predict
from .loading import DataClock, batch_sampler, padding_share, train_loader
from .opening import Clips, seconds_of
from .sharding import gather_to_encode, gathered, own_class, shard_by_layer
from .watching import BlankVideoGuard, GradientNorms, write_transcripts

logger = logging.getLogger(__name__)

PROCESS = psutil.Process()  # one object: its use of the processor is counted since it was asked last


class LipReadTrainer(Trainer):
    """Trains a reader.

    Args:
        eval_collator: Collator in evaluation mode, whose batches hold no transcript.
        augmentation: Applied to training batches on their device.
        args, kwargs: As for [`Trainer`]; `processing_class` is the reader's processor.
    """

    args: LipReadTrainingArguments

    def __init__(
        self,
        *args,
        eval_collator,
        augmentation: KeypointAugmentation | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled:
            shard_by_layer(self.accelerator.state.fsdp_plugin, self.model)
        self.label_smoother = None  # label_smoothing_factor is in the model's configuration, which its loss goes by
        self.eval_collator = eval_collator
        self.augmentation = augmentation
        self._parts: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._training_data: dict[str, Any] | None = None
        self.clock, self.norms = DataClock(), GradientNorms()
        self.guard = BlankVideoGuard(self.args.blank_check_after) if self.args.blank_check_after else None
        for callback in filter(None, (self.clock, self.norms, self.guard)):
            self.add_callback(callback)

    def get_train_dataloader(self) -> DataLoader:
        sampler = batch_sampler(self.train_dataset, self.args)
        if sampler is None:
            return super().get_train_dataloader()
        return train_loader(self.train_dataset, sampler, self.data_collator, self.args)

    def get_eval_dataloader(self, eval_dataset: Clips | None = None) -> DataLoader:
        # In the order of the clips, whatever train_sampling_strategy says, and as they are.
        collator = copy.copy(self.data_collator)
        collator.splicing = None
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
        return self.clock.fetch(lambda: super(LipReadTrainer, self).get_batch_samples(*args, **kwargs))

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Three groups of parameters: with weight decay, without, and the gates with their own learning rate."""
        if self.optimizer is None:
            model = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[str, list] = {"decay": [], "no_decay": [], "gates": []}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    kind = "gates" if name.endswith(".gate") else "decay" if name in decayed else "no_decay"
                    groups[kind].append(parameter)
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(
                [
                    {"params": groups["decay"], "weight_decay": self.args.weight_decay},
                    {"params": groups["no_decay"], "weight_decay": 0.0},
                    {"params": groups["gates"], "weight_decay": 0.0, "lr": self.args.gate_learning_rate},
                ],
                **kwargs,
            )
        return self.optimizer

    def autocast_smart_context_manager(self, *args, **kwargs):
        # accelerate wraps the forward of other models in autocast, and leaves one that is spread to FSDP's own policy.
        if self.is_fsdp_enabled:
            return self.accelerator.autocast()
        return super().autocast_smart_context_manager(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if model.training:
            self._parts["data/padding"].append(padding_share(inputs["keypoints_mask"]))
        if model.training and self.augmentation is not None:
            keypoints, mask, targets = self.augmentation(
                inputs["keypoints"], inputs["keypoints_mask"], inputs.get("alignment_targets")
            )
            inputs = {**inputs, "keypoints": keypoints, "keypoints_mask": mask}
            inputs |= {"alignment_targets": targets} if targets is not None else {}
        if self.args.encoder_only:
            inputs = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        # A part of this batch is its share of the whole update's, to which as many batches add up.
        batches = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        batches *= self.current_gradient_accumulation_steps if model.training else 1
        for part in ("lm_loss", "ctc_loss", "alignment_loss"):
            if (value := getattr(outputs, part)) is not None:
                self._parts[part].append(value.detach().float() * batches)
        return (loss, outputs) if return_outputs else loss

    def _drain_parts(self) -> dict[str, float]:
        """Mean of each part of the loss since the last call, over all processes, and the perplexity."""
        means = {}
        for part, values in self._parts.items():
            mean = torch.stack(values).mean().reshape(1)
            means[part] = self.accelerator.gather(mean).mean().item()
        self._parts.clear()
        if "lm_loss" in means:
            means["perplexity"] = math.exp(min(means["lm_loss"], 50.0))
        return means

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs = {**logs, **self._drain_parts(), **self.clock.drain(), **self._gates(), **resources()}
            logs |= self.norms.drain(logs.get("grad_norm", 0.0))
        super().log(logs, start_time)

    def _gates(self) -> dict[str, float]:
        model = self.accelerator.unwrap_model(self.model)
        with gathered(model):
            values = model.gate_values()
        return {f"gate/layer_{layer:02d}": value for layer, value in values.items()}

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        """Measures the loss on whole transcripts, then reads every clip from its video alone."""
        # However often a run is evaluated, it trains the same: loaders draw from the random state too.
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            return self._evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)

    def _evaluation_loop(self, dataloader, *args, metric_key_prefix: str, **kwargs):
        waiting, self._parts = self._parts, defaultdict(list)
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        result = self._drain_parts()
        self._parts = waiting
        model = self.accelerator.unwrap_model(self.model)
        gather_to_encode(model)
        with self.accelerator.autocast():
            predictions = predict(
                model,
                self.processing_class,
                dataloader.dataset,
                self.eval_collator,
                batch_size=self.args.per_device_eval_batch_size,
                process_index=self.args.process_index,
                num_processes=self.args.world_size,
                progress=not self.args.disable_tqdm,
                encoder_only=self.args.encoder_only,
                num_beams=self.args.eval_num_beams,
                max_new_tokens=self.args.eval_max_new_tokens,
                in_step=self.is_fsdp_enabled,
            )
        metrics = compute_metrics(predictions)
        output.metrics.update({f"{metric_key_prefix}_{key}": value for key, value in (result | metrics).items()})
        if self.is_world_process_zero():
            for example in predictions[:3]:
                logger.info("reference %r, hypothesis %r", example.reference, example.hypothesis)
            logger.info(closing_line(metrics))
            name = f"{metric_key_prefix}/transcripts"
            write_transcripts(self.callback_handler.callbacks, name, predictions, self.state.global_step)
        return output

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # Checkpoints leave the frozen language model out on purpose.
        if self.model.config.freeze_language_model:
            load_result.missing_keys[:] = [key for key in load_result.missing_keys if not belongs_to_base(key)]
        super()._issue_warnings_after_load(load_result)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        with own_class(self.model):
            super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return  # every process comes here, one of them writes
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
        """Publishes the reader as `lipread publish` does: in one commit, without logs, states and pickles.

        Args:
            commit_message: The commit's first line.
            blocking: Not looked at: it returns when the reader is there.
            token, revision, private: As for [`Trainer.push_to_hub`]; those of the arguments by default.
            details: What the model card is to say, as for `CardDetails`.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        revision = revision or self.args.hub_revision
        with tempfile.TemporaryDirectory() as folder:
            reader, staging = Path(self.args.output_dir), Path(folder, "reader")
            settings = {"revision": revision, "token": token}
            for note in stage(reader, staging, self.hub_model_id, details=CardDetails(**details), **settings):
                logger.warning(note)
            return push(staging, self.hub_model_id, commit_message=commit_message, **settings)


class TextTrainer(Trainer):
    """Trains a language model on packed text, with perplexity beside the loss."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for key in ("loss", "eval_loss"):
            if key in logs:
                logs = {**logs, key.replace("loss", "perplexity"): math.exp(min(logs[key], 50.0)), **resources()}
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            replace_pickled_arguments(output_dir or self.args.output_dir, self.args)


def replace_pickled_arguments(folder: str | os.PathLike, args: TrainingArguments) -> None:
    """Puts the arguments beside the weights as JSON that anyone can read, in place of the Trainer's pickle."""
    pickled = Path(folder, "training_args.bin")
    if pickled.exists():
        Path(folder, "training_args.json").write_text(args.to_json_string() + "\n", encoding="utf-8")
        pickled.unlink()


def training_data(clips: Clips) -> dict[str, Any]:
    """How much a reader was trained on, for its model card: clips of a split, and seconds in all."""
    seconds = float(seconds_of(clips).sum())
    return {"split": None if clips.split is None else str(clips.split), "clips": len(clips), "seconds": seconds}


def resources() -> dict[str, float]:
    """Use of processor and memory by this process, in percent and GiB."""
    used = {"system/cpu_percent": PROCESS.cpu_percent(), "system/ram_gib": PROCESS.memory_info().rss / 2**30}
    if torch.cuda.is_available():
        used["system/gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return used


def check_fits(checkpoint: str | os.PathLike, model: torch.nn.Module) -> None:
    """Makes sure that a checkpoint's weights are those of the model that is to go on from it.

    Raises:
        ValueError: If they are not, because the run was begun with other settings.
        OSError: If they are in a pickle, or damaged.
    """
    path = Path(checkpoint, "model.safetensors")
    if not path.is_file():
        if Path(checkpoint, "pytorch_model.bin").exists():
            raise OSError(f"{checkpoint}: holds a pickle, and only safetensors are read; give --restart to start anew")
        return  # sharded, or adapters of peft: whatever reads them checks them
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


def complete_checkpoints(output_dir: str | os.PathLike) -> list[str]:
    """The checkpoints in a folder that were written to their end, the newest last.

    The Trainer writes `trainer_state.json` last: a checkpoint without it was cut off, and the one before it counts.
    """
    found = []
    for folder in Path(output_dir).glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", folder.name)
        if step is None:
            continue
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("%s was not written to its end and is left out", folder)
            continue
        found.append((int(step[1]), str(folder)))
    return [folder for _, folder in sorted(found)]


def last_complete_checkpoint(output_dir: str | os.PathLike) -> str | None:
    """The newest checkpoint in a folder that was written to its end."""
    return next(reversed(complete_checkpoints(output_dir)), None)


def resume_point(args: LipReadTrainingArguments) -> str | None:
    """The checkpoint to go on from: the one named, else the last complete one, else none."""
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
