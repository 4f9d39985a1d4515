# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video to face landmarks with MediaPipe's FaceLandmarker, and the classic head pose with OpenCV.

```python
with Face3DKeypointExtractor() as extractor:
    sequence = extractor.extract_video("clip.mp4", start=1.0, end=4.0)
    print(sequence.keypoints.shape, sequence.coverage)
```

mediapipe, av and cv2 are imported on first use: training from stored landmarks needs none of them.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from .geometry_lipread import NUM_LANDMARKS, angles_from_rotation
from .video_lipread import VideoError, read_frames, require

__all__ = [
    "Face3DKeypointExtractor",
    "HeadPose",
    "LandmarkSequence",
    "NoFaceError",
    "VideoError",
    "landmarker_path",
    "solve_head_pose",
]

LANDMARKER_FILE = "face_landmarker.task"
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

REACQUIRE_SECONDS = 0.25  # how long a lost face is waited for before another one may be followed
SMALLEST_TILED_SIDE = 256  # tiles of smaller frames would be smaller than the detector's own 128-pixel input

_coordinates = attrgetter("x", "y", "z")


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


def landmarker_path(path: str | os.PathLike | None = None) -> Path:
    """Finds MediaPipe's face_landmarker.task and verifies it.

    Args:
        path: Where it lies; beside this file by default.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not the one this project was built with.
    """
    path = Path(__file__).with_name(LANDMARKER_FILE) if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: MediaPipe's face model is missing; load the processor with AutoProcessor.from_pretrained, whose "
            f"folder holds {LANDMARKER_FILE}, or pass the path of that file"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != LANDMARKER_SHA256:
        raise ValueError(
            f"{path}: not the expected face model (sha256 {LANDMARKER_SHA256}); copy or download it again"
        )
    return path


class Face3DKeypointExtractor:
    """Finds the 478 three-dimensional landmarks of one face in frames and videos.

    Of several faces the largest is taken, then the one nearest to where it was in the frame before. Faces too small
    for MediaPipe's detector in the whole frame (below about a tenth of a wide one) are searched in overlapping tiles.

    One instance serves many clips. MediaPipe runs in its image mode, which keeps no state, so a clip's landmarks never
    depend on the clip before it. Its video mode, measured on GRID clips (75 frames, 2-core CPU, 80 to 90 frames a
    second in every variant): reused for the next clip, it shifts the first frames by up to 2.5 pixels; made anew for
    each clip, it costs 28 ms a clip; after a blank frame, still 0.04 pixels remain. It smooths landmarks over time,
    which takes 7% off the mouth's movement, only with `num_faces=1`, where MediaPipe may follow the wrong face; with
    more faces its landmarks equal those of the image mode to the bit, at the same speed.

    Args:
        model_path: MediaPipe's face_landmarker.task; the packaged one by default.
        num_faces: The most faces looked for in a frame.
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
        self._landmarker = None
        self._process = None
        self._release = None

    def __enter__(self) -> Face3DKeypointExtractor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # MediaPipe's handle belongs to one process; copies and other processes make their own on first use.
        return {**self.__dict__, "_landmarker": None, "_process": None, "_release": None}

    def close(self) -> None:
        """Frees MediaPipe's memory; the extractor can be used again afterwards."""
        if self._release is not None:
            self._release()
        self._landmarker = self._process = self._release = None

    def extract(self, frame: np.ndarray) -> np.ndarray | None:
        """Finds the largest face of one image.

        Args:
            frame: RGB, uint8, `(height, width, 3)`.

        Returns:
            Float32 landmarks `(478, 3)` in pixels, X right, Y up, Z towards the camera, or None if there is no face.

        Raises:
            ValueError: `frame` is not such an image.
        """
        return self._find(_check_frame(frame), previous=None)

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
        return self._follow(read_frames(path, start, end))

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
        return self._follow((index / frame_rate, _check_frame(frame)) for index, frame in enumerate(frames))

    def _follow(self, frames: Iterable[tuple[float, np.ndarray]]) -> LandmarkSequence:
        keypoints, present, timestamps, shape = [], [], [], None
        previous, last_seen = None, 0.0
        for time, frame in frames:
            shape = shape or frame.shape
            if time - last_seen > REACQUIRE_SECONDS:
                previous = None
            face = self._find(frame, previous)
            if face is not None:
                previous, last_seen = face, time
            keypoints.append(np.zeros((NUM_LANDMARKS, 3), np.float32) if face is None else face)
            present.append(face is not None)
            timestamps.append(time)
        if shape is None:
            raise ValueError("A clip of no frames; give at least one frame.")
        duration = timestamps[-1] - timestamps[0]
        return LandmarkSequence(
            keypoints=np.stack(keypoints),
            present=np.array(present),
            timestamps=np.array(timestamps),
            width=shape[1],
            height=shape[0],
            frame_rate=(len(timestamps) - 1) / duration if duration else 0.0,
        )

    def _find(self, frame: np.ndarray, previous: np.ndarray | None) -> np.ndarray | None:
        """The face that continues `previous`, or the largest if there is none to continue."""
        if previous is not None:
            center, reach = previous[:, :2].mean(axis=0), _size(previous)
            for region in (_whole(frame), _around(frame, center, 3 * reach)):
                faces = self._detect(frame, region)
                distances = [np.linalg.norm(face[:, :2].mean(axis=0) - center) for face in faces]
                if faces and min(distances) < reach:
                    return faces[int(np.argmin(distances))]
            return None
        for regions in _search_levels(frame):
            faces = [face for region in regions for face in self._detect(frame, region)]
            if faces:
                return max(faces, key=_size)
        return None

    def _detect(self, frame: np.ndarray, region: tuple[int, int, int, int]) -> list[np.ndarray]:
        """All faces in a region `(left, top, width, height)`, each `(478, 3)` in the pixels of the whole frame."""
        left, top, width, height = region
        mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
        crop = np.ascontiguousarray(frame[top : top + height, left : left + width])
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=crop)
        # MediaPipe divides x and z by the image's width and y by its height.
        scale = np.array([width, -height, -width], np.float32)
        offset = np.array([left, -top, 0], np.float32)
        faces = self._open_landmarker().detect(image).face_landmarks
        return [np.array([_coordinates(point) for point in face], np.float32) * scale + offset for face in faces]

    def _open_landmarker(self) -> Any:
        if self._process != os.getpid():
            self.close()
            mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
            tasks = mediapipe.tasks
            options = tasks.vision.FaceLandmarkerOptions(
                base_options=tasks.BaseOptions(model_asset_buffer=self.model_path.read_bytes()),
                running_mode=tasks.vision.RunningMode.IMAGE,
                num_faces=self.num_faces,
                min_face_detection_confidence=self.min_face_detection_confidence,
                min_face_presence_confidence=self.min_face_presence_confidence,
            )
            blank = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((128, 128, 3), np.uint8))
            with _quiet():
                self._landmarker = tasks.vision.FaceLandmarker.create_from_options(options)
                self._landmarker.detect(blank)  # its threads log on their first frame
            self._process = os.getpid()
            self._release = weakref.finalize(self, _release, self._landmarker, self._process)
        return self._landmarker


