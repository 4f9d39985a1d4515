# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""MediaPipe's face landmarker: detection by its public Tasks API, tracking by its landmark network, run by LiteRT."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from .video_lipread import require

LANDMARKER_FILE = "face_landmarker.task"
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

# MediaPipe's settings for tracking one face in video mode.
NETWORK = "face_landmarks_detector.tflite"
SIDE = 256  # pixels of the network's square input
CROP = 1.5  # sides of the input in sizes of the face
EYES = (33, 263)  # outer corners, which are level in the input
LOWEST_CUTOFF, CUTOFF_SLOPE, SPEED_CUTOFF = 0.05, 80.0, 1.0  # hertz, and hertz for a face size a second

_coordinates = attrgetter("x", "y", "z")

Region = tuple[int, int, int, int]  # left, top, width, height in the pixels of a frame


def landmarker_path(path: str | os.PathLike | None = None) -> Path:
    """Returns the path of MediaPipe's face_landmarker.task, by default the file beside this module.

    Raises FileNotFoundError if there is no such file, and ValueError if it is not the one of this project.
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
    """MediaPipe's FaceLandmarker in image mode, owned by the process that created it.

    The `options` are further `FaceLandmarkerOptions`.
    """

    def __init__(self, model_path: Path, **options: Any):
        self._mediapipe = require("mediapipe", "mediapipe", "Finding face landmarks")
        tasks = self._mediapipe.tasks
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=model_path.read_bytes()), **options
        )
        with quiet():
            self._task = tasks.vision.FaceLandmarker.create_from_options(options)
        self._process = os.getpid()
        self.close = weakref.finalize(self, _close, self._task, self._process)

    @property
    def usable(self) -> bool:
        """Whether this process created the landmarker; a fork does not inherit MediaPipe's thread."""
        return self._process == os.getpid()

    def detect(self, frame: np.ndarray, region: Region) -> list[np.ndarray]:
        """Returns the landmarks of all faces in a region of a frame, RGB, uint8, `(height, width, 3)`.

        They are float32 `(478, 3)`, in pixels of the frame, X right, Y up, Z towards the camera. Raises ValueError if
        the landmarker is closed.
        """
        if not self.close.alive:  # MediaPipe itself would find no face
            raise ValueError("The landmarker is closed; create another one.")
        left, top, width, height = region
        # MediaPipe sees no face in an image that is not contiguous.
        pixels = np.ascontiguousarray(frame[top : top + height, left : left + width])
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels)
        return [_in_pixels(face, region) for face in self._task.detect(image).face_landmarks]


class LandmarkNetwork(threading.local):
    """MediaPipe's landmark network, which finds a face near the place where it was in the frame before.

    MediaPipe's public interface to it is video mode, which takes 1.4 times as long. Here LiteRT runs it, from the same
    file on the same crop. Each thread has its own interpreter.
    """

    def __init__(self, model_path: Path):
        self._cv2 = require("cv2", "opencv-contrib-python", "Tracking face landmarks")
        litert = require("ai_edge_litert.interpreter", "ai-edge-litert", "Tracking face landmarks")
        with zipfile.ZipFile(model_path) as bundle, quiet():
            self._interpreter = litert.Interpreter(model_content=bundle.read(NETWORK), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._points, self._presence, _ = (output["index"] for output in self._interpreter.get_output_details())

    def find(self, frame: np.ndarray, previous: np.ndarray) -> np.ndarray | None:
        """Returns the landmarks of a face in a frame, or None if it is not there.

        The frame and the result are as for `Landmarker.detect`; `previous`, `(478, 3)`, are the landmarks in the frame
        before, not smoothed.
        """
        low, high = face_bounds(previous)
        centre = (low + high) / 2 * np.array([1, -1], np.float32)  # from here on Y down
        scale = CROP * float((high - low).max()) / SIDE  # pixels of the frame in one of the input
        across = previous[EYES[1], :2] - previous[EYES[0], :2]
        cosine, sine = (across * (scale / math.hypot(*across.tolist()))).tolist()
        matrix = np.array([[cosine, sine], [-sine, cosine]], np.float32)  # from pixels of the input to the frame's
        corner = centre - matrix.sum(axis=1) * (SIDE / 2)
        reach = 0.75 * SIDE * scale  # a little more than half the input's diagonal
        left, top = np.maximum(centre - reach, 0).astype(int).tolist()
        right, bottom = np.maximum(centre + reach, 0).astype(int).tolist()
        patch = frame[top:bottom, left:right]
        if not patch.size:
            return None
        cv2 = self._cv2
        crop = cv2.warpAffine(
            cv2.cvtColor(patch, cv2.COLOR_RGB2RGBA),  # four channels take OpenCV half the time of three
            np.column_stack([matrix, corner - (left, top)]),
            (SIDE, SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        pixels = cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)
        np.multiply(pixels, np.float32(1 / 255), out=self._interpreter.tensor(self._input)()[0])
        self._interpreter.invoke()
        if self._interpreter.get_tensor(self._presence).item() < 0:  # log odds: MediaPipe's threshold is 0.5
            return None
        points = self._interpreter.get_tensor(self._points).reshape(-1, 3)
        face = np.empty_like(points)
        face[:, :2] = points[:, :2] @ matrix.T + corner
        face[:, 1] *= -1
        # As MediaPipe, which takes the scale of z from a line that it has divided by the frame's width and height.
        face[:, 2] = points[:, 2] * -math.hypot(cosine, sine * frame.shape[1] / frame.shape[0])
        return face


class FaceTrack:
    """Follows one face from frame to frame as MediaPipe's video mode does, and smooths it by the same one-euro filter.

    The filter (Casiez, Roussel and Vogel, CHI 2012) is a low pass whose cut-off frequency rises with the speed. The
    track begins with the landmarks of a `face`, `(478, 3)`, in the frame at `time` seconds.
    """

    def __init__(self, network: LandmarkNetwork, face: np.ndarray, time: float):
        self._network = network
        self._time = time
        self._raw = self._smooth = face
        self._speed = np.zeros_like(face)

    def step(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        """Returns the landmarks in the next frame, RGB uint8 `(height, width, 3)`, at `time` seconds; None if lost."""
        face = self._network.find(frame, self._raw)
        if face is None:
            return None
        seconds = max(time - self._time, 0.001)
        low, high = face_bounds(face)
        speed = (face - self._raw) / (seconds * float((high - low).mean()))
        self._speed = self._speed + _weight(SPEED_CUTOFF, seconds) * (speed - self._speed)
        weight = _weight(LOWEST_CUTOFF + CUTOFF_SLOPE * np.abs(self._speed), seconds)
        self._smooth = self._smooth + weight * (face - self._smooth)
        self._raw, self._time = face, time
        return self._smooth


def face_bounds(face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and the highest x and y, `(2,)` each, of a face `(478, 3)`."""
    flat = np.ascontiguousarray(face[:, :2].T)  # numpy reduces along rows several times as fast
    return flat.min(axis=1), flat.max(axis=1)


def _weight(cutoff: Any, seconds: float) -> Any:
    """Returns the weight of a new value in a low pass with a cut-off frequency in hertz, of floats or arrays."""
    return 1 / (1 + 1 / (2 * math.pi * seconds * cutoff))


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
