# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a report shows of each clip, read from a corpus' small columns; landmarks are not touched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..schema import load_split

COLUMNS = ["text", "speaker", "num_frames", "frame_rate", "quality"]
BATCH = 4096  # clips read at once
AXES = ("yaw", "pitch", "roll")
STATISTICS = {"min": 0, "p5": 5, "median": 50, "p95": 95, "max": 100}


@dataclass(frozen=True)
class Figure:
    """A number that every clip has.

    Attributes:
        name (`str`): Its name in `SplitFigures.values`; one of `ClipQuality`, or ``seconds`` or ``words``.
        title (`str`): What the page calls it.
        meaning (`str`): What it measures, in a sentence.
        form (`str`): How a value is written.
        extremes (`tuple[tuple[str, bool], ...]`): Ends of the distribution of which clips are named, and whether the
            largest values are meant.
        limit (`str`, *optional*): The setting of `data.prepare` that leaves clips out by it.
        whole (`bool`): Whether it counts something.
    """

    name: str
    title: str
    meaning: str
    form: str
    extremes: tuple[tuple[str, bool], ...]
    limit: str | None = None
    whole: bool = False

    def write(self, value: float | None) -> str:
        """A value in words; a dash where it is not known."""
        return "–" if value is None or np.isnan(value) else self.form.format(value)


FIGURES = (
    Figure(
        "coverage",
        "Coverage",
        "Share of the frames in which a face was found.",
        "{:.1%}",
        (("Least covered", False),),
        limit="--min_coverage",
    ),
    Figure(
        "longest_gap",
        "Longest gap",
        "Longest stretch without a face.",
        "{:.2f} s",
        (("Longest", True),),
        limit="--max_gap",
    ),
    Figure(
        "face_width",
        "Face width",
        "Median width of the face in pixels of the video.",
        "{:.0f} px",
        (("Smallest", False),),
        limit="--min_face_size",
    ),
    Figure(
        "jitter",
        "Jitter",
        "What shakes from frame to frame, in distances between the outer corners of the eyes.",
        "{:.5f}",
        (("Most", True),),
        limit="--max_jitter",
    ),
    Figure(
        "rotation",
        "Farthest turn of the head",
        "Farthest that the head turns from frontal about any axis, single frames aside.",
        "{:.0f}°",
        (("Farthest", True),),
        limit="--max_rotation",
    ),
    Figure(
        "lip_motion",
        "Lip motion",
        "Speed of the lips in eye distances a second. Near 0 nobody speaks, or someone else does.",
        "{:.3f}",
        (("Least", False),),
        limit="--min_lip_motion",
    ),
    Figure(
        "identity_switches",
        "Identity switches",
        "How often the landmarks jump to another face.",
        "{:.0f}",
        (("Most", True),),
        limit="--max_identity_switches",
        whole=True,
    ),
    Figure(
        "seconds",
        "Clip length",
        "How long a clip lasts.",
        "{:.2f} s",
        (("Shortest", False), ("Longest", True)),
        limit="--max_seconds",
    ),
    Figure(
        "words",
        "Words a clip",
        "Words of the transcript, as spaces divide them.",
        "{:.0f}",
        (("Fewest", False), ("Most", True)),
        whole=True,
    ),
)


@dataclass
class SplitFigures:
    """A split in figures.

    Attributes:
        name (`str`): The split.
        values (`dict[str, np.ndarray]`): For each of `FIGURES`, and each end of the head's range about an axis, the
            clips' values in float64, NaN where it is not known.
        frames, frames_with_face (`int`): In all clips.
        speakers (`set[str]`): Who is named as speaking.
    """

    name: str
    values: dict[str, np.ndarray]
    frames: int
    frames_with_face: int
    speakers: set[str]

    @property
    def clips(self) -> int:
        return len(self.values["seconds"])

    @property
    def seconds(self) -> float:
        return float(self.values["seconds"].sum())

    @property
    def words(self) -> int:
        return int(self.values["words"].sum())

    @property
    def coverage(self) -> float:
        return self.frames_with_face / self.frames

    def statistics(self, name: str) -> dict[str, float | int | None]:
        """Percentiles of a figure as `report.json` has them: `STATISTICS`, and `unknown`, the clips without it."""
        values = self.values[name]
        known = values[~np.isnan(values)]
        found = np.percentile(known, list(STATISTICS.values())).tolist() if len(known) else [None] * len(STATISTICS)
        return dict(zip(STATISTICS, found, strict=True)) | {"unknown": len(values) - len(known)}


def read_split(corpus: Path, split: str) -> SplitFigures:
    """Reads a split's figures, a batch of clips at a time.

    Raises:
        CorpusError: If the folder is no corpus of this version, or has no such split.
    """
    rows = load_split(corpus, split).with_format("arrow", columns=COLUMNS)
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    speakers: set[str] = set()
    for start in range(0, len(rows), BATCH):
        table = rows[start : start + BATCH].flatten()
        for name in table.column_names:
            if pa.types.is_floating(table[name].type) or pa.types.is_integer(table[name].type):
                columns[name.removeprefix("quality.")].append(_numbers(table[name]))
        columns["words"].append(np.array([len(text.split()) for text in table["text"].to_pylist()], np.float64))
        speakers.update(table["speaker"].unique().to_pylist())
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
    frames, rate = values.pop("num_frames"), values.pop("frame_rate")
    # A clip of a single frame has no rate, and lasts no time.
    values["seconds"] = np.divide(frames, rate, out=np.zeros_like(frames), where=rate > 0)
    values["rotation"] = np.abs([values[f"{axis}_{end}"] for axis in AXES for end in ("low", "high")]).max(axis=0)
    return SplitFigures(
        name=split,
        values=values,
        frames=int(frames.sum()),
        frames_with_face=int(np.rint(values["coverage"] * frames).sum()),
        speakers=speakers - {None},
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)


def extreme_clips(splits: Sequence[SplitFigures], figure: Figure, highest: bool, most: int) -> list[tuple[str, int]]:
    """The clips at one end of a figure's distribution, of all splits together.

    Args:
        splits (`Sequence[SplitFigures]`): The corpus.
        figure (`Figure`): What they are ranked by.
        highest (`bool`): Whether the largest values come first.
        most (`int`): How many.

    Returns:
        `list[tuple[str, int]]`: Split and index of each, the most extreme first; among equals the order of the corpus.
        Only those on that side of the median: where most clips have the same value, it is no extreme.
    """
    values = np.concatenate([split.values[figure.name] for split in splits])
    if highest:
        values = -values
    known = values[~np.isnan(values)]
    candidates = np.flatnonzero(values < np.median(known)) if len(known) else np.empty(0, np.int64)
    order = candidates[np.argsort(values[candidates], kind="stable")][:most]
    bounds = np.cumsum([0, *(split.clips for split in splits)])
    owners = np.searchsorted(bounds, order, side="right") - 1
    return [
        (splits[owner].name, int(place - bounds[owner])) for place, owner in zip(order, owners.tolist(), strict=True)
    ]
