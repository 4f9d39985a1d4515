# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts packed into full sequences, for warming up a language model on text alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..tokenizer import special_tokens


def read_texts(path: str | Path) -> list[str]:
    """Reads a text file, a transcript a line; empty lines are left out.

    Raises:
        ValueError: If the file is missing, is not UTF-8, or holds no text.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such text file; give a UTF-8 file with a transcript a line")
    try:
        texts = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error
    texts = [text for text in texts if text]
    if not texts:
        raise ValueError(f"{path}: holds no text; give a transcript a line")
    return texts


def pack_texts(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, seq_len: int) -> Dataset:
    """Joins texts, each between the start and the end token as in reading, and cuts them into full sequences.

    Args:
        texts: Transcripts.
        tokenizer: The language model's tokenizer.
        seq_len: Tokens in a sequence. What is left over at the end makes one shorter sequence.

    Returns:
        Rows of `input_ids` and of `labels`, which are the same, at most `seq_len` long each.
    """
    start, end, _ = special_tokens(tokenizer)
    stream: list[int] = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += [start, *ids, end]
    blocks = [stream[i : i + seq_len] for i in range(0, len(stream), seq_len)]
    return Dataset.from_dict({"input_ids": blocks, "labels": blocks})
