# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Geometry of MediaPipe's face landmarks: landmark sets, head pose, normalisations, lip motion, and face shape.

Axes: X right, Y up, Z towards the camera (right-handed), in pixels of the source frame. Head pose is the rotation
`seen = rotation @ frontal`. Angles are in degrees: positive yaw turns the nose to the right of the image, positive
pitch raises the nose, positive roll turns the face counter-clockwise in the image. `keypoints` are landmarks
`(frames, 478, 3)` of frames with a face, if not stated otherwise.
"""

from __future__ import annotations

import numpy as np

from .video_lipread import require

NUM_LANDMARKS = 478  # 468 of the face mesh and 5 of each iris

# Outer and inner lip contours: mediapipe's FACE_LANDMARKS_LIPS.
LIPS = (0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181)
LIPS += (185, 191, 267, 269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415)
# The lower half of mediapipe's FACE_LANDMARKS_FACE_OVAL, from ear to ear, and nine pairs spread over the cheeks.
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
CHEEKS = (50, 187, 192, 205, 206, 207, 212, 214, 216, 280, 411, 416, 425, 426, 427, 432, 434, 436)
LOWER_FACE = LIPS + JAW + CHEEKS
LANDMARK_SETS = {"face": tuple(range(NUM_LANDMARKS)), "lips": LIPS, "lower_face": LOWER_FACE}

# Landmarks that speech moves least: eye corners, nose bridge and forehead. The tables hold their positions on
# MediaPipe's canonical face in centimetres (geometry_pipeline_metadata_landmarks in face_landmarker.task, Apache-2.0
# by Google): midline `index: (y, z)`, mirrored pairs `(right of the subject, left): (x of the left, y, z)`.
_RIGID_MIDLINE = {
    168: (3.2710, 5.2360),
    6: (2.4733, 5.7886),
    8: (4.0190, 5.2848),
    9: (4.8860, 5.3853),
    151: (6.5454, 5.0273),
    10: (8.2618, 4.4815),
}
_RIGID_PAIRS = {
    (33, 263): (4.4459, 2.6640, 3.1734),
    (133, 362): (1.8564, 2.5852, 3.7579),
    (130, 359): (4.6710, 2.6645, 3.0841),
    (243, 463): (1.6396, 2.5563, 3.8637),
    (193, 417): (0.7664, 3.1821, 4.8615),
    (122, 351): (0.5632, 2.3077, 5.5668),
    (108, 337): (1.6195, 6.5992, 4.9211),
    (69, 299): (3.0639, 6.5661, 4.5300),
    (104, 333): (4.5386, 6.3199, 3.6834),
    (67, 297): (3.5240, 8.0060, 3.7292),
    (109, 338): (1.8914, 8.2364, 4.2750),
}
RIGID = tuple(_RIGID_MIDLINE) + tuple(index for pair in _RIGID_PAIRS for index in pair)
RIGID_REFERENCE = np.array(
    [(0.0, y, z) for y, z in _RIGID_MIDLINE.values()]
    + [(side * x, y, z) for x, y, z in _RIGID_PAIRS.values() for side in (-1, 1)]
)

NOSE_TIP = 1
OUTER_EYE_CORNERS = (33, 263)
EYES_AND_NOSE = (33, 133, 362, 263, 130, 359, 243, 463, 168, 6, 193, 417, 122, 351)

# The six points of most head-pose tutorials, with their positions on the canonical face in centimetres, as above: tip
# of the nose, chin, outer corners of the eyes, corners of the mouth.
_POSE_POINTS = (1, 152, 33, 263, 61, 291)
_POSE_MODEL = np.array(
    [
        (0.0, -1.1269, 7.4756),
        (0.0, -9.4034, 4.2645),
        (-4.4459, 2.6640, 3.1734),
        (4.4459, 2.6640, 3.1734),
        (-2.4562, -4.3426, 4.2839),
        (2.4562, -4.3426, 4.2839),
    ]
)
_TO_OPENCV = np.array([1.0, -1.0, -1.0])  # OpenCV's Y points down and its Z away from the camera

# Distances that speech changes (opening and width of the mouth), and distances that it does not change (between the
# eyes, from the nose bridge to the forehead), whose measured changes come from jitter and head rotation.
LIP_DISTANCES = ((13, 14), (61, 291))
RIGID_DISTANCES = (OUTER_EYE_CORNERS, (168, 10))
SPEED_SECONDS = 0.08  # interval of a speed: long enough to average jitter, shorter than a syllable
LONGEST_STEP = 0.2  # seconds; no speed is computed across longer gaps
# Lips rest below this speed, in outer eye distances a second, averaged over AVERAGE_SECONDS. In GRID's validation
# clips the median is 0.5 within words and 0.02 between them.
REST_SPEED = 0.2
AVERAGE_SECONDS = 0.2

# The outline of the face without the chin: like the rigid points, it differs between people and not with speech.
OUTLINE = (127, 356, 162, 389, 21, 251, 54, 284, 103, 332, 234, 454, 93, 323, 132, 361, 58, 288, 172, 397, 136, 365)
SHAPE_POINTS = tuple(dict.fromkeys((*RIGID, *OUTLINE)))
# Root mean square distance of shapes of size 1. Averages over a second of 8 GRID speakers differ by less within a
# clip, and by more between 19 of 20 pairs of speakers.
SAME_SHAPE = 0.02
SHAPE_SECONDS = 1.0  # interval of the average shapes before and after a possible switch
LEAST_SHAPE_SECONDS = 0.4  # the same near the ends of a clip
SETTLING_SECONDS = 0.12  # duration of a switch, in which landmarks move from one face to the other


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first index and the index after the last of each run of True in `flags`, bool `(frames,)`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(flags, bool), [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def angles_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Returns yaw, pitch and roll in degrees, `(..., 3)`, of heads that rolled, then pitched, then yawed.

    Args:
        rotation: Rotations `(..., 3, 3)` with a pitch within 90 degrees.
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    yaw = np.arctan2(rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = np.arcsin(np.clip(rotation[..., 1, 2], -1.0, 1.0))
    roll = np.arctan2(rotation[..., 1, 0], rotation[..., 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], axis=-1))


def rigid_rotation(keypoints: np.ndarray) -> np.ndarray:
    """Returns the head pose, rotations `(frames, 3, 3)` in float64, from the landmarks that speech does not move.

    It solves the orthogonal Procrustes problem without reflections (Schönemann, 1966; Kabsch, 1976).
    """
    points = np.asarray(keypoints[..., RIGID, :], dtype=np.float64)
    reference = RIGID_REFERENCE - RIGID_REFERENCE.mean(axis=0)  # it is enough to centre one side of the covariance
    left, _, right = np.linalg.svd(np.swapaxes(points, -1, -2) @ reference)
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]  # excludes reflections
    return left @ right


def solve_head_pose(keypoints: np.ndarray, width: float, height: float) -> np.ndarray:
    """Returns the head pose, a rotation `(3, 3)` in float64, by OpenCV's solvePnP from x and y of six points.

    Speech moves chin and mouth corners and thus changes this pose, unlike `rigid_rotation`. The focal length is
    assumed to be the width of the frame, and the principal point its centre. Raises ValueError without a pose.

    Args:
        keypoints: Landmarks of one face `(478, 3)`.
        width, height: Size of the frame in pixels.
    """
    cv2 = require("cv2", "opencv-contrib-python", 'pose="solvepnp"')
    picture = np.asarray(keypoints, dtype=np.float64)[list(_POSE_POINTS), :2] * (1, -1)
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64)
    solved, vector, _ = cv2.solvePnP(_POSE_MODEL * _TO_OPENCV, picture, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not solved:
        raise ValueError("solvePnP found no head pose: the landmarks are not those of a face; extract the clip again")
    return _TO_OPENCV[:, None] * cv2.Rodrigues(vector)[0] * _TO_OPENCV


def normalize_frames(keypoints: np.ndarray, kind: str) -> np.ndarray:
    """Normalises each frame by itself, as `kind` says.

    `unit_sphere` moves the centroid to the origin and scales the farthest landmark to distance 1. That is often the
    chin, so an opening mouth shrinks the whole face, unlike with `rigid_anchor`. `bbox_unit` moves the centre of the
    bounding box to the origin and scales its longest side to length 1. `zscore` shifts and scales each axis to mean 0
    and standard deviation 1.
    """
    centered = keypoints - keypoints.mean(axis=1, keepdims=True)
    if kind == "unit_sphere":
        scale = np.linalg.norm(centered, axis=-1).max(axis=1)[:, None, None]
    elif kind == "bbox_unit":
        low, high = keypoints.min(axis=1, keepdims=True), keypoints.max(axis=1, keepdims=True)
        centered, scale = keypoints - (low + high) / 2, (high - low).max(axis=-1, keepdims=True)
    else:
        scale = centered.std(axis=1, keepdims=True)
    return centered / np.maximum(scale, np.finfo(keypoints.dtype).tiny)


def rigid_anchor(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the origin `(frames, 1, 3)` and the unit of length, a scalar, of the normalisation `rigid`.

    The origin of a frame is the mean of eyes and nose bridge, and the unit the median distance of the outer eye
    corners. Speech changes neither, so all movements of the mouth remain.
    """
    first, second = (keypoints[:, corner] for corner in OUTER_EYE_CORNERS)
    length = np.median(np.linalg.norm(first - second, axis=-1))
    return keypoints[:, EYES_AND_NOSE].mean(axis=1, keepdims=True), np.maximum(length, np.finfo(keypoints.dtype).tiny)


