# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Where in a frame to look for faces, and which of them to take: the largest, the central, or the same one again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .landmarker_lipread import FaceCounter, Landmarker, Region

MOST_MOVED = 0.8  # sizes of the face, between two frames: two faces side by side are farther apart
MOST_GROWN = 4 / 3  # times, between two frames
SMALLEST_TILED_SIDE = 256  # tiles of smaller frames would be smaller than the detector's own 128-pixel input


@dataclass
class Found:
    """A face, where to follow it, and how many faces were seen when it was found."""

    face: np.ndarray | None
    region: Region
    seen: int


class FaceFinder:
    """Looks for faces in single frames, and makes the landmarkers that follow them.

    Args:
        model_path: MediaPipe's face_landmarker.task.
        num_faces: The most faces looked for in a frame or in a tile of it.
        min_face_detection_confidence: MediaPipe's threshold on its detector, 0..1.
        min_face_presence_confidence: MediaPipe's threshold on its landmark model, 0..1.
    """

    def __init__(
        self,
        model_path: Path,
        num_faces: int,
        min_face_detection_confidence: float,
        min_face_presence_confidence: float,
    ):
        self.model_path = model_path
        self.num_faces = num_faces
        self.min_face_detection_confidence = min_face_detection_confidence
        self.min_face_presence_confidence = min_face_presence_confidence
        self._counter: FaceCounter | None = None
        self._landmarker: Landmarker | None = None
        self._idle: list[Landmarker] = []

    def __getstate__(self) -> dict[str, Any]:
        # MediaPipe's handle belongs to one process; copies and other processes make their own on first use.
        return {**self.__dict__, "_counter": None, "_landmarker": None, "_idle": []}

    def close(self) -> None:
        """Frees MediaPipe's memory; the finder can be used again afterwards."""
        for task in (self._counter, self._landmarker, *self._idle):
            if task is not None:
                task.close()
        self._counter, self._landmarker, self._idle = None, None, []

    def count(self, frame: np.ndarray) -> int:
        """How many faces MediaPipe's detector sees in the whole frame; a fifth of the work of their landmarks."""
        if self._counter is None or not self._counter.usable:
            self._counter = FaceCounter(self.model_path, self.min_face_detection_confidence)
        return self._counter.count(frame)

    def detect(self, frame: np.ndarray, region: Region) -> list[np.ndarray]:
        """All faces in a region, landmarks `(478, 3)` each."""
        if self._landmarker is None or not self._landmarker.usable:
            self._landmarker = self._make_landmarker(video=False)
        return self._landmarker.detect(frame, region)

    def lend_landmarker(self) -> Landmarker:
        """A landmarker that follows one face through the frames of one clip, as good as new."""
        while self._idle:
            landmarker = self._idle.pop()
            if landmarker.usable:
                landmarker.reset()
                return landmarker
        return self._make_landmarker(video=True)

    def take_back(self, landmarker: Landmarker) -> None:
        """Keeps a landmarker for the next clip: making one takes ten times as long as a frame."""
        self._idle.append(landmarker)

    def search(self, frame: np.ndarray) -> list[np.ndarray]:
        """All faces of a frame, each once: those of the whole frame, or of tiles if there is none in the whole."""
        return distinct(self._search(frame)[0])

    def choose(self, frame: np.ndarray, which: str) -> Found:
        """The `largest` face of a frame, or its most `central`.

        A face that is alone is followed in the whole frame; one among others or a small one in a region around it.
        """
        faces, level = self._search(frame)
        if not faces:
            return Found(None, whole(frame), 0)
        face = max(faces, key=face_size) if which == "largest" else _most_central(faces, frame)
        if len(faces) > 1:
            return Found(face, around(frame, face, 2), len(distinct(faces)))
        return Found(face, around(frame, face, 3) if level else whole(frame), 1)

    def find_again(self, frame: np.ndarray, previous: np.ndarray) -> Found:
        """The face that continues `previous`, landmarks `(478, 3)` of a frame not long before."""
        for level, region in enumerate((whole(frame), around(frame, previous, 3))):
            faces = self.detect(frame, region)
            face = nearest(faces, previous)
            if face is not None:
                if len(faces) > 1:
                    return Found(face, around(frame, face, 2), len(faces))
                return Found(face, around(frame, face, 3) if level else whole(frame), 1)
        return Found(None, whole(frame), 0)

    def _search(self, frame: np.ndarray) -> tuple[list[np.ndarray], int]:
        for level, regions in enumerate(_search_levels(frame)):
            faces = [face for region in regions for face in self.detect(frame, region)]
            if faces:
                return faces, level
        return [], 0

    def _make_landmarker(self, video: bool) -> Landmarker:
        return Landmarker(
            self.model_path,
            video,
            num_faces=1 if video else self.num_faces,
            min_face_detection_confidence=self.min_face_detection_confidence,
            min_face_presence_confidence=self.min_face_presence_confidence,
        )


