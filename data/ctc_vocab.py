# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The characters that a CTC head learns to spell."""

from __future__ import annotations

from collections.abc import Iterable

from modeling_lipread.text_normalizer_lipread import TextNormalizer


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
