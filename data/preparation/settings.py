# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What decides how a clip is extracted and whether it is kept: settings of `data.prepare`, in one place."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from modeling_lipread.face_tracking_lipread import FACES

from ..quality import ClipQuality


def share(value: str) -> float:
    """Argument type: a number in [0, 1)."""
    number = float(value)
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"{value} is not in [0, 1)")
    return number


def not_negative(value: str) -> float:
    """Argument type: a finite number that is not negative."""
    number = float(value)
    if not 0.0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{value} is negative, too large or no number")
    return number


def seconds_or_none(value: str) -> float | None:
    """Argument type: a number of seconds, or `none`."""
    return None if value == "none" else not_negative(value)


def count(value: str) -> int:
    """Argument type: a whole number that is not negative."""
    if int(value) < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return int(value)


def _argument(default: Any, kind: Callable[[str], Any] | None, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"type": kind, "help": text, **more})


@dataclass(frozen=True)
class ExtractionSettings:
    """Settings that a part's content depends on; see `--help` for each. A limit of None lets every clip pass.

    A figure that is not known of a clip (`ClipQuality`) passes every limit.
    """

    face: str = _argument("largest", None, "which of several faces is followed", choices=FACES)
    max_seconds: float | None = _argument(300.0, seconds_or_none, "longest clip, in seconds, or none")
    min_coverage: float = _argument(0.5, share, "least share of frames with a face")
    max_gap: float | None = _argument(None, not_negative, "longest stretch without a face, in seconds")
    min_face_size: float | None = _argument(None, not_negative, "least width of the face, in pixels")
    max_jitter: float | None = _argument(None, not_negative, "most jitter, in eye distances, for instance 0.01")
    max_rotation: float | None = _argument(None, not_negative, "farthest turn of the head from frontal, in degrees")
    min_lip_motion: float | None = _argument(None, not_negative, "least lip motion, in eye distances a second")
    max_identity_switches: int | None = _argument(None, count, "most jumps from one face to another")

    def failure(self, quality: ClipQuality) -> str | None:
        """Why a clip of such figures is not kept, with figure, limit and remedy; None if it is.

        Args:
            quality (`ClipQuality`): The clip's figures. Coverage is not looked at: that needs no figures.
        """
        checks = (
            (quality.longest_gap, "max_gap", "no face for {:.2f} s on end, at most {:g} s"),
            (quality.face_width, "min_face_size", "a face {:.0f} pixels wide, at least {:g}"),
            (quality.jitter, "max_jitter", "jitter of {:.4f} eye distances, at most {:g}"),
            (quality.rotation, "max_rotation", "a head turned by {:.0f} degrees, at most {:g}"),
            (quality.lip_motion, "min_lip_motion", "lips moving {:.3f} eye distances a second, at least {:g}"),
            (quality.identity_switches, "max_identity_switches", "{} jumps to another face, at most {}"),
        )
        for value, name, words in checks:
            limit = getattr(self, name)
            if limit is None or value is None:
                continue
            if value < limit if name.startswith("min") else value > limit:
                verb = "lower" if name.startswith("min") else "raise"
                return f"{words.format(value, limit)} wanted; use another clip, or {verb} --{name}"
        return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an argument for each setting."""
    for item in fields(ExtractionSettings):
        text, keywords = item.metadata["help"], {"default": item.default}
        if item.metadata["type"] is not None:
            keywords |= {"type": item.metadata["type"]}
        if "choices" in item.metadata:
            keywords |= {"choices": item.metadata["choices"]}
        shown = "no limit" if item.default is None else item.default
        parser.add_argument(f"--{item.name}", help=f"{text} (default: {shown})", **keywords)
