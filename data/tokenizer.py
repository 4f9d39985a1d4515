# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A small tokenizer learned from transcripts, for readers whose language model is trained from nothing."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

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
