# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Features kept in memory after the first epoch: making them again would take longer than a small model's step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Features = tuple[np.ndarray, np.ndarray]


class FeatureCache:
    """Features of clips until they fill their share of memory; those of later clips are not kept.

    Nothing is ever put out: every epoch asks for every clip once, so what was used last is what will be wanted last.

    Args:
        max_bytes (`int`): Memory for landmarks and masks; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.bytes = max_bytes, 0
        self._features: dict[tuple, Features] = {}

    def __len__(self) -> int:
        return len(self._features)

    def fetch(
        self, rows: Sequence[Mapping[str, Any]], extract: Callable[[Iterable[Mapping[str, Any]]], Sequence[Features]]
    ) -> list[Features]:
        """Features of the rows, made where they are not there yet.

        Args:
            rows (`Sequence[Mapping]`): Stored rows, of any split.
            extract (`Callable`): Makes `(landmarks, mask)`, arrays over frames, for each of the rows that it is given.

        Returns:
            `list`: `(landmarks, mask)` of each row. They are the cache's own: do not write to them.
        """
        names = [_name(row) for row in rows]
        missing = {name: row for name, row in zip(names, rows, strict=True) if name not in self._features}
        made = dict(zip(missing, extract(missing.values()), strict=True)) if missing else {}
        features = [made[name] if name in made else self._features[name] for name in names]
        for name, (keypoints, mask) in made.items():
            size = keypoints.nbytes + mask.nbytes
            if self.bytes + size <= self.max_bytes:
                self._features[name] = (keypoints, mask)
                self.bytes += size
        return features


def _name(row: Mapping[str, Any]) -> tuple:
    """The clip's id, unique in a split, and its landmarks' place and size, which another split's would not share."""
    return row["id"], int(row["num_frames"]), float(row["scale"]), *np.asarray(row["offset"]).tolist()
