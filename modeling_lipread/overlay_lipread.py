# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A video with its landmarks and the words drawn on it, to see what the reader saw and said.

```python
with Face3DKeypointExtractor() as extractor:
    sequence = extractor.extract_video("clip.mp4")
write_overlay("clip.mp4", sequence, "overlay.mp4", text="good morning")
```
"""

from __future__ import annotations

import os
import unicodedata
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from .landmarks_lipread import LandmarkSequence
from .video_lipread import read_frames, require

logger = logging.get_logger(__name__)

# MediaPipe's lips, once around.
OUTER_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
INNER_LIPS = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
LANDMARK_COLOR, LIP_COLOR = (120, 220, 160), (255, 40, 120)
LEAST_WIDTH = 480  # pixels; smaller videos are enlarged, so that landmarks and words can be made out
WORD_COLOR = (245, 245, 245)
SCORE_COLORS = ((250, 90, 90), (250, 215, 90), (130, 230, 140))  # of words that are wrong, doubtful, right
TIMED_LINES = 3  # lines of timed words in view at once
FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
_TIME_BASE = Fraction(1, 90_000)


def write_overlay(
    video_path: str | os.PathLike,
    sequence: LandmarkSequence,
    output_path: str | os.PathLike,
    text: str | None = None,
    words: list[dict[str, Any]] | None = None,
    start: float | None = None,
    end: float | None = None,
    font_path: str | os.PathLike | None = None,
) -> None:
    """Writes an mp4 of a video with the landmarks drawn in, the lips highlighted, and the words in a band under it.

    Args:
        video_path: The video the landmarks come from.
        sequence: Its landmarks, one row for each frame.
        output_path: The mp4 to write; it appears when it is complete, and its folder is made if need be. It has the
            video's frames, without sound.
        text: What is said, in any script; shown throughout and wrapped.
        words: The same with times, `{"word", "start", "end"}` in seconds from the sequence's start; each word appears
            when it begins. With a `score`, the chance that it is right, its colour goes from red (0) over yellow (0.5)
            to green (1). Takes the place of `text`.
        start: Where in the video the sequence starts, as given to `extract_video`.
        end: Where it ends, as given to `extract_video`.
        font_path: A TrueType font with the letters of the text; by default a common font of the system.

    Raises:
        VideoError: The video cannot be read.
        ValueError: The video and the sequence differ in their number of frames.
    """
    av = require("av", "av", "Writing a video")
    output_path = Path(output_path)
    output_path.parent.mkdir(parents=True, exist_ok=True)
    scale = max(1, -(-LEAST_WIDTH // sequence.width))
    caption = _Caption(text, words, sequence.width * scale, font_path)
    partial_path = output_path.with_name(f".{output_path.name}.{os.getpid()}.part")
    count = 0
    try:
        with av.open(str(partial_path), "w", format="mp4") as container:
            stream = None
            for _, frame in read_frames(video_path, start, end):
                if count == len(sequence):
                    raise ValueError(_different_length(video_path, sequence))
                picture = _enlarged(frame, scale)
                if sequence.present[count]:
                    picture = draw_landmarks(picture, sequence.keypoints[count], scale)
                picture = _even(np.vstack([picture, caption.at(sequence.timestamps[count])]))
                if stream is None:
                    stream = _add_stream(container, picture, sequence.frame_rate)
                drawn = av.VideoFrame.from_ndarray(picture, format="rgb24")
                drawn.pts, drawn.time_base = round(sequence.timestamps[count] / _TIME_BASE), _TIME_BASE
                container.mux(stream.encode(drawn))
                count += 1
            if count < len(sequence):
                raise ValueError(_different_length(video_path, sequence))
            container.mux(stream.encode())
        os.replace(partial_path, output_path)
    finally:
        partial_path.unlink(missing_ok=True)


def _different_length(video_path: str | os.PathLike, sequence: LandmarkSequence) -> str:
    return (
        f"{video_path}: the video does not have the {len(sequence)} frames of the landmarks; pass the landmarks "
        "extracted from this video, and the start and end they were extracted with"
    )


def _add_stream(container: Any, picture: np.ndarray, frame_rate: float) -> Any:
    stream = container.add_stream("libx264", rate=Fraction(frame_rate or 25.0).limit_denominator(1001))
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.options = {"preset": "veryfast", "crf": "20"}
    stream.codec_context.time_base = _TIME_BASE  # for videos of variable frame rate
    return stream


def _even(picture: np.ndarray) -> np.ndarray:
    """Pads to even sides, which the video's colour format needs."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)))


def _enlarged(frame: np.ndarray, scale: int) -> np.ndarray:
    cv2 = require("cv2", "opencv-contrib-python", "Drawing landmarks")
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def draw_landmarks(
    picture: np.ndarray, keypoints: np.ndarray, scale: int = 1, color: tuple[int, int, int] = LANDMARK_COLOR
) -> np.ndarray:
    """Draws a face on a picture, the lips highlighted.

    Args:
        picture: RGB, uint8 `(height, width, 3)`; drawn on in place.
        keypoints: Landmarks `(478, 3)` in project axes.
        scale: How many times the picture was enlarged since they were found.
        color: Of the landmarks.

    Returns:
        The picture.
    """
    cv2 = require("cv2", "opencv-contrib-python", "Drawing landmarks")
    shift = 4  # binary digits after the point: OpenCV draws between pixels
    points = keypoints[:, :2] * (1, -1) * scale + (scale - 1) / 2
    points = np.round(points * (1 << shift)).astype(np.int32)
    size = np.ptp(keypoints[:, :2], axis=0).max() * scale
    thickness = max(1, round(size / 150))
    for point in points:
        radius = max(1 << shift, round(size / 350 * (1 << shift)))
        cv2.circle(picture, point.tolist(), radius, color, -1, cv2.LINE_AA, shift)
    for ring in (OUTER_LIPS, INNER_LIPS):
        cv2.polylines(picture, [points[ring]], True, LIP_COLOR, thickness, cv2.LINE_AA, shift)
    return picture


