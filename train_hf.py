# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
r"""Trains a lip reader on a prepared corpus, or, with text alone, warms up its language model.

    python -m data.prepare videos.jsonl --output corpus/
    accelerate launch train_hf.py --dataset corpus/ --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/a --bf16

    # a recipe from a file; the command line wins
    accelerate launch train_hf.py --config configs/grid_smollm2.yaml --dataset corpus/ --output_dir runs/grid

    # LoRA on the language model, trained with the reader
    accelerate launch train_hf.py --dataset corpus/ --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/b \
        --lora_r 8

    # text only: LoRA on packed transcripts, merged into a language model that a reading run starts from
    accelerate launch train_hf.py --train_text texts.txt --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/warm
    accelerate launch train_hf.py --dataset corpus/ --model_id runs/warm --output_dir runs/b

Started again after an interruption, a run goes on from its last complete checkpoint.
"""

import json
import logging
import sys
from argparse import ArgumentParser
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Literal

import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    GenerationConfig,
    HfArgumentParser,
    PreTrainedTokenizerBase,
    set_seed,
)

from data.augmentation import KeypointAugmentation
from data.collator import LipReadCollator
from data.ctc_vocab import build_ctc_vocab
from data.opening import Clips, has_split, open_split
from data.packing import pack_texts, read_texts
from data.special_tokens import check_texts, check_vocabulary, special_tokens
from data.tokenizer import train_tokenizer
from data.trainer import (
    LipReadTrainer,
    LipReadTrainingArguments,
    TextTrainer,
    check_fits,
    resume_point,
)
from modeling_lipread import FaceKeypointEncoderConfig, LipReadConfig, LipReadForConditionalGeneration
from modeling_lipread.base_model_lipread import is_folder
from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor
from modeling_lipread.processing_lipread import LipReadProcessor

logger = logging.getLogger("train_hf")


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
    smoothing: float | None = field(
        default=None,
        metadata={"help": "Seconds of a filter over time that takes jitter out of the landmarks, for instance 0.2."},
    )
    seq_len: int = field(default=64, metadata={"help": "Most tokens of a transcript."})
    prompt: str | None = field(default=None, metadata={"help": "Text before every transcript."})
    augment: bool = field(default=True, metadata={"help": "Whether to vary pose, size, speed and quality."})
    max_train_clips: int | None = field(default=None, metadata={"help": "Train on the first so many clips only."})
    max_eval_clips: int | None = field(default=None, metadata={"help": "Evaluate on the first so many clips only."})


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
    "default_kp_frames use_velocity frame_encoder kp_embed_dim kp_spatial_layers hidden_size conv_kernel_size "
    "kp_temporal_layers kp_heads kp_ff_mult kp_dropout resampler pool_frames cond_len resampler_layers ctc_feedback",
)
AdapterArguments = _config_arguments(
    "AdapterArguments",
    LipReadConfig,
    "adapter_every adapter_top_k adapter_heads adapter_head_dim adapter_dropout gate_type gate_init "
    "zero_init_projection ctc_weight decoder_mask_prob",
)
ARGUMENTS = (
    ModelArguments,
    DataArguments,
    EncoderArguments,
    AdapterArguments,
    KeypointAugmentation,
    LipReadTrainingArguments,
)


def parse_arguments(arguments: list[str]) -> tuple:
    """Parses the command line; `--config FILE.yaml` gives defaults that the rest of the line overrides."""
    parser = HfArgumentParser(ARGUMENTS, allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("--config", help="YAML file of arguments, one `name: value` each; the command line wins")
    config_parser = ArgumentParser(add_help=False, allow_abbrev=False)
    config_parser.add_argument("--config")
    given, arguments = config_parser.parse_known_args(arguments)
    if given.config is not None:
        arguments = _yaml_arguments(parser, given.config) + arguments
    return parser.parse_args_into_dataclasses(arguments, look_for_args_file=False)[: len(ARGUMENTS)]


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


def build_tokenizer(model_args: ModelArguments, texts: list[str]) -> PreTrainedTokenizerBase:
    """The language model's tokenizer, or one learned from the transcripts, with a padding token in any case.

    Raises:
        ValueError: If it has no token to begin and end with, or cannot write the transcripts.
    """
    if model_args.lm_config is not None:
        return train_tokenizer(texts, model_args.lm_vocab_size)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_id, revision=model_args.model_revision)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(special_tokens(tokenizer).pad)
    check_texts(tokenizer, texts)
    return tokenizer


