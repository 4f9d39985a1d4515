# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""MediaPipe's face landmarker, through its public Tasks API, and its model file."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from .video_lipread import require

LANDMARKER_FILE = "face_landmarker.task"
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

PAUSE = 1000  # milliseconds on the landmarker's clock between two clips
_coordinates = attrgetter("x", "y", "z")

Region = tuple[int, int, int, int]  # left, top, width, height in the pixels of a frame


def landmarker_path(path: str | os.PathLike | None = None) -> Path:
    """Returns the path of MediaPipe's face_landmarker.task after verifying the file.

    Args:
        path: Path of the file; by default the file beside this module.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not the one this project was built with.
    """
    path = Path(__file__).with_name(LANDMARKER_FILE) if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: MediaPipe's face model is missing; load the processor with AutoProcessor.from_pretrained from a "
            f"folder with {LANDMARKER_FILE}, or pass the path of that file"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != LANDMARKER_SHA256:
        raise ValueError(f"{path}: not the expected face model (sha256 {LANDMARKER_SHA256}); copy it again")
    return path


class Landmarker:
    """MediaPipe's FaceLandmarker in image or video mode, owned by the process that created it.

    Args:
        model_path: The model file.
        video: Whether to use video mode, in which frames come in order and MediaPipe tracks the face, and with
            `num_faces=1` also smooths it.
        options: Further `FaceLandmarkerOptions`.
    """

    def __init__(self, model_path: Path, video: bool, **options: Any):
        self._mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
        tasks = self._mediapipe.tasks
        modes = tasks.vision.RunningMode
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=model_path.read_bytes()),
            running_mode=modes.VIDEO if video else modes.IMAGE,
            **options,
        )
        with quiet():
            self._task = tasks.vision.FaceLandmarker.create_from_options(options)
        self._process = os.getpid()
        self.close = weakref.finalize(self, _close, self._task, self._process)
        self._milliseconds = 0
        self._shift: int | None = None  # milliseconds on the landmarker's clock at time 0 of the clip

    @property
    def usable(self) -> bool:
        """Whether this process created the landmarker; a fork does not inherit MediaPipe's thread."""
        return self._process == os.getpid()

    def detect(self, frame: np.ndarray, region: Region, time: float | None = None) -> list[np.ndarray]:
        """Returns the landmarks of all faces in a region of a frame.

        Args:
            frame: RGB, uint8, `(height, width, 3)`.
            region: The region.
            time: Seconds, rising, in video mode; None in image mode.

        Returns:
            Float32 `(478, 3)` for each face, in pixels of the frame, X right, Y up, Z towards the camera.

        Raises:
            ValueError: The landmarker is closed.
        """
        left, top, width, height = region
        image = self._image(frame[top : top + height, left : left + width])
        if time is None:
            result = self._task.detect(image)
        else:
            milliseconds = round(1000 * time)
            if self._shift is None:
                # Not near 0, where MediaPipe's filter gets the interval of the second frame wrong.
                self._shift = self._milliseconds + PAUSE - milliseconds
            self._milliseconds = max(self._milliseconds + 1, milliseconds + self._shift)  # must rise
            result = self._task.detect_for_video(image, self._milliseconds)
        return [_in_pixels(face, region) for face in result.face_landmarks]

    def reset(self) -> None:
        """Ends a clip: landmarks of the next clip equal those of a new landmarker bit for bit.

        A blank frame makes MediaPipe lose the face and clear its filters.
        """
        if self._shift is not None:
            self._milliseconds += PAUSE
            self._task.detect_for_video(self._image(np.zeros((64, 64, 3), np.uint8)), self._milliseconds)
            self._shift = None

    def _image(self, pixels: np.ndarray) -> Any:
        """Returns a MediaPipe image of RGB pixels, uint8 `(height, width, 3)`; raises `ValueError` when closed."""
        if not self.close.alive:  # MediaPipe itself would find no face
            raise ValueError("The landmarker is closed; create another one.")
        # MediaPipe sees no face in an image that is not contiguous.
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))


def _in_pixels(face: list[Any], region: Region) -> np.ndarray:
    """Converts MediaPipe's landmarks to pixels `(478, 3)` of the frame.

    MediaPipe divides x and z by the image's width and y by its height.
    """
    left, top, width, height = region
    points = np.array([_coordinates(point) for point in face], np.float32)
    pixels = np.empty(points.shape, np.float32)
    for axis, (scale, offset) in enumerate(((width, left), (-height, -top), (-width, 0))):
        pixels[:, axis] = points[:, axis] * scale + offset  # an axis at a time: numpy is slow along rows of three
    return pixels


def _close(task: Any, process: int) -> None:
    # MediaPipe closes a task on the task's own thread. In a fork, which has no such thread, closing would block. While
    # Python exits, the thread accepts no more work, and closing would raise.
    if process == os.getpid() and threading.main_thread().is_alive():
        with quiet():
            task.close()
    task.close = lambda: None  # the task's destructor calls it


@contextmanager
def quiet() -> Iterator[None]:
    """Discards standard error, since MediaPipe has no setting for its messages when a task starts and ends."""
    standard_error = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
