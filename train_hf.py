# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Trains a lip reader on a prepared corpus, or a language model on text alone.

    accelerate launch train_hf.py --dataset corpus/ --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/a --bf16
    accelerate launch train_hf.py --config configs/grid_smollm2.yaml --dataset corpus/ --output_dir runs/grid
    accelerate launch train_hf.py --init_from runs/grid --dataset mine/ --output_dir runs/mine

The same command resumes an interrupted run from its last complete checkpoint. docs/training.md has more.
"""

from data.console import set_up_console, show_help  # isort: skip  (first: the package limits the threads of PyTorch)

if __name__ == "__main__":
    show_help("data/training/help.txt")  # before the libraries that make it take seconds to load

import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase, set_seed

from data.collator import LipReadCollator
from data.dataset import Clips, has_split, has_word_times, open_split, seconds_of
from data.evaluation import RATE_OF_UNIT
from data.tokenizer import build_ctc_vocab, check_vocabulary, load_tokenizer, special_tokens, train_tokenizer
from data.training import checkpoints
from data.training.arguments import Arguments, parse_arguments
from data.training.callbacks import TrainingDiverged
from data.training.checks import check_arguments
from data.training.splicing import WordSplicing
from data.training.text_training import build_text_trainer, train_on_text
from data.training.trainer import LipReadTrainer
from modeling_lipread import (
    FaceKeypointEncoderConfig,
    LipReadConfig,
    LipReadFeatureExtractor,
    LipReadForConditionalGeneration,
    LipReadProcessor,
)
from modeling_lipread.text_normalizer_lipread import choose_text_unit

logger = logging.getLogger("train_hf")


def load_data(arguments: Arguments) -> tuple[Clips, Clips | None]:
    """Returns the training split and the evaluation split, `None` if the corpus does not have it."""
    data = arguments.data
    cached = arguments.training.stream_window + 2
    train_clips, eval_clips = open_split(data.dataset, data.train_split, data.streaming, cached), None
    if has_split(data.dataset, data.eval_split):
        eval_clips = open_split(data.dataset, data.eval_split, data.streaming)
    else:
        missing = "%s has no split %r: no evaluation, and the last checkpoint is the result (see --eval_split)"
        logger.warning(missing, data.dataset, data.eval_split)
    if data.max_train_clips:
        train_clips = train_clips.select(range(min(data.max_train_clips, len(train_clips))))
    if data.max_eval_clips and eval_clips is not None:
        eval_clips = eval_clips.select(range(min(data.max_eval_clips, len(eval_clips))))
    return train_clips, eval_clips


def build_processor(arguments: Arguments, clips: Clips) -> LipReadProcessor:
    """Returns the processor, whose tokenizer is the language model's, or trained on the transcripts."""
    data, model = arguments.data, arguments.model
    texts, indices = clips.column("text"), data.landmarks.split(",")
    if model.lm_config is not None:
        tokenizer = train_tokenizer(texts, model.lm_vocab_size)
    else:
        tokenizer = load_tokenizer(model.model_id, texts, model.model_revision)
    feature_extractor = LipReadFeatureExtractor(
        landmarks=[int(index) for index in indices] if indices[0].isdecimal() else data.landmarks,
        frame_rate=data.frame_rate,
        pose=None if data.pose == "none" else data.pose,
        normalize=None if data.normalize == "none" else data.normalize,
    )
    return LipReadProcessor(feature_extractor, tokenizer)


def build_config(arguments: Arguments, processor: LipReadProcessor, clips: Clips) -> LipReadConfig:
    """Returns the configuration of a new model."""
    model, adapters = arguments.model, arguments.adapters
    tokens, prompt = special_tokens(processor.tokenizer), arguments.data.prompt
    if model.encoder is not None:  # its heads stay, also without word times
        trained = checkpoints.checkpoint_config(model.encoder)
        ctc_vocab, alignment_head = trained.ctc_vocab, trained.encoder_config.alignment_head
    else:
        ctc_vocab = build_ctc_vocab(clips.column("text"))
        alignment_head = adapters.alignment_weight > 0 and has_word_times(clips)
    config = LipReadConfig(
        encoder_config=FaceKeypointEncoderConfig(
            num_landmarks=processor.feature_extractor.num_landmarks,
            ctc_vocab_size=len(ctc_vocab),
            alignment_head=alignment_head,
            **vars(arguments.encoder),
        ),
        ctc_vocab=ctc_vocab,
        decoder_start_token_id=tokens.start,
        prompt_ids=processor.tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else [],
        eos_token_id=tokens.end,
        pad_token_id=tokens.pad,
        lora=model.lora(),
        label_smoothing=arguments.training.label_smoothing_factor,
        text_unit=choose_text_unit(clips.column("text")),
        clip_seconds=round(float(np.quantile(seconds_of(clips), 0.95)), 2),
        **vars(adapters),
    )
    if model.lm_config is not None:
        config.freeze_language_model = False
        ids = {"bos_token_id": tokens.start, "eos_token_id": tokens.end, "pad_token_id": tokens.pad}
        settings = json.loads(Path(model.lm_config).read_text(encoding="utf-8"))
        config.text_config = AutoConfig.for_model(**settings | ids | {"vocab_size": len(processor.tokenizer)})
    return config


