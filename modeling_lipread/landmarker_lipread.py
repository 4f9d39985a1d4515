# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""MediaPipe's FaceLandmarker and its model file: verified, quiet, and safe in forks and when Python exits."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
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

PAUSE = 1000  # milliseconds between two clips

Region = tuple[int, int, int, int]  # left, top, width, height in the pixels of a frame

_coordinates = attrgetter("x", "y", "z")


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
        raise ValueError(f"{path}: not the expected face model (sha256 {LANDMARKER_SHA256}); copy it again")
    return path


class Landmarker:
    """MediaPipe's FaceLandmarker in its image or its video mode.

    Args:
        model_path: The model file.
        video: Whether frames are those of a video, in order; its faces are followed and smoothed if `num_faces` is 1.
        options: Further `FaceLandmarkerOptions`.
    """

    def __init__(self, model_path: Path, video: bool, **options: Any):
        self._mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
        tasks = self._mediapipe.tasks
        modes = tasks.vision.RunningMode
        with _quiet():
            self._landmarker = tasks.vision.FaceLandmarker.create_from_options(
                tasks.vision.FaceLandmarkerOptions(
                    base_options=tasks.BaseOptions(model_asset_buffer=model_path.read_bytes()),
                    running_mode=modes.VIDEO if video else modes.IMAGE,
                    **options,
                )
            )
        self._process = os.getpid()
        self._milliseconds = 0
        self._shift: int | None = None  # from a clip's milliseconds to those that rise over all clips
        self._reads_arrays = video and _has_arrays(self._landmarker, self._image(np.zeros((8, 8, 3), np.uint8)))
        self.close = weakref.finalize(self, _release, self._landmarker, self._process)

    @property
    def usable(self) -> bool:
        """Whether this process made it; a fork does not inherit the thread that it runs on."""
        return self._process == os.getpid()

    def detect(self, frame: np.ndarray, region: Region, time: float | None = None) -> list[np.ndarray]:
        """Finds all faces in a region of a frame.

        Args:
            frame: RGB, uint8, `(height, width, 3)`.
            region: Where to look.
            time: Seconds, rising, in video mode.

        Returns:
            Float32 landmarks `(478, 3)` of each face, in pixels of the frame, X right, Y up, Z towards the camera.
        """
        left, top, width, height = region
        crop = np.ascontiguousarray(frame[top : top + height, left : left + width])
        image = self._image(crop)
        if time is None:
            faces = _as_arrays(self._landmarker.detect(image))
        else:
            milliseconds = round(1000 * time)
            if self._shift is None:
                # Well after 0, at which MediaPipe's filter would take the second frame's interval for another one.
                self._shift = self._milliseconds + PAUSE - milliseconds
            self._milliseconds = max(self._milliseconds + 1, milliseconds + self._shift)  # must rise
            read = _read_arrays if self._reads_arrays else _read_objects
            faces = read(self._landmarker, image, self._milliseconds)
        # MediaPipe divides x and z by the image's width and y by its height.
        scale = np.array([width, -height, -width], np.float32)
        offset = np.array([left, -top, 0], np.float32)
        return [face * scale + offset for face in faces]

    def reset(self) -> None:
        """Makes ready for another clip, whose landmarks are then those of a new landmarker, bit for bit.

        A frame without anything loses the face, and with it what the filters know.
        """
        if self._shift is not None:
            self._milliseconds += PAUSE
            self._landmarker.detect_for_video(self._image(np.zeros((64, 64, 3), np.uint8)), self._milliseconds)
            self._shift = None

    def _image(self, pixels: np.ndarray) -> Any:
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels)


def _as_arrays(result: Any) -> list[np.ndarray]:
    """Float32 `(478, 3)` of each face, as MediaPipe has them: shares of the image's width and height."""
    return [np.array([_coordinates(point) for point in face], np.float32) for face in result.face_landmarks]


def _read_objects(landmarker: Any, image: Any, milliseconds: int) -> list[np.ndarray]:
    return _as_arrays(landmarker.detect_for_video(image, milliseconds))


def _read_arrays(landmarker: Any, image: Any, milliseconds: int) -> list[np.ndarray]:
    """The same, read where MediaPipe's library wrote them: its Python makes 478 objects a frame of them, as slowly."""
    result = sys.modules[type(landmarker).__module__].MpFaceLandmarkerResultC()
    library = landmarker._lib
    library.MpFaceLandmarkerDetectForVideo(
        landmarker._handle, image._image_ptr, None, milliseconds, ctypes.byref(result)
    )
    try:
        faces = []
        for index in range(result.face_landmarks_count):
            found = result.face_landmarks[index]
            stride = ctypes.sizeof(found.landmarks.contents) // ctypes.sizeof(ctypes.c_float)
            floats = ctypes.cast(found.landmarks, ctypes.POINTER(ctypes.c_float))
            faces.append(np.ctypeslib.as_array(floats, (found.landmarks_count, stride))[:, :3].copy())
        return faces
    finally:
        library.MpFaceLandmarkerCloseResult(ctypes.byref(result))


def _has_arrays(landmarker: Any, image: Any) -> bool:
    """Whether this version of MediaPipe keeps its results where `_read_arrays` looks for them."""
    if not (hasattr(landmarker, "_handle") and hasattr(image, "_image_ptr")):
        return False
    result = getattr(sys.modules[type(landmarker).__module__], "MpFaceLandmarkerResultC", None)
    try:
        faces = dict(result._fields_)["face_landmarks"]._type_
        point = dict(faces._fields_)["landmarks"]._type_
        functions = landmarker._lib.MpFaceLandmarkerDetectForVideo, landmarker._lib.MpFaceLandmarkerCloseResult
        floats = [(axis, ctypes.c_float) for axis in ("x", "y", "z")]
        return all(map(callable, functions)) and list(point._fields_[:3]) == floats
    except (AttributeError, KeyError, TypeError):
        return False


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
