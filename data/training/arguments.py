# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The arguments of `train_hf.py`: command line, YAML recipe, and overrides of the configurations."""

from __future__ import annotations

import os
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, make_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_origin

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from modeling_lipread.configuration_lipread import FaceKeypointEncoderConfig, LipReadConfig
from modeling_lipread.language_model_lipread import is_folder

from .augmentation import KeypointAugmentation


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class DataArguments:
    """What a run reads, and how landmarks become features."""

    dataset: str | None = _option(None, "Prepared corpus: folder of data.prepare or data.export --parquet, or Hub id.")
    train_split: str = _option("train", "Split to train on.")
    eval_split: str = _option("validation", "Split to evaluate on and to choose the best checkpoint by.")
    train_text: str | None = _option(None, "UTF-8 file with a transcript a line, for a text-only run, no --dataset.")
    landmarks: str = _option("lower_face", "Landmarks to use: face, lips, lower_face, or indices such as 61,291,13.")
    pose: Literal["rigid", "solvepnp", "none"] = _option("rigid", "Method that turns heads to the front.")
    normalize: Literal["rigid", "unit_sphere", "bbox_unit", "zscore", "none"] = _option(
        "rigid", "Method that brings landmarks to one size and place."
    )
    frame_rate: float = _option(25.0, "Frames a second to which clips are resampled.")
    seq_len: int = _option(64, "Largest number of tokens in a transcript, start, prompt and end included.")
    prompt: str | None = _option(None, "Text before every transcript.")
    augment: bool = _option(True, "Vary pose, size, speed and quality of training clips.")
    word_splicing: float = _option(0.0, "Probability that a training clip gets words of other clips in its batch.")
    streaming: bool = _option(False, "Read Parquet where it lies, on the Hub too, without a copy on disk.")
    feature_cache_gib: float = _option(1.0, "Memory for features of earlier epochs in each process, GiB; 0 for none.")
    max_train_clips: int | None = _option(None, "Train on the first so many clips only.")
    max_eval_clips: int | None = _option(None, "Evaluate on the first so many clips only.")


@dataclass
class ModelArguments:
    """The language model, and what a new reader begins from."""

    model_id: str | None = _option(None, "Folder or Hub id of a causal language model, which stays frozen.")
    model_revision: str | None = _option(None, "Branch, tag or commit of --model_id on the Hub.")
    lm_config: str | None = _option(None, "JSON file of a small language model to build and train, not --model_id.")
    lm_vocab_size: int = _option(512, "Vocabulary size of a language model of --lm_config.")
    lm_dtype: Literal["float32", "bfloat16", "float16"] = _option("float32", "Type of the frozen model's weights.")
    encoder: str | None = _option(None, "Reader whose encoder to start from, as of --encoder_only: folder or Hub id.")
    ctc: bool = _option(True, "Train a CTC head on the encoder, which spells the transcript.")
    ctc_decoding_weight: float = _option(0.0, "Weight of the CTC scores in decoding, 0 to 1, saved with the reader.")
    lora_r: int | None = _option(None, "Rank of LoRA on the frozen model; default: none, 16 in a text-only run.")
    lora_alpha: float | None = _option(None, "Scale of LoRA; default: twice its rank.")
    lora_dropout: float | None = _option(None, "Dropout before LoRA; default: 0.")
    lora_target_modules: list[str] | None = _option(
        None, "Layers that LoRA adapts, such as q_proj v_proj; default: all linear ones."
    )
    config_overrides: str | None = _option(
        None, "Further settings, name=value,name=value; their names are listed at the end."
    )

    def lora(self, default_rank: int | None = None) -> dict | None:
        """The settings of LoRA, as in `LipReadConfig.lora`; `None` without a rank."""
        rank = default_rank if self.lora_r is None else self.lora_r
        if not rank:
            return None
        settings = {"r": rank, "alpha": 2 * rank if self.lora_alpha is None else self.lora_alpha}
        settings |= {"dropout": self.lora_dropout or 0.0}
        return settings | {"target_modules": self.lora_target_modules or "all-linear"}


