# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips read straight from Parquet files, here or on the Hub, without a copy of the data set on disk.

`datasets` streams too, but mixes rows by a buffer of Python objects: 35 clips a second of two cores' several hundred,
and a buffer that no checkpoint brings back. Parquet says where every row lies, so here each clip has an index, as in a
data set on disk. An index lies in a row group; those in use are held in memory, and `data.batching.StreamBatchSampler`
asks for what lies together. A run that is resumed reads nothing of what it has had.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import Dataset

from .clips import rows_of
from .schema import CLIP_COLUMNS, CorpusError

THREADS = 16  # what is waited for is the network


class ClipStream(Dataset):
    """The clips of a split in Parquet files, by their index.

    Args:
        files (`Sequence[str]`): Paths, or addresses that fsspec opens (``hf://datasets/you/name@revision/...``).
        split (`str`, *optional*): Their name.
        cached (`int`): Row groups held in memory.

    Raises:
        CorpusError: If a file cannot be read or is no whole Parquet, here or when its clips are asked for.
    """

    def __init__(self, files: Sequence[str], split: str | None = None, cached: int = 6):
        self.files, self.split, self.cached = list(files), split, cached
        with ThreadPoolExecutor(THREADS) as pool:
            footers = list(pool.map(_footer, self.files))
        self.schema = footers[0][0]
        # Where each row group lies: its file, its number there.
        self.groups = [(file, number) for file, (_, sizes) in enumerate(footers) for number in range(len(sizes))]
        self.bounds = np.cumsum([0, *itertools.chain.from_iterable(sizes for _, sizes in footers)])
        self.indices = np.arange(self.bounds[-1])
        self._forget()

    def _forget(self) -> None:
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        self._opened = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_tables", "_opened")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self.indices)

    def select(self, indices: Sequence[int]) -> ClipStream:
        """These clips alone, in this order."""
        view = object.__new__(type(self))
        view.__setstate__(self.__getstate__() | {"indices": self.indices[np.asarray(indices, dtype=np.int64)]})
        return view

    @property
    def blocks(self) -> list[int]:
        """How many clips after each other lie in one row group."""
        groups = self._group(self.indices)
        ends = np.flatnonzero(np.diff(groups, append=-1)) + 1
        return np.diff(ends, prepend=0).tolist()

    def spread(self, most: int) -> list[int]:
        """Indices of at most so many clips, in row groups from all over the data set rather than one in each."""
        blocks = self.blocks
        starts = np.concatenate([[0], np.cumsum(blocks)[:-1]])
        needed = max(1, -(-most * len(blocks) // len(self)))
        chosen = np.unique(np.linspace(0, len(blocks) - 1, min(needed, len(blocks))).astype(int))
        found = np.concatenate([np.arange(starts[block], starts[block] + blocks[block]) for block in chosen])
        return found[np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)].tolist()

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Rows in the numpy format that `data.schema.decode_row` takes."""
        places = self.indices[np.asarray(indices, dtype=np.int64)]
        rows = []
        for place, group in zip(places.tolist(), self._group(places).tolist(), strict=True):
            rows += rows_of(self._table(group).slice(place - int(self.bounds[group]), 1))
        return rows

    def column(self, name: str) -> list[Any]:
        """A small column of every clip, which is all that is read."""
        groups = self._group(self.indices)
        wanted = np.unique(groups).tolist()
        with ThreadPoolExecutor(THREADS) as pool:
            read = dict(
                zip(wanted, pool.map(lambda group: self._read(group, [name])[0].to_pylist(), wanted), strict=True)
            )
        starts = self.bounds[groups].tolist()
        return [
            read[group][place - start]
            for group, place, start in zip(groups.tolist(), self.indices.tolist(), starts, strict=True)
        ]

    def _group(self, places: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.bounds, places, side="right") - 1

    def _table(self, group: int) -> pa.Table:
        if group not in self._tables:
            self._tables[group] = self._read(group, list(CLIP_COLUMNS))
            while len(self._tables) > self.cached:
                self._tables.popitem(last=False)
        self._tables.move_to_end(group)
        return self._tables[group]

    def _read(self, group: int, columns: list[str]) -> pa.Table:
        """A row group; each thread holds the file open that it read last, and a forked process opens it anew."""
        file, number = self.groups[group]
        with _naming(self.files[file]):
            if getattr(self._opened, "which", None) != (os.getpid(), file):
                self._opened.parquet = _open(self.files[file])
                self._opened.which = (os.getpid(), file)
            return self._opened.parquet.read_row_group(number, columns=columns, use_threads=False).combine_chunks()


@contextmanager
def _naming(file: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusError(f"{file}: no whole Parquet ({error}); export or download it again") from error


def _open(file: str) -> pq.ParquetFile:
    if "://" not in file:
        return pq.ParquetFile(file)
    filesystem, path = fsspec.url_to_fs(file)
    # Arrow asks for the columns' bytes and no others; a cache beneath it would fetch the landmarks between them too.
    return pq.ParquetFile(filesystem.open(path, "rb", cache_type="none"), pre_buffer=True)


def _footer(file: str) -> tuple[pa.Schema, list[int]]:
    with _naming(file), _open(file) as parquet:
        metadata = parquet.metadata
        return parquet.schema_arrow, [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
