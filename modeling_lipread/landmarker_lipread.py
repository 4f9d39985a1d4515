# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""MediaPipe's face landmarker without MediaPipe: LiteRT runs its networks, which find faces and track them."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .video_lipread import require

LANDMARKER_FILE = "face_landmarker.task"
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

# MediaPipe's settings for its detector (BlazeFace, short range), for its landmark network, and for tracking one face.
DETECTOR, NETWORK = "face_detector.tflite", "face_landmarks_detector.tflite"
DETECTOR_SIDE, SIDE = 128, 256  # pixels of the networks' square inputs
ANCHORS = ((8, 2), (16, 6))  # pixels of the detector's input from one place of anchors to the next, anchors at each
SAME_FACE = 0.5  # overlap of two detections, intersection over union, above which they are one face
CONFIDENCE = 0.5
CROP = 1.5  # sides of the network's input in sizes of the face
EYES = (33, 263)  # outer corners, which are level in the input
DOWN = np.array([1, -1], np.float32)  # from Y up to Y down, and back
LOWEST_CUTOFF, CUTOFF_SLOPE, SPEED_CUTOFF = 0.05, 80.0, 1.0  # hertz, and hertz for a face size a second

Region = tuple[int, int, int, int]  # left, top, width, height in the pixels of a frame
_QUIET = threading.Lock()  # a thread that starts while another one is quiet would discard standard error for ever


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


class Landmarker(threading.local):
    """MediaPipe's face detector and landmark network. Each thread has its own interpreters.

    MediaPipe's public interface to them is its FaceLandmarker, which takes 1.4 times as long in video mode. Here
    LiteRT runs them, from the same file on the same crops.
    """

    def __init__(self, model_path: Path):
        self._cv2 = require("cv2", "opencv-contrib-python", "Finding face landmarks")
        litert = require("ai_edge_litert.interpreter", "ai-edge-litert", "Finding face landmarks")
        with zipfile.ZipFile(model_path) as bundle, quiet():
            self._detector, self._network = (
                litert.Interpreter(model_content=bundle.read(name), num_threads=1) for name in (DETECTOR, NETWORK)
            )
            self._detector.allocate_tensors()
            self._network.allocate_tensors()

    def detect(
        self, frame: np.ndarray, region: Region, most: int = 1, confidence: float = CONFIDENCE
    ) -> list[np.ndarray]:
        """Returns the landmarks of the `most` certain faces in a region of a frame, as FaceLandmarker's image mode.

        The frame is RGB, uint8, `(height, width, 3)`. The landmarks are float32 `(478, 3)`, in pixels of the frame, X
        right, Y up, Z towards the camera.
        """
        left, top, width, height = region
        patch = frame[top : top + height, left : left + width]
        if not patch.size:
            return []
        scale = max(width, height) / DETECTOR_SIDE  # pixels of the frame in one of the input
        corner = np.array([width - height, height - width]).clip(max=0) / 2  # of the square around the patch
        pixels = self._crop(patch, np.eye(2) * scale, corner, DETECTOR_SIDE, self._cv2.BORDER_CONSTANT)
        boxes, scores = _run(self._detector, pixels * np.float32(1 / 127.5) - 1)
        found = _suppressed(boxes.reshape(-1, 8, 2), scores.ravel(), math.log(confidence / (1 - confidence)))
        faces = []
        for centre, size, eye, other_eye in found[:most]:
            face = self._landmarks(patch, centre * scale + corner, size.mean() * scale, other_eye - eye)
            if face is not None:
                face[:, :2] += left, -top
                faces.append(face)
        return faces

    def find(self, frame: np.ndarray, previous: np.ndarray) -> np.ndarray | None:
        """Returns the landmarks of a face near the place where it was in the frame before, or None if it is not there.

        The frame and the result are as for `detect`; `previous`, `(478, 3)`, are the landmarks in the frame before,
        not smoothed.
        """
        low, high = face_bounds(previous)
        across = previous[EYES[1], :2] - previous[EYES[0], :2]
        return self._landmarks(frame, (low + high) / 2 * DOWN, (high - low).max(), across * DOWN)

    def _landmarks(self, frame: np.ndarray, centre: np.ndarray, size: float, across: np.ndarray) -> np.ndarray | None:
        """Returns the landmarks of the face at a place of a frame, or None if it is not there.

        The `centre` and the direction `across`, from eye to eye, are x and y, Y down; the size is in pixels.
        """
        scale = CROP * float(size) / SIDE  # pixels of the frame in one of the input
        cosine, sine = (across * (scale / math.hypot(*across.tolist()))).tolist()
        matrix = np.array([[cosine, -sine], [sine, cosine]], np.float32)  # from pixels of the input to the frame's
        corner = centre - matrix.sum(axis=1) * (SIDE / 2)
        reach = 0.75 * SIDE * scale  # a little more than half the input's diagonal
        left, top = np.maximum(centre - reach, 0).astype(int).tolist()
        right, bottom = np.maximum(centre + reach, 0).astype(int).tolist()
        patch = frame[top:bottom, left:right]
        if not patch.size:
            return None
        pixels = self._crop(patch, matrix, corner - (left, top), SIDE, self._cv2.BORDER_REPLICATE)
        points, presence, _ = _run(self._network, pixels * np.float32(1 / 255))
        if presence.item() < 0:  # log odds: MediaPipe's threshold is 0.5
            return None
        points = points.reshape(-1, 3)
        face = np.empty_like(points)
        face[:, :2] = (points[:, :2] @ matrix.T + corner) * DOWN
        # As MediaPipe, which takes the scale of z from a line that it has divided by the frame's width and height.
        face[:, 2] = points[:, 2] * -math.hypot(cosine, sine * frame.shape[1] / frame.shape[0])
        return face

    def _crop(self, patch: np.ndarray, matrix: np.ndarray, corner: np.ndarray, side: int, border: int) -> np.ndarray:
        """Returns pixels `(side, side, 3)`, uint8, whose coordinates `matrix` and `corner` turn into the patch's."""
        cv2 = self._cv2
        pixels = cv2.warpAffine(
            cv2.cvtColor(patch, cv2.COLOR_RGB2RGBA),  # four channels take OpenCV half the time of three
            np.column_stack([matrix, corner]),
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        )
        return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)


