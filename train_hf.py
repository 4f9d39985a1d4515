# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Trains a lip reader on a prepared corpus, or, with text alone, warms up its language model.

    python -m data.prepare videos.jsonl --output corpus/
    accelerate launch train_hf.py --dataset corpus/ --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/a --bf16

    # a recipe from a file; the command line wins
    accelerate launch train_hf.py --config configs/grid_smollm2.yaml --dataset corpus/ --output_dir runs/grid

    # text only: LoRA on packed transcripts, merged into a language model that a reading run starts from
    accelerate launch train_hf.py --train_text texts.txt --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/warm
    accelerate launch train_hf.py --dataset corpus/ --model_id runs/warm --output_dir runs/b

Started again after an interruption, a run goes on from its last complete checkpoint.
"""

import json
import logging
import sys
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path

import torch
import yaml
from datasets import Dataset
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
from data.packing import pack_texts, read_texts
from data.schema import load_split
from data.text_normalizer import build_ctc_vocab
from data.tokenizer import train_tokenizer
from data.trainer import LipReadTrainer, LipReadTrainingArguments, TextTrainer, last_complete_checkpoint
from modeling_lipread import FaceKeypointEncoderConfig, LipReadConfig, LipReadForConditionalGeneration
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
    lm_dtype: str = field(default="float32", metadata={"help": "Type of the frozen language model's weights."})
    ctc: bool = field(default=True, metadata={"help": "Whether the encoder also learns to spell, by CTC."})
    lora_r: int = field(default=16, metadata={"help": "Rank of LoRA in a text-only run."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of LoRA in a text-only run."})


@dataclass
class DataArguments:
    """What it reads, and how landmarks become features."""

    dataset: str | None = field(default=None, metadata={"help": "Folder that data.prepare wrote."})
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Split to choose the best checkpoint by."})
    train_text: str | None = field(
        default=None, metadata={"help": "UTF-8 file with a transcript a line, for a text-only run without --dataset."}
    )
    landmarks: str = field(default="lower_face", metadata={"help": "Landmarks to read from: face, lips, lower_face."})
    pose: str = field(default="rigid", metadata={"help": "How the head is frontalised: rigid, solvepnp or none."})
    normalize: str = field(default="rigid", metadata={"help": "rigid, unit_sphere, bbox_unit, zscore or none."})
    frame_rate: float = field(default=25.0, metadata={"help": "Frames a second that every clip is brought to."})
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
    if "--config" in arguments:
        place = arguments.index("--config")
        if place + 1 == len(arguments):
            parser.error("--config needs the path of a YAML file")
        arguments = _yaml_arguments(parser, arguments[place + 1]) + arguments[:place] + arguments[place + 2 :]
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
    """The language model's tokenizer, or one learned from the transcripts; padding with EOS if it knows no padding."""
    if model_args.lm_config is not None:
        return train_tokenizer(texts, model_args.lm_vocab_size)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_id, revision=model_args.model_revision)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
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


def load_clips(data_args: DataArguments) -> tuple[Dataset, Dataset | None]:
    """The training clips, and those to evaluate on if the corpus has that split."""
    splits = []
    for split, limit in (
        (data_args.train_split, data_args.max_train_clips),
        (data_args.eval_split, data_args.max_eval_clips),
    ):
        clips = None
        if split == data_args.train_split or (Path(data_args.dataset) / split).is_dir():
            clips = load_split(data_args.dataset, split)
            clips = clips.select(range(min(limit, len(clips)))) if limit else clips
        splits.append(clips)
    return splits[0], splits[1]


def resume_point(args: LipReadTrainingArguments) -> str | None:
    """The checkpoint to go on from: the one named, else the last complete one, else none."""
    if args.resume_from_checkpoint not in (None, "True", "true"):
        return args.resume_from_checkpoint
    checkpoint = last_complete_checkpoint(args.output_dir)
    if checkpoint and args.restart:
        logger.info("Starting anew; the checkpoints in %s will be replaced", args.output_dir)
        return None
    if checkpoint:
        logger.info("Going on from %s (give --restart to start anew)", checkpoint)
    return checkpoint