class _Caption:
    """The band under the picture; its size never changes, whatever it shows."""

    def __init__(self, text: str | None, words: list[dict] | None, width: int, font_path: str | os.PathLike | None):
        parts = (text or "").split() if words is None else [word["word"] for word in words]
        self._colors = [
            score_color(None if words is None else words[number].get("score")) for number in range(len(parts))
        ]
        self._starts = [-1.0] * len(parts) if words is None else [word["start"] for word in words]
        self._width = width
        self._margin = width // 24
        self._drawn: dict[int, np.ndarray] = {}
        self._lines: list[list[tuple[int, str]]] = []
        if parts:
            self._font = _load_font(font_path, size=max(16, width // 20), text="".join(parts))
            self._lines = self._wrap(parts)
        self._most_lines = len(self._lines) if words is None else min(len(self._lines), TIMED_LINES)

    def at(self, time: float) -> np.ndarray:
        """The band at a time in seconds, RGB, uint8 `(height, width, 3)`."""
        visible = sum(start <= time + 1e-6 for start in self._starts)
        if visible not in self._drawn:
            self._drawn[visible] = self._draw(visible)
        return self._drawn[visible]

    def _wrap(self, parts: list[str]) -> list[list[tuple[int, str]]]:
        """Breaks words into lines of `(number of the word, word)`."""
        room = self._width - 2 * self._margin
        lines: list[list[tuple[int, str]]] = [[]]
        for number, part in enumerate(parts):
            line = [piece for _, piece in lines[-1]]
            if line and self._font.getlength(" ".join([*line, part])) > room:
                lines.append([])
            # A word too long for a line, as in scripts without spaces, goes on in the next.
            while len(part) > 1 and self._font.getlength(part) > room:
                fitting = next(
                    n for n in range(len(part) - 1, 0, -1) if n == 1 or self._font.getlength(part[:n]) <= room
                )
                lines[-1].append((number, part[:fitting]))
                lines.append([])
                part = part[fitting:]
            lines[-1].append((number, part))
        return lines

    def _draw(self, visible: int) -> np.ndarray:
        if not self._lines:
            return np.zeros((0, self._width, 3), np.uint8)
        image_module, draw_module = _pillow("Image"), _pillow("ImageDraw")
        line_height = round(1.35 * self._font.size)
        size = (self._width, self._most_lines * line_height + line_height // 2)
        image = image_module.new("RGB", size, (16, 16, 20))
        draw = draw_module.Draw(image)
        lines = [[(number, piece) for number, piece in line if number < visible] for line in self._lines]
        started = [line for line in lines if line]
        for row, line in enumerate(started[-self._most_lines :]):
            joined = " ".join(piece for _, piece in line)
            # Scripts written from right to left begin at the right edge.
            rightwards = next((unicodedata.bidirectional(c) == "L" for c in joined if c.isalpha()), True)
            x, anchor = (self._margin, "la") if rightwards else (self._width - self._margin, "ra")
            before = ""
            for number, piece in line:
                shift = self._font.getlength(before)
                place = (x + shift if rightwards else x - shift, line_height // 4 + row * line_height)
                draw.text(place, piece, self._colors[number], self._font, anchor)
                before += f"{piece} "
        return np.array(image)


def score_color(score: float | None) -> tuple[int, int, int]:
    """The colour of a word of a score in [0, 1]; white where it is not known."""
    if score is None:
        return WORD_COLOR
    place = min(max(score, 0.0), 1.0) * (len(SCORE_COLORS) - 1)
    low = min(int(place), len(SCORE_COLORS) - 2)
    below, above = np.array(SCORE_COLORS[low]), np.array(SCORE_COLORS[low + 1])
    return tuple((below + (place - low) * (above - below)).round().astype(int).tolist())


def _pillow(module: str) -> Any:
    return require(f"PIL.{module}", "pillow", "Writing words on a video")


def _load_font(path: str | os.PathLike | None, size: int, text: str) -> Any:
    """The font asked for, or the first common one the system has, or the small one that comes with Pillow."""
    image_font = _pillow("ImageFont")
    if path is not None:
        return image_font.truetype(os.fspath(path), size)
    font = image_font.load_default(size)
    for name in FONTS:
        try:
            font = image_font.truetype(name, size)
            break
        except OSError:
            continue
    absent = bytes(font.getmask("\uffff"))
    missing = sorted({c for c in text if not c.isspace() and bytes(font.getmask(c)) == absent})
    if missing:
        logger.warning(f"the font {font.getname()[0]} lacks {''.join(missing)}; pass font_path with one that has them")
    return font
