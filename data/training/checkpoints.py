# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints: their files, the one to resume from, and the encoder of `--encoder` and the reader of `--init_from`."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, Trainer, TrainerState, TrainingArguments

from modeling_lipread import LipReadConfig, LipReadFeatureExtractor, LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.language_model_lipread import (
    add_lora,
    checkpoint_files,
    refuse_not_finite,
    refuse_wrong_weights,
    saved_weights,
)
from modeling_lipread.modeling_lipread import belongs_to_base

from ..dataset import Clips, seconds_of
from ..tokenizer import build_ctc_vocab, check_texts
from .arguments import LipReadTrainingArguments, ModelArguments

logger = logging.getLogger(__name__)


def replace_pickled_arguments(folder: str | os.PathLike, args: TrainingArguments) -> None:
    """Replaces the Trainer's pickle of its arguments by JSON."""
    pickled = Path(folder, "training_args.bin")
    if pickled.exists():
        Path(folder, "training_args.json").write_text(args.to_json_string() + "\n", encoding="utf-8")
        pickled.unlink()


def training_data(clips: Clips) -> dict[str, Any]:
    """Returns the split, its number of clips and their total seconds, for the model card."""
    seconds = float(seconds_of(clips).sum())
    return {"split": None if clips.split is None else str(clips.split), "clips": len(clips), "seconds": seconds}


def check_fits(checkpoint: str | os.PathLike, model: torch.nn.Module) -> None:
    """Raises ValueError if the weights have other names or shapes than the model's."""
    path = Path(checkpoint, "model.safetensors")
    if not path.is_file():
        if Path(checkpoint, "pytorch_model.bin").exists():
            raise OSError(f"{checkpoint}: holds a pickle, and only safetensors are read; give --restart to start anew")
        return  # peft adapters are checked when they are loaded
    expected = {key: list(value.shape) for key, value in model.state_dict().items()}
    with safe_open(path, "pt") as file:
        saved = {key: file.get_slice(key).get_shape() for key in file.keys()}
    wrong = [key for key, shape in saved.items() if expected.get(key) != shape]
    # Tied weights are saved once; a frozen language model is not saved.
    frozen = model.config.freeze_language_model and model.config.base_model_name_or_path
    absent = expected.keys() - saved.keys() - model.all_tied_weights_keys.keys()
    wrong += sorted(key for key in absent if not (frozen and belongs_to_base(key)))
    if wrong:
        raise ValueError(
            f"{checkpoint} was written by a run with other settings ({wrong[0]} differs); give --restart to start "
            "anew, or another --output_dir"
        )


