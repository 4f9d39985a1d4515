# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The plan of a corpus: which clips make which split, and in which chunks they are extracted."""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..sources.records import Record, RecordFile, SourceError, repeated
from .extraction import Chunk, chunk_key
from .settings import ExtractionSettings
from .sources import Source
from .splits import split_records
from .write import Layout

CHUNK_LINES = 16
MOST_PARTS = 10_000  # of a split; all are memory-mapped at once in the end, and Linux allows 65,530 maps
STANDARD_SPLITS = ("train", "validation", "test")


def make_plan(
    sources: Sequence[Source],
    parts: Path,
    val_ratio: float,
    seed: int,
    settings: ExtractionSettings,
    split_by: str = "clip",
) -> tuple[Layout, list[Chunk]]:
    """Returns what the corpus consists of, and in which chunks its clips are extracted.

    Raises:
        SourceError: If two sources would become the same split, or there is nothing that `split_by` could divide.
    """
    splits: dict[str, RecordFile] = {}
    for source in sources:
        for name, records in _own_splits(source).items():
            if name in splits:
                raise SourceError(f"{source.name}: a split {name!r} is given twice; rename one of the sources")
            splits[name] = records
    name = next(iter(splits))
    if len(splits) == 1 and name not in STANDARD_SPLITS:
        train, validation = split_records(splits[name], val_ratio, seed, split_by)
        splits = {"train": train} | ({"validation": validation} if len(validation) else {})
    elif split_by != "clip":
        raise SourceError(f"the sources are the splits {', '.join(splits)}; --split_by divides a single other one")
    chunks = {name: _to_chunks(records, parts, settings) for name, records in splits.items()}
    layout = Layout(
        manifests=[source.name for source in sources],
        parts={split: [chunk.part.name for chunk in some] for split, some in chunks.items()},
        skipped=[skip for source in sources for skip in source.skips],
        warnings=_shared_clips(sources),
    )
    return layout, list(itertools.chain.from_iterable(chunks.values()))


def _own_splits(source: Source) -> dict[str, RecordFile]:
    """The splits of the corpus' own, or the one named after the source."""
    named_after = re.sub(r"\W+", "_", source.split)
    positions: dict[str, array] = {}
    for position, record in enumerate(source.records):
        positions.setdefault(record.split or named_after, array("q")).append(position)
    return {name: source.records.select(np.frombuffer(some, dtype=np.int64)) for name, some in positions.items()}


def _to_chunks(records: RecordFile, parts: Path, settings: ExtractionSettings) -> list[Chunk]:
    """Chunks by line number, so that mending a line leaves the parts of all others as they are."""
    chunks, start = [], 0
    lines = max(CHUNK_LINES, records[-1].line // MOST_PARTS)
    for _, group in itertools.groupby(records, key=lambda record: (record.line - 1) // lines):
        part = parts / f"{chunk_key(group := tuple(group), settings)}.arrow"
        chunks.append(Chunk(records[start : start + len(group)], part, settings))
        start += len(group)
    return chunks


def _shared_clips(sources: Sequence[Source]) -> list[str]:
    """Warnings about clips that stand in two sources: what is trained on must not be tested on."""
    if len(sources) < 2:
        return []
    hashes, bounds = array("q"), []
    for source in sources:
        hashes.extend(hash(record.segment) for record in source.records)
        bounds.append(len(hashes))
    warnings = []
    first: dict[tuple, tuple[int, Record]] = {}  # by segment, with the source's number
    for position in repeated(hashes).tolist():
        owner = int(np.searchsorted(bounds, position, side="right"))
        record = sources[owner].records[position - bounds[owner]]  # counted from the source's end
        first_owner, other = first.setdefault(record.segment, (owner, record))
        if owner != first_owner:
            warnings.append(f"{record.where} ({record.id}): the same clip as {other.where}")
    return warnings
