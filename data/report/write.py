# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page about a prepared corpus, by the template `data/page/report.html`."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from lipread.landmark_rows import decode_row
from lipread.overlay import draw_landmarks
from modeling_lipread.video_lipread import require

from ..files import read_json
from ..page import plural, write_page
from ..preparation.write import REPORT
from ..schema import TRAINING_COLUMNS, duration, load_split, split_names
from .clip_metrics import METRICS, extreme_clips, histogram, read_split

EXTREMES = 6  # clips shown at an end of a distribution
SAMPLE = 12  # clips shown of each split
LISTED = 100  # clips of a reason that are listed
MOST_REASONS = 60
SIZE = 320  # pixels of a picture, enough for dense screens too
AROUND = 1.5  # times the face
COLOR = (20, 120, 90)  # of landmarks
LONGEST_TEXT = 300  # characters
_LEADING_PATH = re.compile(r"^[^:]*[^\s:]\.\w{1,8}: ")
_VARYING = re.compile(
    r"""'(?:[^'\\]|\\.)*'          # a value in quotes
      | \S*[/\\]\S*[^\s:;,.)]      # a path
      | \b[\w-]+\.(?!\d)\w{2,5}\b  # the name of a file
      | -?\d[\d,]*(?:\.\d+)?       # a number
    """,
    re.VERBOSE,
)


def write_report(corpus: Path, output: Path | None = None) -> Path:
    """Writes the page atomically and returns its path; raises CorpusError for a folder that is no finished corpus."""
    splits = [read_split(corpus, split) for split in split_names(corpus)]
    values = {split.name: split.values for split in splits}
    columns = [*TRAINING_COLUMNS, "quality"]
    rows = {name: load_split(corpus, name).with_format("numpy", columns=columns) for name in values}
    metrics, samples = [], {}
    for metric in METRICS:
        galleries = []
        for label, highest in metric.extremes:
            clips = []
            for split, index in extreme_clips(splits, metric.name, highest, EXTREMES):
                clip = _thumbnail(rows[split], split, index)
                value = metric.write(values[split][metric.name][index])
                clips.append(clip | {"caption": [value, clip["caption"][0]]})
            galleries.append((label, clips))
        unknown = sum(int(np.isnan(found[metric.name]).sum()) for found in values.values())
        metrics.append((metric, histogram(splits, metric), galleries, unknown))
    for split, clips in rows.items():
        indices = np.linspace(0, len(clips) - 1, min(SAMPLE, len(clips))).astype(int).tolist()
        samples[split] = [_thumbnail(clips, split, index) for index in indices]
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
        samples=samples,
        report=report,
        skips=skip_reasons(report.get("skipped", [])),
        warnings=warning_reasons(report.get("warnings", [])),
    )


def _thumbnail(rows: Dataset, split: str, index: int) -> dict[str, Any]:
    """Returns the `picture` of a clip (a data URL), its `caption` (id, speaker and text) and its `tooltip`."""
    row = rows[index]
    picture = draw(decode_row(row).keypoints[row["quality"]["thumbnail_frame"]])
    text = row["text"] if len(row["text"]) <= LONGEST_TEXT else f"{row['text'][:LONGEST_TEXT]}…"
    caption = [line for line in (row["id"], row["speaker"], text) if line]
    return {"picture": picture, "caption": caption, "tooltip": f"{split}: {row['id']}: {text}"}


def draw(keypoints: np.ndarray) -> str:
    """Draws the landmarks of a frame, `(478, 3)`, to a JPEG data URL of `SIZE` pixels."""
    cv2 = require("cv2", "opencv-contrib-python", "Drawing landmarks")
    low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
    scale = SIZE / max(float((high - low).max()) * AROUND, 1e-6)
    middle = np.array([*(low + high) / 2, 0])
    moved = (keypoints - middle) * scale + (SIZE / 2, -SIZE / 2, 0)
    picture = draw_landmarks(np.full((SIZE, SIZE, 3), 255, np.uint8), moved, color=COLOR)
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


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
