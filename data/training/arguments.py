# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Arguments of `train_hf.py`: command line, YAML recipe, and overrides of the configurations."""

from __future__ import annotations

import os
import sys
from argparse import Action, ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, make_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin, get_type_hints

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from modeling_lipread import FaceKeypointEncoderConfig, LipReadConfig

from .augmentation import KeypointAugmentation

PARTS = ("encoder", "adapters", "language_model")


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class DataArguments:
    """Data and features."""

    dataset: str | None = _option(None, "Prepared corpus: folder of data.prepare or data.export --parquet, or Hub id.")
    train_split: str = _option("train", "Split to train on.")
    eval_split: str = _option("validation", "Split to evaluate on, which also selects the best checkpoint.")
    train_text: str | None = _option(None, "UTF-8 file of transcripts, one a line, for a text-only run.")
    landmarks: str = _option("lower_face", "Landmarks to use: face, lips, lower_face, or indices such as 61,291,13.")
    pose: Literal["rigid", "solvepnp", "none"] = _option("rigid", "Method that rotates heads to the front.")
    normalize: Literal["rigid", "unit_sphere", "bbox_unit", "zscore", "none"] = _option("rigid", "Normalisation.")
    frame_rate: float = _option(25.0, "Frame rate to which clips are resampled, in frames per second.")
    seq_len: int = _option(64, "Largest number of tokens in a transcript, with start, prompt and end.")
    prompt: str | None = _option(None, "Text before every transcript.")
    augment: bool = _option(True, "Augment pose, size, speed and quality of training clips.")
    word_splicing: float = _option(0.0, "Probability that a training clip gets words of other clips in its batch.")
    streaming: bool = _option(False, "Read Parquet files, also on the Hub, without a local copy.")
    feature_cache_gib: float = _option(1.0, "Memory for features of training clips, in GiB a process; 0 for none.")
    max_train_clips: int | None = _option(None, "Largest number of training clips.")
    max_eval_clips: int | None = _option(None, "Largest number of evaluation clips.")


@dataclass
class ModelArguments:
    """Model and LoRA."""

    model_id: str | None = _option(None, "Folder or Hub id of a causal language model, which stays frozen.")
    model_revision: str | None = _option(None, "Branch, tag or commit of --model_id on the Hub.")
    lm_config: str | None = _option(None, "JSON configuration of a new language model to train instead of --model_id.")
    lm_vocab_size: int = _option(512, "Vocabulary size of the language model of --lm_config.")
    lm_dtype: Literal["float32", "bfloat16", "float16"] = _option("float32", "Data type of the frozen weights.")
    encoder: str | None = _option(None, "Folder or Hub id of a checkpoint (see --encoder_only) whose encoder to load.")
    init_from: str | None = _option(None, "Folder or Hub id of a reader to go on from, with all its settings.")
    freeze: list[str] | None = _option(None, f"Parts of the model that are not trained, of {', '.join(PARTS)}.")
    ctc_decoding_weight: float = _option(0.0, "Weight of CTC scores in decoding, 0 to 1, saved with the checkpoint.")
    lora_r: int | None = _option(None, "Rank of LoRA on the frozen model; default: no LoRA, 16 in a text-only run.")
    lora_alpha: float | None = _option(None, "Scale of LoRA; default: twice its rank.")
    lora_dropout: float | None = _option(None, "Dropout of LoRA; default: 0.")
    lora_target_modules: list[str] | None = _option(None, "Layers with LoRA, e.g. q_proj v_proj; default: all linear.")
    config_overrides: str | None = _option(None, "More settings as name=value,name=value; the names are listed below.")

    def lora(self, default_rank: int | None = None) -> dict | None:
        """Returns the settings of LoRA, as in `LipReadConfig.lora`; `None` without a rank."""
        rank = default_rank if self.lora_r is None else self.lora_r
        if not rank:
            return None
        alpha = 2 * rank if self.lora_alpha is None else self.lora_alpha
        layers = self.lora_target_modules or "all-linear"
        return {"r": rank, "alpha": alpha, "dropout": self.lora_dropout or 0.0, "target_modules": layers}


