# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Groups skips and warnings by reason, leaving out what differs from clip to clip: names and numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

LISTED = 100  # clips of a reason that are listed
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


def skip_reasons(skipped: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Groups the skips of a `report.json`; returns each reason with its count, and its clips, most frequent first."""
    return _grouped(
        (f"{skip.get('where')} ({skip['id']})" if skip.get("id") else str(skip.get("where")), str(skip.get("reason")))
        for skip in skipped
    )


def warning_reasons(warnings: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Groups its warnings likewise; those about a clip begin with it: `train.jsonl line 3 (id): `."""
    parts = (str(warning).partition("): ") for warning in warnings)
    return _grouped((place + ")", reason) if colon else ("", place) for place, colon, reason in parts)


def _grouped(entries: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for place, text in entries:
        reason = _VARYING.sub("…", _LEADING_PATH.sub("", text))
        groups[reason].append(f"{place}: {text}" if place else text)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    shown, rest = ordered[:MOST_REASONS], ordered[MOST_REASONS:]
    if rest:
        shown.append(("other reasons", [item for _, items in rest for item in items]))
    found = []
    for reason, items in shown:
        more = [f"and {len(items) - LISTED:,} more in report.json"] if len(items) > LISTED else []
        found.append((f"{len(items):,} × {reason}", items[:LISTED] + more))
    return found