@dataclass
class LipReadTrainingArguments(TrainingArguments):
    """TrainingArguments with the defaults of a reading run, and what reading adds."""

    # What reading adds.
    encoder_only: bool = _option(False, "Train the encoder alone, by CTC and alignment, to begin from with --encoder.")
    gate_learning_rate: float = _option(5e-3, "Peak learning rate of the adapters' gates.")
    restart: bool = _option(False, "Delete the checkpoints in output_dir and start anew.")
    eval_num_beams: int = _option(1, "Beams in evaluation; 1 is greedy.")
    eval_max_new_tokens: int | None = _option(None, "Largest number of tokens read in evaluation; default: seq_len.")
    max_frames_per_batch: int | None = _option(
        None, "Batches of clips of similar length, as many as fit into so many frames with padding."
    )
    speaker_balance: float = _option(0.0, "Sampling of speakers: 0 by their clips, 1 each equally often.")
    stream_window: int = _option(4, "Row groups (64 clips each) that --streaming mixes and holds in memory.")
    blank_check_after: float = _option(
        0.5,
        "Stop if blank video is read as well, from this epoch on, or below 1 past this share of the run (and 500 "
        "steps); 0 never stops.",
    )
    # Defaults of the Trainer's own.
    output_dir: str | None = _option("runs/lipread", "Folder of checkpoints, logs and the trained reader.")
    learning_rate: float = _option(5e-4, "Peak learning rate of encoder, adapters and LoRA.")
    weight_decay: float = _option(0.01, "Weight decay, except on gates, norms and biases.")
    lr_scheduler_type: str = _option("cosine", "Learning rate schedule.")
    warmup_steps: float = _option(0.05, "Warm-up steps, or below 1 their share of all steps.")
    max_grad_norm: float = _option(1.0, "Norm to which gradients are clipped.")
    num_train_epochs: float = _option(20.0, "Epochs to train.")
    per_device_train_batch_size: int = _option(16, "Clips per device and training step.")
    per_device_eval_batch_size: int = _option(25, "Clips per device and evaluation step.")
    eval_strategy: str = _option("epoch", "When to evaluate.")
    save_strategy: str = _option("epoch", "When to write a checkpoint.")
    save_total_limit: int | None = _option(2, "Checkpoints to keep; the best is among them.")
    load_best_model_at_end: bool = _option(True, "Save the checkpoint with the best WER as the reader.")
    metric_for_best_model: str | None = _option("wer", "Metric that the best checkpoint is chosen by.")
    greater_is_better: bool | None = _option(False, "Whether a greater metric is better.")
    logging_steps: float = _option(10, "Steps between two log entries.")
    report_to: str = _option("tensorboard", "Trackers that logs go to.")
    remove_unused_columns: bool = _option(False, "Must stay false: the collator needs the columns.")
    # Pinning memory makes worker processes fail on Windows.
    dataloader_pin_memory: bool = _option(os.name != "nt", "Pin memory for faster transfer.")
    hub_strategy: str = _option("end", "What --push_to_hub pushes: the reader, at the end.")
    length_column_name: str = _option("num_frames", "Column that group_by_length sorts by.")

    def __post_init__(self):
        # The same command works without a GPU: --bf16 would otherwise be refused there unless --use_cpu is given too.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        # Workers that end with an epoch would take with them what they keep for the next.
        self.dataloader_persistent_workers = self.dataloader_persistent_workers or self.dataloader_num_workers > 0
        super().__post_init__()


def _config_arguments(name: str, config_class: type, options: dict[str, str], overrides: str) -> type:
    """Returns a dataclass of some fields of a configuration with its defaults: `options` with help, `overrides`."""
    known, settings = {item.name: item for item in fields(config_class)}, []
    for key, text in (options | dict.fromkeys(overrides.split(), SUPPRESS)).items():
        default, kind = known[key].default, known[key].type
        if get_origin(kind) is not Literal:
            kind = int | None if default is None else type(default)
        settings.append((key, kind, _option(default, text)))
    return make_dataclass(name, settings)


