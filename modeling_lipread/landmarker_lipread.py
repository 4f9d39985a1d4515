# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""MediaPipe's FaceLandmarker and its model file: verified, quiet, and safe in forks and when Python exits."""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .mediapipe_calls_lipread import make_calls
from .video_lipread import require

LANDMARKER_FILE = "face_landmarker.task"
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

PAUSE = 1000  # milliseconds between two clips

Region = tuple[int, int, int, int]  # left, top, width, height in the pixels of a frame


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


class _Task:
    """One of MediaPipe's tasks, of the process that made it."""

    def __init__(self, make: Callable[[], Any]):
        with quiet(), _on_one_core():
            self._task = make()
        self._process = os.getpid()
        self.close = weakref.finalize(self, _release, self._task, self._process)

    @property
    def usable(self) -> bool:
        """Whether this process made it; a fork does not inherit the thread that it runs on."""
        return self._process == os.getpid()


class Landmarker(_Task):
    """MediaPipe's FaceLandmarker in its image or its video mode.

    Args:
        model_path: The model file.
        video: Whether frames are those of a video, in order; its faces are followed and smoothed if `num_faces` is 1.
        options: Further `FaceLandmarkerOptions`.
    """

    def __init__(self, model_path: Path, video: bool, **options: Any):
        mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
        tasks = mediapipe.tasks
        modes = tasks.vision.RunningMode
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=model_path.read_bytes()),
            running_mode=modes.VIDEO if video else modes.IMAGE,
            **options,
        )
        super().__init__(lambda: tasks.vision.FaceLandmarker.create_from_options(options))
        self._calls = make_calls(mediapipe, self._task)
        self._milliseconds = 0
        self._shift: int | None = None  # from a clip's milliseconds to those that rise over all clips

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
        if time is not None:
            milliseconds = round(1000 * time)
            if self._shift is None:
                # Well after 0, at which MediaPipe's filter would take the second frame's interval for another one.
                self._shift = self._milliseconds + PAUSE - milliseconds
            self._milliseconds = max(self._milliseconds + 1, milliseconds + self._shift)  # must rise
        faces = self._calls.detect(crop, None if time is None else self._milliseconds)
        return [_in_pixels(face, region) for face in faces]

    def reset(self) -> None:
        """Makes ready for another clip, whose landmarks are then those of a new landmarker, bit for bit.

        A frame without anything loses the face, and with it what the filters know.
        """
        if self._shift is not None:
            self._milliseconds += PAUSE
            self._calls.detect(np.zeros((64, 64, 3), np.uint8), self._milliseconds)
            self._shift = None


class FaceCounter(_Task):
    """The first half of MediaPipe's FaceLandmarker alone: its detector, in image mode.

    Args:
        model_path: The model file of the landmarker.
        min_face_detection_confidence: MediaPipe's threshold on its detector, 0..1.
    """

    def __init__(self, model_path: Path, min_face_detection_confidence: float):
        self._mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
        tasks = self._mediapipe.tasks
        with zipfile.ZipFile(model_path) as models:
            options = tasks.vision.FaceDetectorOptions(
                base_options=tasks.BaseOptions(model_asset_buffer=models.read("face_detector.tflite")),
                min_detection_confidence=min_face_detection_confidence,
                min_suppression_threshold=0.5,  # as in the landmarker
            )

        def make() -> Any:
            detector = tasks.vision.FaceDetector.create_from_options(options)
            detector.detect(
                self._image(np.zeros((64, 64, 3), np.uint8))
            )  # at its first image it writes a line as well
            return detector

        super().__init__(make)

    def count(self, frame: np.ndarray) -> int:
        """How many faces the landmarker would look at closer in a frame: RGB, uint8, `(height, width, 3)`."""
        return len(self._task.detect(self._image(np.ascontiguousarray(frame))).detections)

    def _image(self, pixels: np.ndarray) -> Any:
        return self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels)


def _in_pixels(face: np.ndarray, region: Region) -> np.ndarray:
    """A face `(478, 3)` in pixels of the frame; MediaPipe divides x and z by the image's width and y by its height."""
    left, top, width, height = region
    pixels = np.empty(face.shape, np.float32)
    for axis, (scale, offset) in enumerate(((width, left), (-height, -top), (-width, 0))):
        pixels[:, axis] = face[:, axis] * scale + offset  # an axis at a time: numpy is slow along rows of three
    return pixels


def _release(task: Any, process: int) -> None:
    # MediaPipe closes a task on its own thread, which a fork has not inherited (closing would wait for ever) and
    # which takes no more work once Python exits (closing would raise); without its handle the object just goes away.
    if process == os.getpid() and threading.main_thread().is_alive():
        with quiet():
            task.close()
    task._handle = None


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Makes MediaPipe believe in one core, where the system lets it: it makes as many threads as there are cores.

    They hand each frame from one to the next and never work at once, so a twentieth of the time went to waking them.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores, threads = os.sched_getaffinity(0), set(_threads())
    _set_affinity(0, {max(cores)})
    try:
        yield
    finally:
        for thread in {0, *_threads()} - threads:  # new threads keep the core of the one that made them
            _set_affinity(thread, cores)


def _threads() -> list[int]:
    """The numbers of this process's threads, as far as the system tells."""
    try:
        return [int(number) for number in os.listdir("/proc/self/task")]
    except OSError:
        return []


def _set_affinity(thread: int, cores: set[int]) -> None:
    try:
        os.sched_setaffinity(thread, cores)
    except OSError:
        pass  # forbidden, or the thread has ended


@contextmanager
def quiet() -> Iterator[None]:
    """Sends standard error nowhere: MediaPipe has no setting for what it writes when it starts and ends."""
    standard_error = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
