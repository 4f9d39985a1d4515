# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A list of records that stays small: a million clips take some tens of megabytes."""

from __future__ import annotations

import json
import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import overload

import numpy as np

from .records import Record, Skip, Word

# `media` is the root and `source` together.
_PACKED = tuple(field.name for field in fields(Record) if field.name != "media")
_BLOCK = 256


class _Blocks:
    """Records as JSON, 256 compressed together: a tenth of what the objects take."""

    def __init__(self, root: Path):
        self.root = root
        self.id_digests = array("Q")
        self._blocks: list[bytes] = []
        self._open: list[str] = []
        self._last_read: tuple[int, list[str]] = (-1, [])

    def __len__(self) -> int:
        return len(self.id_digests)

    def append(self, record: Record) -> None:
        values = {name: getattr(record, name) for name in _PACKED}
        values["alignment"] = None if record.alignment is None else os.fspath(record.alignment)
        self._open.append(json.dumps(list(values.values()), ensure_ascii=False))
        self.id_digests.append(int.from_bytes(blake2b(record.id.encode(), digest_size=8).digest(), "big"))
        if len(self._open) == _BLOCK:
            self._blocks.append(zlib.compress("\n".join(self._open).encode(), 1))
            self._open.clear()

    def __getitem__(self, index: int) -> Record:
        block, place = divmod(index, _BLOCK)
        if block == len(self._blocks):
            lines = self._open
        else:
            held, lines = self._last_read
            if held != block:
                lines = zlib.decompress(self._blocks[block]).decode().split("\n")
                self._last_read = block, lines
        values = dict(zip(_PACKED, json.loads(lines[place]), strict=True))
        values["words"] = tuple(Word(*word) for word in values["words"])
        values["notes"] = tuple(values["notes"])
        if values["alignment"] is not None:
            values["alignment"] = Path(values["alignment"])
        return Record(media=self.root / values["source"], **values)


class RecordList(Sequence[Record]):
    """Records that take little memory: packed, and made anew whenever they are asked for.

    A million of them take some tens of megabytes. Read in order they are unpacked once; selections and slices share
    the packed records, and what is sent to another process is the records of the selection.

    Args:
        root (`Path`): The folder that the records' `source` is relative to.
    """

    def __init__(self, root: Path):
        self._store = _Blocks(root)
        self._indices: Sequence[int] | np.ndarray | None = None

    def append(self, record: Record) -> None:
        """Add a record; a selection cannot grow."""
        if self._indices is not None:
            raise TypeError("a selection of records cannot grow")
        self._store.append(record)

    def select(self, indices: Sequence[int] | np.ndarray) -> RecordList:
        """The records at these positions, in this order."""
        selected = RecordList.__new__(RecordList)
        selected._store = self._store
        if self._indices is None:
            selected._indices = indices
        elif isinstance(indices, range) and isinstance(self._indices, range):
            selected._indices = self._indices[indices.start : indices.stop : indices.step]
        else:
            selected._indices = np.asarray(self._indices)[np.asarray(indices, dtype=np.int64)]
        return selected

    def __len__(self) -> int:
        return len(self._store) if self._indices is None else len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordList: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.select(range(len(self))[index])
        index = range(len(self))[index]
        return self._store[index if self._indices is None else int(self._indices[index])]

    def __reduce__(self):
        return tuple, (tuple(self),)

    def repeated_ids(self) -> list[tuple[int, int]]:
        """Positions of records whose id stands before, each with the position of the first of that id."""
        digests = np.frombuffer(self._store.id_digests, dtype=np.uint64)
        if self._indices is not None:
            digests = digests[np.asarray(self._indices, dtype=np.int64)]
        repeated = []
        for run in equal_runs(digests):
            first: dict[str, int] = {}
            for index in run.tolist():
                if (earlier := first.setdefault(self[index].id, index)) != index:
                    repeated.append((index, earlier))
        return sorted(repeated)


def equal_runs(values: np.ndarray) -> Iterator[np.ndarray]:
    """The positions of each value that stands more than once in an array, rising."""
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]]))[: len(values)]
    lengths = np.diff(np.concatenate([starts, [len(values)]]))
    for start, length in zip(starts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True):
        yield order[start : start + length]


def collect(root: Path, found: Iterable[Record | Skip]) -> tuple[RecordList, list[Skip]]:
    """What a reader found, as records and skips; a clip whose id stands before is a skip too.

    Args:
        root (`Path`): The folder that the records' `source` is relative to.
        found (`Iterable[Record | Skip]`): Clips in the order of the source.

    Returns:
        `tuple[RecordList, list[Skip]]`: Both in the order of the source.
    """
    records = RecordList(root)
    skips: list[tuple[int, Skip]] = []  # with the number of records that stand before it
    for item in found:
        if isinstance(item, Skip):
            skips.append((len(records), item))
        else:
            records.append(item)
    repeated = records.repeated_ids()
    if repeated:
        for index, first in repeated:
            record, where = records[index], records[first].where_inside
            skips.append(
                (index, Skip(record.where, record.id, f"the id already stands in {where}; give each clip its own id"))
            )
        skips.sort(key=lambda skip: skip[0])
        kept = np.ones(len(records), dtype=bool)
        kept[[index for index, _ in repeated]] = False
        records = records.select(np.flatnonzero(kept))
    return records, [skip for _, skip in skips]
