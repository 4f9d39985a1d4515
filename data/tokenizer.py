# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers: the language model's or a trained one, their special tokens, and the CTC vocabulary.

A transcript begins with BOS, else EOS, else PAD. It ends with EOS, else PAD, else BOS. It is padded with PAD, else
EOS, else BOS. All three may be one token, as in GPT-2, since masks tell padding apart. Tokens are never added, because
a frozen language model cannot learn them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modeling_lipread.text_normalizer_lipread import normalize_text

logger = logging.getLogger(__name__)


class SpecialTokens(NamedTuple):
    """Token ids that begin, end and pad transcripts."""

    start: int
    end: int
    pad: int


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
    """Returns the special tokens of a tokenizer; raises ValueError if it has no BOS, EOS or PAD."""
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if bos is eos is pad is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'the language model'} has no BOS, EOS or PAD token to begin "
            "and end transcripts with. Set one that its language model knows and give that folder as --model_id: "
            "tokenizer.eos_token = '...'; tokenizer.save_pretrained(FOLDER)"
        )
    orders = ((bos, eos, pad), (eos, pad, bos), (pad, eos, bos))
    return SpecialTokens(*(next(token for token in order if token is not None) for order in orders))


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Raises ValueError if a token has no embedding in the language model."""
    tokens = max(tokenizer.get_vocab().values()) + 1  # ids may have gaps
    if tokens > vocab_size:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'the language model'} has {tokens} tokens, its language "
            f"model {vocab_size}: they do not belong together, or tokens were added. Give a --model_id with its own "
            "tokenizer."
        )


def check_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> int:
    """Returns how many texts a tokenizer cannot encode, as they are scored; raises ValueError if it is all."""
    decoded = tokenizer.batch_decode(tokenizer(list(texts), add_special_tokens=False)["input_ids"])
    pairs = zip(texts, decoded, strict=True)
    lost = [pair for pair in pairs if len({"".join(normalize_text(text).split()) for text in pair}) > 1]
    if not lost:
        return 0
    message = (
        f"{len(lost)} of {len(texts)} texts hold characters that the tokenizer of "
        f"{tokenizer.name_or_path or 'the language model'} cannot write: {lost[0][0]!r} becomes {lost[0][1]!r}"
    )
    if len(lost) == len(texts):
        raise ValueError(f"{message}. Give a --model_id whose tokenizer knows their script")
    logger.warning("%s; training uses what it becomes", message)
    return len(lost)


START, END, PADDING = "<s>", "</s>", "<pad>"


def train_tokenizer(texts: Iterable[str], vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE tokenizer of at most `vocab_size` tokens; fewer than 259 raise ValueError."""
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


def load_tokenizer(model_id: str, texts: list[str], revision: str | None = None) -> PreTrainedTokenizerBase:
    """Returns a language model's tokenizer, with a padding token; raises ValueError if it cannot encode `texts`."""
    tokenizer = AutoTokenizer.from_pretrained(model_id, revision=revision)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(special_tokens(tokenizer).pad)
    check_texts(tokenizer, texts)
    return tokenizer


def build_ctc_vocab(texts: Iterable[str]) -> list[str]:
    """Returns the CTC blank ``""`` and the characters of the normalised `texts`, in code point order."""
    characters = sorted(set().union(*map(normalize_text, texts)))
    if not characters:
        raise ValueError("the texts hold no letter or digit for a CTC vocabulary")
    return ["", *characters]
