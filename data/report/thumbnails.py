# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Draws the landmarks of a clip on a frame of its video where that can be found, otherwise on white."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from lipread.landmark_rows import decode_row
from lipread.overlay import draw_landmarks
from modeling_lipread.geometry_lipread import NUM_LANDMARKS
from modeling_lipread.video_lipread import VideoError, read_frames, require

from ..dataset import rows_of
from ..schema import TRAINING_COLUMNS, load_split, split_names
from ..sources.records import Root

SIZE = 320  # pixels, enough for dense screens too
AROUND = 1.5  # times the face
DARK = (20, 120, 90)  # colour of landmarks on white
LONGEST_TEXT = 300  # characters
_EARLIER = 2e-3  # seconds; times are stored as float32


class Thumbnails:
    """Draws clips of a corpus, with the arguments of `write_report`."""

    def __init__(self, corpus: Path, videos: Sequence[Path] = (), allow_outside: bool = False):
        columns = [*TRAINING_COLUMNS, "source", "start", "quality"]
        splits = split_names(corpus)
        self.rows = {split: load_split(corpus, split).with_format("arrow", columns=columns) for split in splits}
        self._drawn: dict[tuple[str, int], dict[str, Any]] = {}
        self.roots = [Root(path.parent if path.is_file() else path, allow_outside) for path in videos]
        self.without_video: Counter[str] = Counter()  # clips drawn without a frame, by reason

    def clip(self, split: str, index: int) -> dict[str, Any]:
        """Returns the `picture` of a clip (a data URL), its `caption` (id, speaker and text) and its `tooltip`."""
        if (split, index) not in self._drawn:
            self._drawn[split, index] = self._draw(split, index)
        return self._drawn[split, index]

    def _draw(self, split: str, index: int) -> dict[str, Any]:
        row = rows_of(self.rows[split][index : index + 1])[0]
        shown, values = row["quality"]["thumbnail_frame"], NUM_LANDMARKS * 3
        still = {name: row[name][shown : shown + 1] for name in ("present", "timestamps")}
        still["keypoints"] = row["keypoints"][shown * values : (shown + 1) * values]
        keypoints = decode_row(row | still | {"num_frames": 1}).keypoints[0]
        frame, reason = self._frame(row, row["start"] + float(row["timestamps"][shown]))
        self.without_video.update([reason] if reason else [])
        text = row["text"] if len(row["text"]) <= LONGEST_TEXT else f"{row['text'][:LONGEST_TEXT]}…"
        caption = [line for line in (row["id"], row["speaker"], text) if line]
        return {"picture": draw(keypoints, frame), "caption": caption, "tooltip": f"{split}: {row['id']}: {text}"}

    def _frame(self, row: Mapping[str, Any], time: float) -> tuple[np.ndarray | None, str]:
        """Returns the frame of the clip's media at a time, or why there is none."""
        source = row["source"]
        if not self.roots:
            return None, ""
        if not row["width"] or not source or "\0" in source:
            return None, "landmarks that came without a video"
        reason = "the video is not where its source says"
        for root in self.roots:
            if not root.allows(source):
                reason = "the source leads out of the folder"
            elif (root.folder / source).is_file():
                try:
                    with closing(read_frames(root.folder / source, start=max(0.0, time - _EARLIER))) as frames:
                        _, frame = next(frames)
                except (VideoError, StopIteration):
                    reason = "the video cannot be read"
                else:
                    if frame.shape[:2] == (row["height"], row["width"]):
                        return frame, ""
                    reason = "the video is of another size or shorter"
        return None, reason


def draw(keypoints: np.ndarray, frame: np.ndarray | None) -> str:
    """Draws landmarks `(478, 3)` on their frame, RGB uint8 `(height, width, 3)`, or on white, to a JPEG data URL."""
    cv2 = require("cv2", "opencv-contrib-python", "Drawing landmarks")
    points = keypoints * (1, -1, 1)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    scale = SIZE / max(float((high - low).max()) * AROUND, 1e-6)
    shift = SIZE / 2 - scale * (low + high) / 2
    moved = (points * scale + (*shift, 0)) * (1, -1, 1)
    if frame is None:
        picture = draw_landmarks(np.full((SIZE, SIZE, 3), 255, np.uint8), moved, color=DARK)
    else:
        affine = np.column_stack([np.eye(2) * scale, shift])
        picture = draw_landmarks(cv2.warpAffine(frame, affine, (SIZE, SIZE), borderValue=(235, 235, 235)), moved)
    _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
