# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Quality metrics of a clip's landmarks, by which a corpus is filtered and inspected.

They are measured once on the raw landmarks, stored with each row (column `quality`) and summarised in `report.json`.
Lengths on the face are in eye distances: distances between the outer corners of the eyes, about 9 cm.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from modeling_lipread.geometry_lipread import (
    OUTER_EYE_CORNERS,
    RIGID,
    angles_from_rotation,
    identity_switches,
    lip_motion,
    rigid_rotation,
    runs,
)
from modeling_lipread.landmarks_lipread import LandmarkSequence

ANGLES = ("yaw_low", "yaw_high", "pitch_low", "pitch_high", "roll_low", "roll_high")


@dataclass(frozen=True)
class ClipQuality:
    """Metrics of one clip; None where unknown."""

    coverage: float  # share of the frames with a face
    longest_gap: float  # longest stretch without a face, in seconds
    face_width: float | None  # median width of the face in pixels; None for landmarks without a video
    face_share: float | None  # median width of the face as a share of the frame's width
    # Standard deviation, in eye distances, of a coordinate of the rigid landmarks from the middle of its neighbours.
    jitter: float | None
    # 5th and 95th percentile of the head's angles in degrees, 0 being frontal.
    yaw_low: float
    yaw_high: float
    pitch_low: float
    pitch_high: float
    roll_low: float
    roll_high: float
    lip_motion: float  # lip speed in eye distances per second
    identity_switches: int  # number of jumps of the landmarks to another face
    most_faces: int | None  # largest number of faces in one frame, of those searched
    thumbnail_frame: int  # index of the frame with a face nearest to the middle of the clip

    @property
    def rotation(self) -> float:
        """Largest absolute angle of the head about any axis, in degrees."""
        return max(abs(getattr(self, name)) for name in ANGLES)


def features() -> dict[str, Value]:
    """Returns the Arrow features of the column `quality`, a struct of the fields of `ClipQuality`."""
    whole_numbers = ("identity_switches", "most_faces", "thumbnail_frame")
    return {item.name: Value("int32" if item.name in whole_numbers else "float32") for item in fields(ClipQuality)}


def measure(sequence: LandmarkSequence) -> ClipQuality:
    """Returns the metrics of raw landmarks `(frames, 478, 3)`; raises ValueError if no frame holds a face."""
    present = np.asarray(sequence.present, bool)
    if not present.any():
        raise ValueError("no frame holds a face")
    keypoints = np.asarray(sequence.keypoints)[present].astype(np.float64)
    times = np.asarray(sequence.timestamps, np.float64)
    corners = keypoints[:, OUTER_EYE_CORNERS]
    eye_distance = max(float(np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1))), 1e-12)
    width = float(np.median(np.ptp(keypoints[..., 0], axis=1))) if sequence.width else None
    angles = np.percentile(angles_from_rotation(rigid_rotation(keypoints)), (5, 95), axis=0)
    found = np.flatnonzero(present)
    return ClipQuality(
        coverage=float(present.mean()),
        longest_gap=_longest_gap(present, times),
        face_width=width,
        face_share=None if width is None else width / sequence.width,
        jitter=_jitter(np.asarray(sequence.keypoints)[:, RIGID].astype(np.float64) / eye_distance, present),
        **dict(zip(ANGLES, angles.T.ravel().tolist(), strict=True)),
        lip_motion=lip_motion(keypoints, times[present]) or 0.0,
        identity_switches=len(identity_switches(keypoints, times[present])),
        most_faces=sequence.most_faces or None,
        thumbnail_frame=int(found[np.abs(found - (len(present) - 1) / 2).argmin()]),
    )


def _longest_gap(present: np.ndarray, times: np.ndarray) -> float:
    """Returns the longest stretch without a face, in seconds; a frame lasts until the next one."""
    steps = np.diff(times)
    ends = np.append(times, times[-1] + (np.median(steps) if len(steps) else 0.0))
    return max((float(ends[last] - ends[first]) for first, last in runs(~present)), default=0.0)


def _jitter(points: np.ndarray, present: np.ndarray) -> float | None:
    """Returns the standard deviation of `(frames, points, 3)` from the middle of the neighbouring frames."""
    between = present[:-2] & present[1:-1] & present[2:]
    if not between.any():
        return None
    deviation = (points[1:-1] - (points[:-2] + points[2:]) / 2)[between]
    # The median ignores outliers; scaled by 1.4826 and the root of 3/2 it is the standard deviation of white noise.
    return float(1.4826 * np.median(np.abs(deviation)) / np.sqrt(1.5))


def summarize(rows: pa.ChunkedArray) -> dict[str, dict[str, float]]:
    """Returns `min`, `p5`, `median`, `p95`, `max` of each metric in column `quality`, and how many are `unknown`."""
    summary, names = {}, ("min", "p5", "median", "p95", "max")
    for metric in features():
        if metric != "thumbnail_frame":
            known = pc.struct_field(rows, metric).drop_null().to_numpy()
            values = np.percentile(known, (0, 5, 50, 95, 100)).round(5).tolist() if len(known) else []
            summary[metric] = dict(zip(names, values, strict=False)) | {"unknown": len(rows) - len(known)}
    return summary
