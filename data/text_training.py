# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text-only training: LoRA on packed transcripts, merged into a language model that a reader starts from."""

from __future__ import annotations

import logging

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq

from .arguments import DataArguments, LipReadTrainingArguments, ModelArguments
from .packing import pack_texts, read_texts
from .special_tokens import check_vocabulary
from .tokenizer import build_tokenizer
from .trainer import TextTrainer

logger = logging.getLogger("train_hf")


def build_text_trainer(
    data_args: DataArguments, model_args: ModelArguments, args: LipReadTrainingArguments
) -> TextTrainer:
    """Returns the Trainer of a language model with LoRA on packed transcripts."""
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
