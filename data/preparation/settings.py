# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Settings of `data.prepare` that determine how a clip is extracted and whether it is kept."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from lipread.options import number
from lipread.settings import FACES

from ..sources.records import Record

if TYPE_CHECKING:
    from ..quality import ClipQuality

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
    shown = "no limit" if default is None else default
    return field(default=default, metadata={"type": kind, "help": f"{text} (default: {shown})", **more})


@dataclass(frozen=True)
class ExtractionSettings:
    """Settings that determine the content of a part. A limit of None, or an unknown metric, keeps a clip."""

    case: str = _argument("keep", str, "letters of transcripts and of words with times", choices=("keep", "lower"))
    face: str = _argument("largest", str, "face to follow if there are several", choices=FACES)
    max_seconds: float | None = _argument(300.0, _limit, "longest clip, in seconds, or none")
    min_coverage: float = _argument(0.5, share, "least share of frames with a face")
    max_gap: float | None = _argument(None, not_negative, "longest stretch without a face, in seconds")
    min_face_size: float | None = _argument(None, not_negative, "least width of the face, in pixels")
    max_jitter: float | None = _argument(None, not_negative, "largest jitter, in eye distances, for instance 0.01")
    max_rotation: float | None = _argument(None, not_negative, "largest rotation of the head from frontal, in degrees")
    min_lip_motion: float | None = _argument(None, not_negative, "least lip motion, in eye distances a second")
    max_identity_switches: int | None = _argument(None, count, "most jumps from one face to another")

    def failure(self, quality: ClipQuality) -> str | None:
        """Returns why a clip of this quality is not kept, or None; coverage is checked elsewhere."""
        checks = (
            (quality.longest_gap, "max_gap", "no face for {:.2f} s on end, at most {:g} s"),
            (quality.face_width, "min_face_size", "a face {:.0f} pixels wide, at least {:g}"),
            (quality.jitter, "max_jitter", "jitter of {:.4f} eye distances, at most {:g}"),
            (quality.rotation, "max_rotation", "a head turned by {:.0f} degrees, at most {:g}"),
            (quality.lip_motion, "min_lip_motion", "lips moving {:.3f} eye distances a second, at least {:g}"),
            (quality.identity_switches, "max_identity_switches", "{} jumps to another face, at most {}"),
        )
        for value, name, words in checks:
            limit, is_least = getattr(self, name), name.startswith("min")
            if None not in (limit, value) and (value < limit if is_least else value > limit):
                verb = "lower" if is_least else "raise"
                return f"{words.format(value, limit)} wanted; use another clip, or {verb} --{name}"
        return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an argument for each setting."""
    for setting in fields(ExtractionSettings):
        parser.add_argument(f"--{setting.name}", default=setting.default, **setting.metadata)
