# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Landmarks to the encoder's input, with the same saved settings for training and inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from .geometry_lipread import (
    LANDMARK_SETS,
    NORMALIZATIONS,
    NUM_LANDMARKS,
    RIGID,
    frontalize,
    rigid_anchor,
    rigid_rotation,
    solve_head_pose,
)

TIME_TOLERANCE = 5e-4  # seconds; containers round timestamps to a millisecond
POSES = ("rigid", "solvepnp", None)


class LipReadFeatureExtractor(FeatureExtractionMixin):
    """Turns raw face landmarks into the encoder's input: even in time, frontal, normalised, selected, padded.

    In order: frames without a face are filled by interpolation over time if they last no longer than
    `max_gap_seconds`, else marked absent; frames are resampled to `frame_rate` by their timestamps, so videos of any
    frame rate read alike; the head is turned to the camera; landmarks are normalised, then selected. Setting a step to
    None leaves it out, e.g. for landmarks that another pipeline has normalised.

    Args:
        frame_rate: Frames a second of the output; None keeps the frames as they are.
        max_gap_seconds: The longest stretch without a face that is filled.
        pose: How the head's rotation is found and undone: `rigid` (orthogonal Procrustes on points that speech does
            not move), `solvepnp` (the classic six points; needs OpenCV and the frame's size) or None.
        normalize: `rigid` (anchored on eyes and nose, one length a clip), `unit_sphere`, `bbox_unit`, `zscore` (all
            per frame, over the whole face) or None.
        landmarks: `face` (478), `lips` (40), `lower_face` (79: lips, jaw, cheeks) or indices.

    Raises:
        ValueError: A setting is not one of these.
    """

    model_input_names = ["keypoints", "keypoints_mask"]

    def __init__(
        self,
        frame_rate: float | None = 25.0,
        max_gap_seconds: float = 0.2,
        pose: str | None = "rigid",
        normalize: str | None = "rigid",
        landmarks: str | Sequence[int] = "lower_face",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if frame_rate is not None and frame_rate <= 0:
            raise ValueError(f"frame_rate must be positive or None, not {frame_rate}")
        if pose not in POSES:
            raise ValueError(f"pose must be one of {POSES}, not {pose!r}")
        if normalize is not None and normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {(*NORMALIZATIONS, None)}, not {normalize!r}")
        self.frame_rate = frame_rate
        self.max_gap_seconds = max_gap_seconds
        self.pose = pose
        self.normalize = normalize
        self.landmarks = landmarks if isinstance(landmarks, str) else [int(index) for index in landmarks]
        _landmark_indices(self.landmarks)

    @property
    def landmark_indices(self) -> list[int]:
        """MediaPipe's indices of the landmarks in the output, in order."""
        return _landmark_indices(self.landmarks)

    @property
    def num_landmarks(self) -> int:
        """How many landmarks a frame of the output has."""
        return len(self.landmark_indices)

    def __call__(
        self,
        sequences: Any,
        return_tensors: str | None = None,
        padding: bool = True,
        frame_rate: float | None = None,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            sequences: One clip, a list of clips, or an iterator over clips, of which it holds one at a time. A clip is
                a `LandmarkSequence`, or landmarks `(frames, landmarks, 3)`, or a tuple `(landmarks, present,
                timestamps)`, where None for `present` means wherever landmarks are not all zero, and None for
                `timestamps` an even `frame_rate`.
            return_tensors: `pt` or `np`.
            padding: Pads all clips to the longest with zeros; without it, lists of clips are returned.
            frame_rate: Frames a second of landmarks that come without timestamps; that of the output by default.

        Returns:
            `keypoints`, float32 `(batch, frames, landmarks, 3)`, zeros where absent, and `keypoints_mask`, int64
            `(batch, frames)`, 1 where a face is.

        Raises:
            ValueError: A clip is empty, is not of that shape, has not the landmarks that the settings ask for, or is
                not finite where present.
        """
        if isinstance(sequences, np.ndarray) and sequences.ndim == 4:
            sequences = list(sequences)
        elif not isinstance(sequences, (list, Iterator)):
            sequences = [sequences]
        rate = frame_rate or self.frame_rate or 25.0
        features = [self._extract(_clip(sequence, rate, index)) for index, sequence in enumerate(sequences)]
        keypoints, masks = [list(column) for column in zip(*features, strict=True)]
        if padding:
            keypoints, masks = _pad(keypoints), _pad(masks)
        return BatchFeature({"keypoints": keypoints, "keypoints_mask": masks}, tensor_type=return_tensors)

    def frame_times(self, timestamps: Sequence[float], num_frames: int) -> np.ndarray:
        """When the frames of a clip's features begin, and when the last of them ends.

        Args:
            timestamps: Seconds of the clip's own frames, rising.
            num_frames: Frames of its features, without padding.

        Returns:
            Seconds, float64 `(num_frames + 1,)`.
        """
        times = np.asarray(timestamps, np.float64)
        if self.frame_rate is not None:
            return times[0] + np.arange(num_frames + 1) / self.frame_rate
        interval = np.median(np.diff(times)) if len(times) > 1 else 0.0
        return np.append(times, times[-1] + interval)

    def _extract(self, clip: _Clip) -> tuple[np.ndarray, np.ndarray]:
        """Features `(frames, landmarks, 3)` and mask `(frames,)` of one clip."""
        self._check_landmarks(clip)
        keypoints, mask = resample(
            clip.keypoints, clip.present, clip.timestamps, self.frame_rate, self.max_gap_seconds
        )
        if mask.all():
            features = self._transform(keypoints, clip)
        else:
            features = np.zeros((len(mask), self.num_landmarks, 3), np.float32)
            if mask.any():
                features[mask] = self._transform(keypoints[mask], clip)
        return features, mask.astype(np.int64)

    def _transform(self, keypoints: np.ndarray, clip: _Clip) -> np.ndarray:
        """Pose, normalisation and selection of frames that all hold a face."""
        rotation = self._rotation(keypoints, clip)
        if self.normalize == "rigid":
            # The same as below in another order, so that only the selected landmarks are moved: turned about the
            # anchor, the face is anchored all the same, and the length does not change by turning.
            anchor, length = rigid_anchor(keypoints)
            selected = (keypoints[:, self.landmark_indices] - anchor) / length
            return selected if rotation is None else selected @ rotation.astype(np.float32)
        if rotation is not None:
            keypoints = frontalize(keypoints, rotation)
        if self.normalize is not None:
            keypoints = NORMALIZATIONS[self.normalize](keypoints)
        return keypoints[:, self.landmark_indices]

    def _rotation(self, keypoints: np.ndarray, clip: _Clip) -> np.ndarray | None:
        if self.pose == "rigid":
            return rigid_rotation(keypoints)
        if self.pose == "solvepnp":
            if clip.size is None:
                raise ValueError('pose="solvepnp" needs the size of the frame: give a LandmarkSequence, not an array')
            return np.stack([solve_head_pose(face, *clip.size).rotation for face in keypoints])
        return None

    def _check_landmarks(self, clip: _Clip) -> None:
        needed = max(self.landmark_indices)
        if self.pose is not None or self.normalize == "rigid":
            needed = max(needed, *RIGID)
        if clip.keypoints.shape[1] <= needed:
            raise ValueError(
                f"Clip {clip.index} has {clip.keypoints.shape[1]} landmarks a frame, MediaPipe gives {NUM_LANDMARKS}; "
                f"pose={self.pose!r}, normalize={self.normalize!r} and the chosen landmarks need number {needed}. For "
                "landmarks of another kind set pose and normalize to None and landmarks to a list of indices."
            )


def resample(
    keypoints: np.ndarray,
    present: np.ndarray,
    timestamps: np.ndarray,
    frame_rate: float | None,
    max_gap_seconds: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates landmarks linearly over time onto even frames, filling short gaps on the way.

    Args:
        keypoints: Landmarks `(frames, landmarks, 3)`; those of absent frames are not looked at.
        present: Bool `(frames,)`.
        timestamps: Seconds `(frames,)`, rising.
        frame_rate: Frames a second of the result, its first frame at the first timestamp; None keeps the timestamps.
        max_gap_seconds: The longest stretch without a face that is filled.

    Returns:
        Landmarks `(new frames, landmarks, 3)` and bool `(new frames,)`, False in gaps too long to fill and before the
        first and after the last face.
    """
    interval = np.median(np.diff(timestamps)) if len(timestamps) > 1 else 0.0
    times = timestamps
    if frame_rate is not None:
        # The last frame is shown for an interval too: 3 s of video are 75 frames at 25 fps, whatever its own rate.
        count = max(1, round((timestamps[-1] - timestamps[0] + interval) * frame_rate))
        times = timestamps[0] + np.arange(count) / frame_rate
    if present.all() and len(times) == len(timestamps) and np.abs(times - timestamps).max() <= TIME_TOLERANCE:
        return keypoints, present
    if not present.any():
        return np.zeros((len(times), *keypoints.shape[1:]), keypoints.dtype), np.zeros(len(times), bool)

    keypoints, known = keypoints[present], timestamps[present]
    after = np.searchsorted(known, times - TIME_TOLERANCE).clip(max=len(known) - 1)
    before = np.where(known[after] > times + TIME_TOLERANCE, after - 1, after).clip(min=0)
    span = known[after] - known[before]
    weight = np.where(span > 0, (times - known[before]) / np.where(span > 0, span, 1.0), 0.0)
    weight = weight.astype(keypoints.dtype)[:, None, None]
    filled = keypoints[before] * (1 - weight) + keypoints[after] * weight
    # Nothing is made up before the first and after the last face, but a frame is shown until the next one.
    outside = np.maximum(known[before] - times, times - known[after])
    shown = outside < max(interval - TIME_TOLERANCE, TIME_TOLERANCE)
    return filled, shown & (span - interval <= max_gap_seconds + TIME_TOLERANCE)


@dataclass
class _Clip:
    index: int
    keypoints: np.ndarray
    present: np.ndarray
    timestamps: np.ndarray
    size: tuple[int, int] | None


def _clip(sequence: Any, frame_rate: float, index: int) -> _Clip:
    """Reads any form of a clip and checks it."""
    present = timestamps = size = None
    if hasattr(sequence, "keypoints"):  # a LandmarkSequence, be it of this module's copy or of another
        keypoints, present, timestamps = sequence.keypoints, sequence.present, sequence.timestamps
        size = (sequence.width, sequence.height) if sequence.width else None
    elif isinstance(sequence, tuple):
        keypoints, present, timestamps = sequence
    else:
        keypoints = sequence
    keypoints = np.asarray(keypoints, dtype=np.float32)
    if keypoints.ndim != 3 or keypoints.shape[-1] != 3 or not keypoints.size:
        raise ValueError(f"Clip {index} must be (frames, landmarks, 3) with at least one frame, not {keypoints.shape}")
    finite = np.isfinite(keypoints).all(axis=(1, 2))
    present = finite & keypoints.any(axis=(1, 2)) if present is None else np.asarray(present, dtype=bool)
    timestamps = np.arange(len(keypoints)) / frame_rate if timestamps is None else np.asarray(timestamps)
    if not len(keypoints) == len(present) == len(timestamps):
        raise ValueError(
            f"Clip {index}: {len(keypoints)} frames, but {len(present)} of presence and {len(timestamps)} timestamps"
        )
    if not finite[present].all():
        raise ValueError(f"Clip {index} has landmarks that are not finite in frame {np.argmin(finite | ~present)}")
    if not (np.diff(timestamps) > 0).all():
        raise ValueError(f"Clip {index} has timestamps that do not rise")
    return _Clip(index, keypoints, present, timestamps, size)


def _pad(arrays: list[np.ndarray]) -> np.ndarray:
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def _landmark_indices(landmarks: str | list[int]) -> list[int]:
    if isinstance(landmarks, str):
        if landmarks not in LANDMARK_SETS:
            raise ValueError(
                f"landmarks must be one of {tuple(LANDMARK_SETS)} or a list of indices, not {landmarks!r}"
            )
        return list(LANDMARK_SETS[landmarks])
    if not landmarks or min(landmarks) < 0 or len(set(landmarks)) != len(landmarks):
        raise ValueError("landmarks must be distinct indices, none of them negative, and at least one")
    return landmarks


LipReadFeatureExtractor.register_for_auto_class()
