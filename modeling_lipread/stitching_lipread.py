# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Words of segments that overlap, made one text without doubled or lost words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .text_normalizer_lipread import TextNormalizer

SAME_WORD_SECONDS = 0.4  # how far apart two segments may place the middle of the same word
EDGE_SECONDS = 0.1  # a word that ends so near to the edge of its segment may be part of one
normalize = TextNormalizer()


@dataclass(frozen=True)
class Word:
    """A word and when it was seen.

    Attributes:
        text: As written.
        start: Seconds from the start of the file.
        end: Seconds from the start of the file.
        score: Probability that the model gives it, 0..1; None if it does not say.
        timed: Whether its times were aligned; otherwise they are shares of its segment's.
    """

    text: str
    start: float
    end: float
    score: float | None = None
    timed: bool = True

    @property
    def middle(self) -> float:
        """Seconds from the start of the file."""
        return (self.start + self.end) / 2


def stitch(before: Sequence[Word], after: Sequence[Word], cut: float, reach: float) -> tuple[list[Word], list[Word]]:
    """Shares the words out that two overlapping segments read about a cut through speech.

    Both segments reach beyond the cut, and each reads badly at its own edge. A word that both saw is said once, by
    the segment that it lies deeper in. A word that only one saw counts on its own side of the cut, and beyond it if
    the other segment has nothing there and the word does not touch the edge.

    Args:
        before: Words of the segment that ends after the cut, in order.
        after: Words of the segment that begins before the cut, in order.
        cut: Seconds from the start of the file.
        reach: How many seconds each segment goes beyond the cut.

    Returns:
        The words before the cut, and those after it.
    """
    stitched: list[Word] = []
    last_before = last_after = 0
    for first, second in [*_matched(before, after), (len(before), len(after))]:
        alone = [
            word
            for word in before[last_before:first]
            if word.middle < cut or (word.end < cut + reach - EDGE_SECONDS and not _meets(word, after))
        ]
        alone += [
            word
            for word in after[last_after:second]
            if word.middle >= cut or (word.start > cut - reach + EDGE_SECONDS and not _meets(word, before))
        ]
        stitched += sorted(alone, key=lambda word: word.middle)
        if first < len(before):
            middle = (before[first].middle + after[second].middle) / 2
            stitched.append(before[first] if middle < cut else after[second])
        last_before, last_after = first + 1, second + 1
    count = next((index for index, word in enumerate(stitched) if word.middle >= cut), len(stitched))
    return stitched[:count], stitched[count:]


def _meets(word: Word, others: Sequence[Word]) -> bool:
    """Whether one of the other segment's words stands where this one does."""
    return any(min(word.end, other.end) > max(word.start, other.start) for other in others)


def _matched(before: Sequence[Word], after: Sequence[Word]) -> list[tuple[int, int]]:
    """Pairs of indices of words that are one and the same, rising in both: the pairing of the greatest likeness."""
    best = np.zeros((len(before) + 1, len(after) + 1))
    for i in range(len(before) - 1, -1, -1):
        for j in range(len(after) - 1, -1, -1):
            likeness = _likeness(before[i], after[j])
            paired = best[i + 1, j + 1] + likeness if likeness else 0.0
            best[i, j] = max(best[i + 1, j], best[i, j + 1], paired)
    pairs, i, j = [], 0, 0
    while i < len(before) and j < len(after) and best[i, j] > 0:
        if best[i, j] == best[i + 1, j]:
            i += 1
        elif best[i, j] == best[i, j + 1]:
            j += 1
        else:
            pairs.append((i, j))
            i, j = i + 1, j + 1
    return pairs


def _likeness(word: Word, other: Word) -> float:
    """How sure it is that two segments saw the same word: 1 to 2 if it reads alike, to 1 if it only stands there."""
    apart = abs(word.middle - other.middle)
    if normalize(word.text) == normalize(other.text):
        return max(0.0, 2.0 - apart / SAME_WORD_SECONDS) if apart <= SAME_WORD_SECONDS else 0.0
    shared = min(word.end, other.end) - max(word.start, other.start)
    shortest = min(word.end - word.start, other.end - other.start)
    return shared / shortest if shortest > 0 and shared > shortest / 2 else 0.0