_ENCODER_OVERRIDES = (
    "default_kp_frames use_velocity clip_normalization kp_embed_dim conv_kernel_size conformer_kernel_size "
    "max_relative_distance kp_ff_mult pool_frames resampler_layers ctc_feedback"
)
EncoderArguments = _config_arguments(
    "EncoderArguments",
    FaceKeypointEncoderConfig,
    {
        "frame_encoder": "Encoder of the landmarks of one frame.",
        "kp_spatial_layers": "Layers of the transformer frame encoder.",
        "hidden_size": "Width of the layers over time.",
        "temporal_encoder": "Kind of the layers over time.",
        "kp_temporal_layers": "Number of layers over time.",
        "kp_heads": "Attention heads of every encoder layer.",
        "kp_dropout": "Dropout in the encoder.",
        "resampler": "How frames become conditioning tokens: averages of neighbours, or learned queries.",
        "cond_len": "Conditioning tokens of the perceiver resampler.",
    },
    _ENCODER_OVERRIDES,
)
_ADAPTER_OVERRIDES = (
    "adapter_heads adapter_head_dim adapter_dropout gate_type gate_init zero_init_projection decoder_mask_prob"
)
AdapterArguments = _config_arguments(
    "AdapterArguments",
    LipReadConfig,
    {
        "adapter_every": "Put an adapter before every so many layers of the language model, from the last one down.",
        "adapter_top_k": "Put adapters before the last so many layers instead.",
        "ctc_weight": "Weight of the CTC loss beside the language model's.",
        "alignment_weight": "Weight of the alignment loss, for corpora with word times.",
    },
    _ADAPTER_OVERRIDES,
)
ARGUMENTS = (
    DataArguments,
    ModelArguments,
    EncoderArguments,
    AdapterArguments,
    KeypointAugmentation,
    LipReadTrainingArguments,
)
_AUGMENTATION = tuple(item.name for item in fields(KeypointAugmentation) if item.init)
OVERRIDES = (*_ENCODER_OVERRIDES.split(), *_ADAPTER_OVERRIDES.split(), *_AUGMENTATION)
FIRST = (
    "help config dataset model_id lm_config output_dir num_train_epochs per_device_train_batch_size learning_rate "
    "bf16 encoder_only encoder lora_r config_overrides restart push_to_hub"
).split()


def make_parser(description: str | None = None) -> HfArgumentParser:
    """Returns the parser: what people change most first, then what is our own, then the Trainer's own arguments."""
    usage = "accelerate launch train_hf.py [--config RECIPE.yaml] [--dataset CORPUS] [--name value ...]"
    epilog = f"Names for --config_overrides and recipes: {', '.join(OVERRIDES)}."
    parser = HfArgumentParser(ARGUMENTS, allow_abbrev=False, description=description, usage=usage, epilog=epilog)
    parser.add_argument("--config", help="YAML recipe, one `name: value` a line; the command line overrides it.")
    theirs = {item.name for item in fields(TrainingArguments)}
    for action in parser._actions:
        if action.dest in OVERRIDES:
            action.help = SUPPRESS
    parser._optionals._group_actions.sort(
        key=lambda action: (FIRST.index(action.dest) if action.dest in FIRST else len(FIRST), action.dest in theirs)
    )
    return parser


def parse_arguments(arguments: list[str], description: str | None = None) -> tuple:
    """Parses the command line, over `--config RECIPE.yaml`, over the defaults.

    Args:
        arguments: The command line without the program's name.
        description: First line of `--help`.

    Returns:
        An object of each of `ARGUMENTS`.
    """
    parser = make_parser(description)
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.add_argument("--config_overrides", "--config-overrides", action="append", default=[])
    given, arguments = first.parse_known_args(arguments)
    for argument in arguments:
        name = argument.partition("=")[0].removeprefix("--").replace("-", "_")
        if argument.startswith("--") and name in OVERRIDES:
            parser.error(f"--{name} is not an option: give --config_overrides {name}=VALUE")
    settings = {} if given.config is None else _read_recipe(parser, given.config)
    for text in given.config_overrides:
        settings |= _read_overrides(parser, text)
    line = []
    for name, value in settings.items():
        line += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    try:
        return parser.parse_args_into_dataclasses(line + arguments, look_for_args_file=False)[: len(ARGUMENTS)]
    except ValueError as error:  # of values that the Trainer's own arguments refuse
        parser.error(str(error))


