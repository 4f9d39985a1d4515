# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Rows of a prepared corpus: the Arrow schema, and the encoding of a clip with its transcript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, Value, load_from_disk

from lipread.landmark_rows import LANDMARK_COLUMNS, WORDS, encode_landmarks
from modeling_lipread.landmarks_lipread import LandmarkSequence

from . import quality as clip_quality

# Columns without the source of a clip and without `words` and `quality`, whose nested Python objects are slow to read.
TRAINING_COLUMNS = tuple(
    "id text speaker num_frames keypoints present timestamps offset scale frame_rate width height".split()
)
CLIP_COLUMNS = (*TRAINING_COLUMNS, "words")  # of `data.dataset`
PREPARE_COMMAND = "python -m data.prepare MANIFEST.jsonl --output FOLDER"


class CorpusError(ValueError):
    """Raised for a folder that is not a prepared corpus or lacks a split; the message names the remedy."""


def features() -> Features:
    """Returns the Arrow features of a stored row, one clip.

    `keypoints` is flat, frames * 478 * 3, and zero in frames without a face (`present` false). `timestamps` are
    seconds from the clip's start, `frame_rate` is their average rate. `width` and `height` are the video's in pixels,
    0 for landmarks without a video. `words` are aligned words with times in seconds, empty without an alignment.
    `source` is the media path in the manifest, and `start` the clip's start in it, in seconds. `quality` holds the
    metrics of `data.quality.ClipQuality`.
    """
    return Features(
        {
            "id": Value("string"),
            "text": Value("string"),
            "speaker": Value("string"),
            "source": Value("string"),
            "start": Value("float64"),
            **LANDMARK_COLUMNS,
            "words": WORDS,
            "quality": clip_quality.features(),
        }
    )


def encode_row(
    sequence: LandmarkSequence,
    *,
    text: str,
    id: str,
    speaker: str | None = None,
    source: str | None = None,
    start: float | None = None,
    words: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Returns the stored row of a clip, with a value for each of `features()`.

    Raises ValueError if the landmarks have another shape than `(frames, 478, 3)`, are not finite, or no frame holds a
    face.
    """
    return {
        "id": id,
        "text": text,
        "speaker": speaker,
        "source": source,
        "start": float(start or 0.0),
        **encode_landmarks(sequence, id),
        "words": [dict(word) for word in words],
        "quality": asdict(clip_quality.measure(sequence)),
    }


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns rows of `encode_row` as an Arrow table."""
    return pa.Table.from_pylist(rows, schema=features().arrow_schema)


@dataclass(frozen=True)
class SplitSize:
    """Size of a split."""

    clips: int
    seconds: float
    frames: int
    frames_with_face: int
    speakers: int


def duration(seconds: float) -> str:
    """Returns ``1.5 hours``, or minutes, or seconds."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} seconds"


def split_size(rows: Dataset) -> SplitSize:
    """Counts the rows of a split without reading landmarks."""
    clips, seconds, frames, with_face, speakers = len(rows), 0.0, 0, 0, set()
    columns = rows.with_format("arrow", columns=["num_frames", "frame_rate", "present", "speaker"])
    for table in columns.iter(1000):
        lengths = table["num_frames"].to_numpy().astype(np.int64)
        frames += int(lengths.sum())
        seconds += float(durations(lengths, table["frame_rate"].to_numpy()).sum())
        with_face += sum(chunk.flatten().true_count for chunk in table["present"].chunks)
        speakers.update(table["speaker"].unique().to_pylist())
    return SplitSize(clips, seconds, frames, with_face, len(speakers - {None}))


def durations(num_frames: Sequence[int], frame_rate: Sequence[float]) -> np.ndarray:
    """Returns frames divided by frames a second, 0 where the rate is 0, as for a clip of a single frame."""
    frames, rates = np.asarray(num_frames, float), np.asarray(frame_rate, float)
    return np.divide(frames, rates, out=np.zeros_like(frames), where=rates > 0)


def choose_split(source: str | Path, split: str | None, splits: Sequence[str]) -> str:
    """Returns `split`, or the only one of `splits`; raises `CorpusError` if there is none."""
    if split is None and len(splits) == 1:
        return splits[0]
    if split not in splits:
        problem = "no split was named" if split is None else f"there is no split {split!r}"
        raise CorpusError(f"{source}: {problem}; the corpus has {', '.join(splits)}")
    return split


def split_names(corpus: Path) -> list[str]:
    """Returns the splits of a prepared corpus; raises CorpusError for a folder that is no finished one."""
    if (corpus / "dataset_dict.json").is_file():
        return json.loads((corpus / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    problem = f"not a prepared corpus; make one with: {PREPARE_COMMAND}"
    if (corpus / ".parts").is_dir():
        problem = "the corpus is not finished; run the same data.prepare command again, it continues"
    elif (corpus / "dataset_info.json").is_file():
        problem = "this is the folder of one split; give the folder above it"
    raise CorpusError(f"{corpus}: {problem}")


def check_columns(source: str | Path, found: Features, remedy: str) -> None:
    """Raises CorpusError for columns that are not those of a prepared corpus."""
    if wrong := [name for name in CLIP_COLUMNS if found.get(name) != features()[name]]:
        raise CorpusError(f"{source}: columns {', '.join(wrong)} are missing or of another type; {remedy}")


def load_split(path: str | Path, split: str | None = None) -> Dataset:
    """Returns a split, by default the only one, of a prepared corpus with `TRAINING_COLUMNS` in numpy format.

    `path` is the folder of ``data.prepare --output``, or of one split in it. The format has no dtype: `dtype=float16`
    would round `num_frames` and `timestamps` too. Raises CorpusError if the folder is not a finished corpus of this
    version, or has no such split.
    """
    path = Path(path)
    if split not in (None, path.name) or not (path / "dataset_info.json").is_file():
        path = path / choose_split(path, split, split_names(path))
    dataset = load_from_disk(str(path))
    check_columns(path, dataset.features, f"prepare it again with this version: {PREPARE_COMMAND}")
    return dataset.with_format("numpy", columns=list(TRAINING_COLUMNS))
