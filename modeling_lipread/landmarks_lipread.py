# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video to face landmarks with MediaPipe's FaceLandmarker.

```python
with Face3DKeypointExtractor() as extractor:
    sequence = extractor.extract_video("clip.mp4", start=1.0, end=4.0)
    print(sequence.keypoints.shape, sequence.coverage)
```

mediapipe, av and cv2 are imported on first use: training from stored landmarks needs none of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .geometry_lipread import NUM_LANDMARKS
from .head_pose_lipread import HeadPose, solve_head_pose
from .landmarker_lipread import LANDMARKER_FILE, Landmarker, Region, landmarker_path
from .video_lipread import VideoError, read_frames

__all__ = [
    "LANDMARKER_FILE",
    "Face3DKeypointExtractor",
    "HeadPose",
    "LandmarkSequence",
    "NoFaceError",
    "VideoError",
    "landmarker_path",
    "solve_head_pose",
]

REACQUIRE_SECONDS = 0.25  # how long a lost face is waited for before another one may be followed
MOST_MOVED = 0.8  # sizes of the face, between two frames: two faces side by side are farther apart
MOST_GROWN = 4 / 3  # times, between two frames
SMALLEST_TILED_SIDE = 256  # tiles of smaller frames would be smaller than the detector's own 128-pixel input


class NoFaceError(ValueError):
    """A video in which no frame shows a face."""


@dataclass
class LandmarkSequence:
    """Face landmarks of a clip.

    Attributes:
        keypoints: Float32 `(frames, 478, 3)` in pixels, X right, Y up, Z towards the camera; zeros where no face was
            found.
        present: Bool `(frames,)`, whether a face was found.
        timestamps: Float64 `(frames,)`, seconds from the clip's start, rising.
        width: Pixels of a frame as shown.
        height: Pixels of a frame as shown.
        frame_rate: Average frames a second.
    """

    keypoints: np.ndarray
    present: np.ndarray
    timestamps: np.ndarray
    width: int
    height: int
    frame_rate: float

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def coverage(self) -> float:
        """The share of frames in which a face was found, 0..1."""
        return float(np.mean(self.present)) if len(self) else 0.0