def _read_recipe(parser: HfArgumentParser, path: str) -> dict[str, Any]:
    """Returns the settings of a YAML recipe; exits with the file's name if they are none."""
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"--config {path}: {error}")
    if not isinstance(settings, dict):
        parser.error(f"--config {path}: must hold lines of `name: value`")
    _refuse_unknown(parser, f"--config {path}", settings, {action.dest for action in parser._actions})
    return {name: value for name, value in settings.items() if value is not None}


def _read_overrides(parser: HfArgumentParser, text: str) -> dict[str, str]:
    """Returns the settings in `name=value,...`; exits at what is no field of the configurations."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    settings = {name.strip(): value.strip() for name, _, value in pairs}
    configs = (EncoderArguments, AdapterArguments, KeypointAugmentation)
    _refuse_unknown(parser, "--config_overrides", settings, {item.name for kind in configs for item in fields(kind)})
    if wrong := [name for name, equals, value in pairs if not (equals and value)]:
        parser.error(f"--config_overrides {text}: {wrong[0]} has no value; write name=value,name=value")
    return settings


def _refuse_unknown(parser: HfArgumentParser, where: str, given: Iterable[str], known: set[str]) -> None:
    for name in given:
        if name not in known:
            similar = get_close_matches(str(name), known) or ["a name of --help"]
            parser.error(f"{where}: unknown {name}; did you mean {' or '.join(similar)}?")


def check_arguments(model_args: ModelArguments, data_args: DataArguments, args: LipReadTrainingArguments) -> None:
    """Refuses arguments that do not go together.

    Raises:
        ValueError: With what to give instead.
    """
    reading, builds_model = data_args.dataset is not None, model_args.lm_config is not None
    if (model_args.model_id is None) != builds_model:
        raise ValueError("give --model_id (a pretrained language model, kept frozen) or --lm_config (one to train)")
    if not reading and data_args.train_text is None:
        raise ValueError("give --dataset (a folder that data.prepare wrote), or --train_text for a text-only run")
    if not reading and (builds_model or model_args.lora_r == 0 or args.encoder_only):
        raise ValueError(
            "a text-only run trains LoRA on a --model_id: give a --lora_r of at least 1, and neither --lm_config nor "
            "--encoder_only"
        )
    if model_args.lora_r and builds_model:
        raise ValueError("--lora_r adapts a frozen language model (--model_id); that of --lm_config is trained whole")
    for name in ("lora_alpha", "lora_dropout", "lora_target_modules"):
        if reading and getattr(model_args, name) is not None and not model_args.lora_r:
            raise ValueError(f"--{name} is about LoRA, which this run has not: give --lora_r, its rank, too")
    if not model_args.ctc and (args.encoder_only or model_args.ctc_decoding_weight):
        raise ValueError("--encoder_only and --ctc_decoding_weight need the CTC head: leave --ctc false out")
    shares = {"ctc_decoding_weight": model_args, "word_splicing": data_args, "speaker_balance": args}
    for name, group in shares.items():
        if not 0 <= getattr(group, name) <= 1:
            raise ValueError(f"--{name} {getattr(group, name)}: it lies in [0, 1]")
    if args.blank_check_after < 0:
        raise ValueError(f"--blank_check_after {args.blank_check_after}: an epoch, a share of the run, or 0 for never")
    by_length = args.max_frames_per_batch is not None or args.train_sampling_strategy == "group_by_length"
    if args.speaker_balance and (by_length or data_args.streaming):
        raise ValueError("--speaker_balance mixes clips of a whole corpus: without --streaming and groups by length")
    if args.push_to_hub:
        if not reading:
            raise ValueError("--push_to_hub is for readers; upload a language model with `hf upload you/name FOLDER`")
        if not builds_model and is_folder(model_args.model_id):
            raise ValueError(
                f"--push_to_hub: nobody else finds the language model {model_args.model_id}: upload it and give its "
                "id, or leave --push_to_hub out and use `lipread publish --include_base` in the end"
            )
        if args.hub_strategy != "end":
            raise ValueError("--hub_strategy: checkpoints hold pickles, so only the reader is pushed, at the `end`")
    if args.n_gpu > 1:
        raise ValueError(f"{args.n_gpu} GPUs in one process: start with `accelerate launch train_hf.py`, one a GPU")
