# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Face landmarks of a clip, from a video with MediaPipe's FaceLandmarker or from a `.npy` file.

```python
with Face3DKeypointExtractor() as extractor:
    sequence = extractor.extract_video("clip.mp4", start=1.0, end=4.0)
    print(sequence.keypoints.shape, sequence.coverage)
```

mediapipe, av and cv2 are imported on first use: training from stored landmarks needs none of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from .face_tracking_lipread import FACES, FaceFinder, FaceFollower, SpeakerFollower
from .geometry_lipread import NUM_LANDMARKS
from .landmarker_lipread import LANDMARKER_FILE, landmarker_path
from .video_lipread import VideoError, read_ahead, read_frames

__all__ = [
    "FACES",
    "LANDMARKER_FILE",
    "Face3DKeypointExtractor",
    "LandmarkFileError",
    "LandmarkSequence",
    "NoFaceError",
    "VideoError",
    "landmarker_path",
    "read_landmark_file",
]


class NoFaceError(ValueError):
    """A video in which no frame shows a face."""


class LandmarkFileError(ValueError):
    """A landmark file that is missing, damaged, or holds something else; the message names the remedy."""


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
        most_faces: The most faces seen in one frame, of those that were searched; 0 if that is not known.
    """

    keypoints: np.ndarray
    present: np.ndarray
    timestamps: np.ndarray
    width: int
    height: int
    frame_rate: float
    most_faces: int = 0

    @classmethod
    def from_faces(
        cls,
        faces: Sequence[np.ndarray | None],
        timestamps: Sequence[float] | np.ndarray,
        size: tuple[int, int],
        most_faces: int = 0,
    ) -> LandmarkSequence:
        """A clip of faces found one by one.

        Args:
            faces: Landmarks `(landmarks, 3)` of each frame, None where no face was found; at least one frame.
            timestamps: Seconds `(frames,)`, rising.
            size: Width and height of a frame in pixels.
            most_faces: As the attribute.
        """
        timestamps = np.array(timestamps, np.float64)
        absent = next((np.zeros_like(face) for face in faces if face is not None), np.zeros((NUM_LANDMARKS, 3)))
        duration = timestamps[-1] - timestamps[0]
        return cls(
            keypoints=np.stack([absent if face is None else face for face in faces]).astype(np.float32, copy=False),
            present=np.array([face is not None for face in faces]),
            timestamps=timestamps,
            width=size[0],
            height=size[1],
            frame_rate=(len(timestamps) - 1) / duration if duration else 0.0,
            most_faces=most_faces,
        )

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def coverage(self) -> float:
        """The share of frames in which a face was found, 0..1."""
        return float(np.mean(self.present)) if len(self) else 0.0


class Face3DKeypointExtractor:
    """Finds the 478 three-dimensional landmarks of one face in frames and videos.

    Of several faces one is followed, by default the largest: see `face`. Faces too small for MediaPipe's detector in
    the whole frame (below about a tenth of a wide one) are searched in overlapping tiles.

    One instance serves many clips, and no clip's landmarks depend on the clip before. A face is looked for in
    MediaPipe's image mode, which keeps no state, and followed in its video mode, whose landmarkers are reset between
    clips: image mode places each frame anew and its landmarks shake three
    times as much. From them a small CTC reader of GRID speaker s1 (568 clips, 40 epochs, one seed) misread 41% of the
    words, from the followed ones 29%. With more than one face MediaPipe's video mode neither follows nor smooths.

    Args:
        model_path: MediaPipe's face_landmarker.task; the packaged one by default.
        num_faces: The most faces looked for in a frame, of which one is followed.
        min_face_detection_confidence: MediaPipe's threshold on its detector, 0..1.
        min_face_presence_confidence: MediaPipe's threshold on its landmark model, 0..1.
        face: Which of several faces is followed: the `largest` or the most `central` of the frame in which it is
            first seen, then the same one until it is lost for a quarter of a second; or the `speaking` one, whose lips
            move most in the whole clip. For that all faces are followed, which takes as many times as long.

    Raises:
        FileNotFoundError: `model_path` is missing.
        ValueError: `model_path` is not the expected file, or `face` none of these.
    """

    def __init__(
        self,
        model_path: str | os.PathLike | None = None,
        num_faces: int = 4,
        min_face_detection_confidence: float = 0.5,
        min_face_presence_confidence: float = 0.5,
        face: str = "largest",
    ):
        self.face = _check_choice(face)
        self.finder = FaceFinder(
            landmarker_path(model_path), num_faces, min_face_detection_confidence, min_face_presence_confidence
        )

    def __enter__(self) -> Face3DKeypointExtractor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees MediaPipe's memory; the extractor can be used again afterwards."""
        self.finder.close()

    def extract(self, frame: np.ndarray) -> np.ndarray | None:
        """Finds the largest face of one image, or its most central one if `face` is `central`.

        Args:
            frame: RGB, uint8, `(height, width, 3)`.

        Returns:
            Float32 landmarks `(478, 3)` in pixels, X right, Y up, Z towards the camera, or None if there is no face.

        Raises:
            ValueError: `frame` is not such an image.
        """
        which = "largest" if self.face == "speaking" else self.face  # one picture does not show who speaks
        face, _, _ = self.finder.choose(_check_frame(frame), which)
        return face

    def extract_video(
        self,
        path: str | os.PathLike,
        start: float | None = None,
        end: float | None = None,
        face: str | None = None,
        max_seconds: float | None = None,
    ) -> LandmarkSequence:
        """Finds the face in every frame of a video, or of a span of it.

        Args:
            path: The video file.
            start: Seconds from the start of the file.
            end: Seconds from the start of the file.
            face: Which face is followed; the extractor's own choice by default.
            max_seconds: The longest span taken; a longer one is an error. A minute takes 9 MB at 25 frames a second.

        Returns:
            Landmarks, presence and timestamps; a video without a face has no frame present.

        Raises:
            VideoError: The file is missing, empty, truncated, corrupt, no video, holds no frame between `start` and
                `end`, or is longer than `max_seconds` there.
            ValueError: `face` is none of the choices.
        """
        with closing(read_ahead(read_frames(path, start, end, max_seconds))) as frames:
            return self._extract(frames, face)

    def extract_frames(
        self, frames: Iterable[np.ndarray], frame_rate: float, face: str | None = None
    ) -> LandmarkSequence:
        """Finds the face in every frame of a clip already decoded.

        Args:
            frames: RGB, uint8, `(frames, height, width, 3)`.
            frame_rate: Frames a second.
            face: Which face is followed; the extractor's own choice by default.

        Returns:
            Landmarks, presence and timestamps; a clip without a face has no frame present.

        Raises:
            ValueError: There are no frames, they are not such images, or `face` is none of the choices.
        """
        timed = ((index / frame_rate, _check_frame(frame)) for index, frame in enumerate(frames))
        return self._extract(timed, face)

    def _extract(self, frames: Iterable[tuple[float, np.ndarray]], face: str | None) -> LandmarkSequence:
        which = self.face if face is None else _check_choice(face)
        follower = SpeakerFollower(self.finder) if which == "speaking" else FaceFollower(self.finder, which)
        timestamps, shape = [], None
        try:
            for time, frame in frames:
                shape = shape or frame.shape
                follower.step(frame, time)
                timestamps.append(time)
        finally:
            follower.close()
        if shape is None:
            raise ValueError("A clip of no frames; give at least one frame.")
        return LandmarkSequence.from_faces(follower.faces, timestamps, (shape[1], shape[0]), follower.most_seen)


