# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Datasets of clips: a prepared split, a folder of Parquet files, or a dataset on the Hub.

`open_split` returns either class; both map indices to stored rows and have `select`, `column` and `spread`.

- `ClipTable` reads a split on disk. Rows are views of Arrow's memory; the formats of `datasets` would convert every
  landmark to float32, or all numbers to float16.
- `ClipStream` reads Parquet files, also remote ones, without a local copy, and keeps the row groups that
  `StreamBatchSampler` requests. `datasets` shuffles Python objects in a buffer, which reads a tenth of the clips a
  second and is not restored by a checkpoint.
"""

from __future__ import annotations

import copy
import functools
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pyarrow import ArrowInvalid

from .schema import CLIP_COLUMNS, CorpusError, check_columns, choose_split, durations, load_split

THREADS = 16  # for reading Parquet, which waits for the network


class ClipTable:
    """A split on disk, as rows in the numpy format of `data.schema.decode_row`; `indices` chooses some of its rows."""

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray | None = None):
        self.dataset, self.split = dataset.with_format("arrow", columns=list(CLIP_COLUMNS)), dataset.split
        self.indices = np.arange(len(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
        self.table = self.dataset[:]  # not a copy, but the mapped file
        self.columns = dict(zip(self.table.column_names, self.table.columns, strict=True))

    def __reduce__(self):
        return ClipTable, (self.dataset, self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place, row = int(self.indices[index]), {}
        for name, column in self.columns.items():
            value = column[place]
            is_flat = pa.types.is_list(value.type) and not pa.types.is_struct(value.type.value_type)
            row[name] = value.values.to_numpy(zero_copy_only=False) if is_flat else value.as_py()
        return row

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        places = self.indices[np.asarray(indices, dtype=np.int64)]
        if len(places) > 1 and (np.diff(places) == 1).all():
            return rows_of(self.table.slice(int(places[0]), len(places)))
        return [self[index] for index in indices]  # views: one table of scattered rows would be a copy

    def select(self, indices: Sequence[int]) -> ClipTable:
        """Returns a dataset of these clips, in this order."""
        return ClipTable(self.dataset, self.indices[np.asarray(indices, dtype=np.int64)])

    def column(self, name: str) -> list[Any]:
        """Returns a column of all clips."""
        return self.dataset.with_format("arrow", columns=[name])[:][name].take(self.indices).to_pylist()

    def spread(self, count: int) -> list[int]:
        """Returns the indices of at most `count` clips, evenly spread over the split."""
        return np.linspace(0, len(self) - 1, min(len(self), count)).astype(int).tolist()


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Returns the rows of a table, whose lists are views of its memory (float16 for landmarks)."""
    columns = []
    for column in table.columns:
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if pa.types.is_list(array.type):
            values = array.flatten()
            values = values.to_pylist() if pa.types.is_struct(values.type) else values.to_numpy(zero_copy_only=False)
            offsets = array.offsets.to_numpy()
            bounds = (offsets - offsets[0]).tolist()
            columns.append([values[a:b] for a, b in zip(bounds, bounds[1:], strict=False)])
        else:
            columns.append(array.to_pylist())
    names = table.column_names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


