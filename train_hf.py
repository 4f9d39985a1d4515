# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
r"""Trains a lip reader on a prepared corpus, or, with text alone, warms up its language model.

    python -m data.prepare videos.jsonl --output corpus/
    accelerate launch train_hf.py --dataset corpus/ --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/a --bf16

    # a recipe from a file; the command line wins
    accelerate launch train_hf.py --config configs/grid_smollm2.yaml --dataset corpus/ --output_dir runs/grid

    # the encoder alone first, at a fraction of the cost an epoch, and the reader from there
    accelerate launch train_hf.py --config configs/grid_smollm2.yaml --dataset corpus/ --output_dir runs/encoder \
        --encoder_only --num_train_epochs 40 --learning_rate 1e-3 --per_device_train_batch_size 16
    accelerate launch train_hf.py --config configs/grid_smollm2.yaml --dataset corpus/ --output_dir runs/grid \
        --encoder runs/encoder

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
from pathlib import Path

import data  # noqa: F401  (says what to install where the extra is missing)

# isort: split
import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase, set_seed

from data.collator import LipReadCollator
from data.dataset import Clips, has_split, open_split, seconds_of
from data.tokenizer import build_ctc_vocab, check_vocabulary, load_tokenizer, special_tokens, train_tokenizer
from data.training.arguments import (
    DataArguments,
    LipReadTrainingArguments,
    ModelArguments,
    check_arguments,
    parse_arguments,
)
from data.training.augmentation import KeypointAugmentation
from data.training.checkpoints import check_fits, resume_point
from data.training.encoder_checkpoint import encoder_settings, load_encoder
from data.training.fsdp import check_sharding
from data.training.samplers import check_speakers
from data.training.splicing import WordSplicing
from data.training.text_training import build_text_trainer, train_on_text
from data.training.trainer import LipReadTrainer
from modeling_lipread import FaceKeypointEncoderConfig, LipReadConfig, LipReadForConditionalGeneration
from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor
from modeling_lipread.processing_lipread import LipReadProcessor

logger = logging.getLogger("train_hf")


def load_data(data_args: DataArguments) -> tuple[Clips, Clips | None]:
    """Returns the training clips, and the evaluation clips if the corpus has that split."""
    train_clips, eval_clips = open_split(data_args.dataset, data_args.train_split, data_args.streaming), None
    if has_split(data_args.dataset, data_args.eval_split):
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


def build_processor(data_args: DataArguments, tokenizer: PreTrainedTokenizerBase) -> LipReadProcessor:
    """Returns the processor that is saved with the reader; its feature extractor makes the training features."""
    indices = data_args.landmarks.split(",")
    feature_extractor = LipReadFeatureExtractor(
        landmarks=[int(index) for index in indices] if indices[0].isdecimal() else data_args.landmarks,
        frame_rate=data_args.frame_rate,
        pose=None if data_args.pose == "none" else data_args.pose,
        normalize=None if data_args.normalize == "none" else data_args.normalize,
    )
    return LipReadProcessor(feature_extractor, tokenizer)


def has_word_times(clips: Clips) -> bool:
    """Returns whether any of at most 64 clips from all over the corpus has the times of its words."""
    return any(len(row["words"]) for row in clips.__getitems__(clips.spread(64)))


def build_config(
    data_args: DataArguments,
    model_args: ModelArguments,
    encoder_args,
    adapter_args,
    args: LipReadTrainingArguments,
    processor: LipReadProcessor,
    clips: Clips,
) -> LipReadConfig:
    """Returns the configuration of a new reader of these clips.

    An encoder of --encoder keeps its heads, also on a corpus without word times.

    Raises:
        ValueError: If --ctc contradicts the encoder of --encoder.
    """
    tokens, prompt = special_tokens(processor.tokenizer), data_args.prompt
    if model_args.encoder is not None:
        trained = encoder_settings(model_args.encoder)
        ctc_vocab, alignment_head = trained.ctc_vocab, trained.encoder_config.alignment_head
        if model_args.ctc != bool(ctc_vocab):
            has = "a CTC head: leave --ctc false out" if ctc_vocab else "no CTC head: give --ctc false"
            raise ValueError(f"--encoder {model_args.encoder} has {has}")
    else:
        ctc_vocab = build_ctc_vocab(clips.column("text")) if model_args.ctc else []
        alignment_head = model_args.ctc and adapter_args.alignment_weight > 0 and has_word_times(clips)
    config = LipReadConfig(
        encoder_config=FaceKeypointEncoderConfig(
            num_landmarks=processor.feature_extractor.num_landmarks,
            ctc_vocab_size=len(ctc_vocab),
            alignment_head=alignment_head,
            **vars(encoder_args),
        ),
        ctc_vocab=ctc_vocab,
        decoder_start_token_id=tokens.start,
        prompt_ids=processor.tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else [],
        eos_token_id=tokens.end,
        pad_token_id=tokens.pad,
        lora=model_args.lora(),
        label_smoothing=args.label_smoothing_factor,
        clip_seconds=round(float(np.quantile(seconds_of(clips), 0.95)), 2),
        **vars(adapter_args),
    )
    if model_args.lm_config is not None:
        config.freeze_language_model = False
        config.text_config = AutoConfig.for_model(
            **json.loads(Path(model_args.lm_config).read_text(encoding="utf-8")),
            vocab_size=len(processor.tokenizer),
            bos_token_id=tokens.start,
            eos_token_id=tokens.end,
            pad_token_id=tokens.pad,
        )
    return config


def build_model(
    model_args: ModelArguments, data_args: DataArguments, config: LipReadConfig, tokenizer: PreTrainedTokenizerBase
) -> LipReadForConditionalGeneration:
    """Returns an untrained reader on a pretrained language model, or on the new one that its configuration has."""
    if model_args.lm_config is not None:
        model = LipReadForConditionalGeneration(config)
    else:
        model = LipReadForConditionalGeneration.from_language_model(
            model_args.model_id,
            config,
            revision=model_args.model_revision,
            dtype=getattr(torch, model_args.lm_dtype),
        )
    check_vocabulary(tokenizer, model.config.get_text_config().vocab_size)
    model.generation_config = GenerationConfig(
        bos_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_new_tokens=data_args.seq_len,
    )
    if config.ctc_vocab:
        model.set_token_spelling(tokenizer)
        model.generation_config.ctc_decoding_weight = model_args.ctc_decoding_weight
    return model


def build_collator(
    data_args: DataArguments, args: LipReadTrainingArguments, processor: LipReadProcessor, config, clips: Clips
) -> LipReadCollator:
    """Returns the collator of training batches.

    Raises:
        ValueError: If the corpus has no word times and an option needs them.
    """
    splicing = WordSplicing(data_args.word_splicing, args.seed) if data_args.word_splicing else None
    if splicing is not None and not has_word_times(clips):
        raise ValueError(f"--word_splicing: {data_args.dataset} does not say when its words are spoken; leave it out")
    return LipReadCollator(
        processor,
        seq_len=data_args.seq_len,
        start_ids=config.start_ids,
        ctc_vocab=config.ctc_vocab,
        alignment=config.encoder_config.alignment_head and config.alignment_weight > 0 and has_word_times(clips),
        splicing=splicing,
        cache_bytes=cache_bytes(data_args, args),
    )


def cache_bytes(data_args: DataArguments, args: LipReadTrainingArguments) -> int:
    """Returns the memory in which each worker process may keep features."""
    return int(data_args.feature_cache_gib * 2**30) // max(1, args.dataloader_num_workers)


def fit_statistics(model: LipReadForConditionalGeneration, clips: Clips, collator: LipReadCollator) -> None:
    """Measures the landmarks' mean and spread on at most 1,024 training clips from all over the corpus."""
    chosen = clips.spread(1024)
    model.encoder.fit_statistics(
        collator(clips.__getitems__(chosen[start : start + 32])) for start in range(0, len(chosen), 32)
    )