class Face3DKeypointExtractor:
    """Finds the 478 three-dimensional landmarks of one face in frames and videos.

    Of several faces the largest is taken, then followed. Faces too small for MediaPipe's detector in the whole frame
    (below about a tenth of a wide one) are searched in overlapping tiles.

    One instance serves many clips, and no clip's landmarks depend on the clip before. A face is looked for in
    MediaPipe's image mode, which keeps no state, and followed in its video mode by a landmarker made anew for each
    clip (28 ms): one that is reused shifts the first frames of the next clip by up to 2.5 pixels, and a blank frame in
    between still by 0.04. Following is worth that: image mode places each frame anew and its landmarks shake three
    times as much. From them a small CTC reader of GRID speaker s1 (568 clips, 40 epochs, one seed) misread 41% of the
    words, from the followed ones 29%. With more than one face MediaPipe's video mode neither follows nor smooths.

    Args:
        model_path: MediaPipe's face_landmarker.task; the packaged one by default.
        num_faces: The most faces looked for in a frame, of which one is followed.
        min_face_detection_confidence: MediaPipe's threshold on its detector, 0..1.
        min_face_presence_confidence: MediaPipe's threshold on its landmark model, 0..1.

    Raises:
        FileNotFoundError: `model_path` is missing.
        ValueError: `model_path` is not the expected file.
    """

    def __init__(
        self,
        model_path: str | os.PathLike | None = None,
        num_faces: int = 4,
        min_face_detection_confidence: float = 0.5,
        min_face_presence_confidence: float = 0.5,
    ):
        self.model_path = landmarker_path(model_path)
        self.num_faces = num_faces
        self.min_face_detection_confidence = min_face_detection_confidence
        self.min_face_presence_confidence = min_face_presence_confidence
        self._image_landmarker: Landmarker | None = None

    def __enter__(self) -> Face3DKeypointExtractor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # MediaPipe's handle belongs to one process; copies and other processes make their own on first use.
        return {**self.__dict__, "_image_landmarker": None}

    def close(self) -> None:
        """Frees MediaPipe's memory; the extractor can be used again afterwards."""
        if self._image_landmarker is not None:
            self._image_landmarker.close()
        self._image_landmarker = None

    def extract(self, frame: np.ndarray) -> np.ndarray | None:
        """Finds the largest face of one image.

        Args:
            frame: RGB, uint8, `(height, width, 3)`.

        Returns:
            Float32 landmarks `(478, 3)` in pixels, X right, Y up, Z towards the camera, or None if there is no face.

        Raises:
            ValueError: `frame` is not such an image.
        """
        return self._find(_check_frame(frame), previous=None)[0]

    def extract_video(
        self, path: str | os.PathLike, start: float | None = None, end: float | None = None
    ) -> LandmarkSequence:
        """Finds the face in every frame of a video, or of a span of it.

        Args:
            path: The video file.
            start: Seconds from the start of the file.
            end: Seconds from the start of the file.

        Returns:
            Landmarks, presence and timestamps; a video without a face has no frame present.

        Raises:
            VideoError: The file is missing, empty, truncated, no video, or holds no frame between `start` and `end`.
        """
        return self._extract(read_frames(path, start, end))

    def extract_frames(self, frames: Iterable[np.ndarray], frame_rate: float) -> LandmarkSequence:
        """Finds the face in every frame of a clip already decoded.

        Args:
            frames: RGB, uint8, `(frames, height, width, 3)`.
            frame_rate: Frames a second.

        Returns:
            Landmarks, presence and timestamps; a clip without a face has no frame present.

        Raises:
            ValueError: There are no frames, or they are not such images.
        """
        return self._extract((index / frame_rate, _check_frame(frame)) for index, frame in enumerate(frames))

    def _extract(self, frames: Iterable[tuple[float, np.ndarray]]) -> LandmarkSequence:
        keypoints, timestamps, shape = [], [], None
        follower = _Follower(self)
        try:
            for time, frame in frames:
                shape = shape or frame.shape
                keypoints.append(follower.step(frame, time))
                timestamps.append(time)
        finally:
            follower.close()
        if shape is None:
            raise ValueError("A clip of no frames; give at least one frame.")
        duration = timestamps[-1] - timestamps[0]
        absent = np.zeros((NUM_LANDMARKS, 3), np.float32)
        return LandmarkSequence(
            keypoints=np.stack([absent if face is None else face for face in keypoints]),
            present=np.array([face is not None for face in keypoints]),
            timestamps=np.array(timestamps),
            width=shape[1],
            height=shape[0],
            frame_rate=(len(timestamps) - 1) / duration if duration else 0.0,
        )

    def _find(self, frame: np.ndarray, previous: np.ndarray | None) -> tuple[np.ndarray | None, Region]:
        """The face that continues `previous`, or the largest if there is none to continue, and where to follow it.

        A face that is alone is followed in the whole frame; one among others or a small one in a region around it.
        """
        if self._image_landmarker is None or not self._image_landmarker.usable:
            self._image_landmarker = self._make_landmarker(video=False)
        levels = _search_levels(frame) if previous is None else iter([[_whole(frame)], [_around(frame, previous, 3)]])
        for level, regions in enumerate(levels):
            faces = [face for region in regions for face in self._image_landmarker.detect(frame, region)]
            face = max(faces, key=_size, default=None) if previous is None else _nearest(faces, previous)
            if face is not None:
                if len(faces) > 1:
                    return face, _around(frame, face, 2)
                return face, _around(frame, face, 3) if level else _whole(frame)
        return None, _whole(frame)

    def _make_landmarker(self, video: bool) -> Landmarker:
        return Landmarker(
            self.model_path,
            video,
            num_faces=1 if video else self.num_faces,
            min_face_detection_confidence=self.min_face_detection_confidence,
            min_face_presence_confidence=self.min_face_presence_confidence,
        )