class FaceTrack:
    """Follows one face from frame to frame as MediaPipe's video mode does, and smooths it by the same one-euro filter.

    The filter (Casiez, Roussel and Vogel, CHI 2012) is a low pass whose cut-off frequency rises with the speed. The
    track begins with the landmarks of a `face`, `(478, 3)`, in the frame at `time` seconds.
    """

    def __init__(self, landmarker: Landmarker, face: np.ndarray, time: float):
        self._landmarker = landmarker
        self._time = time
        self._raw = self._smooth = face
        self._speed = np.zeros_like(face)

    def step(self, frame: np.ndarray, time: float) -> np.ndarray | None:
        """Returns the landmarks in the next frame, RGB uint8 `(height, width, 3)`, at `time` seconds; None if lost."""
        face = self._landmarker.find(frame, self._raw)
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


def _run(interpreter: Any, pixels: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs of a network for pixels `(side, side, 3)`, float32."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def _suppressed(boxes: np.ndarray, scores: np.ndarray, least: float) -> list[np.ndarray]:
    """Returns the detector's faces in pixels of its input, Y down: centre, size and eyes, `(4, 2)`; the surest first.

    It is MediaPipe's weighted non-maximum suppression. The `boxes` are `(896, 8, 2)`, relative to the anchors except
    for the size; the `scores` are log odds, of which `least` is the lowest accepted one.
    """
    order = np.argsort(-scores)[: np.count_nonzero(scores >= least)]
    boxes, weights = boxes[order, :4], 1 / (1 + np.exp(-scores[order]))
    boxes[:, [0, 2, 3]] += _anchors()[order, None]
    low, high = boxes[:, 0] - boxes[:, 1] / 2, boxes[:, 0] + boxes[:, 1] / 2
    area, remaining, faces = boxes[:, 1].prod(axis=1), (boxes[:, 1] > 0).all(axis=1), []
    while remaining.any():
        best = np.argmax(remaining)
        shared = (np.minimum(high, high[best]) - np.maximum(low, low[best])).clip(min=0).prod(axis=1)
        same = remaining & (shared > SAME_FACE * (area + area[best] - shared))
        faces.append(np.average(boxes[same], axis=0, weights=weights[same]))
        remaining &= ~same
    return faces


@cache
def _anchors() -> np.ndarray:
    """Returns the detector's anchors `(896, 2)`, in pixels of its input."""
    grids = []
    for step, count in ANCHORS:
        places = np.arange(step / 2, DETECTOR_SIDE, step, np.float32)
        grids.append(np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2).repeat(count, axis=0))
    return np.concatenate(grids)


@contextmanager
def quiet() -> Iterator[None]:
    """Discards standard error, since LiteRT has no setting for its messages when an interpreter starts."""
    with _QUIET:
        standard_error = os.dup(2)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
