# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Quality metrics of a clip's landmarks, by which a corpus is filtered and inspected.

They are measured once on the raw landmarks and stored with each row (column `quality`).
Lengths on the face are in eye distances: distances between the outer corners of the eyes, about 9 cm.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from datasets import Value

from modeling_lipread import geometry_lipread as geometry
from modeling_lipread.landmarks_lipread import LandmarkSequence

ANGLES = ("yaw_low", "yaw_high", "pitch_low", "pitch_high", "roll_low", "roll_high")


@dataclass(frozen=True)
class ClipQuality:
    """Metrics of one clip; None where unknown."""

    coverage: float  # share of the frames with a face
    longest_gap: float  # longest stretch without a face, in seconds
    face_width: float | None  # median width of the face in pixels; None for landmarks without a video
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
    thumbnail_frame: int  # index of the frame with a face nearest to the middle of the clip


def features() -> dict[str, Value]:
    """Returns the Arrow features of the column `quality`, a struct of the fields of `ClipQuality`."""
    whole_numbers = ("identity_switches", "thumbnail_frame")
    return {item.name: Value("int32" if item.name in whole_numbers else "float32") for item in fields(ClipQuality)}


def measure(sequence: LandmarkSequence) -> ClipQuality:
    """Returns the metrics of raw landmarks `(frames, 478, 3)`; raises ValueError if no frame holds a face."""
    present = np.asarray(sequence.present, bool)
    if not present.any():
        raise ValueError("no frame holds a face")
    keypoints = np.asarray(sequence.keypoints)[present].astype(np.float64)
    times = np.asarray(sequence.timestamps, np.float64)
    corners = keypoints[:, geometry.OUTER_EYE_CORNERS]
    eye_distance = max(float(np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1))), 1e-12)
    angles = np.percentile(geometry.angles_from_rotation(geometry.rigid_rotation(keypoints)), (5, 95), axis=0)
    found = np.flatnonzero(present)
    return ClipQuality(
        coverage=float(present.mean()),
        longest_gap=_longest_gap(present, times),
        face_width=float(np.median(np.ptp(keypoints[..., 0], axis=1))) if sequence.width else None,
        jitter=_jitter(np.asarray(sequence.keypoints)[:, geometry.RIGID].astype(np.float64) / eye_distance, present),
        **dict(zip(ANGLES, angles.T.ravel().tolist(), strict=True)),
        lip_motion=geometry.lip_motion(keypoints, times[present]) or 0.0,
        identity_switches=len(geometry.identity_switches(keypoints, times[present])),
        thumbnail_frame=int(found[np.abs(found - (len(present) - 1) / 2).argmin()]),
    )


def _longest_gap(present: np.ndarray, times: np.ndarray) -> float:
    """Returns the longest stretch without a face, in seconds; a frame lasts until the next one."""
    steps = np.diff(times)
    ends = np.append(times, times[-1] + (np.median(steps) if len(steps) else 0.0))
    return max((float(ends[last] - ends[first]) for first, last in geometry.runs(~present)), default=0.0)


def _jitter(points: np.ndarray, present: np.ndarray) -> float | None:
    """Returns the standard deviation of `(frames, points, 3)` from the middle of the neighbouring frames."""
    between = present[:-2] & present[1:-1] & present[2:]
    if not between.any():
        return None
    deviation = (points[1:-1] - (points[:-2] + points[2:]) / 2)[between]
    # The median ignores outliers; scaled by 1.4826 and the root of 3/2 it is the standard deviation of white noise.
    return float(1.4826 * np.median(np.abs(deviation)) / np.sqrt(1.5))