def lip_motion(keypoints: np.ndarray, timestamps: np.ndarray) -> float | None:
    """Returns the speed of the lips, the square root of the mean `lip_energy`, in outer eye distances a second.

    It is `None` if there are too few frames, or all steps between them are longer than `LONGEST_STEP`.
    """
    energy = lip_energy(keypoints, timestamps)
    known = np.isfinite(energy)
    return float(np.sqrt(max(0.0, energy[known].mean()))) if known.any() else None


def lip_energy(keypoints: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Returns the squared speed at which the mouth opens, closes, widens and narrows after each frame.

    The squared speeds of `RIGID_DISTANCES` are subtracted, to remove jitter and head rotation.

    Args:
        timestamps: Seconds `(frames,)`, rising.

    Returns:
        Float64 `(frames,)` in squared distances between the outer eye corners a second; negative where jitter
        dominates; NaN before a gap and in the last `SPEED_SECONDS`.
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


def average_energy(energy: np.ndarray, interval: float, shift: int = 0) -> np.ndarray:
    """Returns the average of `lip_energy` over `AVERAGE_SECONDS` around each frame, moved to `shift` frames later.

    `interval` is that between two frames, in seconds.
    """
    width = 2 * max(0, round(AVERAGE_SECONDS / interval / 2)) + 1
    padded = np.pad(energy, (width // 2 + shift, width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")[: len(energy)]


def face_shape(keypoints: np.ndarray) -> np.ndarray:
    """Returns the average shape of a face, frontal, centred and of size 1, float64 `(points, 3)`."""
    return _shapes(keypoints).mean(axis=0)


def shape_distance(shape: np.ndarray, other: np.ndarray) -> float:
    """Returns the root mean square distance of the points of two shapes `(points, 3)`."""
    return float(np.sqrt(np.square(shape - other).sum(axis=-1).mean()))


def identity_switches(keypoints: np.ndarray, timestamps: np.ndarray) -> list[int]:
    """Finds the frames at which the landmarks change from one person to another.

    It compares the shapes of the face, averaged over up to a second, before and after each frame. Positions and
    movements do not matter, so it detects two people who change places, and ignores a person who was lost and found
    again. It does not detect people who appear for less than 0.4 seconds.

    Returns:
        The first frame of each new person, rising, with an error of up to `SETTLING_SECONDS`.
    """
    if len(keypoints) < 2:
        return []
    shapes = _shapes(keypoints)
    sums = np.concatenate([np.zeros_like(shapes[:1]), np.cumsum(shapes, axis=0)])
    window, least, settling = (
        max(1, round(seconds / float(np.median(np.diff(timestamps)))))
        for seconds in (SHAPE_SECONDS, LEAST_SHAPE_SECONDS, SETTLING_SECONDS)
    )
    switches, stretches = [], [(0, len(shapes))]
    while stretches:
        first, last = stretches.pop()
        stretch = sums[first : last + 1]
        # The measured shape of a head that turns changes as well, but slowly.
        sudden = _change(stretch, settling, settling, settling) > 1
        change = np.where(sudden, _change(stretch, window, least, settling), 0.0)
        if change.max() > 1:
            # From `settling` frames before the switch on, both windows hold one person each: the switch is the last
            # of these frames.
            highest = int(change.argmax())
            after = change[highest : highest + settling + 1] > 0.9 * change.max()
            frame = first + highest + int(np.flatnonzero(after)[-1])
            switches.append(frame)
            stretches += [(first, frame), (frame, last)]
    return sorted(switches)


def _change(sums: np.ndarray, window: int, least: int, settling: int) -> np.ndarray:
    """Returns the distance of the average shapes before and after each frame, in units of `SAME_SHAPE`, `(frames,)`.

    It averages `least` to `window` frames on either side, of which fewer weigh less, and skips `settling` frames after
    each frame. `sums` are cumulative sums of the shapes, `(frames + 1, points, 3)`.
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
    """Returns frontal, centred shapes of size 1, float64 `(frames, points, 3)`."""
    keypoints = np.asarray(keypoints, np.float64)
    shapes = keypoints[:, SHAPE_POINTS] @ rigid_rotation(keypoints)
    shapes -= shapes.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(shapes).sum(axis=-1).mean(axis=-1))
    return shapes / np.maximum(size, np.finfo(np.float64).tiny)[:, None, None]


def _distances(keypoints: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Returns the distances between pairs of landmarks, `(frames, pairs)`."""
    first, second = np.array(pairs).T
    return np.linalg.norm(keypoints[:, first] - keypoints[:, second], axis=-1)


def _speeds(distances: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Returns the change per second of distances `(frames, pairs)` in `SPEED_SECONDS`; NaN across gaps."""
    ends = timestamps + SPEED_SECONDS
    ends = ends[ends <= timestamps[-1] + 1e-6]
    later = np.stack([np.interp(ends, timestamps, distance) for distance in distances.T], axis=1)
    gaps = np.concatenate([[0], np.cumsum(np.diff(timestamps) > LONGEST_STEP)])
    unbroken = gaps[np.searchsorted(timestamps, ends - 1e-6).clip(max=len(gaps) - 1)] == gaps[: len(ends)]
    return np.where(unbroken[:, None], (later - distances[: len(ends)]) / SPEED_SECONDS, np.nan)
