# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Rows of a prepared corpus: how a clip's landmarks are stored in Arrow and come back.

Keypoints are stored raw, neither frontalised nor normalised, so that another setting of the feature extractor needs no
new extraction. Only a shift and a scale a clip make them fit float16: landmark = stored * scale + offset, in pixels.
With the scale one distance between the eyes, a landmark `d` eye distances from the middle of all the clip's landmarks
comes back within d / 2048 eye distances: 1/1000 while the face stays within 2 of them, as a talking head does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value, load_from_disk

from modeling_lipread.landmarks_lipread import LandmarkSequence

from . import quality as clip_quality

NUM_LANDMARKS = 478
# Outer corners of the two eyes in MediaPipe's mesh.
EYE_CORNERS = (33, 263)
# What a collator needs: without `words` and `quality`, whose nested Python objects would only slow reading, and what
# tells where a clip comes from.
TRAINING_COLUMNS = tuple(
    "id text speaker num_frames keypoints present timestamps offset scale frame_rate width height".split()
)
# What training reads: with the words' times, if the corpus has them.
CLIP_COLUMNS = (*TRAINING_COLUMNS, "words")
PREPARE_COMMAND = "python -m data.prepare MANIFEST.jsonl --output FOLDER"


class CorpusError(ValueError):
    """A folder that is no prepared corpus, or has no such split; the message names the remedy."""


