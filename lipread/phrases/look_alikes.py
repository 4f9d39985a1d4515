# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Phrases that look alike on the lips, by the pronunciation of English."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import combinations

ALIKE = 0.85  # similarity of the visemes of two phrases, 0 to 1, from which they are pointed out


def look_alikes(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the pairs of phrases with similar visemes; none without the pronouncing dictionary.

    Texts of another language than English are compared by their English pronunciation, a rough guide.
    """
    try:
        from ..pronunciation import pronounce, visemes_of_phoneme
    except ImportError:
        return []
    visemes = {}
    for text in texts:
        try:
            visemes[text] = [v for word in text.split() for p in pronounce(word) for v in visemes_of_phoneme(p)]
        except ValueError:  # no Latin letters
            continue
    return [
        (first, second)
        for first, second in combinations(visemes, 2)
        if SequenceMatcher(None, visemes[first], visemes[second], autojunk=False).ratio() >= ALIKE
    ]
