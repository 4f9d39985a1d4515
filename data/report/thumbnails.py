# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A clip in one picture: its landmarks, drawn on the frame of its video where that can be found, otherwise alone."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from modeling_lipread.overlay_lipread import draw_landmarks
from modeling_lipread.video_lipread import VideoError, read_frames, require

from ..clips import rows_of
from ..records import forget_folders, is_inside
from ..schema import NUM_LANDMARKS, TRAINING_COLUMNS, decode_row, load_split

SIZE = 320  # pixels, enough for dense screens too
AROUND = 1.5  # times the face
DARK = (20, 120, 90)  # of landmarks on white
LONGEST_TEXT = 300  # characters
_EARLIER = 2e-3  # seconds; times are stored as float32
# Why there is no frame, by what `Thumbnails.without_video` counts.
NOT_ASKED = "no videos were asked for"
NO_VIDEO = "landmarks that came without a video"
NOT_FOUND = "the video is not where its source says"
OUTSIDE = "the source leads out of the folder"
UNREADABLE = "the video cannot be read"
ANOTHER = "the video there is of another size or shorter"


@dataclass(frozen=True)
class Clip:
    """A clip to show.

    Attributes:
        split, id, text, speaker: As the corpus has them; a long text is cut.
        picture (`str`): JPEG as a data URL.
        on_video (`bool`): Whether the landmarks are drawn on a frame.
    """

    split: str
    id: str
    text: str
    speaker: str | None
    picture: str
    on_video: bool


class Thumbnails:
    """Draws clips of a corpus.

    Args:
        corpus (`Path`): Its folder.
        videos (`Sequence[Path]`): Folders that the sources are relative to, or manifests in them; looked through in
            turn.
        allow_outside (`bool`): Take videos that lie outside those folders too.
    """

    def __init__(self, corpus: Path, videos: Sequence[Path] = (), allow_outside: bool = False):
        self.corpus = corpus
        self.folders = [path.parent if path.is_file() else path for path in videos]
        self.allow_outside = allow_outside
        self.without_video: Counter[str] = Counter()
        self.drawn = 0
        self._splits: dict[str, Dataset] = {}
        self._clips: dict[tuple[str, int], Clip] = {}
        forget_folders()

    def clip(self, split: str, index: int) -> Clip:
        """A clip by split and index; drawn once, however often it is shown."""
        if (split, index) not in self._clips:
            self._clips[split, index] = self._draw(split, index)
        return self._clips[split, index]

    def _draw(self, split: str, index: int) -> Clip:
        if split not in self._splits:
            columns = [*TRAINING_COLUMNS, "source", "start", "quality"]
            self._splits[split] = load_split(self.corpus, split).with_format("arrow", columns=columns)
        row = rows_of(self._splits[split][index : index + 1])[0]
        shown = row["quality"]["thumbnail_frame"]
        values = NUM_LANDMARKS * 3
        still = {
            "num_frames": 1,
            "keypoints": row["keypoints"][shown * values : (shown + 1) * values],
            "present": row["present"][shown : shown + 1],
            "timestamps": row["timestamps"][shown : shown + 1],
        }
        keypoints = decode_row(row | still).keypoints[0]
        frame, reason = self._frame(row, row["start"] + float(row["timestamps"][shown]))
        self.drawn += 1
        self.without_video.update([] if reason is None else [reason])
        text = row["text"]
        return Clip(
            split=split,
            id=row["id"],
            text=text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…",
            speaker=row["speaker"],
            picture=thumbnail(keypoints, frame),
            on_video=frame is not None,
        )

    def _frame(self, row: Mapping[str, Any], time: float) -> tuple[np.ndarray | None, str | None]:
        """The frame at a time of the clip's media, or why there is none."""
        source = row["source"]
        if not self.folders:
            return None, NOT_ASKED
        if not row["width"] or not source or "\0" in source:
            return None, NO_VIDEO
        reason = NOT_FOUND
        for folder in self.folders:
            if not self.allow_outside and not is_inside(folder, source):
                reason = OUTSIDE
            elif (folder / source).is_file():
                try:
                    with closing(read_frames(folder / source, start=max(0.0, time - _EARLIER))) as frames:
                        _, frame = next(frames)
                except (VideoError, StopIteration):
                    reason = UNREADABLE
                else:
                    if frame.shape[:2] == (row["height"], row["width"]):
                        return frame, None
                    reason = ANOTHER
        return None, reason


def thumbnail(keypoints: np.ndarray, frame: np.ndarray | None) -> str:
    """A face in a square picture.

    Args:
        keypoints (`np.ndarray`): Landmarks `(478, 3)` in the axes of `data.schema`.
        frame (`np.ndarray`, *optional*): The frame they were found in, RGB uint8 `(height, width, 3)`; without one
            they are drawn on white.

    Returns:
        `str`: A JPEG as a data URL.
    """
    cv2 = require("cv2", "opencv-contrib-python", "Drawing landmarks")
    points = keypoints * (1, -1, 1)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    side = max(float((high - low).max()) * AROUND, 1e-6)
    corner = (low + high - side) / 2
    if frame is None:
        picture = np.full((SIZE, SIZE, 3), 255, np.uint8)
    else:
        side = max(2, min(round(side), max(frame.shape[:2])))
        room = np.array([frame.shape[1], frame.shape[0]]) - side
        # A square that the frame can fill does not look beyond its edge.
        corner = np.where(room >= 0, np.clip(np.round((low + high - side) / 2), 0, np.maximum(room, 0)), room // 2)
        picture = _cut(frame, corner.astype(int), side)
        shrinking = cv2.INTER_AREA if side > SIZE else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (SIZE, SIZE), interpolation=shrinking)
    scale = SIZE / side
    moved = (points - (*corner, 0)) * scale * (1, -1, 1)
    picture = draw_landmarks(picture, moved, color=DARK) if frame is None else draw_landmarks(picture, moved)
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _cut(frame: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """A square of a frame, light grey beyond its edge."""
    square = np.full((side, side, 3), 235, np.uint8)
    left, top = corner.tolist()
    found = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    square[max(-top, 0) :, max(-left, 0) :][: found.shape[0], : found.shape[1]] = found
    return square