def _release(landmarker: Any, process: int) -> None:
    # MediaPipe closes a landmarker on its own thread, which a fork has not inherited (closing would wait for ever) and
    # which takes no more work once Python exits (closing would raise); without its handle the object just goes away.
    if process == os.getpid() and threading.main_thread().is_alive():
        landmarker.close()
    landmarker._handle = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Sends what native code writes to standard error nowhere: MediaPipe has no setting for its start-up lines."""
    standard_error = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


def _check_frame(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"A frame must be RGB uint8 (height, width, 3), not {frame.dtype} {frame.shape}.")
    return frame


def _size(face: np.ndarray) -> float:
    return float(np.ptp(face[:, :2], axis=0).max())


def _whole(frame: np.ndarray) -> tuple[int, int, int, int]:
    return 0, 0, frame.shape[1], frame.shape[0]


def _around(frame: np.ndarray, center: np.ndarray, side: float) -> tuple[int, int, int, int]:
    height, width = frame.shape[:2]
    left, right = np.clip([center[0] - side / 2, center[0] + side / 2], 0, width).round().astype(int)
    top, bottom = np.clip([-center[1] - side / 2, -center[1] + side / 2], 0, height).round().astype(int)
    return int(left), int(top), max(int(right - left), 1), max(int(bottom - top), 1)


def _search_levels(frame: np.ndarray) -> Iterator[list[tuple[int, int, int, int]]]:
    """Regions to search for a face: the whole frame, then ever smaller overlapping squares."""
    height, width = frame.shape[:2]
    yield [_whole(frame)]
    if min(height, width) >= SMALLEST_TILED_SIDE:
        for side in (min(height, width), min(height, width) * 2 // 3):
            yield [(left, top, side, side) for top in _starts(height, side) for left in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    """Where squares that overlap by half begin along a length."""
    return np.linspace(0, length - side, math.ceil((length - side) / (side / 2)) + 1).round().astype(int).tolist()


@dataclass
class HeadPose:
    """Where a head is turned, in project axes.

    Attributes:
        yaw: Degrees; positive turns the nose to the right of the image.
        pitch: Degrees; positive raises the nose.
        roll: Degrees; positive turns the face counter-clockwise in the image.
        rotation: Float64 `(3, 3)`, `seen = rotation @ frontal`.
    """

    yaw: float
    pitch: float
    roll: float
    rotation: np.ndarray


# The six points most head-pose tutorials use, here with their places on MediaPipe's canonical face in centimetres
# (geometry_pipeline_metadata_landmarks in face_landmarker.task, Apache-2.0 by Google): tip of the nose, chin, outer
# corners of the eyes, corners of the mouth.
HEAD_POSE_POINTS = (1, 152, 33, 263, 61, 291)
_HEAD_POSE_MODEL = np.array(
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


def solve_head_pose(keypoints: np.ndarray, width: float, height: float) -> HeadPose:
    """The classic head pose: OpenCV's solvePnP on six points of the picture, ignoring their depth.

    Chin and mouth corners move with speech, and so does this pose: `geometry_lipread.rigid_rotation` does not. The
    camera is taken to have its focal length equal to the frame's width and its centre in the frame's middle.

    Args:
        keypoints: Landmarks of one face `(478, 3)` in project axes.
        width: Pixels of the frame.
        height: Pixels of the frame.

    Returns:
        The pose.

    Raises:
        ValueError: OpenCV found no pose.
    """
    cv2 = require("cv2", "opencv-contrib-python", 'pose="solvepnp"')
    picture = np.asarray(keypoints, dtype=np.float64)[list(HEAD_POSE_POINTS), :2] * (1, -1)
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64)
    solved, vector, _ = cv2.solvePnP(_HEAD_POSE_MODEL * _TO_OPENCV, picture, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not solved:
        raise ValueError("solvePnP found no head pose; the landmarks are not those of a face")
    rotation = _TO_OPENCV[:, None] * cv2.Rodrigues(vector)[0] * _TO_OPENCV
    yaw, pitch, roll = angles_from_rotation(rotation).tolist()
    return HeadPose(yaw, pitch, roll, rotation)
