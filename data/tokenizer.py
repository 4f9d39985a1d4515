# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Tokens of transcripts: the language model's tokenizer, or a learned one, and the characters of the CTC head.

One rule serves every tokenizer. A transcript begins with BOS, else EOS, else PAD. It ends with EOS, else PAD, else
BOS. It is padded with PAD, else EOS, else BOS. One token may serve for all three, as in GPT-2: masks mark padding,
never the token. No token is ever added, since a frozen language model could not learn to write it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modeling_lipread.text_normalizer_lipread import TextNormalizer

logger = logging.getLogger(__name__)


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
    # Ids may have gaps: the highest counts, not how many there are.
    tokens = max(tokenizer.get_vocab().values()) + 1
    if tokens > vocab_size:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'the language model'} has {tokens} tokens, its language "
            f"model {vocab_size}: they do not belong together, or tokens were added. Give a --model_id whose "
            "tokenizer is its own."
        )


def check_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> int:
    """Counts the texts that a tokenizer cannot write, because it has neither their characters nor bytes.

    Case, spaces and how accents are composed do not count.

    Returns:
        How many there are, after a warning that shows the first.

    Raises:
        ValueError: If there is none that it can write.
    """
    normalize = TextNormalizer(remove_punctuation=False)
    written = tokenizer.batch_decode(tokenizer(list(texts), add_special_tokens=False)["input_ids"])
    pairs = zip(texts, written, strict=True)
    lost = [(text, back) for text, back in pairs if _letters(normalize(text)) != _letters(normalize(back))]
    if not lost:
        return 0
    said = (
        f"{len(lost)} of {len(texts)} texts hold characters that the tokenizer of "
        f"{tokenizer.name_or_path or 'the language model'} cannot write: {lost[0][0]!r} becomes {lost[0][1]!r}"
    )
    if len(lost) == len(texts):
        raise ValueError(f"{said}. Give a --model_id whose tokenizer knows their script")
    logger.warning("%s; they are learned as that", said)
    return len(lost)


def _letters(text: str) -> str:
    return "".join(text.split())


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


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


def load_tokenizer(model_id: str, texts: list[str], revision: str | None = None) -> PreTrainedTokenizerBase:
    """Returns a language model's tokenizer, with a padding token.

    Raises:
        ValueError: If it has no token to begin and end with, or cannot write the transcripts.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_id, revision=revision)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(special_tokens(tokenizer).pad)
    check_texts(tokenizer, texts)
    return tokenizer


def build_ctc_vocab(texts: Iterable[str]) -> list[str]:
    """Returns the characters of the normalised `texts`, in code point order, after the CTC blank ``""`` at index 0.

    Args:
        texts (`Iterable[str]`): Transcripts of the training split.

    Raises:
        ValueError: If no text holds a character.
    """
    normalize = TextNormalizer()
    characters = sorted(set().union(*(normalize(text) for text in texts)))
    if not characters:
        raise ValueError("the texts hold no letter or digit to build a CTC vocabulary from")
    return ["", *characters]