def build_trainer(
    data_args: DataArguments,
    model_args: ModelArguments,
    encoder_args,
    adapter_args,
    augmentation: KeypointAugmentation,
    args: LipReadTrainingArguments,
) -> LipReadTrainer:
    """Returns the Trainer of a reader, with its clips, its model and its collators."""
    train_clips, eval_clips = load_data(data_args)
    if args.speaker_balance:
        check_speakers(train_clips.column("speaker"))
    texts = train_clips.column("text")
    if model_args.lm_config is not None:
        tokenizer = train_tokenizer(texts, model_args.lm_vocab_size)
    else:
        tokenizer = load_tokenizer(model_args.model_id, texts, model_args.model_revision)
    processor = build_processor(data_args, tokenizer)
    config = build_config(data_args, model_args, encoder_args, adapter_args, args, processor, train_clips)
    collator = build_collator(data_args, args, processor, config, train_clips)
    if data_args.augment and augmentation.trim_silence and not collator.alignment:
        raise ValueError(
            "trim_silence needs to know when somebody speaks: a corpus with word times, the CTC head and an "
            "--alignment_weight above 0; or give --config_overrides trim_silence=0"
        )
    augmentation.set_landmarks(processor.feature_extractor.landmark_indices)
    model = build_model(model_args, data_args, config, tokenizer)
    if model_args.encoder is not None:
        load_encoder(model, processor.feature_extractor, model_args.encoder)
    else:
        fit_statistics(model, train_clips, collator)
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
        data_collator=collator,
        eval_collator=LipReadCollator(
            processor,
            seq_len=data_args.seq_len,
            start_ids=config.start_ids,
            train=False,
            cache_bytes=cache_bytes(data_args, args),
        ),
        augmentation=augmentation if data_args.augment else None,
        processing_class=processor,
    )


def train_reader(trainer: LipReadTrainer, checkpoint: str | None) -> None:
    """Trains a reader and writes it to the output folder, with its processor and its results."""
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()  # first, because --push_to_hub reads from it what the model card says
    trainer.save_model()
    if trainer.eval_dataset is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    if trainer.is_world_process_zero():
        output = trainer.args.output_dir
        if trainer.args.encoder_only:
            logger.info("The encoder is in %s. Train a reader from it: --encoder %s", output, output)
        else:
            logger.info("The reader is in %s. Try it: lipread transcribe VIDEO --model %s", output, output)
        if trainer.guard is not None and trainer.guard.warning:
            logger.warning("Do not rely on it. %s", trainer.guard.warning)


def main(arguments: list[str] | None = None) -> None:
    *settings, args = parse_arguments(sys.argv[1:] if arguments is None else arguments, __doc__.splitlines()[0])
    data_args, model_args, *_ = settings
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if args.process_index == 0 else logging.WARNING,
    )
    try:
        check_arguments(model_args, data_args, args)
        reading = data_args.dataset is not None
        check_sharding(args, reading)
        if not reading or not has_split(data_args.dataset, data_args.eval_split):
            args.eval_strategy, args.load_best_model_at_end = "no", False
        set_seed(args.seed)
        trainer = build_trainer(*settings, args) if reading else build_text_trainer(data_args, model_args, args)
        checkpoint = resume_point(args)
        if checkpoint:
            check_fits(checkpoint, trainer.model)
    except (OSError, ValueError, StrictDataclassError) as error:  # the last of configurations
        sys.exit(f"error: {error}")
    (train_reader if reading else train_on_text)(trainer, checkpoint)


if __name__ == "__main__":
    main()
