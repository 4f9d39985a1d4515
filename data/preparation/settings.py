# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Settings of `data.prepare` that determine how a clip is extracted and whether it is kept."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Callable
from dataclasses import dataclass

from lipread.options import number

from ..sources.records import Record

# Values of --split_by: clips with the same key stay in the same split.
GROUPS: dict[str, Callable[[Record], str | None]] = {
    "clip": lambda record: record.id,
    "video": lambda record: record.source,
    "folder": lambda record: posixpath.dirname(record.source),
    "speaker": lambda record: record.speaker,
}

not_negative = number(float, "a number, 0 or more", lambda value: value >= 0)
share = number(float, "a number from 0 to below 1", lambda value: 0 <= value < 1)
count = number(int, "a whole number, 0 or more", lambda value: value >= 0)


def parse_shard(value: str) -> tuple[int, int]:
    """Argument type: returns `(3, 16)` for ``3/16``; shards are counted from 1."""
    try:
        index, count = map(int, value.split("/"))
        if not 1 <= index <= count:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is no shard; 3/16 is the third of 16, 16/16 the last") from None
    return index, count


@dataclass(frozen=True)
class ExtractionSettings:
    """Settings that determine the content of a part, as `data.prepare --help` describes them."""

    case: str = "keep"
    face: str = "largest"
    max_seconds: float | None = 300.0
    min_coverage: float = 0.5
