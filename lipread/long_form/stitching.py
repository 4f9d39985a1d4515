# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Merges the words of two overlapping segments without duplicates or losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modeling_lipread.text_normalizer_lipread import normalize_text

from ..transcript import Word

SAME_WORD_SECONDS = 0.4  # largest distance between the middles of one word in the two segments
EDGE_SECONDS = 0.1  # a word that ends this close to the edge of its segment may be truncated


def stitch(before: Sequence[Word], after: Sequence[Word], cut: float, overlap: float) -> tuple[list[Word], list[Word]]:
    """Merges the words of two segments that overlap around a cut through speech.

    A segment is unreliable at its own edge. A word in both segments is taken from the segment that extends further
    beyond it. A word in one segment is kept on that segment's side of the cut; on the other side it is kept if it
    does not touch the edge and the other segment has no word at that time.

    Args:
        before, after: Words of the segments that end after the cut and start before it, in order. Words of several
            units are split.
        cut: Seconds from the start of the file.
        overlap: Seconds by which each segment extends beyond the cut.

    Returns:
        The words before the cut and the words after it.
    """
    before, after = ([unit for word in words for unit in word.split()] for words in (before, after))
    stitched: list[Word] = []
    next_before = next_after = 0
    for first, second in [*_align(before, after, max(2 * overlap, SAME_WORD_SECONDS)), (len(before), len(after))]:
        unmatched = [
            word
            for word in before[next_before:first]
            if word.middle < cut or (word.end < cut + overlap - EDGE_SECONDS and not _overlaps_any(word, after))
        ]
        unmatched += [
            word
            for word in after[next_after:second]
            if word.middle >= cut or (word.start > cut - overlap + EDGE_SECONDS and not _overlaps_any(word, before))
        ]
        stitched += sorted(unmatched, key=lambda word: word.middle)
        if first < len(before):
            middle = (before[first].middle + after[second].middle) / 2
            stitched.append(before[first] if middle < cut else after[second])
        next_before, next_after = first + 1, second + 1
    count = next((index for index, word in enumerate(stitched) if word.middle >= cut), len(stitched))
    return stitched[:count], stitched[count:]


def _overlaps_any(word: Word, others: Sequence[Word]) -> bool:
    return any(min(word.end, other.end) > max(word.start, other.start) for other in others)


def _align(before: Sequence[Word], after: Sequence[Word], untimed: float) -> list[tuple[int, int]]:
    """Returns the monotonic alignment with the highest total similarity, as pairs of indices of the same word.

    `untimed` is the largest distance in seconds between two equal words without times from the alignment.
    """
    best = np.zeros((len(before) + 1, len(after) + 1))
    for i in range(len(before) - 1, -1, -1):
        for j in range(len(after) - 1, -1, -1):
            similarity = _similarity(before[i], after[j], untimed)
            paired = best[i + 1, j + 1] + similarity if similarity else 0.0
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


def _similarity(word: Word, other: Word, untimed: float) -> float:
    """Returns 1 to 2 for equal texts at nearly the same time, 0.5 to 1 for other texts that overlap, else 0."""
    distance, most = abs(word.middle - other.middle), SAME_WORD_SECONDS if word.timed and other.timed else untimed
    if normalize_text(word.text) == normalize_text(other.text):
        return 2.0 - distance / most if distance <= most else 0.0
    shared = min(word.end, other.end) - max(word.start, other.start)
    shortest = min(word.end - word.start, other.end - other.start)
    return shared / shortest if shortest > 0 and shared > shortest / 2 else 0.0