def build_model(model_args: ModelArguments, config: LipReadConfig, tokenizer) -> LipReadForConditionalGeneration:
    """A reader that has not been trained yet, on a pretrained language model or on a new one."""
    if model_args.lm_config is None:
        return LipReadForConditionalGeneration.from_language_model(
            model_args.model_id,
            config,
            revision=model_args.model_revision,
            dtype=getattr(torch, model_args.lm_dtype),
        )
    settings = json.loads(Path(model_args.lm_config).read_text(encoding="utf-8"))
    config.text_config = AutoConfig.for_model(
        **settings,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config.freeze_language_model = False
    return LipReadForConditionalGeneration(config)


def build_processor(data_args: DataArguments, tokenizer: PreTrainedTokenizerBase) -> LipReadProcessor:
    """The processor that is saved with the reader; training features come from its feature extractor."""
    indices = data_args.landmarks.split(",")
    feature_extractor = LipReadFeatureExtractor(
        landmarks=[int(index) for index in indices] if indices[0].isdecimal() else data_args.landmarks,
        frame_rate=data_args.frame_rate,
        pose=None if data_args.pose == "none" else data_args.pose,
        normalize=None if data_args.normalize == "none" else data_args.normalize,
        smoothing=data_args.smoothing,
    )
    return LipReadProcessor(feature_extractor, tokenizer)


def has_eval_split(data_args: DataArguments) -> bool:
    """Whether the corpus holds clips to choose the best checkpoint by."""
    return has_split(data_args.dataset, data_args.eval_split)


def load_clips(data_args: DataArguments) -> tuple[Clips, Clips | None]:
    """The training clips, and those to evaluate on if the corpus has that split."""
    train_clips, eval_clips = open_split(data_args.dataset, data_args.train_split, data_args.streaming), None
    if has_eval_split(data_args):
        eval_clips = open_split(data_args.dataset, data_args.eval_split, data_args.streaming)
    else:
        logger.warning(
            "%s has no split %r: nothing is evaluated and the last checkpoint is the result (see --eval_split)",
            data_args.dataset,
            data_args.eval_split,
        )
    if data_args.max_train_clips:
        train_clips = train_clips.select(range(min(data_args.max_train_clips, len(train_clips))))
    if data_args.max_eval_clips and eval_clips is not None:
        eval_clips = eval_clips.select(range(min(data_args.max_eval_clips, len(eval_clips))))
    return train_clips, eval_clips


def fit_statistics(model: LipReadForConditionalGeneration, clips: Clips, collator: LipReadCollator) -> None:
    """Measures the landmarks' mean and spread on at most 1,024 training clips from all over the corpus."""
    chosen = clips.spread(1024)
    model.encoder.fit_statistics(
        collator(clips.__getitems__(chosen[start : start + 32])) for start in range(0, len(chosen), 32)
    )


def build_reader(model_args, data_args, encoder_args, adapter_args, augmentation, args) -> LipReadTrainer:
    """Everything that a reading run needs: clips, processor, collators, model and Trainer."""
    train_clips, eval_clips = load_clips(data_args)
    texts = train_clips.column("text")
    tokenizer = build_tokenizer(model_args, texts)
    processor = build_processor(data_args, tokenizer)
    ctc_vocab = build_ctc_vocab(texts) if model_args.ctc else []
    settings = {"seq_len": data_args.seq_len, "prompt": data_args.prompt}
    train_collator = LipReadCollator(processor, **settings, ctc_vocab=ctc_vocab)
    eval_collator = LipReadCollator(processor, **settings, train=False)

    num_landmarks = processor.feature_extractor.num_landmarks
    config = LipReadConfig(
        encoder_config=FaceKeypointEncoderConfig(num_landmarks=num_landmarks, **vars(encoder_args)),
        ctc_vocab=ctc_vocab,
        decoder_start_token_id=train_collator.prefix[0],
        prompt_ids=train_collator.prefix[1:],
        eos_token_id=train_collator.special_tokens.end,
        pad_token_id=train_collator.special_tokens.pad,
        lora=model_args.lora(),
        **vars(adapter_args),
    )
    model = build_model(model_args, config, tokenizer)
    check_vocabulary(tokenizer, model.config.get_text_config().vocab_size)
    model.generation_config = GenerationConfig(
        bos_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_new_tokens=data_args.seq_len,
    )
    fit_statistics(model, train_clips, train_collator)
    args.eval_max_new_tokens = args.eval_max_new_tokens or data_args.seq_len
    logger.info(
        "%d clips to train on, %d to evaluate on; %.1fM of %.1fM parameters are trained",
        len(train_clips),
        len(eval_clips or ()),
        model.num_parameters(only_trainable=True) / 1e6,
        model.num_parameters() / 1e6,
    )
    return LipReadTrainer(
        model=model,
        args=args,
        train_dataset=train_clips,
        eval_dataset=eval_clips,
        data_collator=train_collator,
        eval_collator=eval_collator,
        augmentation=augmentation if data_args.augment else None,
        processing_class=processor,
    )


def train_reader(trainer: LipReadTrainer, checkpoint: str | None) -> None:
    """Trains a reader and writes it, with its processor and its results, to the output folder."""
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()  # first, because --push_to_hub reads from it what the model card says
    trainer.save_model()
    if trainer.eval_dataset is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    if trainer.is_world_process_zero():
        output = trainer.args.output_dir
        logger.info("The reader is in %s. Try it: lipread transcribe VIDEO --model %s", output, output)


def build_text_run(
    model_args: ModelArguments, data_args: DataArguments, args: LipReadTrainingArguments
) -> TextTrainer:
    """Everything that a text-only run needs: packed transcripts and the language model with LoRA."""
    texts = read_texts(data_args.train_text)
    tokenizer = build_tokenizer(model_args, texts)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_id, revision=model_args.model_revision, dtype=getattr(torch, model_args.lm_dtype)
    )
    check_vocabulary(tokenizer, model.config.get_text_config().vocab_size)
    settings = model_args.lora(default_rank=16)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["r"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["target_modules"],
    )
    blocks = pack_texts(texts, tokenizer, data_args.seq_len)
    logger.info("%d texts in %d sequences of %d tokens", len(texts), len(blocks), data_args.seq_len)
    return TextTrainer(
        model=get_peft_model(model, lora),
        args=args,
        train_dataset=blocks,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )


