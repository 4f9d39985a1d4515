# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Settings of `data.prepare` that determine how a clip is extracted and whether it is kept."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from lipread.options import number
from lipread.settings import FACES

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
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is no shard; write 3/16 for the third of 16") from None
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"there is no shard {value}; they are 1/{count} to {count}/{count}")
    return index, count


def _limit(value: str) -> float | None:
    return None if value == "none" else not_negative(value)


def _argument(default: Any, kind: Callable[[str], Any], text: str, **more: Any) -> Any:
    return field(default=default, metadata={"type": kind, "help": f"{text} (default: {default})", **more})


@dataclass(frozen=True)
class ExtractionSettings:
    """Settings that determine the content of a part."""

    case: str = _argument("keep", str, "letters of transcripts and of words with times", choices=("keep", "lower"))
    face: str = _argument("largest", str, "face to follow if there are several", choices=FACES)
    max_seconds: float | None = _argument(300.0, _limit, "longest clip, in seconds, or none")
    min_coverage: float = _argument(0.5, share, "least share of frames with a face")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an argument for each setting."""
    for setting in fields(ExtractionSettings):
        parser.add_argument(f"--{setting.name}", default=setting.default, **setting.metadata)