def face_bounds(face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest x and y, `(2,)` each, of a face `(478, 3)`."""
    flat = np.ascontiguousarray(face[:, :2].T)  # numpy is several times as fast along rows
    return flat.min(axis=1), flat.max(axis=1)


def face_size(face: np.ndarray) -> float:
    """The longer side, in pixels, of the box around a face `(478, 3)`."""
    low, high = face_bounds(face)
    return float((high - low).max())


def nearest(faces: list[np.ndarray], previous: np.ndarray) -> np.ndarray | None:
    """The face nearest to where the previous one was, if it is near enough and large enough to be the same."""
    size = face_size(previous)
    found, least = None, MOST_MOVED * size
    for face in faces:
        if 1 / MOST_GROWN < face_size(face) / size < MOST_GROWN and (distance := _distance(face, previous)) < least:
            found, least = face, distance
    return found


def same_place(face: np.ndarray, other: np.ndarray) -> bool:
    """Whether two detections are of one face rather than of two side by side."""
    return _distance(face, other) < min(face_size(face), face_size(other)) / 2


def distinct(faces: list[np.ndarray]) -> list[np.ndarray]:
    """The faces without repetitions, as overlapping tiles find them."""
    kept: list[np.ndarray] = []
    for face in faces:
        if not any(same_place(face, other) for other in kept):
            kept.append(face)
    return kept


def whole(frame: np.ndarray) -> Region:
    """The region that is the frame."""
    return 0, 0, frame.shape[1], frame.shape[0]


def around(frame: np.ndarray, face: np.ndarray, sizes: float) -> Region:
    """A square around a face, so many times its size, as far as the frame reaches."""
    height, width = frame.shape[:2]
    x, y = face[:, :2].mean(axis=0) * (1, -1)
    half = sizes * face_size(face) / 2
    left, right = (int(np.clip(edge, 0, width)) for edge in (x - half, x + half))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (y - half, y + half))
    return left, top, max(right - left, 1), max(bottom - top, 1)


def touches_edge(face: np.ndarray, region: Region, frame: np.ndarray) -> bool:
    """Whether a face comes near an edge of its region beyond which the frame goes on."""
    if region == whole(frame):
        return False
    left, top, width, height = region
    low, high = face_bounds(face)
    margin = 0.1 * float((high - low).max())
    (low_x, low_y), (high_x, high_y) = low.tolist(), high.tolist()
    return (
        (left > 0 and low_x < left + margin)
        or (left + width < frame.shape[1] and high_x > left + width - margin)
        or (top > 0 and -high_y < top + margin)
        or (top + height < frame.shape[0] and -low_y > top + height - margin)
    )


def _distance(face: np.ndarray, other: np.ndarray) -> float:
    apart = np.subtract(face[:, :2].T, other[:, :2].T, order="C")  # numpy is several times as fast along rows
    return math.hypot(*apart.mean(axis=1).tolist())


def _most_central(faces: list[np.ndarray], frame: np.ndarray) -> np.ndarray:
    middle = np.array([frame.shape[1], -frame.shape[0]]) / 2
    return min(faces, key=lambda face: np.linalg.norm(face[:, :2].mean(axis=0) - middle))


def _search_levels(frame: np.ndarray) -> Iterator[list[Region]]:
    """Regions to search for a face: the whole frame, then ever smaller overlapping squares."""
    height, width = frame.shape[:2]
    yield [whole(frame)]
    if min(height, width) >= SMALLEST_TILED_SIDE:
        for side in (min(height, width), min(height, width) * 2 // 3):
            yield [(left, top, side, side) for top in _starts(height, side) for left in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    """Where squares that overlap by half begin along a length."""
    return np.linspace(0, length - side, math.ceil((length - side) / (side / 2)) + 1).round().astype(int).tolist()
