# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text-only training: LoRA on packed transcripts, merged into a language model that a reader starts from."""

from __future__ import annotations

import logging
import math

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer

from ..tokenizer import check_vocabulary, load_tokenizer
from .arguments import DataArguments, LipReadTrainingArguments, ModelArguments
from .callbacks import resources
from .checkpoints import replace_pickled_arguments
from .packing import pack_texts, read_texts

logger = logging.getLogger("train_hf")


class TextTrainer(Trainer):
    """Trains a language model on packed text, with perplexity beside the loss."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for key in ("loss", "eval_loss"):
            if key in logs:
                logs = {**logs, key.replace("loss", "perplexity"): math.exp(min(logs[key], 50.0)), **resources()}
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            replace_pickled_arguments(output_dir or self.args.output_dir, self.args)


def build_text_trainer(
    data_args: DataArguments, model_args: ModelArguments, args: LipReadTrainingArguments
) -> TextTrainer:
    """Returns the Trainer of a language model with LoRA on packed transcripts."""
    texts = read_texts(data_args.train_text)
    tokenizer = load_tokenizer(model_args.model_id, texts, model_args.model_revision)
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
