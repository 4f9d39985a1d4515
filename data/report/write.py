# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page about a prepared corpus: cards of its splits, metrics, head poses, skipped clips and warnings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ..files import read_json
from ..page import Card, Section, Thumbnail, plural, write_page
from ..preparation.export import split_names
from ..preparation.write import REPORT
from ..schema import duration
from . import PAGE, SAMPLE
from .clip_metrics import AXES, METRICS, PERCENTILES, ClipMetric, SplitMetrics, extreme_clips, histogram, read_split
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
    corpus: str | Path,
    output: str | Path | None = None,
    videos: Sequence[str | Path] = (),
    *,
    sample: int = SAMPLE,
    allow_outside: bool = False,
) -> Path:
    """Writes the page of a corpus atomically; returns its path. The arguments are those of the command line.

    Raises CorpusError for a folder that is no finished corpus of this version.
    """
    corpus, videos = Path(corpus), [Path(path) for path in videos]
    for path in videos:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such folder of videos; give the one that the sources are relative to")
    splits = [read_split(corpus, split) for split in split_names(corpus)]
    thumbnails = Thumbnails(corpus, videos, allow_outside)
    report = read_json(corpus / REPORT)
    metric_cards = [_metric_card(splits, metric, thumbnails) for metric in METRICS]
    samples = []
    for split in splits if sample else ():
        indices = np.linspace(0, split.size.clips - 1, min(sample, split.size.clips)).astype(int).tolist()
        clips = [thumbnails.clip(split.name, index) for index in indices]
        samples.append(Card(split.name, galleries=[("", clips)], wide=True))
    missing = "; ".join(f"{plural(clips, 'clip')}: {why}" for why, clips in thumbnails.without_video.most_common())
    sources = ", ".join(report.get("manifests", []))
    distribution = (
        "Bars: the share of a split's clips. Below them the clips at the ends of the distribution, of all splits. An "
        "option of data.prepare skips clips by the metric."
    )
    sections = [
        Section("Splits", [_splits_card(splits)]),
        Section("Metrics of the clips", metric_cards, distribution),
        Section("Head pose", [_pose_card(splits)]),
        Section("Clips", samples, f"Without a frame of their video: {missing}." * bool(missing)),
        Section("Skipped clips", [_reasons_card(report, skip_reasons(report.get("skipped", [])))]),
        Section("Warnings", [_reasons_card(report, warning_reasons(report.get("warnings", [])))]),
    ]
    subtitle = plural(sum(split.size.clips for split in splits), "clip") + f", made from {sources}" * bool(sources)
    page = corpus / PAGE if output is None else Path(output)
    return write_page(page, corpus.resolve().name, subtitle, sections, "Written by python -m data.report.")


def _splits_card(splits: Sequence[SplitMetrics]) -> Card:
    rows = []
    for split in splits:
        size, words = split.size, f"{split.values['words'].sum():,.0f}"
        speakers = f"{size.speakers:,}" if size.speakers else "not named"
        frames = f"{size.frames:,}", f"{size.frames_with_face / size.frames:.2%}"
        rows.append((split.name, f"{size.clips:,}", duration(size.seconds), speakers, words, *frames))
    columns = ("split", "clips", "duration", "speakers", "words", "frames", "frames with a face")
    return Card(columns=columns, rows=rows, wide=True)


def _metric_card(splits: Sequence[SplitMetrics], metric: ClipMetric, thumbnails: Thumbnails) -> Card:
    values = {split.name: split.values[metric.name] for split in splits}
    galleries = []
    for label, highest in metric.extremes:
        clips = extreme_clips(splits, metric.name, highest, EXTREMES)
        found = [(metric.write(values[split][index]), thumbnails.clip(split, index)) for split, index in clips]
        shown = [Thumbnail(clip.picture, (value, clip.caption[0]), clip.tooltip) for value, clip in found]
        galleries += [(label, shown)] if shown else []
    unknown = sum(int(np.isnan(found).sum()) for found in values.values())
    return Card(
        metric.title,
        text=Markup("{} <code>{}</code>").format(metric.meaning, metric.option),
        plot=histogram(splits, metric),
        columns=("split", *PERCENTILES),
        rows=[(split.name, *map(metric.write, split.percentiles(metric.name))) for split in splits],
        galleries=galleries,
        note=f"Unknown for {plural(unknown, 'clip')}." if unknown else "",
    )


def _pose_card(splits: Sequence[SplitMetrics]) -> Card:
    rows = []
    for split in splits:
        for axis in AXES:
            low, high = split.percentiles(f"{axis}_low"), split.percentiles(f"{axis}_high")
            median, farthest = (low[2], high[2]), (low[0], high[-1])
            rows.append((split.name, axis, *("{:+.1f}° to {:+.1f}°".format(*ends) for ends in (median, farthest))))
    note = "A clip's range is from the 5th to the 95th percentile of the angle over its frames; 0° is frontal."
    columns = ("split", "axis", "median range", "farthest")
    return Card(columns=columns, rows=rows, text_columns=(0, 1), note=note, wide=True)


def _reasons_card(report: dict[str, Any], reasons: list[tuple[str, list[str]]]) -> Card:
    if not report:
        return Card(text="Not known: the corpus has no readable report.json.")
    return Card(text="" if reasons else "None.", details=reasons, wide=True)


def skip_reasons(skipped: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Groups the skips of a `report.json`; returns each reason with its count, and its clips, most frequent first."""
    return _grouped(
        (f"{skip.get('where')} ({skip['id']})" if skip.get("id") else str(skip.get("where")), str(skip.get("reason")))
        for skip in skipped
    )


def warning_reasons(warnings: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Groups the warnings of a `report.json` in the same way. Most begin with a clip: `train.jsonl line 3 (id): `."""
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
