# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What landmarks tell of a face beside its words: how much its lips move, and whether it is still the same face."""

from __future__ import annotations

import numpy as np

from .geometry_lipread import OUTER_EYE_CORNERS, RIGID, rigid_rotation

# Distances that speech changes (the mouth's opening and width), and such that it does not (between the eyes, and from
# the nose bridge to the forehead): what these seem to change is jitter, or a head that turns.
LIP_DISTANCES = ((13, 14), (61, 291))
RIGID_DISTANCES = (OUTER_EYE_CORNERS, (168, 10))
SPEED_SECONDS = 0.08  # speeds are taken over so long: long enough for jitter to fade, short beside a syllable
LONGEST_STEP = 0.2  # seconds; across longer gaps no speed is taken

# The outline of the face without the chin, which beside the rigid points tells people apart and does not speak.
OUTLINE = (127, 356, 162, 389, 21, 251, 54, 284, 103, 332, 234, 454, 93, 323, 132, 361, 58, 288, 172, 397, 136, 365)
SHAPE_POINTS = tuple(dict.fromkeys((*RIGID, *OUTLINE)))
# In root mean squares of the shape itself. Of the 8 GRID speakers in this project's tests, averages over a second
# differ by less than this within a clip, and by more in 19 of 20 pairs of different people.
SAME_SHAPE = 0.02
SHAPE_SECONDS = 1.0  # shapes are averaged over so long before and after a possible switch,
LEAST_SHAPE_SECONDS = 0.4  # near the ends of a clip at least over so long
SETTLING_SECONDS = 0.12  # around a switch, in which landmarks still slide from one face to the other


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first index and the one after the last of each unbroken run of True in bool `(frames,)`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, bool), [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def lip_motion(keypoints: np.ndarray, timestamps: np.ndarray) -> float | None:
    """The lips' speed: root mean square over time of how fast the mouth opens, closes, widens and narrows.

    What distances that speech cannot change seem to do is taken off, in squares: jitter and turning of the head.

    Args:
        keypoints: Landmarks `(frames, 478, 3)` of frames with a face.
        timestamps: Seconds `(frames,)`, rising.

    Returns:
        Distances between the outer eye corners a second; `None` where there are too few frames to tell, or such too
        far apart (`LONGEST_STEP`).
    """
    energy = lip_energy(keypoints, timestamps)
    known = np.isfinite(energy)
    return float(np.sqrt(max(0.0, energy[known].mean()))) if known.any() else None


def lip_energy(keypoints: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """How fast the lips move from each frame on: what `lip_motion` is the root mean square of.

    Args:
        keypoints: Landmarks `(frames, 478, 3)` of frames with a face.
        timestamps: Seconds `(frames,)`, rising.

    Returns:
        Squares of distances between the outer eye corners a second, float64 `(frames,)`, below 0 where jitter is
        stronger; NaN where it cannot be told: before a gap, and in the last `SPEED_SECONDS`.
    """
    keypoints = np.asarray(keypoints, np.float64)
    energy = np.full(len(keypoints), np.nan)
    eyes = np.median(_distances(keypoints, (OUTER_EYE_CORNERS,))) if len(keypoints) >= 3 else 0.0
    if eyes > 0:
        lips, rigid = (
            np.square(_speeds(_distances(keypoints, pairs) / eyes, timestamps)).sum(axis=1)
            for pairs in (LIP_DISTANCES, RIGID_DISTANCES)
        )
        energy[: len(lips)] = lips - rigid
    return energy


def face_shape(keypoints: np.ndarray) -> np.ndarray:
    """The average shape of a face: frontal, centred, of size 1.

    Args:
        keypoints: Landmarks `(frames, 478, 3)` of frames with a face.

    Returns:
        Float64 `(points, 3)`.
    """
    return _shapes(keypoints).mean(axis=0)


def shape_distance(shape: np.ndarray, other: np.ndarray) -> float:
    """How much two shapes `(points, 3)` differ: the root mean square distance, of a face of size 1."""
    return float(np.sqrt(np.square(shape - other).sum(axis=-1).mean()))


def identity_switches(keypoints: np.ndarray, timestamps: np.ndarray) -> list[int]:
    """Where the landmarks jump to another face: at a cut, or where the one that was followed was lost.

    Looks for moments before and after which a face has different shapes, each averaged over up to a second. Where both
    stand and how they move does not count, so two who change places are told apart, and a face that was lost and found
    again counts as one. Shapes take getting to know: what lasts less than 0.4 seconds is not noticed.

    Args:
        keypoints: Landmarks `(frames, 478, 3)` of frames with a face.
        timestamps: Seconds `(frames,)`, rising.

    Returns:
        The first frame of each new face, give or take `SETTLING_SECONDS`, rising.
    """
    if len(keypoints) < 2:
        return []
    shapes = _shapes(keypoints)
    sums = np.concatenate([np.zeros_like(shapes[:1]), np.cumsum(shapes, axis=0)])
    window, least, settling = (
        max(1, round(seconds / float(np.median(np.diff(timestamps)))))
        for seconds in (SHAPE_SECONDS, LEAST_SHAPE_SECONDS, SETTLING_SECONDS)
    )

    def split(first: int, last: int) -> list[int]:
        stretch = sums[first : last + 1]
        # A head that turns changes its measured shape as well, but little by little.
        sudden = _change(stretch, settling, settling, settling) > 1
        change = np.where(sudden, _change(stretch, window, least, settling), 0.0)
        if change.max() <= 1:
            return []
        # From `settling` frames before the switch on both windows are pure: it is the last of these frames.
        highest = int(change.argmax())
        after = change[highest : highest + settling + 1] > 0.9 * change.max()
        frame = first + highest + int(np.flatnonzero(after)[-1])
        return [*split(first, frame), frame, *split(frame, last)]

    return split(0, len(shapes))


def _change(sums: np.ndarray, window: int, least: int, settling: int) -> np.ndarray:
    """How much the average shape of a window of frames after each frame differs from that before, in `SAME_SHAPE`.

    Args:
        sums: Cumulative sums of the shapes, `(frames + 1, points, 3)`.
        window: Frames averaged on either side, as far as there are so many.
        least: Frames that must be there; averages of fewer than `window` differ more by chance and count for less.
        settling: Frames after each frame that are left out.

    Returns:
        Float64 `(frames,)`, 0 where there are too few frames.
    """
    count = len(sums) - 1
    change = np.zeros(count)
    frames = np.arange(least, count - settling - least + 1)
    if not len(frames):
        return change
    first, last = np.maximum(frames - window, 0), np.minimum(frames + settling + window, count)
    before, after = frames - first, last - frames - settling
    difference = (sums[last] - sums[frames + settling]) / after[:, None, None]
    difference -= (sums[frames] - sums[first]) / before[:, None, None]
    size = np.sqrt(np.square(difference).sum(axis=-1).mean(axis=-1))
    change[frames] = size / SAME_SHAPE * np.sqrt(np.minimum(before, after) / window)
    return change


def _shapes(keypoints: np.ndarray) -> np.ndarray:
    """Frontal, centred shapes of size 1, float64 `(frames, points, 3)`."""
    keypoints = np.asarray(keypoints, np.float64)
    shapes = keypoints[:, SHAPE_POINTS] @ rigid_rotation(keypoints)
    shapes -= shapes.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(shapes).sum(axis=-1).mean(axis=-1))
    return shapes / np.maximum(size, np.finfo(np.float64).tiny)[:, None, None]


def _distances(keypoints: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Distances between pairs of landmarks, `(frames, pairs)`."""
    first, second = np.array(pairs).T
    return np.linalg.norm(keypoints[:, first] - keypoints[:, second], axis=-1)


def _speeds(distances: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Changes a second of distances `(frames, pairs)`, from each frame to `SPEED_SECONDS` later; NaN across gaps."""
    ends = timestamps + SPEED_SECONDS
    ends = ends[ends <= timestamps[-1] + 1e-6]
    later = np.stack([np.interp(ends, timestamps, distance) for distance in distances.T], axis=1)
    gaps = np.concatenate([[0], np.cumsum(np.diff(timestamps) > LONGEST_STEP)])
    unbroken = gaps[np.searchsorted(timestamps, ends - 1e-6).clip(max=len(gaps) - 1)] == gaps[: len(ends)]
    return np.where(unbroken[:, None], (later - distances[: len(ends)]) / SPEED_SECONDS, np.nan)
