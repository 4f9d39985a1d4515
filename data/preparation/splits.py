# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Dividing clips into train and validation, the same way on every machine."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Sequence

import numpy as np

from ..sources.records import Record, RecordFile, SourceError

# What stays together on one side, by the name that --split_by has for it.
GROUPS: dict[str, Callable[[Record], str | None]] = {
    "clip": lambda record: record.id,
    "video": lambda record: record.source,
    "folder": lambda record: posixpath.dirname(record.source),
    "speaker": lambda record: record.speaker,
}


def split_records(
    records: Sequence, val_ratio: float = 0.1, seed: int = 42, by: str = "clip"
) -> tuple[Sequence, Sequence]:
    """Divide clips into train and validation.

    Each clip draws a place from a hash of the seed and of what names it (its id; for a plain manifest dictionary
    without one, its whole content), and the first `val_ratio` of them are validation. So neither the order of the
    lines nor the platform matters, and adding a clip moves few others. With another `by`, groups of clips draw
    places, and those groups are validation that fit in the order drawn: never more than asked for, unless the smallest
    group is.

    Args:
        records (`Sequence[Record]` or `Sequence[dict]`): The clips.
        val_ratio (`float`): Share of the clips for validation, in [0, 1). When above 0 and there are two clips (or
            groups) or more, either side gets at least one.
        seed (`int`): Another seed, another division.
        by (`str`): What does not stand on both sides: ``"clip"``, ``"video"`` (of which there are several clips),
            ``"folder"`` or ``"speaker"``.

    Returns:
        `tuple[Sequence, Sequence]`: Train and validation, each in the order given; `RecordFile` if that was given.

    Raises:
        ValueError: If `val_ratio` is not in [0, 1).
        SourceError: If clips name no speaker to divide by, or there are not two groups.
    """
    if not 0.0 <= val_ratio < 1.0:
        raise ValueError(f"val_ratio is {val_ratio}; it must be at least 0 and less than 1")
    count = round(len(records) * val_ratio)
    if val_ratio > 0.0 and len(records) > 1:
        count = min(max(count, 1), len(records) - 1)
    chosen = np.zeros(len(records), dtype=bool)
    if by == "clip":
        # The first 8 bytes of a draw decide; equal ones come once in billions of corpora, and then in the given order.
        draws = np.fromiter((_draw(_name(record), seed) for record in records), dtype=np.uint64, count=len(records))
        chosen[np.argsort(draws, kind="stable")[:count]] = True
    elif count:
        chosen = _choose_groups(records, by, count, seed)
    return _select(records, ~chosen), _select(records, chosen)


def _choose_groups(records: Sequence[Record], by: str, count: int, seed: int) -> np.ndarray:
    number: dict[str, int] = {}
    groups = np.empty(len(records), dtype=np.int64)
    for index, record in enumerate(records):
        name = GROUPS[by](record)
        if name is None:
            raise SourceError(f"{record.where} ({record.id}) names no {by} to divide by; name it, or divide otherwise")
        groups[index] = number.setdefault(name, len(number))
    if len(number) < 2:
        raise SourceError(
            f"all clips are of one {by}, {next(iter(number))!r}; divide otherwise, or give --val_ratio 0"
        )
    sizes = np.bincount(groups)
    drawn = sorted(number.items(), key=lambda item: _draw(item[0], seed))
    taken, total = [], 0
    for _, group in drawn:
        if total + sizes[group] <= count:
            taken.append(group)
            total += sizes[group]
    if not taken:
        taken = [min((group for _, group in drawn), key=lambda group: sizes[group])]
    return np.isin(groups, taken)


def _select(records: Sequence, chosen: np.ndarray) -> Sequence:
    if isinstance(records, RecordFile):
        return records.select(chosen)
    return [records[index] for index in np.flatnonzero(chosen)]


def _name(record: Record | dict) -> str:
    if isinstance(record, Record):
        return record.id
    return str(record.get("id") or json.dumps(record, sort_keys=True, default=str))


def _draw(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
