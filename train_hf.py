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
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    GenerationConfig,
    PreTrainedTokenizerBase,
    set_seed,
)

from data.arguments import (
    DataArguments,
    LipReadTrainingArguments,
    ModelArguments,
    check_arguments,
    parse_arguments,
)
from data.averaging import take_average
from data.batching import check_speakers
from data.collator import LipReadCollator
from data.ctc_vocab import build_ctc_vocab
from data.opening import Clips, has_split, open_split, seconds_of
from data.packing import pack_texts, read_texts
from data.sharding import check_sharding
from data.special_tokens import check_texts, check_vocabulary, special_tokens
from data.splicing import WordSplicing
from data.tokenizer import train_tokenizer
from data.trained_encoder import encoder_settings, load_encoder
from data.trainer import LipReadTrainer, TextTrainer, check_fits, resume_point
from modeling_lipread import FaceKeypointEncoderConfig, LipReadConfig, LipReadForConditionalGeneration
from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor
from modeling_lipread.processing_lipread import LipReadProcessor

logger = logging.getLogger("train_hf")


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


def has_word_times(clips: Clips) -> bool:
    """Whether the corpus says when each word is spoken, by at most 64 clips from all over it."""
    return any(len(row["words"]) for row in clips.__getitems__(clips.spread(64)))


def build_reader(model_args, data_args, encoder_args, adapter_args, augmentation, args) -> LipReadTrainer:
    """Everything that a reading run needs: clips, processor, collators, model and Trainer."""
    train_clips, eval_clips = load_clips(data_args)
    if args.speaker_balance:
        check_speakers(train_clips.column("speaker"))
    texts = train_clips.column("text")
    tokenizer = build_tokenizer(model_args, texts)
    processor = build_processor(data_args, tokenizer)
    begun = None if model_args.encoder is None else encoder_settings(model_args.encoder)
    if begun and model_args.ctc != bool(begun.ctc_vocab):
        has = "a CTC head: leave --ctc false out" if begun.ctc_vocab else "no CTC head: give --ctc false"
        raise ValueError(f"--encoder {model_args.encoder} has {has}")
    ctc_vocab = begun.ctc_vocab if begun else build_ctc_vocab(texts) if model_args.ctc else []
    settings = {"seq_len": data_args.seq_len, "prompt": data_args.prompt}
    settings |= {"cache_bytes": int(data_args.feature_cache_gib * 2**30) // max(1, args.dataloader_num_workers)}
    alignment = bool(ctc_vocab) and adapter_args.alignment_weight > 0 and has_word_times(train_clips)
    # An encoder that has the head keeps it on a corpus without word times, where it learns nothing more.
    alignment_head = begun.encoder_config.alignment_head if begun else alignment
    alignment = alignment and alignment_head
    if data_args.augment and augmentation.trim_silence and not alignment:
        raise ValueError(
            "--trim_silence goes by what is spoken in each frame: it needs a corpus with word times, the CTC head and "
            "an --alignment_weight above 0; or leave it out"
        )
    splicing = WordSplicing(data_args.word_splicing, args.seed) if data_args.word_splicing else None
    if splicing is not None and not has_word_times(train_clips):
        raise ValueError(f"--word_splicing: {data_args.dataset} does not say when its words are spoken; leave it out")
    train_collator = LipReadCollator(
        processor, **settings, ctc_vocab=ctc_vocab, alignment=alignment, splicing=splicing
    )
    eval_collator = LipReadCollator(processor, **settings, train=False)

    num_landmarks = processor.feature_extractor.num_landmarks
    augmentation.set_landmarks(processor.feature_extractor.landmark_indices)
    config = LipReadConfig(
        encoder_config=FaceKeypointEncoderConfig(
            num_landmarks=num_landmarks,
            ctc_vocab_size=len(ctc_vocab),
            alignment_head=alignment_head,
            **vars(encoder_args),
        ),
        ctc_vocab=ctc_vocab,
        decoder_start_token_id=train_collator.prefix[0],
        prompt_ids=train_collator.prefix[1:],
        eos_token_id=train_collator.special_tokens.end,
        pad_token_id=train_collator.special_tokens.pad,
        lora=model_args.lora(),
        label_smoothing=args.label_smoothing_factor,
        clip_seconds=round(float(np.quantile(seconds_of(train_clips), 0.95)), 2),
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
    if config.ctc_vocab:
        model.set_token_spelling(tokenizer)
        model.generation_config.ctc_decoding_weight = model_args.ctc_decoding_weight
    if model_args.encoder is not None:
        load_encoder(model, processor.feature_extractor, model_args.encoder)
    else:
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
    if trainer.args.average_checkpoints:
        take_average(trainer)
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


def main(arguments: list[str] | None = None) -> None:
    *settings, args = parse_arguments(sys.argv[1:] if arguments is None else arguments, __doc__.splitlines()[0])
    model_args, data_args, *_ = settings
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if args.process_index == 0 else logging.WARNING,
    )
    try:
        check_arguments(model_args, data_args, args)
        reading = data_args.dataset is not None
        check_sharding(args, reading)
        if not reading or not has_eval_split(data_args):
            args.eval_strategy, args.load_best_model_at_end = "no", False
        set_seed(args.seed)
        trainer = build_reader(*settings, args) if reading else build_text_run(model_args, data_args, args)
        checkpoint = resume_point(args)
        if checkpoint:
            check_fits(checkpoint, trainer.model)
    except (OSError, ValueError, StrictDataclassError) as error:  # the last of configurations
        sys.exit(f"error: {error}")
    (train_reader if reading else train_on_text)(trainer, checkpoint)


if __name__ == "__main__":
    main()
