# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Errors that can be seen: words as visemes, what their phonemes look like on the lips.

"pat", "bat" and "mat" look alike, so a reader that takes one for another has seen what there was to see. The viseme
error rate does not count such errors. It speaks of English: words come from the CMU pronouncing dictionary (the first
pronunciation of each); those that it lacks are spelled out by rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..metrics import edit_counts
from .breakdown import Pair, aligned
from .confusion import matrix
from .figures import interval_of, rate_of

LEAST_KNOWN = 0.8  # share of the words said that the dictionary holds; below it the language is hardly English
LISTED = 50


def viseme_errors(clips: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    """How well the movements were read, whatever the words.

    Args:
        clips: Each clip's words, beside those that were read.

    Returns:
        `error_rate` and its `interval`, `matrix` (as `confusion.matrix`), `alike` (the share of the words taken for
        another word that look the same), and which words are `outside_dictionary` (at most 50, with `outside_count`
        for all). Or `left_out`, the reason why there is none of this.
    """
    try:
        from .. import visemes
    except ImportError as error:
        return {"left_out": f"visemes need the pronouncing dictionary ({error.name}): pip install {error.name}"}
    said = Counter(pair.said for clip in clips for pair in clip if pair.said is not None)
    known = sum(count for word, count in said.items() if visemes.is_known(word))
    if known < LEAST_KNOWN * said.total():
        share = known / max(said.total(), 1)
        return {
            "left_out": f"the English pronouncing dictionary holds {share:.0%} of the words, wanted {LEAST_KNOWN:.0%}"
        }
    references = [_join(pair.said for pair in clip) for clip in clips]
    hypotheses = [_join(pair.read for pair in clip) for clip in clips]
    edits, lengths = edit_counts(hypotheses, references)
    pairs = aligned(references, hypotheses)
    words = [pair for clip in clips for pair in clip]
    taken = [pair for pair in words if None not in (pair.said, pair.read) and pair.said != pair.read]
    outside = Counter(word for pair in words for word in (pair.said, pair.read) if word and not visemes.is_known(word))
    order = {viseme: place for place, viseme in enumerate(visemes.VISEMES)}
    found = matrix(pairs, most=None, order=lambda viseme: (order.get(viseme, len(order)), viseme))
    return {
        "error_rate": rate_of(edits, lengths),
        "interval": interval_of(edits, lengths),
        "alike": sum(look(pair.said) == look(pair.read) for pair in taken) / len(taken) if taken else None,
        "outside_dictionary": [word for word, _ in outside.most_common(LISTED)],
        "outside_count": len(outside),
        "matrix": found,
    }


@lru_cache(maxsize=65536)
def look(word: str) -> tuple[str, ...]:
    """The visemes of a word; itself where English cannot pronounce it, which then looks like nothing else."""
    from .. import visemes

    try:
        phonemes = visemes.pronounce(word)
    except ValueError:
        return (word,)
    return tuple(viseme for phoneme in phonemes for viseme, _ in visemes.visemes_of(phoneme))


def _join(words: Sequence[str | None]) -> str:
    return " ".join(viseme for word in words if word is not None for viseme in look(word))