@dataclass
class LipReadTrainingArguments(TrainingArguments):
    """TrainingArguments with other defaults and the options of lip reading."""

    encoder_only: bool = _option(False, "Train the encoder alone, by CTC and alignment loss, for a later --encoder.")
    gate_learning_rate: float = _option(5e-3, "Peak learning rate of the adapters' gates.")
    restart: bool = _option(False, "Delete the checkpoints in output_dir and start anew.")
    eval_num_beams: int = _option(1, "Beams in evaluation; 1 is greedy.")
    eval_max_new_tokens: int | None = _option(None, "Largest number of new tokens in evaluation; default: seq_len.")
    speaker_balance: float = _option(0.0, "Sampling of speakers, from 0 (by their clips) to 1 (equally often).")
    stream_window: int = _option(4, "Row groups (64 clips each) that --streaming shuffles and holds in memory.")
    blank_check_after: float = _option(
        0.5,
        "Stop if the error rate on blank video is as low, from this epoch on (below 1: share of run); 0 for never.",
    )
    # Other defaults or texts of options that TrainingArguments has.
    output_dir: str | None = _option("runs/lipread", "Folder of checkpoints, logs and the trained model.")
    learning_rate: float = _option(5e-4, "Peak learning rate of encoder, adapters and LoRA.")
    weight_decay: float = _option(0.01, "Weight decay, except on gates, norms and biases.")
    lr_scheduler_type: str = _option("cosine", "Learning rate schedule.")
    warmup_steps: float = _option(0.05, "Warm-up steps; below 1: share of all steps.")
    num_train_epochs: float = _option(20.0, "Epochs to train.")
    per_device_train_batch_size: int = _option(16, "Clips per device and training step.")
    per_device_eval_batch_size: int = _option(25, "Clips per device and evaluation step.")
    eval_strategy: str = _option("epoch", "When to evaluate.")
    save_strategy: str = _option("epoch", "When to write a checkpoint.")
    save_total_limit: int | None = _option(2, "Checkpoints to keep, the best one among them.")
    load_best_model_at_end: bool = _option(True, "Save the best checkpoint as the final model.")
    metric_for_best_model: str | None = _option(
        "wer", "Metric that selects the best checkpoint; cer for scripts without spaces."
    )
    greater_is_better: bool | None = _option(False, "Whether a greater metric is better.")
    logging_steps: float = _option(10, "Steps between two log entries.")
    logging_nan_inf_filter: bool = _option(False, "Leave losses that are not finite out of the log.")
    report_to: str = _option("tensorboard", "Experiment trackers.")
    remove_unused_columns: bool = _option(False, "Must stay false: the collator needs the columns.")
    # Pinned memory makes worker processes fail on Windows.
    dataloader_pin_memory: bool = _option(os.name != "nt", "Pin memory for faster transfer.")
    bf16: bool = _option(False, "Train in mixed precision with bfloat16.")
    push_to_hub: bool = _option(False, "Push the trained model to the Hub.")
    hub_strategy: str = _option("end", "What --push_to_hub pushes: the final model.")

    def __post_init__(self):
        # Without a GPU, TrainingArguments refuses --bf16 unless --use_cpu is given.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        # The feature caches of worker processes must survive an epoch.
        self.dataloader_persistent_workers = self.dataloader_persistent_workers or self.dataloader_num_workers > 0
        super().__post_init__()
        self.disable_tqdm = self.disable_tqdm or not sys.stderr.isatty()  # a log file keeps every state of a bar


def _config_arguments(name: str, config_class: type, options: dict[str, str], overrides: str) -> type:
    """Returns a dataclass of some fields of a configuration: `options` with help texts, `overrides` without."""
    known, settings = {item.name: item for item in fields(config_class)}, []
    for key, text in (options | dict.fromkeys(overrides.split())).items():
        default, kind = known[key].default, known[key].type
        if get_origin(kind) is not Literal:
            kind = int | None if default is None else type(default)
        settings.append((key, kind, _option(default, text)))
    return make_dataclass(name, settings)


EncoderArguments = _config_arguments(
    "EncoderArguments",
    FaceKeypointEncoderConfig,
    {
        "frame_encoder": "Encoder of the landmarks of one frame.",
        "kp_spatial_layers": "Layers of the transformer frame encoder.",
        "hidden_size": "Width of the temporal layers.",
        "temporal_encoder": "Kind of the temporal layers.",
        "kp_temporal_layers": "Number of temporal layers.",
        "kp_heads": "Attention heads of every encoder layer.",
        "kp_dropout": "Dropout in the encoder.",
        "resampler": "Frames to conditioning tokens: pool (averages of neighbours) or perceiver (learned queries).",
        "cond_len": "Conditioning tokens of the perceiver resampler.",
    },
    "default_kp_frames use_velocity clip_normalization kp_embed_dim conv_kernel_size conformer_kernel_size "
    "max_relative_distance kp_ff_mult pool_frames resampler_layers ctc_feedback",
)
AdapterArguments = _config_arguments(
    "AdapterArguments",
    LipReadConfig,
    {
        "adapter_every": "Insert an adapter before every n-th layer of the language model, counted from the last.",
        "adapter_top_k": "Insert adapters before the last k layers instead.",
        "ctc_weight": "Weight of the CTC loss beside the language model's.",
        "alignment_weight": "Weight of the alignment loss, for corpora with word times.",
    },
    "adapter_heads adapter_head_dim adapter_dropout gate_type gate_init zero_init_projection decoder_mask_prob",
)
CONFIGS = (EncoderArguments, AdapterArguments, KeypointAugmentation)


