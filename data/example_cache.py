# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Examples kept in memory after the first epoch: making them again would take a good part of a small model's step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Example = dict[str, np.ndarray | list[int]]


class ExampleCache:
    """What a collator made of each clip, until that fills its share of memory; that of later clips is not kept.

    Nothing is ever put out: every epoch asks for every clip once, so what was used last is what will be wanted last.

    Args:
        max_bytes (`int`): Memory for arrays; lists, which are short, do not count. 0 keeps nothing.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.bytes = max_bytes, 0
        self._examples: dict[tuple, Example] = {}

    def __reduce__(self):
        return ExampleCache, (self.max_bytes,)  # a worker process fills its own

    def __len__(self) -> int:
        return len(self._examples)

    def fetch(
        self, rows: Sequence[Mapping[str, Any]], make: Callable[[list[Mapping[str, Any]]], Sequence[Example]]
    ) -> list[Example]:
        """The rows' examples, made where they are not there yet.

        Args:
            rows (`Sequence[Mapping]`): Stored rows, of any split.
            make (`Callable`): Makes an example of each of the rows that it is given.

        Returns:
            `list[dict]`: An example of each row. They are the cache's own: do not write to them.
        """
        names = [_name(row) for row in rows]
        missing = {name: row for name, row in zip(names, rows, strict=True) if name not in self._examples}
        made = dict(zip(missing, make(list(missing.values())), strict=True)) if missing else {}
        examples = [made[name] if name in made else self._examples[name] for name in names]
        for name, example in made.items():
            size = sum(value.nbytes for value in example.values() if isinstance(value, np.ndarray))
            if self.bytes + size <= self.max_bytes:
                self._examples[name] = example
                self.bytes += size
        return examples


def _name(row: Mapping[str, Any]) -> tuple:
    """The clip's id, unique in a split, and its landmarks' place and size, which another split's would not share."""
    return row["id"], int(row["num_frames"]), float(row["scale"]), *map(float, row["offset"])
