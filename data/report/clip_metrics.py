# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The metrics of clips in a report; they are read from the small columns of a corpus, without landmarks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from modeling_lipread.text_normalizer_lipread import split_units

from ..page import COLORS, styled
from ..schema import SplitSize, durations, load_split, split_size

COLUMNS = ["text", "num_frames", "frame_rate", "quality"]
BATCH = 4096  # clips read at once
AXES = ("yaw", "pitch", "roll")
PERCENTILES = (0, 5, 50, 95, 100)
MOST_BARS = 40


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
    ClipMetric("words", "Words a clip", "Space-separated words of the transcript.", "{:.0f}", LOW + HIGH),
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
    """Reads the metrics of a split, one batch of clips at a time; raises CorpusError (see `load_split`)."""
    rows = load_split(corpus, split).with_format("arrow", columns=COLUMNS)
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    for start in range(0, len(rows), BATCH):
        table = rows[start : start + BATCH].flatten()
        for name in table.column_names:
            if pa.types.is_floating(table[name].type) or pa.types.is_integer(table[name].type):
                numbers = table[name].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
                columns[name.removeprefix("quality.")].append(numbers)
        columns["words"].append(np.array([len(split_units(text)) for text in table["text"].to_pylist()], np.float64))
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
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


@styled
def histogram(splits: Sequence[SplitMetrics], metric: ClipMetric) -> Figure | None:
    """Draws the distribution of a metric in each split; None if all known values are equal.

    Values far beyond the middle 99% are counted in the outermost bars, so that outliers do not set the scale.
    """
    known = {split.name: split.values[metric.name] for split in splits}
    known = {name: values[~np.isnan(values)] for name, values in known.items()}
    everything = np.concatenate(list(known.values()))
    if not len(everything) or everything.min() == everything.max():
        return None
    lower, upper = np.percentile(everything, (0.5, 99.5))
    low, high = everything.min(), everything.max()
    if upper > lower:
        low, high = max(low, 2 * lower - upper), min(high, 2 * upper - lower)
    if metric.form == "{:.0f}":  # counts
        edges = np.arange(low - 0.5, high + 1.5, max(1, round((high - low) / MOST_BARS)))
    else:
        edges = np.linspace(low, high, min(MOST_BARS, max(8, round(2 * np.sqrt(len(everything))))) + 1)
    figure = Figure(figsize=(5.4, 1.9), layout="constrained")
    axes = figure.add_subplot()
    for (name, values), color in zip(known.items(), COLORS * len(known), strict=False):
        share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1)
        axes.stairs(share, edges, color=color, linewidth=1.4, label=name)
    if len(known) > 1:
        axes.legend(frameon=False, fontsize=8)
    axes.set_ylabel("clips")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=metric.form == "{:.0f}"))
    if "%" in metric.form:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.margins(x=0.01)
    return figure
