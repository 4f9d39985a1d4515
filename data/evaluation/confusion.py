# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from .breakdown import CLASSES, Pair, class_of

MOST_LISTED = 40
MOST_WORDS = 32  # of the matrix


def confusions(clips: Sequence[Sequence[Pair]], most: int = MOST_LISTED) -> list[dict[str, Any]]:
    """The errors that come most often.

    Args:
        clips: Pairs of each clip.
        most: How many at most.

    Returns:
        `said` (None for what was inserted), `read` (None for what was left out), `count`, and `times_said` and
        `times_read`: how often either comes in all.
    """
    pairs = [(pair.said, pair.read) for clip in clips for pair in clip]
    said, read = Counter(said for said, _ in pairs), Counter(read for _, read in pairs)
    errors = Counter(pair for pair in pairs if pair[0] != pair[1])
    return [
        {
            "said": a,
            "read": b,
            "count": count,
            "times_said": said[a] if a else None,
            "times_read": read[b] if b else None,
        }
        for (a, b), count in sorted(errors.items(), key=lambda item: (-item[1], str(item[0])))[:most]
    ]


def matrix(
    clips: Sequence[Sequence[Pair]],
    most: int | None = MOST_WORDS,
    order: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """A confusion matrix of the units that are misread, or read for others, most often.

    Args:
        clips: Pairs of each clip.
        most: How many units at most; those that are always right are left out. None for all units.
        order: Key by which they are sorted.

    Returns:
        `labels`; `counts`, for each label said the times that each label was read; and for each label said how often
        another unit than these was read (`others`) and nothing (`missed`), and how often it was read where nothing
        was said (`inserted`).
    """
    pairs = Counter((pair.said, pair.read) for clip in clips for pair in clip)
    wrong: Counter[str] = Counter()
    for (said, read), count in pairs.items():
        for unit in {said, read} - {None}:
            wrong[unit] += count if said != read else 0
    chosen = list(wrong) if most is None else sorted(+wrong, key=lambda unit: (-wrong[unit], unit))[:most]
    labels = sorted(chosen, key=order)
    known = set(labels)
    others = [
        sum(count for (a, b), count in pairs.items() if a == said and b is not None and b not in known)
        for said in labels
    ]
    return {
        "labels": labels,
        "counts": [[pairs[said, read] for read in labels] for said in labels],
        "others": others,
        "missed": [pairs[said, None] for said in labels],
        "inserted": [pairs[None, read] for read in labels],
    }


def word_order(word: str) -> tuple[int, str]:
    """Letters, digits and other words each together, so that their confusions stand in blocks."""
    return CLASSES.index(class_of(word)), word