def read_landmark_file(
    path: str | os.PathLike,
    frame_rate: float = 25.0,
    start: float | None = None,
    end: float | None = None,
    num_landmarks: int | None = None,
) -> LandmarkSequence:
    """Reads the landmarks of a clip, or of a span of it, at a steady frame rate.

    A frame of nothing but zeros or of nothing but NaN counts as one without a face. Halves, singles and doubles of
    either byte order, in C's or Fortran's order, are read; integers are not.

    Args:
        path: A `.npy` file as `numpy.save` writes it.
        frame_rate: Frames a second.
        start: Seconds from the start of the file; earlier frames are left out.
        end: Seconds from the start of the file; frames from there on are left out.
        num_landmarks: How many landmarks a frame must have; any number by default.

    Returns:
        The clip, width and height 0 (not known).

    Raises:
        LandmarkFileError: The file is missing, is no such array, is shorter than its header says, holds a frame that
            is finite in part or infinite, or no frame between `start` and `end`.
    """
    name = os.fspath(path)
    stored = _open_array(name)
    wanted = "landmarks" if num_landmarks is None else str(num_landmarks)
    is_clip = stored.ndim == 3 and stored.shape[2] == 3 and stored.shape[1] > 0
    if not is_clip or num_landmarks not in (None, stored.shape[1]):
        raise LandmarkFileError(f"{name}: holds shape {stored.shape}; expected floats (frames, {wanted}, 3)")
    if stored.dtype.kind != "f":
        raise LandmarkFileError(
            f'{name}: holds {stored.dtype}; expected floats (frames, {wanted}, 3): save array.astype("float32")'
        )
    timestamps = np.arange(len(stored)) / frame_rate
    first, last = np.searchsorted(timestamps, [start or 0.0, np.inf if end is None else end]).tolist()
    if first >= last:
        raise LandmarkFileError(f"{name}: no frame in the span; the file lasts {len(stored) / frame_rate:.2f} s")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        keypoints = np.array(stored[first:last], dtype=np.float32, order="C")
    finite = np.isfinite(keypoints)
    present = ~np.isnan(keypoints).all(axis=(1, 2)) & keypoints.any(axis=(1, 2))
    if not finite[present].all():
        frame = first + int(np.flatnonzero(present & ~finite.all(axis=(1, 2)))[0])
        raise LandmarkFileError(
            f"{name}: frame {frame} holds NaN beside numbers, or infinite values; extract the clip again, or write "
            "NaN throughout a frame without a face"
        )
    keypoints[~present] = 0.0
    return LandmarkSequence(
        keypoints=keypoints,
        present=present,
        timestamps=timestamps[first:last] - (start or 0.0),
        width=0,
        height=0,
        frame_rate=frame_rate,
    )


def _open_array(name: str) -> np.ndarray:
    """Maps the array of a `.npy` file into memory; pickled objects are refused, not loaded."""
    try:
        with open(name, "rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04":
            raise LandmarkFileError(f"{name}: an .npz archive in place of a .npy file; save one array with numpy.save")
        return np.lib.format.open_memmap(name, mode="r")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise LandmarkFileError(f"{name}: {reason}; check the path") from error
    except LandmarkFileError:
        raise
    except Exception as error:  # numpy parses a damaged header with whatever exception comes of it
        raise LandmarkFileError(
            f"{name}: not a complete .npy file of plain numbers ({error}); copy or extract it again, and save "
            "arrays with numpy.save"
        ) from error


def _check_choice(face: str) -> str:
    if face not in FACES:
        raise ValueError(f"face must be one of {FACES}, not {face!r}")
    return face


def _check_frame(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"A frame must be RGB uint8 (height, width, 3), not {frame.dtype} {frame.shape}.")
    return frame