def train_on_text(trainer: TextTrainer, checkpoint: str | None) -> None:
    """Trains LoRA and writes the language model with it merged in to the output folder."""
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()
    if trainer.is_world_process_zero():
        output = trainer.args.output_dir
        trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().save_pretrained(output)
        trainer.processing_class.save_pretrained(output)
        logger.info("The language model is in %s. Read with it: --model_id %s", output, output)


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
    without_rank = [
        name
        for name in ("lora_alpha", "lora_dropout", "lora_target_modules")
        if getattr(model_args, name) is not None and not model_args.lora_r
    ]
    if data_args.dataset is not None and without_rank:
        raise ValueError(f"--{without_rank[0]} is about LoRA, which this run has not: give --lora_r, its rank, too")
    if data_args.streaming and (args.max_frames_per_batch or args.train_sampling_strategy == "group_by_length"):
        raise ValueError("--streaming takes clips as they lie; give no --max_frames_per_batch and no group_by_length")
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


def main(arguments: list[str] | None = None) -> None:
    *settings, args = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    model_args, data_args, *_ = settings
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if args.process_index == 0 else logging.WARNING,
    )
    try:
        check_arguments(model_args, data_args, args)
        reading = data_args.dataset is not None
        if not reading or not has_eval_split(data_args):
            args.eval_strategy, args.load_best_model_at_end = "no", False
        set_seed(args.seed)
        trainer = build_reader(*settings, args) if reading else build_text_run(model_args, data_args, args)
        checkpoint = resume_point(args)
        if checkpoint:
            check_fits(checkpoint, trainer.model)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    (train_reader if reading else train_on_text)(trainer, checkpoint)


if __name__ == "__main__":
    main()
