# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer of a run: the language model's, or one learned from transcripts for a new language model."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .arguments import ModelArguments
from .special_tokens import check_texts, special_tokens

START, END, PADDING = "<s>", "</s>", "<pad>"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Learns byte-level byte-pair encoding, so that any text in any script can be written.

    Args:
        texts: Transcripts.
        vocab_size: Largest number of tokens, at least 259 (every byte and three special tokens).

    Raises:
        ValueError: If `vocab_size` is too small to hold every byte.
    """
    if vocab_size < 259:
        raise ValueError(f"a byte-level vocabulary needs at least 259 tokens, got vocab_size = {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PADDING, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, pad_token=PADDING)


def build_tokenizer(model_args: ModelArguments, texts: list[str]) -> PreTrainedTokenizerBase:
    """Returns the language model's tokenizer with a padding token, or for --lm_config one learned from `texts`.

    Raises:
        ValueError: If it has no token to begin and end with, or cannot write the transcripts.
    """
    if model_args.lm_config is not None:
        return train_tokenizer(texts, model_args.lm_vocab_size)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_id, revision=model_args.model_revision)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(special_tokens(tokenizer).pad)
    check_texts(tokenizer, texts)
    return tokenizer
