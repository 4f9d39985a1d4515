# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What each token of a language model spells, small enough to be kept with a reader's weights.

Decoding with the CTC head asks how a text would go on with a token, for many tokens at every step. A reader holds no
tokenizer, and needs none for this: a token is some bytes of UTF-8, wherever in a text it stands.
"""

from __future__ import annotations

import re
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

SEPARATOR = b"\xff"  # in no text of UTF-8
_REPLACEMENT = "\ufffd"  # what a tokenizer shows for bytes that are no whole character
_BYTE_OF = {character: byte for byte, character in bytes_to_unicode().items()}


def token_spellings(tokenizer: Any) -> list[bytes]:
    """The bytes that each token adds to a text, by its id.

    Special tokens, and ids without a token, add none. A token may end within a character, as those of byte-level
    tokenizers do: the bytes of all tokens together are the text.

    Args:
        tokenizer: The language model's tokenizer.

    Raises:
        ValueError: If no token of it spells a letter.
    """
    arguments = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    ids = sorted(set(tokenizer.get_vocab().values()))
    # Behind a letter a token shows the space before it, which many tokenizers leave out at the beginning of a text.
    alone = tokenizer.batch_decode([[token] for token in ids], **arguments)
    letter = next((place for place, text in enumerate(alone) if text.strip().isalpha()), None)
    if letter is None:
        raise ValueError("no token of the tokenizer spells a letter")
    behind = len(alone[letter])
    texts = tokenizer.batch_decode([[ids[letter], token] for token in ids], **arguments)
    spellings = [b""] * (ids[-1] + 1)
    for token, text in zip(ids, texts, strict=True):
        text = text[behind:]
        whole = _REPLACEMENT not in text
        spellings[token] = text.encode() if whole else _bytes_of(tokenizer.convert_ids_to_tokens(token), text)
    return spellings


def _bytes_of(token: str, text: str) -> bytes:
    """The bytes of a token that is no whole text, in the notations of SentencePiece and of byte-level BPE."""
    if byte := re.fullmatch("<0x([0-9A-Fa-f]{2})>", token):
        return bytes.fromhex(byte[1])
    if all(character in _BYTE_OF for character in token):
        return bytes(_BYTE_OF[character] for character in token)
    return text.encode()


def pack_spellings(spellings: list[bytes]) -> bytes:
    """All spellings in one string of bytes."""
    # Both bytes are in no text, so one may stand for the other.
    return SEPARATOR.join(spelling.replace(SEPARATOR, b"\xfe") for spelling in spellings)


def unpack_spellings(packed: bytes) -> list[bytes]:
    """The spellings in a string of bytes that `pack_spellings` made."""
    return packed.split(SEPARATOR)


__all__ = ["pack_spellings", "token_spellings", "unpack_spellings"]