class _Follower:
    """Follows one face through the frames of one clip."""

    def __init__(self, extractor: Face3DKeypointExtractor):
        self.extractor = extractor
        self.landmarker: Landmarker | None = None
        self.region: Region = (0, 0, 0, 0)
        self.previous: np.ndarray | None = None
        self.last_seen = 0.0

    def step(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        """The face in the next frame."""
        if time - self.last_seen > REACQUIRE_SECONDS:
            self.previous = None
        face = self._follow(frame, time)
        if face is None:
            self.close()
            face, self.region = self.extractor._find(frame, self.previous)
            if face is not None:
                self.previous, self.landmarker = face, self.extractor._make_landmarker(video=True)
                face = self._follow(frame, time)
                if face is None:  # MediaPipe took another face of the region; look for ours again in the next frame
                    face = self.previous
                    self.close()
        if face is not None:
            self.previous, self.last_seen = face, time
            if self.landmarker is not None and _touches_edge(face, self.region, frame):
                self.close()  # the face wanders out of its region; the next frame chooses a new one
        return face

    def _follow(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        if self.landmarker is None or self.previous is None:
            return None
        return _nearest(self.landmarker.detect(frame, self.region, time), self.previous)

    def close(self) -> None:
        if self.landmarker is not None:
            self.landmarker.close()
        self.landmarker = None


def _check_frame(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"A frame must be RGB uint8 (height, width, 3), not {frame.dtype} {frame.shape}.")
    return frame


def _size(face: np.ndarray) -> float:
    return float(np.ptp(face[:, :2], axis=0).max())


def _nearest(faces: list[np.ndarray], previous: np.ndarray) -> np.ndarray | None:
    """The face nearest to where the previous one was, if it is near enough and large enough to be the same."""
    size = _size(previous)
    alike = [face for face in faces if 1 / MOST_GROWN < _size(face) / size < MOST_GROWN]
    distances = [np.linalg.norm((face - previous)[:, :2].mean(axis=0)) for face in alike]
    return alike[int(np.argmin(distances))] if alike and min(distances) < MOST_MOVED * size else None


def _whole(frame: np.ndarray) -> Region:
    return 0, 0, frame.shape[1], frame.shape[0]


def _around(frame: np.ndarray, face: np.ndarray, sizes: float) -> Region:
    """A square around a face, so many times its size, as far as the frame reaches."""
    height, width = frame.shape[:2]
    x, y = face[:, :2].mean(axis=0) * (1, -1)
    half = sizes * _size(face) / 2
    left, right = (int(np.clip(edge, 0, width)) for edge in (x - half, x + half))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (y - half, y + half))
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _touches_edge(face: np.ndarray, region: Region, frame: np.ndarray) -> bool:
    """Whether a face comes near an edge of its region beyond which the frame goes on."""
    left, top, width, height = region
    margin = 0.1 * _size(face)
    (low_x, low_y), (high_x, high_y) = face[:, :2].min(axis=0), face[:, :2].max(axis=0)
    return (
        (left > 0 and low_x < left + margin)
        or (left + width < frame.shape[1] and high_x > left + width - margin)
        or (top > 0 and -high_y < top + margin)
        or (top + height < frame.shape[0] and -low_y > top + height - margin)
    )


def _search_levels(frame: np.ndarray) -> Iterator[list[Region]]:
    """Regions to search for a face: the whole frame, then ever smaller overlapping squares."""
    height, width = frame.shape[:2]
    yield [_whole(frame)]
    if min(height, width) >= SMALLEST_TILED_SIDE:
        for side in (min(height, width), min(height, width) * 2 // 3):
            yield [(left, top, side, side) for top in _starts(height, side) for left in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    """Where squares that overlap by half begin along a length."""
    return np.linspace(0, length - side, math.ceil((length - side) / (side / 2)) + 1).round().astype(int).tolist()