def train_reader(model_args, data_args, encoder_args, adapter_args, augmentation, args) -> None:
    """Trains a reader and writes it, with its processor and its results, to `args.output_dir`."""
    train_clips, eval_clips = load_clips(data_args)
    texts = train_clips["text"][:]
    tokenizer = build_tokenizer(model_args, texts)
    optional = {
        key: None if value == "none" else value
        for key, value in (("pose", data_args.pose), ("normalize", data_args.normalize))
    }
    feature_extractor = LipReadFeatureExtractor(
        landmarks=data_args.landmarks, frame_rate=data_args.frame_rate, **optional
    )
    processor = LipReadProcessor(feature_extractor, tokenizer)
    ctc_vocab = build_ctc_vocab(texts) if model_args.ctc else []
    settings = {"seq_len": data_args.seq_len, "prompt": data_args.prompt}
    train_collator = LipReadCollator(processor, **settings, ctc_vocab=ctc_vocab)
    eval_collator = LipReadCollator(processor, **settings, train=False)

    config = LipReadConfig(
        encoder_config=FaceKeypointEncoderConfig(num_landmarks=feature_extractor.num_landmarks, **vars(encoder_args)),
        ctc_vocab=ctc_vocab,
        decoder_start_token_id=train_collator.prefix[0],
        prompt_ids=train_collator.prefix[1:],
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=train_collator.pad_token_id,
        **vars(adapter_args),
    )
    model = build_model(model_args, config, tokenizer)
    model.generation_config = GenerationConfig(
        bos_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_new_tokens=data_args.seq_len,
    )
    batches = range(0, min(len(train_clips), 1024), 32)
    model.encoder.fit_statistics(
        train_collator(list(train_clips.select(range(start, min(start + 32, len(train_clips)))))) for start in batches
    )
    args.eval_max_new_tokens = args.eval_max_new_tokens or data_args.seq_len
    trainer = LipReadTrainer(
        model=model,
        args=args,
        train_dataset=train_clips,
        eval_dataset=eval_clips,
        data_collator=train_collator,
        eval_collator=eval_collator,
        augmentation=augmentation if data_args.augment else None,
        processing_class=processor,
    )
    logger.info(
        "%d clips to train on, %s to evaluate on; %.1fM of %.1fM parameters are trained",
        len(train_clips),
        len(eval_clips) if eval_clips is not None else "none",
        model.num_parameters(only_trainable=True) / 1e6,
        model.num_parameters() / 1e6,
    )
    trainer.train(resume_from_checkpoint=resume_point(args))
    trainer.save_model()
    trainer.save_state()
    if eval_clips is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    if trainer.is_world_process_zero():
        logger.info(
            "The reader is in %s. Try it: python evaluate_hf.py %s %s",
            args.output_dir,
            args.output_dir,
            Path(data_args.dataset, data_args.eval_split),
        )


def train_on_text(model_args: ModelArguments, data_args: DataArguments, args: LipReadTrainingArguments) -> None:
    """Trains LoRA on packed transcripts and writes the language model with it merged in to `args.output_dir`."""
    texts = read_texts(data_args.train_text)
    tokenizer = build_tokenizer(model_args, texts)
    start = next(i for i in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if i is not None)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_id, revision=model_args.model_revision, dtype=getattr(torch, model_args.lm_dtype)
    )
    lora = LoraConfig(
        task_type="CAUSAL_LM", r=model_args.lora_r, lora_alpha=model_args.lora_alpha, target_modules="all-linear"
    )
    blocks = pack_texts(texts, tokenizer, data_args.seq_len, start)
    trainer = TextTrainer(
        model=get_peft_model(model, lora),
        args=args,
        train_dataset=blocks,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    logger.info("%d texts in %d sequences of %d tokens", len(texts), len(blocks), data_args.seq_len)
    trainer.train(resume_from_checkpoint=resume_point(args))
    if trainer.is_world_process_zero():
        trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().save_pretrained(args.output_dir)
        tokenizer.save_pretrained(args.output_dir)
        logger.info("The language model is in %s. Read with it: --model_id %s", args.output_dir, args.output_dir)
    trainer.save_state()


def main(arguments: list[str] | None = None) -> None:
    model_args, data_args, encoder_args, adapter_args, augmentation, args = parse_arguments(
        sys.argv[1:] if arguments is None else arguments
    )
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if args.process_index == 0 else logging.WARNING,
    )
    if (model_args.model_id is None) == (model_args.lm_config is None):
        sys.exit(
            "give --model_id (a pretrained language model, kept frozen) or --lm_config (one to train from nothing)"
        )
    if data_args.dataset is None and data_args.train_text is None:
        sys.exit("give --dataset (a folder that data.prepare wrote), or --train_text for a text-only run")
    if data_args.dataset is None and model_args.lm_config is not None:
        sys.exit("a text-only run warms up a pretrained language model: give --model_id instead of --lm_config")
    reading = data_args.dataset is not None
    if not reading or not (Path(data_args.dataset) / data_args.eval_split).is_dir():
        args.eval_strategy, args.load_best_model_at_end = "no", False
    set_seed(args.seed)
    if reading:
        train_reader(model_args, data_args, encoder_args, adapter_args, augmentation, args)
    else:
        train_on_text(model_args, data_args, args)


if __name__ == "__main__":
    main()