class Arguments(NamedTuple):
    """The arguments of a run."""

    data: DataArguments
    model: ModelArguments
    encoder: EncoderArguments
    adapters: AdapterArguments
    augmentation: KeypointAugmentation
    training: LipReadTrainingArguments


ARGUMENTS = tuple(get_type_hints(Arguments).values())
NAMES = {item.name for kind in ARGUMENTS for item in fields(kind) if item.init}
CONFIGURABLE = {item.name: item.metadata.get("help") for kind in CONFIGS for item in fields(kind) if item.init}
OVERRIDES = [name for name, text in CONFIGURABLE.items() if text is None]
INHERITED = {item.name for item in fields(TrainingArguments)}
UNCHANGED = sorted(NAMES & INHERITED - LipReadTrainingArguments.__annotations__.keys())
FIRST = (
    "help config dataset model_id lm_config output_dir num_train_epochs per_device_train_batch_size learning_rate "
    "bf16 encoder_only encoder init_from freeze lora_r config_overrides restart push_to_hub"
).split()


class _Help(ArgumentDefaultsHelpFormatter):
    """Shows the options of `FIRST`, then our other options, and none of `UNCHANGED` or `OVERRIDES`."""

    def add_arguments(self, actions: Iterable[Action]) -> None:
        places = {name: place - len(FIRST) for place, name in enumerate(FIRST)}
        shown = [action for action in actions if action.dest not in {*OVERRIDES, *UNCHANGED}]
        super().add_arguments(sorted(shown, key=lambda action: places.get(action.dest, 0)))


def make_parser(description: str | None = None) -> HfArgumentParser:
    """Returns the parser; `description` is the first line of its help."""
    usage = "accelerate launch train_hf.py [--config RECIPE.yaml] [--dataset CORPUS] [--name value ...]"
    epilog = (
        f"Names for --config_overrides and recipes: {', '.join(OVERRIDES)}. All options of transformers' "
        f"TrainingArguments are options and names for recipes too: {', '.join(UNCHANGED)}."
    )
    texts = {"description": description, "usage": usage, "epilog": epilog}
    parser = HfArgumentParser(ARGUMENTS, allow_abbrev=False, formatter_class=_Help, **texts)
    parser.add_argument("--config", help="YAML recipe of `name: value` lines; the command line overrides it.")
    return parser


def parse_arguments(arguments: list[str], description: str | None = None) -> Arguments:
    """Returns the arguments of the command line, which overrides `--config RECIPE.yaml`."""
    parser = make_parser(description)
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.add_argument("--config_overrides", "--config-overrides", action="append", default=[])
    given, arguments = first.parse_known_args(arguments)
    names = [word.partition("=")[0].removeprefix("--").replace("-", "_") for word in arguments if word[:2] == "--"]
    if wrong := [name for name in names if name in OVERRIDES]:
        parser.error(f"--{wrong[0]} is not an option: give --config_overrides {wrong[0]}=VALUE")
    settings = {} if given.config is None else _read_recipe(parser, given.config)
    for text in given.config_overrides:
        settings |= _read_overrides(parser, text)
    if "train_text" in settings.keys() | names:  # has no evaluation, with which TrainingArguments compares the saving
        arguments += ["--eval_strategy", "no", "--load_best_model_at_end", "false"]
    line = []
    for name, value in settings.items():
        line += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    try:
        parsed = parser.parse_args_into_dataclasses(line + arguments, look_for_args_file=False)
        return Arguments(*parsed[: len(ARGUMENTS)])
    except ValueError as error:  # raised by TrainingArguments
        parser.error(str(error))


def _read_recipe(parser: HfArgumentParser, path: str) -> dict[str, Any]:
    """Returns the settings of a YAML recipe; exits with the file's name if it is not valid."""
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"--config {path}: {error}")
    if not isinstance(settings, dict):
        parser.error(f"--config {path}: must hold `name: value` lines")
    _refuse_unknown(parser, f"--config {path}", settings, NAMES)
    return {name: value for name, value in settings.items() if value is not None}


def _read_overrides(parser: HfArgumentParser, text: str) -> dict[str, str]:
    """Returns the settings in `name=value,...`; exits if a name is not a field of the configurations."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    settings = {name.strip(): value.strip() for name, _, value in pairs}
    _refuse_unknown(parser, "--config_overrides", settings, CONFIGURABLE)
    if wrong := [name for name, equals, value in pairs if not (equals and value)]:
        parser.error(f"--config_overrides {text}: {wrong[0]} has no value; write name=value,name=value")
    return settings


def _refuse_unknown(parser: HfArgumentParser, where: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            similar = get_close_matches(str(name), known) or ["a name of --help"]
            parser.error(f"{where}: unknown {name}; did you mean {' or '.join(similar)}?")
