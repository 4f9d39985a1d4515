# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Plans a corpus: its splits, and the chunks in which clips are extracted."""

from __future__ import annotations

import hashlib
import itertools
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..corpora import Source
from ..files import DiskList
from ..sources.records import Record, SourceError, repeated
from .extraction import Chunk, chunk_key
from .settings import GROUPS, ExtractionSettings
from .write import Layout

CHUNK_LINES = 16
MOST_PARTS = 10_000  # of a split; all are memory-mapped at once, and Linux allows 65,530 maps
STANDARD_SPLITS = ("train", "validation", "test")


def make_plan(
    sources: Sequence[Source], parts: Path, val_ratio: float, seed: int, settings: ExtractionSettings, by: str = "clip"
) -> tuple[Layout, list[Chunk]]:
    """Returns contents and chunks of the corpus; raises SourceError if splits collide or `by` divides nothing."""
    splits: dict[str, DiskList] = {}
    for source in sources:
        for name, records in _own_splits(source).items():
            if name in splits:
                raise SourceError(f"{source.name}: a split {name!r} is given twice; rename one of the sources")
            splits[name] = records
    name = next(iter(splits))
    if len(splits) == 1 and name not in STANDARD_SPLITS:
        train, validation = split_records(splits[name], val_ratio, seed, by)
        splits = {"train": train} | ({"validation": validation} if len(validation) else {})
    elif by != "clip":
        raise SourceError(f"the sources are the splits {', '.join(splits)}; --split_by divides a single other one")
    chunks = {name: _to_chunks(records, parts, settings) for name, records in splits.items()}
    layout = Layout(
        manifests=[source.name for source in sources],
        parts={split: [chunk.part.name for chunk in some] for split, some in chunks.items()},
        skipped=DiskList(asdict(skip) for source in sources for skip in source.skips),
        warnings=DiskList(_shared_clips(sources)),
    )
    return layout, list(itertools.chain.from_iterable(chunks.values()))


def _own_splits(source: Source) -> dict[str, DiskList]:
    """Returns the corpus' own splits, or the one named after the source."""
    named_after = re.sub(r"\W+", "_", source.split)
    positions: dict[str, array] = {}
    for position, record in enumerate(source.records):
        positions.setdefault(record.split or named_after, array("q")).append(position)
    return {name: source.records.select(np.frombuffer(some, dtype=np.int64)) for name, some in positions.items()}


def _to_chunks(records: DiskList, parts: Path, settings: ExtractionSettings) -> list[Chunk]:
    """Makes chunks by line number, so that correcting a line changes the part of its chunk only."""
    chunks, start = [], 0
    lines = max(CHUNK_LINES, records[-1].line // MOST_PARTS)
    for _, group in itertools.groupby(records, key=lambda record: (record.line - 1) // lines):
        part = parts / f"{chunk_key(group := tuple(group), settings)}.arrow"
        chunks.append(Chunk(records[start : start + len(group)], part, settings))
        start += len(group)
    return chunks


def _shared_clips(sources: Sequence[Source]) -> Iterator[str]:
    """Yields warnings about clips that are in two sources, which could mix training and test data."""
    if len(sources) < 2:
        return
    hashes, bounds = array("q"), []
    for source in sources:
        hashes.extend(hash(record.segment) for record in source.records)
        bounds.append(len(hashes))
    first: dict[tuple, tuple[int, Record]] = {}  # by segment, with the source's number
    for position in repeated(hashes).tolist():
        owner = int(np.searchsorted(bounds, position, side="right"))
        record = sources[owner].records[position - bounds[owner]]  # counted from the source's end
        first_owner, other = first.setdefault(record.segment, (owner, record))
        if owner != first_owner:
            yield f"{record.where} ({record.id}): the same clip as {other.where}"


def split_records(
    records: DiskList, val_ratio: float = 0.1, seed: int = 42, by: str = "clip"
) -> tuple[DiskList, DiskList]:
    """Splits clips into train and validation, each in the order given.

    Groups of clips (of one clip each, by default) are sorted by a hash of the seed and their name, and validation
    takes those that fit in that order. So the order of the lines and the platform do not matter, and adding a clip
    moves few others. Validation has never more clips than asked for, except when the smallest group is larger. With a
    `val_ratio` above 0 both splits get at least one clip (or group). Raises SourceError if a clip has no
    speaker to split by, or there are fewer than two groups.
    """
    count = round(len(records) * val_ratio)
    if val_ratio > 0.0 and len(records) > 1:
        count = min(max(count, 1), len(records) - 1)
    if not count:
        return records, records[:0]
    hashes = np.empty(len(records), dtype=np.uint64)
    for index, record in enumerate(records):
        name = GROUPS[by](record)
        if name is None:
            raise SourceError(f"{record.where} ({record.id}) names no {by} to divide by; name it, or divide otherwise")
        hashes[index] = _hash(name, seed)
    _, groups, sizes = np.unique(hashes, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise SourceError(f"all clips are of one {by}, {name!r}; divide otherwise, or give --val_ratio 0")
    taken, total = [], 0
    for group, size in enumerate(sizes.tolist()):
        if total + size <= count:
            taken.append(group)
            total += size
    chosen = np.isin(groups, taken or [sizes.argmin()])
    return records.select(~chosen), records.select(chosen)


def _hash(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
