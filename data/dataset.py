# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips to train on or to read: a split that was prepared here, exported to Parquet, or lies on the Hub.

Rows are read straight from Arrow. The formats of `datasets` convert every landmark to float32, or all numbers of a
row to float16, and take longer over a row's small columns than over its landmarks. A view of Arrow's memory does
neither.

Parquet is read where it lies, without a copy on disk, by the index of each clip. `datasets` streams too, but mixes
rows in a buffer of Python objects: that reads a tenth of the clips a second, and no checkpoint restores the buffer.
Here a clip's row group is read and held in memory while `data.training.samplers.StreamBatchSampler` asks for its
clips. A resumed run does not read again what it has already used.
"""

from __future__ import annotations

import itertools
import os
import threading
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
from datasets import Dataset, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pyarrow import ArrowInvalid
from torch.utils.data import Dataset as TorchDataset

from .schema import CLIP_COLUMNS, CorpusError, features, load_split


class ClipTable(TorchDataset):
    """A split on disk, its clips by their index, in the numpy format that `data.schema.decode_row` takes.

    Args:
        dataset (`Dataset`): Rows of `data.schema`.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset.with_format("arrow", columns=list(CLIP_COLUMNS))
        self.split = dataset.split

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= len(self):
            raise IndexError(index)
        return rows_of(self.dataset[index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        first, last = indices[0], indices[-1]
        if last - first == len(indices) - 1 and list(indices) == list(range(first, last + 1)):
            return rows_of(self.dataset[first : last + 1])
        return [self[index] for index in indices]  # views: gathering the rows in one table would copy them

    def select(self, indices: Sequence[int]) -> ClipTable:
        """These clips alone, in this order."""
        return ClipTable(self.dataset.select(indices))

    def column(self, name: str) -> list[Any]:
        """A small column of every clip."""
        return self.dataset.with_format("arrow", columns=[name])[:][name].to_pylist()

    def spread(self, most: int) -> list[int]:
        """Indices of at most so many clips, from all over the split."""
        return np.linspace(0, len(self) - 1, min(len(self), most)).astype(int).tolist()


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table; lists are views of its memory, which is float16 for landmarks."""
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


THREADS = 16  # what is waited for is the network


class ClipStream(TorchDataset):
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


Clips = ClipTable | ClipStream


def is_parquet(source: str | Path) -> bool:
    """Whether a source is a folder of Parquet files or a data set's id on the Hub, and not a prepared corpus."""
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
    """Whether a source has that split."""
    return split in _files(source) if is_parquet(source) else (Path(source) / split).is_dir()


def open_split(source: str | Path, split: str | None = None, streaming: bool = False) -> Clips:
    """A split's clips with `CLIP_COLUMNS`, ready for `LipReadCollator`.

    Args:
        source (`str` or `Path`): A folder that ``data.prepare`` or ``data.export --parquet`` wrote, or a data set's id
            on the Hub.
        split (`str`, *optional*): Which split; may be left out when there is one only.
        streaming (`bool`): Read Parquet from where it lies, in place of a copy on disk that is made first.

    Returns:
        `ClipTable` or `ClipStream`: Clips by their index; either has `select`, `column` and `spread`.

    Raises:
        CorpusError: If there is no such split, or its columns are not those of a prepared corpus.
    """
    if not is_parquet(source):
        clips = load_split(source, split)
        if streaming:
            raise CorpusError(
                f"{source}: a prepared corpus is on disk already, and read in place; leave --streaming out, or stream "
                "what `python -m data.export --parquet` wrote"
            )
        return ClipTable(clips)
    files = _files(source)
    if split is None and len(files) == 1:
        split = next(iter(files))
    if split not in files:
        asked = "no split was named" if split is None else f"there is no split {split!r}"
        raise CorpusError(f"{source}: {asked}; the data set has {', '.join(files)}")
    try:
        if streaming:
            clips = ClipStream(files[split], split)
            found = dict(zip(clips.schema.names, clips.schema.types, strict=True))
        else:
            clips = load_dataset(str(source), split=split)
            found = {field.name: field.type for field in clips.features.arrow_schema}
    except (ArrowInvalid, DatasetGenerationError) as error:
        error = error.__cause__ or error
        raise CorpusError(
            f"{source}: a file of split {split!r} is no whole Parquet ({error}); export it again"
        ) from error
    expected = {name: feature for name, feature in features().items() if name in CLIP_COLUMNS}
    wrong = [field.name for field in type(features())(expected).arrow_schema if found.get(field.name) != field.type]
    if wrong:
        raise CorpusError(
            f"{source}: columns {', '.join(wrong)} are missing or of another type; this is no data set that "
            "`python -m data.export --parquet` of this version wrote"
        )
    return clips if streaming else ClipTable(clips)


def seconds_of(clips: Clips) -> np.ndarray:
    """Returns the length of each clip in seconds, `(clips,)`."""
    return np.asarray(clips.column("num_frames")) / np.asarray(clips.column("frame_rate"))


def has_word_times(clips: Clips) -> bool:
    """Returns whether any of at most 64 clips, evenly spread over the split, has word times."""
    return any(len(row["words"]) for row in clips.__getitems__(clips.spread(64)))


def _files(source: str | Path) -> dict[str, list[str]]:
    """The Parquet files of each split, by their paths or addresses."""
    try:
        found = load_dataset_builder(str(source)).config.data_files
    except OSError as error:  # datasets' own, of what is not found, are among them
        place = "" if Path(source).exists() else "neither a folder here, nor a data set on the Hub that can be read: "
        raise CorpusError(f"{source}: {place}{error}") from error
    return {str(split): [str(file) for file in files] for split, files in (found or {}).items()}