def features() -> Features:
    """Arrow features of a stored row (a clip of `num_frames` frames).

    `keypoints` is flat, frames * 478 * 3, and zero in frames without a face (`present` false). `timestamps` are
    seconds from the clip's start, `frame_rate` is their average rate. `width` and `height` are the video's in pixels,
    0 for landmarks that came without one. `words` are the aligned words in seconds, empty when there is no alignment.
    `source` is the media path as the manifest wrote it, and `start` where in it the clip begins, in seconds. `quality`
    holds the figures of `data.quality.ClipQuality`.
    """
    return Features(
        {
            "id": Value("string"),
            "text": Value("string"),
            "speaker": Value("string"),
            "source": Value("string"),
            "start": Value("float64"),
            "num_frames": Value("int32"),
            "keypoints": List(Value("float16")),
            "present": List(Value("bool")),
            "timestamps": List(Value("float32")),
            "offset": List(Value("float32")),
            "scale": Value("float32"),
            "frame_rate": Value("float32"),
            "width": Value("int32"),
            "height": Value("int32"),
            "words": List({"word": Value("string"), "start": Value("float32"), "end": Value("float32")}),
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
    quality: clip_quality.ClipQuality | None = None,
) -> dict[str, Any]:
    """The stored row of a clip.

    Args:
        sequence (`LandmarkSequence`): Landmarks `(frames, 478, 3)`, in pixels or already normalised.
        text (`str`): Transcript.
        id (`str`): Name of the clip, unique in its split.
        speaker (`str`, *optional*): Who speaks.
        source (`str`, *optional*): Media path as the manifest wrote it.
        start (`float`, *optional*): Where the clip begins in the media, in seconds. Default: at its start.
        words (`Sequence[Mapping]`): Aligned words, ``{"word", "start", "end"}`` in seconds.
        quality (`ClipQuality`, *optional*): The landmarks' figures. Default: they are measured.

    Returns:
        `dict`: A value for each of `features()`, `keypoints` float16.

    Raises:
        ValueError: If the landmarks have another shape, are not finite, or no frame holds a face.
    """
    keypoints = np.asarray(sequence.keypoints, dtype=np.float32)
    present = np.asarray(sequence.present, dtype=bool)
    if keypoints.shape != (len(present), NUM_LANDMARKS, 3):
        raise ValueError(
            f"clip {id}: keypoints have shape {keypoints.shape}, expected ({len(present)}, {NUM_LANDMARKS}, 3)"
        )
    found = keypoints[present]
    if not len(found):
        raise ValueError(f"clip {id}: no frame holds a face")
    if not np.isfinite(found).all():
        raise ValueError(f"clip {id}: keypoints are not finite")
    axes = np.ascontiguousarray(found.reshape(-1, 3).T)  # numpy is several times as fast along rows
    low, high = axes.min(axis=1), axes.max(axis=1)
    offset = (low + high) / 2
    scale = _clip_scale(found, float((high - low).max()))
    stored = np.zeros(keypoints.shape, dtype=np.float16)
    stored[present] = ((axes - offset[:, None]) / scale).T.reshape(found.shape)
    return {
        "id": id,
        "text": text,
        "speaker": speaker,
        "source": source,
        "start": float(start or 0.0),
        "num_frames": len(keypoints),
        "keypoints": stored.reshape(-1),
        "present": present,
        "timestamps": np.asarray(sequence.timestamps, dtype=np.float32),
        "offset": offset,
        "scale": scale,
        "frame_rate": float(sequence.frame_rate),
        "width": int(sequence.width),
        "height": int(sequence.height),
        "words": [dict(word) for word in words],
        "quality": asdict(clip_quality.measure(sequence) if quality is None else quality),
    }


def _clip_scale(found: np.ndarray, extent: float) -> float:
    """Median distance between the outer corners of the eyes, but not so small that float16 could overflow."""
    left, right = EYE_CORNERS
    eye_distance = float(np.median(np.linalg.norm(found[:, left] - found[:, right], axis=-1)))
    return float(np.float32(max(eye_distance, extent / 1024))) or 1.0


def decode_row(row: Mapping[str, Any]) -> LandmarkSequence:
    """The landmarks of a stored row, back in the units they were given in.

    Args:
        row (`Mapping`): A row of a prepared corpus, in numpy or python format.

    Returns:
        `LandmarkSequence`: Keypoints `(frames, 478, 3)` float32, zeros in frames without a face.

    Raises:
        ValueError: If the row's keypoints do not hold `num_frames` frames.
    """
    import torch  # here, so that workers which only encode start without it

    num_frames = int(row["num_frames"])
    # Torch widens float16 ten times as fast as numpy. The copy keeps a row in memory-mapped storage as it is.
    keypoints = torch.tensor(np.asarray(row["keypoints"])).float().numpy()
    if keypoints.size != num_frames * NUM_LANDMARKS * 3:
        raise ValueError(
            f"clip {row.get('id')}: {keypoints.size} keypoint values are not {num_frames} frames of {NUM_LANDMARKS} "
            "landmarks; read the row in the numpy format without a dtype (load_split does)"
        )
    keypoints = keypoints.reshape(num_frames, NUM_LANDMARKS * 3)
    keypoints *= np.float32(row["scale"])
    # Numpy adds whole frames ten times as fast as it adds to three numbers at a time.
    keypoints += np.tile(np.asarray(row["offset"], dtype=np.float32), NUM_LANDMARKS)
    present = np.asarray(row["present"], dtype=bool)
    keypoints[~present] = 0.0
    return LandmarkSequence(
        keypoints=keypoints.reshape(num_frames, NUM_LANDMARKS, 3),
        present=present,
        timestamps=np.asarray(row["timestamps"], dtype=np.float64),
        width=int(row["width"]),
        height=int(row["height"]),
        frame_rate=float(row["frame_rate"]),
    )


def rows_to_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of `encode_row` as an Arrow table of `features()`.

    Built by hand: `Dataset.from_list` walks every float16 in Python, 40 ms a clip in place of less than one.
    """
    rows = list(rows)
    schema = features().arrow_schema
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if pa.types.is_list(field.type) and not pa.types.is_struct(field.type.value_type):
            bounds = np.cumsum([0, *(len(value) for value in values)], dtype=np.int32)
            dtype = field.type.value_type.to_pandas_dtype()
            flat = np.concatenate([np.asarray(value, dtype=dtype) for value in values]) if rows else np.empty(0, dtype)
            columns.append(pa.ListArray.from_arrays(pa.array(bounds), pa.array(flat, type=field.type.value_type)))
        else:
            columns.append(pa.array(values, type=field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def load_split(path: str | Path, split: str | None = None) -> Dataset:
    """A split of a prepared corpus, in the format that training reads fastest.

    The numpy format without a dtype: `dtype=float16` reads faster by itself but rounds `num_frames` and `timestamps`
    too, and the landmarks become float32 in `decode_row` anyway. The python format would take seconds a batch.

    Args:
        path (`str` or `Path`): The folder given to ``data.prepare --output``, or one split's folder inside it.
        split (`str`, *optional*): Which split; may be left out when there is one only.

    Returns:
        `Dataset`: Rows with `TRAINING_COLUMNS`, ready for `LipReadCollator`.

    Raises:
        CorpusError: If the folder is no finished corpus, is of another version, or has no such split.
    """
    path = Path(path)
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        if split is None and len(splits) == 1:
            split = splits[0]
        if split not in splits:
            asked = "no split was named" if split is None else f"there is no split {split!r}"
            raise CorpusError(f"{path}: {asked}; the corpus has {', '.join(splits)}")
        path = path / split
    elif (path / ".parts").is_dir():
        raise CorpusError(f"{path}: the corpus is not finished; run the same data.prepare command again, it continues")
    elif not (path / "dataset_info.json").is_file():
        raise CorpusError(f"{path}: not a prepared corpus; make one with: {PREPARE_COMMAND}")
    elif split is not None and split != path.name:
        raise CorpusError(f"{path}: this is the folder of one split; asking it for {split!r} needs the folder above")
    dataset = load_from_disk(str(path))
    wrong = [name for name, feature in features().items() if dataset.features.get(name) != feature]
    if wrong:
        raise CorpusError(
            f"{path}: columns {', '.join(wrong)} are missing or of another type; prepare it again with this version: "
            f"{PREPARE_COMMAND}"
        )
    return dataset.with_format("numpy", columns=list(TRAINING_COLUMNS))