class ClipStream:
    """A split in Parquet files, as rows in the numpy format of `data.schema.decode_row`.

    `files` are paths, or URLs that fsspec opens (``hf://datasets/you/name@revision/...``). `cached` row groups are
    in memory. Raises CorpusError if a file is damaged, here or when its clips are read.
    """

    def __init__(self, files: Sequence[str], split: str | None = None, cached: int = 6):
        self.files, self.split, self.cached = list(files), split, cached
        self.footers = list(_threads(os.getpid()).map(_footer, self.files))
        self.schema = self.footers[0].schema.to_arrow_schema()
        # File and number in it of each row group; index of the first clip of each, and their end.
        self.groups = [
            (file, number) for file, found in enumerate(self.footers) for number in range(found.num_row_groups)
        ]
        sizes = (self.footers[file].row_group(number).num_rows for file, number in self.groups)
        self.bounds = np.cumsum([0, *sizes])
        self.indices = np.arange(self.bounds[-1])
        self._groups: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_groups": OrderedDict()}

    def __len__(self) -> int:
        return len(self.indices)

    def select(self, indices: Sequence[int]) -> ClipStream:
        """Returns a dataset of these clips, in this order."""
        view = copy.copy(self)
        view.indices = self.indices[np.asarray(indices, dtype=np.int64)]
        return view

    @property
    def blocks(self) -> list[int]:
        """Number of clips in each run of clips of one row group."""
        ends = np.flatnonzero(np.diff(self._group(self.indices), append=-1)) + 1
        return np.diff(ends, prepend=0).tolist()

    def spread(self, count: int) -> list[int]:
        """Returns the indices of at most `count` clips, from as few row groups as needed, evenly spread."""
        groups = np.split(np.arange(len(self)), np.cumsum(self.blocks)[:-1])
        needed = max(1, -(-count * len(groups) // len(self)))
        chosen = np.unique(np.linspace(0, len(groups) - 1, min(needed, len(groups))).astype(int))
        found = np.concatenate([groups[group] for group in chosen])
        return found[np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)].tolist()

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        places = self.indices[np.asarray(indices, dtype=np.int64)]
        groups = self._group(places)
        missing = [group for group in dict.fromkeys(groups.tolist()) if group not in self._groups]
        read = functools.partial(self._read, columns=list(CLIP_COLUMNS))
        for group, table in zip(missing, _threads(os.getpid()).map(read, missing), strict=True):
            self._groups[group] = rows_of(table)
        rows = []
        for group, place in zip(groups.tolist(), (places - self.bounds[groups]).tolist(), strict=True):
            self._groups.move_to_end(group)
            rows.append(self._groups[group][place])
        while len(self._groups) > self.cached:
            self._groups.popitem(last=False)
        return rows

    def column(self, name: str) -> list[Any]:
        """Returns a column of all clips, without reading the others."""
        groups = self._group(self.indices)
        needed = np.unique(groups).tolist()
        columns = _threads(os.getpid()).map(lambda group: self._read(group, [name])[0].to_pylist(), needed)
        values = dict(zip(needed, columns, strict=True))
        places = (self.indices - self.bounds[groups]).tolist()
        return [values[group][place] for group, place in zip(groups.tolist(), places, strict=True)]

    def _group(self, places: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.bounds, places, side="right") - 1

    def _read(self, group: int, columns: list[str]) -> pa.Table:
        file, number = self.groups[group]
        with _errors_naming(self.files[file]), _open(self.files[file], self.footers[file]) as parquet:
            return parquet.read_row_group(number, columns=columns, use_threads=False).combine_chunks()


@functools.cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Returns the threads that read Parquet for a process; a forked one has its own."""
    return ThreadPoolExecutor(THREADS)


@contextmanager
def _errors_naming(file: str) -> Iterator[None]:
    """Context that turns errors of reading into `CorpusError` with the file's name."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusError(f"{file}: damaged Parquet file ({error}); export or download it again") from error


def _open(file: str, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    if "://" not in file:
        return pq.ParquetFile(file, metadata=footer)
    filesystem, path = fsspec.url_to_fs(file)
    # Arrow requests the columns' bytes alone; fsspec's cache would also fetch the landmarks between them.
    return pq.ParquetFile(filesystem.open(path, "rb", cache_type="none"), metadata=footer, pre_buffer=True)


def _footer(file: str) -> pq.FileMetaData:
    with _errors_naming(file), _open(file) as parquet:
        return parquet.metadata


Clips = ClipTable | ClipStream


def is_parquet(source: str | Path) -> bool:
    """Returns whether a source is a folder of Parquet files or the id of a dataset on the Hub."""
    path = Path(source)
    if path.exists():
        return path.is_dir() and (any(path.glob("*.parquet")) or any(path.glob("data/*.parquet")))
    if path.suffix in (".jsonl", ".json"):
        return False
    try:
        validate_repo_id(str(source))
    except HFValidationError:
        return False
    return str(source).count("/") == 1


def has_split(source: str | Path, split: str) -> bool:
    """Returns whether a source has a split."""
    return split in _files(source) if is_parquet(source) else (Path(source) / split).is_dir()


def open_split(source: str | Path, split: str | None = None, streaming: bool = False, cached: int = 6) -> Clips:
    """Returns a split, by default the only one, as a dataset with `CLIP_COLUMNS`, for `LipReadCollator`.

    `source` is a folder that ``data.prepare`` or ``data.export --parquet`` wrote, or the id of a dataset on the Hub.
    `streaming` reads Parquet files without a local copy and holds `cached` row groups in memory. Raises CorpusError if
    there is no such split, or its columns are not those of a prepared corpus.
    """
    if not is_parquet(source):
        clips = load_split(source, split)
        if streaming:
            raise CorpusError(
                f"{source}: a prepared corpus is read in place; leave --streaming out, or stream what `python -m "
                "data.export --parquet` wrote"
            )
        return ClipTable(clips)
    files = _files(source)
    split = choose_split(source, split, list(files))
    try:
        if streaming:
            clips = ClipStream(files[split], split, cached)
            found = Features.from_arrow_schema(clips.schema)
        else:
            clips = load_dataset(str(source), split=split)
            found = clips.features
    except (ArrowInvalid, DatasetGenerationError) as error:
        error = error.__cause__ or error
        raise CorpusError(
            f"{source}: split {split!r} has a damaged Parquet file ({error}); export it again"
        ) from error
    check_columns(source, found, "export it again with `python -m data.export --parquet` of this version")
    return clips if streaming else ClipTable(clips)


def seconds_of(clips: Clips) -> np.ndarray:
    """Returns the length of each clip in seconds, `(clips,)`; 0 for one of a single frame, which has no frame rate."""
    return durations(clips.column("num_frames"), clips.column("frame_rate"))


def has_word_times(clips: Clips) -> bool:
    """Returns whether any of at most 64 clips, evenly spread over the split, has word times."""
    return any(len(row["words"]) for row in clips.__getitems__(clips.spread(64)))


def _files(source: str | Path) -> dict[str, list[str]]:
    """Returns the paths or URLs of the Parquet files of each split."""
    try:
        found = load_dataset_builder(str(source)).config.data_files
    except OSError as error:  # also when datasets finds nothing
        place = "" if Path(source).exists() else "neither a folder here, nor a readable dataset on the Hub: "
        raise CorpusError(f"{source}: {place}{error}") from error
    return {str(split): [str(file) for file in files] for split, files in (found or {}).items()}
