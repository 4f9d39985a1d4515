# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Skips and warnings by their reason: what differs from clip to clip (names, numbers) does not tell reasons apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LISTED = 100  # clips of a reason that are named
MOST_REASONS = 60
_LEADING_PATH = re.compile(r"^[^:]*[^\s:]\.\w{1,8}: ")
_VARYING = re.compile(
    r"""'(?:[^'\\]|\\.)*'          # a value in quotes
      | \S*[/\\]\S*[^\s:;,.)]      # a path
      | \b[\w-]+\.(?!\d)\w{2,5}\b  # the name of a file
      | -?\d[\d,]*(?:\.\d+)?       # a number
    """,
    re.VERBOSE,
)


@dataclass
class Reason:
    """Clips that share a reason.

    Attributes:
        words (`str`): The reason, what varies left out.
        count (`int`): How many clips.
        clips (`list[tuple[str, str]]`): Of the first ones, where they are written down with their id, and the reason
            in full.
    """

    words: str
    count: int = 0
    clips: list[tuple[str, str]] = field(default_factory=list)


def skip_reasons(skipped: Iterable[Mapping[str, Any]]) -> list[Reason]:
    """The skips of a ``report.json`` by reason, the most frequent first."""
    return _grouped((_place(skip), str(skip.get("reason"))) for skip in skipped)


def warning_reasons(warnings: Iterable[str]) -> list[Reason]:
    """Its warnings likewise; they begin with the clip, ``train.jsonl line 3 (id): ``, if they are about one."""
    parted = (str(warning).partition("): ") for warning in warnings)
    return _grouped((place + ")", reason) if colon else ("", place) for place, colon, reason in parted)


def _place(skip: Mapping[str, Any]) -> str:
    return f"{skip.get('where')} ({skip['id']})" if skip.get("id") else str(skip.get("where"))


def _grouped(entries: Iterable[tuple[str, str]]) -> list[Reason]:
    reasons: dict[str, Reason] = {}
    for place, text in entries:
        words = _VARYING.sub("…", _LEADING_PATH.sub("", text))
        reason = reasons.setdefault(words, Reason(words))
        reason.count += 1
        if len(reason.clips) < LISTED:
            reason.clips.append((place, text))
    found = sorted(reasons.values(), key=lambda reason: -reason.count)
    if len(found) <= MOST_REASONS:
        return found
    rest = Reason("other reasons")
    for reason in found[MOST_REASONS:]:
        rest.count += reason.count
        rest.clips += reason.clips[: LISTED - len(rest.clips)]
    return [*found[:MOST_REASONS], rest]
