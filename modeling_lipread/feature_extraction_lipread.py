# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The feature extractor: from landmarks to the encoder's input, with the same settings in training and inference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from .geometry_lipread import (
    LANDMARK_SETS,
    NOSE_TIP,
    NUM_LANDMARKS,
    RIGID,
    normalize_frames,
    rigid_anchor,
    rigid_rotation,
    solve_head_pose,
)
from .landmarks_lipread import LandmarkSequence

TIME_TOLERANCE = 5e-4  # seconds; containers round timestamps to a millisecond
POSES = ("rigid", "solvepnp", None)
NORMALIZE = ("rigid", "unit_sphere", "bbox_unit", "zscore", None)


class LipReadFeatureExtractor(FeatureExtractionMixin):
    """Converts face landmarks to the encoder's input.

    It fills gaps of up to `max_gap_seconds` by interpolation and marks longer ones as absent, resamples the frames to
    `frame_rate` by their timestamps, undoes the head's rotation, normalises the landmarks, selects some of them, and
    pads clips. None turns a step off, for example for landmarks that are normalised already.

    Args:
        frame_rate: Frames a second of the output.
        max_gap_seconds: Longest gap without a face that is filled.
        pose: Estimate of the head's rotation: `rigid` (orthogonal Procrustes on points that speech does not move),
            `solvepnp` (six points; needs OpenCV and the size of the frame) or None.
        normalize: `rigid` (origin at eyes and nose, one unit of length for the clip), `unit_sphere`, `bbox_unit`,
            `zscore` (these three for each frame, over the whole face) or None.
        landmarks: `face` (478), `lips` (40), `lower_face` (79: lips, jaw, cheeks) or a list of indices.

    Raises:
        ValueError: A setting is not one of these.
    """

    model_input_names = ["keypoints", "keypoints_mask"]

    def __init__(
        self,
        frame_rate: float = 25.0,
        max_gap_seconds: float = 0.2,
        pose: str | None = "rigid",
        normalize: str | None = "rigid",
        landmarks: str | Sequence[int] = "lower_face",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if frame_rate <= 0:
            raise ValueError(f"frame_rate must be positive, not {frame_rate}")
        if pose not in POSES:
            raise ValueError(f"pose must be one of {POSES}, not {pose!r}")
        if normalize not in NORMALIZE:
            raise ValueError(f"normalize must be one of {NORMALIZE}, not {normalize!r}")
        self.frame_rate = frame_rate
        self.max_gap_seconds = max_gap_seconds
        self.pose = pose
        self.normalize = normalize
        self.landmarks = landmarks if isinstance(landmarks, str) else [int(index) for index in landmarks]
        _landmark_indices(self.landmarks)

    @property
    def landmark_indices(self) -> list[int]:
        """MediaPipe's indices of the selected landmarks, in the order of the output."""
        return _landmark_indices(self.landmarks)

    @property
    def num_landmarks(self) -> int:
        """Number of landmarks of a frame of the output."""
        return len(self.landmark_indices)

    def __call__(
        self, sequences: Any, return_tensors: str | None = None, padding: bool = True, frame_rate: float | None = None
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            sequences: One clip, a list of clips, or an iterator over clips. A clip is a `LandmarkSequence`, or
                landmarks `(frames, landmarks, 3)` as for `LandmarkSequence.from_array`.
            return_tensors: `pt` or `np`.
            padding: Pads all clips with zeros to the longest one; without it, the result holds lists of clips.
            frame_rate: Frames a second of clips without timestamps; by default that of the output.

        Returns:
            `keypoints`, float32 `(batch, frames, landmarks, 3)`, zeros in frames without a face, and `keypoints_mask`,
            int64 `(batch, frames)`, 1 for frames with a face.

        Raises:
            ValueError: A clip is empty, has another shape, lacks landmarks that the settings need, or has values that
                are not finite in frames with a face.
        """
        if isinstance(sequences, np.ndarray) and sequences.ndim == 4:
            sequences = list(sequences)
        elif not isinstance(sequences, (list, Iterator)):
            sequences = [sequences]
        rate, sequences = frame_rate or self.frame_rate, list(sequences)
        if not sequences:
            raise ValueError("there is no clip; give at least one")
        features = [self._extract(_checked(sequence, rate, index), index) for index, sequence in enumerate(sequences)]
        keypoints, masks = [list(column) for column in zip(*features, strict=True)]
        if padding:
            keypoints, masks = _pad(keypoints), _pad(masks)
        return BatchFeature({"keypoints": keypoints, "keypoints_mask": masks}, tensor_type=return_tensors)

    def frame_times(self, timestamps: Sequence[float], num_frames: int) -> np.ndarray:
        """Returns the start of each output frame and the end of the last one, seconds, float64 `(num_frames + 1,)`.

        `timestamps` are those of the clip; padding does not count as frames.
        """
        return timestamps[0] + np.arange(num_frames + 1) / self.frame_rate

    def _extract(self, clip: LandmarkSequence, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns features `(frames, landmarks, 3)` and mask `(frames,)` of the clip number `index`."""
        self._check_landmarks(clip, index)
        keypoints, mask = resample(clip, self.frame_rate, self.max_gap_seconds)
        features = np.zeros((len(mask), self.num_landmarks, 3), np.float32)
        if mask.any():
            features[mask] = self._transform(keypoints[mask], clip)
        return features, mask.astype(np.int64)

    def _transform(self, keypoints: np.ndarray, clip: LandmarkSequence) -> np.ndarray:
        """Undoes the pose of frames that all have a face, normalises them, and selects landmarks."""
        rotation = None
        if self.pose == "rigid":
            rotation = rigid_rotation(keypoints)
        elif self.pose == "solvepnp":
            rotation = np.stack([solve_head_pose(face, clip.width, clip.height) for face in keypoints])
        if self.normalize == "rigid":  # does not need the other landmarks
            anchor, length = rigid_anchor(keypoints)
            selected = (keypoints[:, self.landmark_indices] - anchor) / length
            return selected if rotation is None else selected @ rotation.astype(np.float32)
        if rotation is not None:
            center = keypoints[:, NOSE_TIP, None]
            keypoints = (keypoints - center) @ rotation.astype(keypoints.dtype) + center
        if self.normalize is not None:
            keypoints = normalize_frames(keypoints, self.normalize)
        return keypoints[:, self.landmark_indices]

    def _check_landmarks(self, clip: LandmarkSequence, index: int) -> None:
        if self.pose == "solvepnp" and not clip.width:
            raise ValueError(
                f'Clip {index}: pose="solvepnp" needs the size of the frame, which .npy files and arrays of landmarks '
                "do not have; give the video, or a LandmarkSequence with its width and height"
            )
        needed = max(self.landmark_indices)
        if self.pose is not None or self.normalize == "rigid":
            needed = max(needed, *RIGID)
        if clip.keypoints.shape[1] <= needed:
            raise ValueError(
                f"Clip {index} has {clip.keypoints.shape[1]} landmarks a frame, MediaPipe gives {NUM_LANDMARKS}; "
                f"pose={self.pose!r}, normalize={self.normalize!r} and the chosen landmarks need number {needed}. For "
                "landmarks of another kind set pose and normalize to None and landmarks to a list of indices; frames "
                "of pixels must be uint8."
            )


def resample(clip: LandmarkSequence, frame_rate: float, max_gap_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates the landmarks of a clip linearly over time onto even frames, filling short gaps on the way.

    Frame rate and longest gap are those of the feature extractor.

    Returns:
        Landmarks `(new frames, landmarks, 3)`, and whether each frame has a face, bool `(new frames,)`: False in
        longer gaps, before the first face and after the last one.
    """
    keypoints, present, timestamps = clip.keypoints, clip.present, clip.timestamps
    interval = np.median(np.diff(timestamps)) if len(timestamps) > 1 else 0.0
    # The last frame lasts for an interval too: 3 s of video of any frame rate become 75 frames at 25 fps.
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
    # No extrapolation before the first and after the last face, except that a frame lasts until the next one.
    outside = np.maximum(known[before] - times, times - known[after])
    shown = outside < max(interval - TIME_TOLERANCE, TIME_TOLERANCE)
    return filled, shown & (span - interval <= max_gap_seconds + TIME_TOLERANCE)


def _checked(clip: Any, frame_rate: float, index: int) -> LandmarkSequence:
    """Converts a clip to a `LandmarkSequence`, after checks."""
    keypoints = np.asarray(getattr(clip, "keypoints", clip), np.float32)
    if keypoints.ndim != 3 or keypoints.shape[-1] != 3 or not keypoints.size:
        raise ValueError(f"Clip {index} must be (frames, landmarks, 3) with at least one frame, not {keypoints.shape}")
    if not hasattr(clip, "keypoints"):  # not isinstance: remote code may be imported as several copies of the class
        return LandmarkSequence.from_array(keypoints, frame_rate)
    present, timestamps = np.asarray(clip.present, bool), np.asarray(clip.timestamps)
    if not len(keypoints) == len(present) == len(timestamps):
        raise ValueError(
            f"Clip {index}: {len(keypoints)} frames, but {len(present)} of presence and {len(timestamps)} timestamps"
        )
    finite = np.isfinite(keypoints).all(axis=(1, 2))
    if not finite[present].all():
        frame = np.argmin(finite | ~present)
        raise ValueError(f"Clip {index} has landmarks that are not finite in frame {frame}; extract it again")
    if not (np.diff(timestamps) > 0).all():
        raise ValueError(f"Clip {index} has timestamps that do not rise; give seconds in order")
    return replace(clip, keypoints=keypoints, present=present, timestamps=timestamps)


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
