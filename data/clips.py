# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Rows straight from Arrow, as training reads them.

The formats of `datasets` either make every landmark float32 on the way or all numbers of a row float16, and take
longer over a row's small columns than over its landmarks. A view of Arrow's memory does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from torch.utils.data import Dataset as TorchDataset

from .schema import CLIP_COLUMNS


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
