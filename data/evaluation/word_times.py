# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How far the times of words are from those of the corpus, and which words were read right in the first place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics import normalized
from .breakdown import aligned
from .reading import Reading

NOTHING = "_"  # a word that is nothing but punctuation


def matches(said: Sequence[str], read: Sequence[str]) -> list[int | None]:
    """For each word that was read, which of those that were said it is; None for a word that is wrong."""
    if not len(said) or not len(read):
        return [None] * len(read)
    texts = [" ".join(NOTHING.join(normalized(word).split()) or NOTHING for word in words) for words in (said, read)]
    found, place = [], 0
    for pair in aligned(texts[:1], texts[1:])[0]:
        if pair.read is not None:
            found.append(place if pair.read == pair.said != NOTHING else None)
        place += pair.said is not None
    return found


def word_times(readings: Sequence[Reading]) -> dict[str, Any]:
    """How far the starts and ends of words that were read right are from the corpus's.

    Returns:
        `words`, how many were compared, and of their starts and ends together the `median_ms`, the `p90_ms` (90th
        percentile) and the `mean_ms` of how far they are off, in milliseconds; empty where no clip has both times.
    """
    errors = []
    for reading in readings:
        read = [word for word in reading.words if word["start"] is not None]
        found = matches([word["word"] for word in reading.spoken], [word["word"] for word in read])
        errors += [
            [word[end] - reading.spoken[place][end] for end in ("start", "end")]
            for word, place in zip(read, found, strict=True)
            if place is not None
        ]
    if not errors:
        return {}
    apart = 1000 * np.abs(errors)
    return {
        "words": len(errors),
        "median_ms": float(np.median(apart)),
        "p90_ms": float(np.percentile(apart, 90)),
        "mean_ms": float(apart.mean()),
    }


def word_times_line(found: dict[str, Any]) -> str:
    """What an evaluation says of word times in one line."""
    return (
        f"word times: median error {found['median_ms']:.0f} ms, 90th percentile {found['p90_ms']:.0f} ms, "
        f"at both ends of {found['words']} words read right"
    )
