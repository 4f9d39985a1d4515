# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Which tokens begin, end and pad a transcript: one rule for every tokenizer.

A transcript begins with BOS, else EOS, else PAD; it ends with EOS, else PAD, else BOS; and is padded with PAD, else
EOS, else BOS. One token may serve for all three, as in GPT-2: masks tell padding apart, never the token. No token is
ever added: the language model is frozen and could not learn to write it.
"""

from __future__ import annotations

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase


class SpecialTokens(NamedTuple):
    """Token ids."""

    start: int
    end: int
    pad: int


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    """The tokens that begin, end and pad transcripts.

    Raises:
        ValueError: If the tokenizer has no BOS, EOS or PAD.
    """
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if bos is eos is pad is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'the language model'} has no BOS, EOS or PAD token to begin "
            "and end transcripts with. Name one that its language model knows, once, and give that folder as "
            "--model_id: tokenizer.eos_token = '...'; tokenizer.save_pretrained(FOLDER)"
        )
    return SpecialTokens(_first(bos, eos, pad), _first(eos, pad, bos), _first(pad, eos, bos))


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Makes sure that a language model has an embedding for every token.

    Raises:
        ValueError: If it has not.
    """
    if len(tokenizer) > vocab_size:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'the language model'} has {len(tokenizer)} tokens, its "
            f"language model {vocab_size}: they do not belong together, or tokens were added. Give a --model_id whose "
            "tokenizer is its own."
        )


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)
