# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page about a prepared corpus, by the template `data/page/report.html`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_json
from ..page import plural, write_page
from ..preparation.write import REPORT
from ..schema import duration, split_names
from .clip_metrics import AXES, METRICS, extreme_clips, histogram, read_split
from .thumbnails import Thumbnails

EXTREMES = 6  # clips shown at an end of a distribution
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


def write_report(
    corpus: Path,
    output: Path | None = None,
    videos: Sequence[Path] = (),
    *,
    sample: int = 12,
    allow_outside: bool = False,
) -> Path:
    """Writes the page atomically and returns its path; raises CorpusError for a folder that is no finished corpus."""
    for path in videos:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such folder of videos; give the one that the sources are relative to")
    splits = [read_split(corpus, split) for split in split_names(corpus)]
    values, thumbnails = {split.name: split.values for split in splits}, Thumbnails(corpus, videos, allow_outside)
    metrics, samples = [], {}
    for metric in METRICS:
        galleries = []
        for label, highest in metric.extremes:
            clips = []
            for split, index in extreme_clips(splits, metric.name, highest, EXTREMES):
                clip = thumbnails.clip(split, index)
                value = metric.write(values[split][metric.name][index])
                clips.append(clip | {"caption": [value, clip["caption"][0]]})
            galleries.append((label, clips))
        unknown = sum(int(np.isnan(found[metric.name]).sum()) for found in values.values())
        metrics.append((metric, histogram(splits, metric), galleries, unknown))
    for split in splits if sample else ():
        indices = np.linspace(0, split.size.clips - 1, min(sample, split.size.clips)).astype(int).tolist()
        samples[split.name] = [thumbnails.clip(split.name, index) for index in indices]
    poses = []
    for split in splits:
        for axis in AXES:
            low, high = split.percentiles(f"{axis}_low"), split.percentiles(f"{axis}_high")
            ranges = (low[2], high[2]), (low[0], high[-1])  # median and farthest
            poses.append((split.name, axis, *("{:+.1f}° to {:+.1f}°".format(*ends) for ends in ranges)))
    missing = "; ".join(f"{plural(clips, 'clip')}: {why}" for why, clips in thumbnails.without_video.most_common())
    report = read_json(corpus / REPORT)
    sources = ", ".join(report.get("manifests", []))
    clips = plural(sum(split.size.clips for split in splits), "clip")
    return write_page(
        output or corpus / "report.html",
        "report.html",
        title=corpus.resolve().name,
        subtitle=f"{clips}, made from {sources}" if sources else clips,
        footer="Written by python -m data.report.",
        splits=splits,
        duration=duration,
        metrics=metrics,
        poses=poses,
        samples=samples,
        missing=f"Without a frame of their video: {missing}." if missing else "",
        report=report,
        skips=skip_reasons(report.get("skipped", [])),
        warnings=warning_reasons(report.get("warnings", [])),
    )


def skip_reasons(skipped: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Groups the skips of a `report.json`; returns each reason with its count, and its clips, most frequent first."""
    places = (f"{skip['where']} ({skip['id']})" if skip["id"] else skip["where"] for skip in skipped)
    return _grouped(zip(places, (skip["reason"] for skip in skipped), strict=True))


def warning_reasons(warnings: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Groups the warnings of a `report.json` in the same way. Most begin with a clip: `train.jsonl line 3 (id): `."""
    parts = (warning.partition("): ") for warning in warnings)
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