def build_model(
    arguments: Arguments, config: LipReadConfig, tokenizer: PreTrainedTokenizerBase
) -> LipReadForConditionalGeneration:
    """Returns an untrained model on a pretrained language model, or on the new one of its configuration."""
    model_args = arguments.model
    if model_args.lm_config is not None:
        model = LipReadForConditionalGeneration(config)
    else:
        dtype = getattr(torch, model_args.lm_dtype)
        model = LipReadForConditionalGeneration.from_language_model(
            model_args.model_id, config, revision=model_args.model_revision, dtype=dtype
        )
    check_vocabulary(tokenizer, model.config.get_text_config().vocab_size)
    model.generation_config = GenerationConfig(
        bos_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_new_tokens=arguments.data.seq_len,
    )
    if config.ctc_vocab:
        model.set_token_spelling(tokenizer)
        model.generation_config.ctc_decoding_weight = model_args.ctc_decoding_weight
    return model


def build_collator(
    arguments: Arguments, processor: LipReadProcessor, config: LipReadConfig, clips: Clips
) -> LipReadCollator:
    """Returns the collator of training; raises ValueError if an option lacks its word times."""
    data, args, timed = arguments.data, arguments.training, has_word_times(clips)
    alignment = config.encoder_config.alignment_head and config.alignment_weight > 0 and timed
    if data.word_splicing and not timed:
        raise ValueError(f"--word_splicing: {data.dataset} has no word times; leave it out")
    if data.augment and arguments.augmentation.trim_silence and not alignment:
        raise ValueError(
            "trim_silence needs a corpus with word times, and a reader with an alignment head (an --alignment_weight "
            "above 0); or give --config_overrides trim_silence=0"
        )
    return LipReadCollator(
        processor,
        seq_len=data.seq_len,
        start_ids=config.start_ids,
        ctc_vocab=config.ctc_vocab,
        alignment=alignment,
        splicing=WordSplicing(data.word_splicing, args.seed) if data.word_splicing else None,
        # Each worker process has its share.
        cache_bytes=int(data.feature_cache_gib * 2**30) // max(1, args.dataloader_num_workers),
    )


def build_trainer(arguments: Arguments) -> LipReadTrainer:
    """Returns the Trainer of a new model, or of the reader of --init_from."""
    model_args, data, augmentation, args = arguments.model, arguments.data, arguments.augmentation, arguments.training
    train_clips, eval_clips = load_data(arguments)
    if model_args.init_from is not None:
        model, processor = checkpoints.load_checkpoint(model_args, train_clips.column("text"))
        model.config.label_smoothing = args.label_smoothing_factor
        model.generation_config.max_new_tokens = max(model.generation_config.max_new_tokens or 0, data.seq_len)
    else:
        processor = build_processor(arguments, train_clips)
        config = build_config(arguments, processor, train_clips)
        model = build_model(arguments, config, processor.tokenizer)
    if args.metric_for_best_model == "wer":
        args.metric_for_best_model = RATE_OF_UNIT[model.config.text_unit]
    for part in model_args.freeze or ():
        getattr(model, part).requires_grad_(False)
    collator = build_collator(arguments, processor, model.config, train_clips)
    augmentation.set_landmarks(processor.feature_extractor.landmark_indices)
    if model_args.encoder is not None:
        checkpoints.load_encoder(model, processor.feature_extractor, model_args.encoder)
    elif model_args.init_from is None:
        chosen = train_clips.spread(1024)
        batches = (collator(train_clips.__getitems__(chosen[i : i + 32])) for i in range(0, len(chosen), 32))
        model.encoder.fit_statistics(batches)
    args.eval_max_new_tokens = args.eval_max_new_tokens or data.seq_len
    logger.info("%d clips to train on, %d to evaluate on", len(train_clips), len(eval_clips or ()))
    trained, total = model.num_parameters(only_trainable=True) / 1e6, model.num_parameters() / 1e6
    logger.info("%.1fM of %.1fM parameters are trained", trained, total)
    return LipReadTrainer(
        model=model,
        args=args,
        train_dataset=train_clips,
        eval_dataset=eval_clips,
        data_collator=collator,
        augmentation=augmentation if data.augment else None,
        processing_class=processor,
    )


def train(trainer: LipReadTrainer, checkpoint: str | None) -> None:
    """Trains the model, evaluates it, and writes it with its processor to the output folder."""
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()  # before the model, since --push_to_hub takes the model card's content from it
    trainer.save_model()
    if trainer.eval_dataset is not None:
        trainer.save_metrics("eval", trainer.evaluate())
    if trainer.is_world_process_zero():
        output = trainer.args.output_dir
        usage = "train_hf.py --encoder %s" if trainer.args.encoder_only else "lipread transcribe VIDEO --model %s"
        logger.info(f"The model is in %s. Next: {usage}", output, output)
        if trainer.blank_check is not None and trainer.blank_check.warning:
            logger.warning("Do not rely on it. %s", trainer.blank_check.warning)


def main(arguments: list[str] | None = None) -> None:
    set_up_console()
    given = parse_arguments(sys.argv[1:] if arguments is None else arguments, __doc__.splitlines()[0])
    data, args = given.data, given.training
    logging.basicConfig(
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        level=logging.INFO if args.process_index == 0 else logging.WARNING,
    )
    try:
        check_arguments(given)
        text_only = data.dataset is None
        if not text_only and not has_split(data.dataset, data.eval_split):
            args.eval_strategy, args.load_best_model_at_end = "no", False
        set_seed(args.seed)
        trainer = build_text_trainer(given) if text_only else build_trainer(given)
        if checkpoint := checkpoints.resume_point(args):
            checkpoints.check_fits(checkpoint, trainer.model)
            checkpoints.check_progress(checkpoint, trainer)
    except (OSError, ValueError, StrictDataclassError) as error:  # the last is raised by configurations
        sys.exit(f"error: {error}")
    try:
        (train_on_text if text_only else train)(trainer, checkpoint)
    except TrainingDiverged as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
