# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text-only training: LoRA on packed transcripts, merged into the language model."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, PreTrainedTokenizerBase, Trainer

from ..tokenizer import check_vocabulary, load_tokenizer, special_tokens
from .arguments import Arguments
from .callbacks import FiniteCallback
from .checkpoints import replace_pickled_arguments

logger = logging.getLogger("train_hf")


def read_texts(path: str | Path) -> list[str]:
    """Returns the non-empty lines of a UTF-8 file; raises ValueError if there are none."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ValueError(f"{path}: holds no text; give a transcript a line")
    return texts


def pack_texts(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, seq_len: int) -> Dataset:
    """Returns rows of `seq_len` tokens of the joined transcripts, each between start and end token."""
    start, end, _ = special_tokens(tokenizer)
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [start, *ids, end]
    blocks = [stream[i : i + seq_len] for i in range(0, len(stream), seq_len)]
    return Dataset.from_dict({"input_ids": blocks, "labels": blocks})


class TextTrainer(Trainer):
    """Trains a language model on packed text."""

    def save_model(self, output_dir: str | None = None, **kwargs) -> None:
        super().save_model(output_dir, **kwargs)
        if self.args.should_save:
            replace_pickled_arguments(output_dir or self.args.output_dir, self.args)


def build_text_trainer(arguments: Arguments) -> TextTrainer:
    """Returns the Trainer of a language model with LoRA on packed transcripts."""
    model_args, seq_len = arguments.model, arguments.data.seq_len
    texts = read_texts(arguments.data.train_text)
    tokenizer = load_tokenizer(model_args.model_id, texts, model_args.model_revision)
    model = AutoModelForCausalLM.from_pretrained(
        model_args.model_id, revision=model_args.model_revision, dtype=getattr(torch, model_args.lm_dtype)
    )
    check_vocabulary(tokenizer, model.config.get_text_config().vocab_size)
    lora = model_args.lora(default_rank=16)
    lora["lora_alpha"], lora["lora_dropout"] = lora.pop("alpha"), lora.pop("dropout")
    blocks = pack_texts(texts, tokenizer, seq_len)
    logger.info("%d texts in %d sequences of %d tokens", len(texts), len(blocks), seq_len)
    return TextTrainer(
        model=get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora)),
        args=arguments.training,
        train_dataset=blocks,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        callbacks=[FiniteCallback()],
    )


def train_on_text(trainer: TextTrainer, checkpoint: str | None) -> None:
    """Trains LoRA, merges it into the language model and writes that to the output folder."""
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_state()
    if trainer.is_world_process_zero():
        output = trainer.args.output_dir
        trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().save_pretrained(output)
        trainer.processing_class.save_pretrained(output)
        logger.info("The language model is in %s. Use it with: --model_id %s", output, output)
