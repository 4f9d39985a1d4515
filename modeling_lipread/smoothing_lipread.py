# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Smoothing of landmarks over time without lag: Savitzky and Golay's filter, in numpy alone.

Every landmark is replaced by the value at its own time of the parabola that fits it and its neighbours best (Savitzky
and Golay 1964). Looking as far ahead as back, it delays nothing; straight and evenly accelerated movement passes
unchanged, and a mouth's opening keeps its height better than under a moving average of the same width.
"""

from __future__ import annotations

import numpy as np

DEGREE = 2


def smooth(keypoints: np.ndarray, present: np.ndarray, timestamps: np.ndarray, seconds: float) -> np.ndarray:
    """Smooths landmarks within each unbroken run of frames with a face.

    Near the ends of a run the window stays whole and its parabola is read off its side.

    Args:
        keypoints: Landmarks `(frames, landmarks, 3)`.
        present: Bool `(frames,)`; other frames are neither used nor changed.
        timestamps: Seconds `(frames,)`, rising.
        seconds: Width of the window. It holds the odd number of frames that comes nearest; up to three frames a
            parabola fits all of them and nothing changes.

    Returns:
        Landmarks `(frames, landmarks, 3)` of the same dtype.
    """
    smoothed = keypoints.copy()
    interval = float(np.median(np.diff(timestamps))) if len(timestamps) > 1 else seconds
    window = 2 * round((seconds / interval - 1) / 2) + 1
    for first, last in runs(present):
        if window > DEGREE + 1 and last - first > DEGREE + 1:
            smoothed[first:last] = _smooth_run(keypoints[first:last], timestamps[first:last], window)
    return smoothed


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First index and the one after the last of each unbroken run of True in bool `(frames,)`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, bool), [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _smooth_run(keypoints: np.ndarray, times: np.ndarray, window: int) -> np.ndarray:
    frames = len(times)
    window = min(window, frames)
    starts = np.clip(np.arange(frames) - window // 2, 0, frames - window)
    neighbours = starts[:, None] + np.arange(window)
    # Centred and scaled per window, so that the powers of the times are of one size.
    offsets = times[neighbours] - times[:, None]
    offsets = offsets / np.maximum(np.abs(offsets).max(axis=1, keepdims=True), 1e-9)
    powers = offsets[..., None] ** np.arange(DEGREE + 1)
    # The parabola's value at the frame's own time is its constant term: the first row of the pseudo-inverse.
    weights = np.linalg.pinv(powers)[:, 0].astype(keypoints.dtype)
    smoothed = np.zeros_like(keypoints)
    for step in range(window):
        smoothed += weights[:, step, None, None] * keypoints[neighbours[:, step]]
    return smoothed
