# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes an HTML page about a prepared corpus: its splits, the quality of the tracking, skipped clips and warnings.

    python -m data.report corpus/ --output report.html

The page is one file and loads nothing. It shows percentiles of every metric of `data.quality` with the clips at the
ends, and a sample of clips, all drawn by their landmarks. Metrics are read from the small columns of a corpus.
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from datasets import Dataset

from lipread.landmark_rows import decode_row
from lipread.overlay import draw_landmarks
from modeling_lipread.text_normalizer_lipread import split_units

from .console import exit_on_error, make_parser
from .files import read_json
from .page import plural, write_page
from .preparation.write import REPORT
from .schema import TRAINING_COLUMNS, SplitSize, duration, durations, load_split, split_names, split_size
from .sources.records import Skip

COLUMNS = ["text", "num_frames", "frame_rate", "quality"]
AXES = ("yaw", "pitch", "roll")
PERCENTILES = (0, 5, 50, 95, 100)
EXTREMES = 6  # clips shown at an end of a distribution
SAMPLE = 12  # clips shown of each split
LISTED = 100  # clips of a reason that are listed
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


@dataclass(frozen=True)
class ClipMetric:
    """A metric of a clip."""

    name: str  # a field of `ClipQuality`, or `seconds` or `words`
    title: str
    meaning: str
    form: str  # format of a value
    extremes: tuple[tuple[str, bool], ...]  # ends whose clips are shown: label, and whether it is the upper one

    def write(self, value: float) -> str:
        """Returns a value as text; a dash for NaN."""
        return "–" if np.isnan(value) else self.form.format(value)


LOW, HIGH = (("Lowest", False),), (("Highest", True),)
_LIPS = "Speed of the lips in eye distances a second. Near 0 nobody speaks, or someone else does."
_ROTATION = "Largest rotation from frontal about any axis."
_SWITCHES = "How often the landmarks jump to another face."
METRICS = (
    ClipMetric("coverage", "Coverage", "Share of the frames with a face.", "{:.1%}", LOW),
    ClipMetric("longest_gap", "Longest gap", "Longest stretch without a face.", "{:.2f} s", HIGH),
    ClipMetric("face_width", "Face width", "Median width of the face in pixels.", "{:.0f} px", LOW),
    ClipMetric("jitter", "Jitter", "Shaking between frames, in eye distances.", "{:.5f}", HIGH),
    ClipMetric("rotation", "Head rotation", _ROTATION, "{:.0f}°", HIGH),
    ClipMetric("lip_motion", "Lip motion", _LIPS, "{:.3f}", LOW),
    ClipMetric("identity_switches", "Identity switches", _SWITCHES, "{:.0f}", HIGH),
    ClipMetric("seconds", "Clip length", "Duration of a clip.", "{:.2f} s", LOW + HIGH),
    ClipMetric("words", "Words a clip", "Words of the transcript.", "{:.0f}", LOW + HIGH),
)


@dataclass
class SplitMetrics:
    """The metrics of a split."""

    name: str
    # Values of `METRICS` and the limits of each head angle, float64 `(clips,)`; NaN where unknown.
    values: dict[str, np.ndarray]
    size: SplitSize

    def percentiles(self, name: str) -> list[float]:
        """Returns the `PERCENTILES` of a metric over the clips where it is known; NaN if there are none."""
        known = self.values[name][~np.isnan(self.values[name])]
        return np.percentile(known, PERCENTILES).tolist() if len(known) else [np.nan] * len(PERCENTILES)


def read_split(corpus: Path, split: str) -> SplitMetrics:
    """Reads the metrics of a split; raises CorpusError (see `load_split`)."""
    rows = load_split(corpus, split)
    table = rows.with_format("arrow", columns=COLUMNS)[:].flatten()
    texts = table["text"].to_pylist()
    values = {"words": np.array([len(split_units(text)) for text in texts], np.float64)}
    for name in table.drop_columns("text").column_names:
        values[name.removeprefix("quality.")] = table[name].cast(pa.float64()).to_numpy()
    values["seconds"] = durations(values.pop("num_frames"), values.pop("frame_rate"))
    values["rotation"] = np.abs([values[f"{axis}_{end}"] for axis in AXES for end in ("low", "high")]).max(axis=0)
    return SplitMetrics(split, values, split_size(rows))


def extreme_clips(splits: Sequence[SplitMetrics], name: str, highest: bool, most: int) -> list[tuple[str, int]]:
    """Returns split and index of the `most` extreme clips on one side of the median, the most extreme first."""
    values = np.concatenate([split.values[name] for split in splits]) * (-1 if highest else 1)
    known = values[~np.isnan(values)]
    candidates = np.flatnonzero(values < np.median(known)) if len(known) else np.empty(0, np.int64)
    order = candidates[np.argsort(values[candidates], kind="stable")][:most]
    bounds = np.cumsum([0, *(split.size.clips for split in splits)])
    owners = np.searchsorted(bounds, order, side="right") - 1
    return [(splits[owner].name, int(place - bounds[owner])) for place, owner in zip(order, owners, strict=True)]


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
        metrics.append((metric, galleries, unknown))
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
        skips=_grouped(Skip(**skip) for skip in report.get("skipped", [])),
        warnings=_grouped(report.get("warnings", [])),
    )


def _thumbnail(rows: Dataset, split: str, index: int) -> dict[str, Any]:
    """Returns the `picture` of a clip (a JPEG data URL), its `caption` (id, speaker and text) and its `tooltip`."""
    row = rows[index]
    keypoints = decode_row(row).keypoints[row["quality"]["thumbnail_frame"]]
    low, high = keypoints[:, :2].min(axis=0), keypoints[:, :2].max(axis=0)
    scale = SIZE / max(float((high - low).max()) * AROUND, 1e-6)
    moved = (keypoints - (*(low + high) / 2, 0)) * scale + (SIZE / 2, -SIZE / 2, 0)
    picture = draw_landmarks(np.full((SIZE, SIZE, 3), 255, np.uint8), moved, color=COLOR)
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    url = "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
    text = row["text"] if len(row["text"]) <= LONGEST_TEXT else f"{row['text'][:LONGEST_TEXT]}…"
    caption = [line for line in (row["id"], row["speaker"], text) if line]
    return {"picture": url, "caption": caption, "tooltip": f"{split}: {row['id']}: {text}"}


def _grouped(lines: Iterable[object]) -> list[tuple[str, list[str]]]:
    """Groups lines `place: reason`; returns each reason with its count, and its lines, the most frequent first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for line in map(str, lines):
        reason = line.partition(": ")[2] or line
        groups[_VARYING.sub("…", _LEADING_PATH.sub("", reason))].append(line)
    found = []
    for reason, items in sorted(groups.items(), key=lambda group: -len(group[1])):
        more = [f"and {len(items) - LISTED:,} more in report.json"] if len(items) > LISTED else []
        found.append((f"{len(items):,} × {reason}", items[:LISTED] + more))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = make_parser("python -m data.report", __doc__)
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="path of the page (default: CORPUS/report.html)")
    options = parser.parse_args(arguments)
    with exit_on_error():
        page = write_report(options.corpus, options.output)
    print(f"report: {page} (open it in a browser)")


if __name__ == "__main__":
    main()
