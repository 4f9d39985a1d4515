# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Landmarks of a clip as columns of a data set, in corpora and in phrase books.

Landmarks are stored raw, neither frontalised nor normalised, so that other settings of the feature extractor need no
new extraction. An offset and a scale per clip make them fit float16: landmark = stored * scale + offset, in pixels.
The scale is one eye distance; a landmark `d` eye distances from the middle of the clip's landmarks is stored within
d / 2048 eye distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import List, Value

from modeling_lipread.geometry_lipread import NUM_LANDMARKS, OUTER_EYE_CORNERS
from modeling_lipread.landmarks_lipread import LandmarkSequence

LANDMARK_COLUMNS = {
    "num_frames": Value("int32"),
    "keypoints": List(Value("float16")),
    "present": List(Value("bool")),
    "timestamps": List(Value("float32")),
    "offset": List(Value("float32")),
    "scale": Value("float32"),
    "frame_rate": Value("float32"),
    "width": Value("int32"),
    "height": Value("int32"),
}
WORDS = List({"word": Value("string"), "start": Value("float32"), "end": Value("float32")})


def encode_landmarks(sequence: LandmarkSequence, id: str) -> dict[str, Any]:
    """Returns the `LANDMARK_COLUMNS` of a clip in any units; `id` is its name in errors.

    Raises ValueError if the landmarks are not `(frames, 478, 3)`, not finite, or no frame holds a face.
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
    axes = np.ascontiguousarray(found.reshape(-1, 3).T)  # numpy is several times faster along rows
    low, high = axes.min(axis=1), axes.max(axis=1)
    offset = (low + high) / 2
    left, right = OUTER_EYE_CORNERS
    eye_distance = float(np.median(np.linalg.norm(found[:, left] - found[:, right], axis=-1)))
    # Not so small that float16 overflows.
    scale = float(np.float32(max(eye_distance, float((high - low).max()) / 1024))) or 1.0
    stored = np.zeros(keypoints.shape, dtype=np.float16)
    stored[present] = ((axes - offset[:, None]) / scale).T.reshape(found.shape)
    return {
        "num_frames": len(keypoints),
        "keypoints": stored.reshape(-1),
        "present": present,
        "timestamps": np.asarray(sequence.timestamps, dtype=np.float32),
        "offset": offset,
        "scale": scale,
        "frame_rate": float(sequence.frame_rate),
        "width": int(sequence.width),
        "height": int(sequence.height),
    }


def decode_row(row: Mapping[str, Any]) -> LandmarkSequence:
    """Returns the landmarks of a stored row, in numpy or python format, in their original units.

    Keypoints `(frames, 478, 3)` are float32, and zero in frames without a face. Raises ValueError if the row's
    keypoints do not hold `num_frames` frames.
    """
    num_frames = int(row["num_frames"])
    keypoints = np.multiply(row["keypoints"], np.float32(row["scale"]), dtype=np.float32)
    if keypoints.size != num_frames * NUM_LANDMARKS * 3:
        raise ValueError(
            f"clip {row.get('id')}: {keypoints.size} keypoint values are not {num_frames} frames of {NUM_LANDMARKS} "
            "landmarks; read the row in the numpy format without a dtype (load_split does)"
        )
    keypoints = keypoints.reshape(num_frames, NUM_LANDMARKS * 3)
    # numpy adds whole frames ten times faster than triples.
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