def check_progress(checkpoint: str | os.PathLike, trainer: Trainer) -> None:
    """Raises ValueError if the steps of a checkpoint are another share of an epoch in this run."""
    state = TrainerState.load_from_json(Path(checkpoint, "trainer_state.json"))
    batches, accumulated = len(trainer.get_train_dataloader()), trainer.args.gradient_accumulation_steps
    epochs, steps = divmod(state.global_step, -(-batches // accumulated))
    epoch = epochs + steps * accumulated / batches
    if abs(epoch - (state.epoch or 0.0)) > 1e-3:
        raise ValueError(
            f"{checkpoint}: its {state.global_step} steps were {state.epoch:.3g} epochs, here they are {epoch:.3g}: "
            "batch size, number of processes or clips are others. Give the same, or --restart to start anew"
        )


def damage(checkpoint: Path) -> str | None:
    """Returns what is wrong with the files of a checkpoint; None if they are whole. Files of torch are ZIP files."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in sorted(checkpoint.iterdir()):
            if path.suffix == ".safetensors":
                with safe_open(path, "pt"):
                    pass
            elif path.suffix in (".pt", ".pth", ".bin"):
                with zipfile.ZipFile(path) as file:
                    if file.testzip():
                        return f"{path.name} is damaged"
    except FileNotFoundError:
        return "trainer_state.json is missing"  # the Trainer writes it last
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
        return f"a file is damaged: {error}"
    return None


def last_complete_checkpoint(output_dir: str | os.PathLike) -> str | None:
    """Returns the newest checkpoint whose files are whole; `None` if there is none."""
    folders = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    for folder in sorted(folders, key=lambda path: int(path.name.partition("-")[2]), reverse=True):
        if not (problem := damage(folder)):
            return str(folder)
        logger.warning("%s is ignored: %s", folder, problem)
    return None


def resume_point(args: LipReadTrainingArguments) -> str | None:
    """Returns the checkpoint given or the last complete one, or `None`; raises OSError if the former is damaged."""
    checkpoint = args.resume_from_checkpoint
    if checkpoint not in (None, "True", "true"):
        if problem := damage(Path(checkpoint)):
            raise OSError(f"{checkpoint}: {problem}; give another checkpoint")
    else:
        if args.restart:
            if args.process_index == 0:
                for folder in Path(args.output_dir).glob("checkpoint-*"):
                    shutil.rmtree(folder)
            PartialState().wait_for_everyone()
        checkpoint = last_complete_checkpoint(args.output_dir)
    if checkpoint:
        logger.info("Going on from %s (give --restart to start anew)", checkpoint)
        for name in ("optimizer", "scheduler", "rng_state"):
            if not any(Path(checkpoint).glob(f"{name}*")):
                logger.warning("%s holds no %s: it starts anew, so the result will differ", checkpoint, name)
    return checkpoint


def checkpoint_config(source: str) -> LipReadConfig:
    """Returns the configuration in a folder or Hub id; raises OSError or ValueError if it is not of a lip reader."""
    config = AutoConfig.from_pretrained(source)
    if not isinstance(config, LipReadConfig):
        raise ValueError(f"{source}: a {config.model_type} model; give a reader that train_hf.py wrote")
    return config


def load_checkpoint(
    model_args: ModelArguments, texts: Sequence[str]
) -> tuple[LipReadForConditionalGeneration, LipReadProcessor]:
    """Returns the model of --init_from, prepared for training on `texts`, and its processor.

    Its CTC vocabulary gets the characters of `texts` that it lacks, and a frozen language model the LoRA of the
    arguments. Calibration and limits of abstention hold for the old weights and are removed. Raises ValueError if its
    tokenizer can write none of the texts, or LoRA is not possible.
    """
    source, lora = model_args.init_from, model_args.lora()
    config, processor = checkpoint_config(source), LipReadProcessor.from_pretrained(source)
    if lora and (config.lora or not config.freeze_language_model):
        reason = "the reader has LoRA already" if config.lora else "its language model is trained whole"
        raise ValueError(f"--lora_r with --init_from {source}: {reason}; leave --lora_r out")
    check_texts(processor.tokenizer, texts)
    model = LipReadForConditionalGeneration.from_pretrained(source)
    if lora:
        model.config.lora = add_lora(model.language_model, lora)
    if config.ctc_vocab and "encoder" not in (model_args.freeze or ()):
        add_characters(model, [each for each in build_ctc_vocab(texts) if each not in config.ctc_vocab])
    model.config.calibration = model.config.abstention = None
    return model, processor


@torch.no_grad()
def add_characters(model: LipReadForConditionalGeneration, characters: Sequence[str]) -> None:
    """Appends characters to the CTC vocabulary of a model, whose output for the others does not change."""
    if not characters:
        return
    logger.info("new in the CTC vocabulary: %s", " ".join(characters))
    more = len(characters)
    for name in ("ctc", "alignment"):
        head, embedding = (getattr(model.encoder, f"{name}_{part}") for part in ("head", "embedding"))
        if head is not None:
            new = nn.Linear(head.in_features, more).to(head.weight)
            head.weight = nn.Parameter(torch.cat([head.weight, new.weight]))
            head.bias = nn.Parameter(torch.cat([head.bias, new.bias]))
            head.out_features += more
        if embedding is not None:
            embedding.weight = nn.Parameter(nn.functional.pad(embedding.weight, (0, more)))
            embedding.in_features += more
    model.config.ctc_vocab = [*model.config.ctc_vocab, *characters]
    model.config.encoder_config.ctc_vocab_size += more


def load_encoder(
    model: LipReadForConditionalGeneration, feature_extractor: LipReadFeatureExtractor, source: str
) -> None:
    """Loads the encoder and landmark statistics of a checkpoint; raises ValueError for other settings, or NaN."""
    names = list(inspect.signature(LipReadFeatureExtractor).parameters)[:-1]  # without **kwargs
    extractors = LipReadFeatureExtractor.from_pretrained(source), feature_extractor
    _refuse_differences(source, *({name: getattr(each, name) for name in names} for each in extractors))
    configs = checkpoint_config(source).encoder_config, model.config.encoder_config
    _refuse_differences(source, *(config.to_diff_dict() for config in configs))
    weights, own = saved_weights(checkpoint_files(source, {}), "encoder."), model.encoder.state_dict()
    refuse_wrong_weights(
        source, "the encoder's", missing=own.keys() - weights.keys(), unexpected=weights.keys() - own.keys()
    )
    refuse_not_finite(source, weights.items())
    model.encoder.load_state_dict(weights)


def _refuse_differences(source: str, saved: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises ValueError if the encoder in `source` was trained with other settings than this run's."""
    free = {"kp_dropout", "initializer_range", "dtype"}  # they do not change what the weights compute
    names = sorted(name for name in (saved.keys() | given.keys()) - free if saved.get(name) != given.get(name))
    if names:
        settings = ", ".join(f"{name} {saved.get(name)!r} instead of {given.get(name)!r}" for name in names)
        raise ValueError(f"--encoder {source}: it was trained with {settings}; give this run the same")
