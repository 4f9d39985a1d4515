# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The settings of `train_hf.py`: what the command line and a recipe may say, and what does not go together."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Literal

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments

from modeling_lipread.base_model_lipread import is_folder
from modeling_lipread.configuration_lipread import FaceKeypointEncoderConfig, LipReadConfig

from .augmentation import KeypointAugmentation


@dataclass
class ModelArguments:
    """The language model that writes the words."""

    model_id: str | None = field(
        default=None, metadata={"help": "Hub id or folder of the causal language model, which stays frozen."}
    )
    model_revision: str | None = field(default=None, metadata={"help": "Its branch, tag or commit on the Hub."})
    lm_config: str | None = field(
        default=None,
        metadata={"help": "JSON file with a configuration to build a language model from, trained with the reader."},
    )
    lm_vocab_size: int = field(default=512, metadata={"help": "Tokens learned for a language model of --lm_config."})
    lm_dtype: Literal["float32", "bfloat16", "float16"] = field(
        default="float32", metadata={"help": "Type of the frozen language model's weights."}
    )
    ctc: bool = field(default=True, metadata={"help": "Whether the encoder also learns to spell, by CTC."})
    encoder: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of a reader whose encoder this run begins with, as of --encoder_only."},
    )
    ctc_decoding_weight: float = field(
        default=0.0, metadata={"help": "Weight of the CTC head in reading, in evaluation and ever after; 0 to 1."}
    )
    lora_r: int | None = field(
        default=None,
        metadata={"help": "Rank of LoRA on the frozen language model: none in a reading run, 16 in a text-only run."},
    )
    lora_alpha: float | None = field(default=None, metadata={"help": "Scale of LoRA; twice its rank by default."})
    lora_dropout: float | None = field(default=None, metadata={"help": "Dropout before LoRA; 0 by default."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the layers that LoRA adapts, such as q_proj v_proj; all linear ones by default."},
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
class DataArguments:
    """What it reads, and how landmarks become features."""

    dataset: str | None = field(
        default=None, metadata={"help": "Folder that data.prepare or data.export --parquet wrote, or a Hub id."}
    )
    streaming: bool = field(
        default=False, metadata={"help": "Read Parquet from where it lies, the Hub too, without a copy on disk."}
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Split to choose the best checkpoint by."})
    train_text: str | None = field(
        default=None, metadata={"help": "UTF-8 file with a transcript a line, for a text-only run without --dataset."}
    )
    landmarks: str = field(
        default="lower_face",
        metadata={"help": "Landmarks to read from: face, lips, lower_face, or indices: 61,291,13."},
    )
    pose: Literal["rigid", "solvepnp", "none"] = field(
        default="rigid", metadata={"help": "How the head is frontalised."}
    )
    normalize: Literal["rigid", "unit_sphere", "bbox_unit", "zscore", "none"] = field(
        default="rigid", metadata={"help": "How landmarks are brought to one size and place."}
    )
    frame_rate: float = field(default=25.0, metadata={"help": "Frames a second that every clip is brought to."})
    feature_cache_gib: float = field(
        default=1.0,
        metadata={"help": "Memory, in GiB, in which a process keeps features for later epochs; 0 for none."},
    )
    seq_len: int = field(default=64, metadata={"help": "Most tokens of a transcript."})
    prompt: str | None = field(default=None, metadata={"help": "Text before every transcript."})
    augment: bool = field(default=True, metadata={"help": "Whether to vary pose, size, speed and quality."})
    word_splicing: float = field(
        default=0.0,
        metadata={"help": "Probability that a clip gets words of others in a batch; needs a corpus with word times."},
    )
    max_train_clips: int | None = field(default=None, metadata={"help": "Train on the first so many clips only."})
    max_eval_clips: int | None = field(default=None, metadata={"help": "Evaluate on the first so many clips only."})


@dataclass
class LipReadTrainingArguments(TrainingArguments):
    """TrainingArguments with the defaults of a reading run, and what reading adds."""

    output_dir: str | None = field(
        default="runs/lipread", metadata={"help": "Folder of checkpoints, logs and reader."}
    )
    learning_rate: float = field(default=5e-4, metadata={"help": "Peak learning rate of encoder, adapters and LoRA."})
    gate_learning_rate: float = field(default=5e-3, metadata={"help": "Peak learning rate of the adapters' gates."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay; never on gates, norms and biases."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning rate schedule."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up steps, or their share of all steps."})
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    num_train_epochs: float = field(default=20.0, metadata={"help": "Epochs."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Clips a device takes at a step."})
    per_device_eval_batch_size: int = field(default=25, metadata={"help": "Clips a device reads at once."})
    eval_strategy: str = field(default="epoch", metadata={"help": "When to evaluate."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to write a checkpoint."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints kept; the best is among them."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Whether the best by WER is the result."})
    metric_for_best_model: str | None = field(default="wer", metadata={"help": "What the best is best by."})
    greater_is_better: bool | None = field(default=False, metadata={"help": "Whether more of it is better."})
    average_checkpoints: int = field(
        default=0,
        metadata={"help": "The result is the average of the last so many checkpoints, if that reads as well."},
    )
    logging_steps: float = field(default=10, metadata={"help": "Steps between two log entries."})
    report_to: str = field(default="tensorboard", metadata={"help": "Where logs go."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator needs the columns."})
    # Pinning memory makes worker processes fail on Windows.
    dataloader_pin_memory: bool = field(default=os.name != "nt", metadata={"help": "Pin memory for faster transfer."})
    eval_num_beams: int = field(default=1, metadata={"help": "Beams in evaluation; 1 is greedy."})
    eval_max_new_tokens: int | None = field(default=None, metadata={"help": "Most tokens read; seq_len by default."})
    hub_strategy: str = field(default="end", metadata={"help": "What --push_to_hub pushes: the reader, at the end."})
    length_column_name: str = field(default="num_frames", metadata={"help": "Column that group_by_length goes by."})
    max_frames_per_batch: int | None = field(
        default=None,
        metadata={"help": "Batches of clips alike in length, so many frames with padding, for any number of clips."},
    )
    speaker_balance: float = field(
        default=0.0,
        metadata={"help": "How evenly speakers are seen: 0 as often as they have clips, 1 each equally often."},
    )
    stream_window: int = field(
        default=4, metadata={"help": "Row groups (64 clips each) whose clips --streaming mixes and holds in memory."}
    )
    blank_check_after: float = field(
        default=0.5,
        metadata={
            "help": "Stop if blank video is read as well, from this epoch on, or below 1 past this share of the run "
            "(and 500 steps); 0 never stops."
        },
    )
    encoder_only: bool = field(
        default=False,
        metadata={"help": "Train the encoder alone, by CTC and alignment, for a reading run with --encoder."},
    )
    restart: bool = field(default=False, metadata={"help": "Start anew although output_dir holds checkpoints."})

    def __post_init__(self):
        # The same command works without a GPU: --bf16 would otherwise be refused there unless --use_cpu is given too.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        # Workers that end with an epoch would take with them what they keep for the next.
        self.dataloader_persistent_workers = self.dataloader_persistent_workers or self.dataloader_num_workers > 0
        if self.average_checkpoints and self.save_total_limit:  # and the best beside them
            self.save_total_limit = max(self.save_total_limit, self.average_checkpoints + 1)
        super().__post_init__()


def _config_arguments(name: str, config_class: type, settings: str) -> type:
    """A dataclass of some of a configuration's fields, with its defaults, for the command line."""
    help_text = {"help": f"See {config_class.__name__}."}
    defaults = {item.name: item.default for item in fields(config_class)}
    optional = {"adapter_top_k": int | None}
    return make_dataclass(
        name,
        [
            (key, optional.get(key, type(defaults[key])), field(default=defaults[key], metadata=help_text))
            for key in settings.split()
        ],
    )


EncoderArguments = _config_arguments(
    "EncoderArguments",
    FaceKeypointEncoderConfig,
    "default_kp_frames use_velocity clip_normalization frame_encoder kp_embed_dim kp_spatial_layers hidden_size "
    "conv_kernel_size temporal_encoder kp_temporal_layers conformer_kernel_size max_relative_distance kp_heads "
    "kp_ff_mult kp_dropout resampler pool_frames cond_len resampler_layers ctc_feedback",
)
AdapterArguments = _config_arguments(
    "AdapterArguments",
    LipReadConfig,
    "adapter_every adapter_top_k adapter_heads adapter_head_dim adapter_dropout gate_type gate_init "
    "zero_init_projection ctc_weight alignment_weight decoder_mask_prob",
)
ARGUMENTS = (
    ModelArguments,
    DataArguments,
    EncoderArguments,
    AdapterArguments,
    KeypointAugmentation,
    LipReadTrainingArguments,
)


def parse_arguments(arguments: list[str], description: str | None = None) -> tuple:
    """Parses the command line; `--config FILE.yaml` gives defaults that the rest of the line overrides.

    Args:
        arguments: The command line without the program's name.
        description: What `--help` says of the program.

    Returns:
        An object of each of `ARGUMENTS`.
    """
    parser = HfArgumentParser(ARGUMENTS, allow_abbrev=False, description=description)
    parser.add_argument("--config", help="YAML file of arguments, one `name: value` each; the command line wins")
    config_parser = ArgumentParser(add_help=False, allow_abbrev=False)
    config_parser.add_argument("--config")
    given, arguments = config_parser.parse_known_args(arguments)
    if given.config is not None:
        arguments = _yaml_arguments(parser, given.config) + arguments
    try:
        return parser.parse_args_into_dataclasses(arguments, look_for_args_file=False)[: len(ARGUMENTS)]
    except ValueError as error:  # of values that the Trainer's own arguments refuse
        parser.error(str(error))


def _yaml_arguments(parser: HfArgumentParser, path: str) -> list[str]:
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"--config {path}: {error}")
    if not isinstance(settings, dict):
        parser.error(f"--config {path}: must hold lines of `name: value`")
    known = {action.dest for action in parser._actions}
    if unknown := sorted(set(settings) - known):
        parser.error(f"--config {path}: unknown {', '.join(unknown)}; see --help for what there is")
    written = []
    for name, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            written += [f"--{name}", *(str(item) for item in values)]
    return written


def check_arguments(model_args: ModelArguments, data_args: DataArguments, args: LipReadTrainingArguments) -> None:
    """Refuses arguments that do not go together.

    Raises:
        ValueError: With what to give instead.
    """
    if (model_args.model_id is None) == (model_args.lm_config is None):
        raise ValueError("give --model_id (a pretrained language model, kept frozen) or --lm_config (one to train)")
    if data_args.dataset is None and data_args.train_text is None:
        raise ValueError("give --dataset (a folder that data.prepare wrote), or --train_text for a text-only run")
    if data_args.dataset is None and model_args.lm_config is not None:
        raise ValueError("a text-only run warms up a pretrained language model: give --model_id, not --lm_config")
    if model_args.lora_r is not None and model_args.lora_r < 0:
        raise ValueError(f"--lora_r {model_args.lora_r}: the rank of LoRA is at least 1, or 0 for none")
    if data_args.dataset is None and model_args.lora_r == 0:
        raise ValueError("--lora_r 0: a text-only run trains nothing but LoRA; give a rank of at least 1")
    if model_args.lora_r and model_args.lm_config is not None:
        raise ValueError("--lora_r adapts a frozen language model (--model_id); that of --lm_config is trained whole")
    if args.encoder_only and (data_args.dataset is None or not model_args.ctc):
        raise ValueError("--encoder_only trains the encoder by its CTC head: it needs a --dataset, and no --ctc false")
    if not 0 <= model_args.ctc_decoding_weight <= 1:
        raise ValueError(f"--ctc_decoding_weight {model_args.ctc_decoding_weight}: a weight lies in [0, 1]")
    if model_args.ctc_decoding_weight and not model_args.ctc:
        raise ValueError("--ctc_decoding_weight is the CTC head's, which this run has not: leave --ctc false out")
    if args.average_checkpoints < 0 or args.average_checkpoints == 1:
        raise ValueError(f"--average_checkpoints {args.average_checkpoints}: at least 2 make an average; 0 for none")
    if not 0 <= args.label_smoothing_factor < 1:
        raise ValueError(f"--label_smoothing_factor {args.label_smoothing_factor}: it lies in [0, 1)")
    if data_args.dataset is None and args.average_checkpoints:
        raise ValueError("--average_checkpoints is for readers, not for a text-only run")
    without_rank = [
        name
        for name in ("lora_alpha", "lora_dropout", "lora_target_modules")
        if getattr(model_args, name) is not None and not model_args.lora_r
    ]
    if data_args.dataset is not None and without_rank:
        raise ValueError(f"--{without_rank[0]} is about LoRA, which this run has not: give --lora_r, its rank, too")
    if args.blank_check_after < 0:
        raise ValueError(f"--blank_check_after {args.blank_check_after}: an epoch, a share of the run, or 0 for never")
    if not 0 <= data_args.word_splicing <= 1:
        raise ValueError(f"--word_splicing {data_args.word_splicing}: a probability lies in [0, 1]")
    if not 0 <= args.speaker_balance <= 1:
        raise ValueError(f"--speaker_balance {args.speaker_balance}: it lies in [0, 1]")
    by_length = args.max_frames_per_batch is not None or args.train_sampling_strategy == "group_by_length"
    if args.speaker_balance and (by_length or data_args.streaming):
        raise ValueError("--speaker_balance mixes clips of a whole corpus: without --streaming and groups by length")
    if args.stream_window < 1:
        raise ValueError(f"--stream_window {args.stream_window}: clips come from at least 1 row group at a time")
    if args.max_frames_per_batch is not None and args.max_frames_per_batch < 1:
        raise ValueError(f"--max_frames_per_batch {args.max_frames_per_batch}: a clip has at least 1 frame")
    if args.push_to_hub:
        if data_args.dataset is None:
            raise ValueError("--push_to_hub is for readers; upload a language model with `hf upload you/name FOLDER`")
        if model_args.model_id is not None and is_folder(model_args.model_id):
            raise ValueError(
                f"--push_to_hub: nobody else finds the language model {model_args.model_id}: upload it and give its "
                "id, or leave --push_to_hub out and use `lipread publish --include_base` in the end"
            )
        if args.hub_strategy != "end":
            raise ValueError("--hub_strategy: checkpoints hold pickles, so only the reader is pushed, at the `end`")
    if args.n_gpu > 1:
        raise ValueError(f"{args.n_gpu} GPUs in one process: start with `accelerate launch train_hf.py`, one a GPU")
