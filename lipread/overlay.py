# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A video with the landmarks and the words drawn on it: `lipread overlay`.

```python
with Face3DKeypointExtractor() as extractor:
    sequence = extractor.extract_video("clip.mp4")
write_overlay("clip.mp4", [sequence], "overlay.mp4", words=[Word("good", 0.4, 0.7)])
```
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.video_lipread import read_frames, read_sound, require

from .output_files import replacing
from .transcript import Word, text_of
from .writers import wrap

# Indices of MediaPipe's lip landmarks, each ring in order.
OUTER_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
INNER_LIPS = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
LANDMARK_COLOR, LIP_COLOR = (120, 220, 160), (255, 40, 120)
MIN_WIDTH = 480  # pixels; smaller videos are enlarged so that landmarks and words are legible
WORD_COLOR, LATER_COLOR = (245, 245, 245), (125, 125, 132)  # of words without a score; of words not spoken yet
SCORE_COLORS = ((250, 90, 90), (250, 215, 90), (130, 230, 140))  # of the scores 0, 0.5 and 1
MAX_LINES = 3  # visible at once
FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf")
_TIME_BASE = Fraction(1, 90_000)


def write_overlay(
    video_path: str | os.PathLike,
    people: Sequence[LandmarkSequence],
    output_path: str | os.PathLike,
    words: Sequence[Word] = (),
    **span: float | None,
) -> None:
    """Writes an mp4 of a video and its sound with the landmarks drawn in and the words in a band below.

    Args:
        people: The landmarks of each person, with a frame for every frame of the video.
        output_path: The mp4, which appears when it is complete. Its folder is created.
        words: The words, in seconds from the start of the sequence. Each is grey until it begins; then its score
            colours it from red (0) through yellow to green (1).
        span: `start` and `end` of the sequence in the video, as given to `extract_video`.

    Raises ValueError if the video cannot be read, or has another number of frames than the sequence.
    """
    av, cv2 = require("av", "av", "Writing a video"), require("cv2", "opencv-contrib-python", "Drawing landmarks")
    sequence, stream = people[0], None
    if not sequence.width:
        raise ValueError(f"{video_path}: landmarks of a file have no picture to draw on; give the video")
    output_path = Path(output_path)
    output_path.parent.mkdir(parents=True, exist_ok=True)
    scale = max(1, -(-MIN_WIDTH // sequence.width))
    caption = _Caption(words, sequence.width * scale)
    with (
        replacing(output_path) as beside,
        closing(read_sound(video_path, **span)) as sound,
        av.open(str(beside), "w", format="mp4") as container,
    ):
        heard = next(sound, None)
        frames = (frame for _, frame in read_frames(video_path, **span, skip_damage=True) if frame is not None)
        for count, (frame, time) in enumerate(zip(frames, sequence.timestamps, strict=True)):
            picture = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            for person in people:
                if person.present[count]:
                    picture = draw_landmarks(picture, person.keypoints[count], scale)
            picture = np.vstack([picture, caption.at(time)])
            height, width = picture.shape[:2]
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)))  # yuv420p needs even sides
            if stream is None:
                rate = Fraction(sequence.frame_rate or 25.0).limit_denominator(1001)
                stream = container.add_stream("libx264", rate, {"preset": "veryfast", "crf": "20"})
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                stream.codec_context.time_base = _TIME_BASE  # for videos of variable frame rate
                track = None if heard is None else container.add_stream("aac", rate=heard[1].sample_rate)
            drawn = av.VideoFrame.from_ndarray(picture, format="rgb24")
            drawn.pts, drawn.time_base = round(time / _TIME_BASE), _TIME_BASE
            container.mux(stream.encode(drawn))
            while heard is not None and heard[0] <= time:  # side by side with the pictures
                container.mux(track.encode(heard[1]))
                heard = next(sound, None)
        container.mux(stream.encode())
        if track is not None:
            container.mux(track.encode(None))


def draw_landmarks(
    picture: np.ndarray, keypoints: np.ndarray, scale: int = 1, color: tuple[int, int, int] = LANDMARK_COLOR
) -> np.ndarray:
    """Draws landmarks `(478, 3)` in project axes on a picture in place, and returns the picture.

    The picture, RGB, uint8 `(height, width, 3)`, is larger than the frame of the landmarks by the factor `scale`.
    """
    cv2 = require("cv2", "opencv-contrib-python", "Drawing landmarks")
    shift = 4  # fractional bits of OpenCV's coordinates
    points = keypoints[:, :2] * (1, -1) * scale + (scale - 1) / 2
    points = np.round(points * (1 << shift)).astype(np.int32)
    size = np.ptp(keypoints[:, :2], axis=0).max() * scale
    radius, thickness = max(1 << shift, round(size / 350 * (1 << shift))), max(1, round(size / 150))
    for point in points:
        cv2.circle(picture, point.tolist(), radius, color, -1, cv2.LINE_AA, shift)
    for ring in (OUTER_LIPS, INNER_LIPS):
        cv2.polylines(picture, [points[ring]], True, LIP_COLOR, thickness, cv2.LINE_AA, shift)
    return picture


class _Caption:
    """The band of words below the picture. Its size is constant."""

    def __init__(self, words: Sequence[Word], width: int):
        self._words = [unit for word in words for unit in word.split()]
        self._width, self._margin = width, width // 24
        self._drawn: dict[int, np.ndarray] = {0: np.zeros((0, width, 3), np.uint8)} if not words else {}
        self._font = _load_font(max(16, width // 20))
        self._lines = wrap(self._words, self._fits)

    def at(self, time: float) -> np.ndarray:
        """Returns the band at a time in seconds, RGB, uint8 `(height, width, 3)`."""
        spoken = sum(word.start <= time + 1e-6 for word in self._words)
        if spoken not in self._drawn:
            self._drawn[spoken] = self._draw(time + 1e-6)
        return self._drawn[spoken]

    def _fits(self, text: str) -> bool:
        return self._font.getlength(text) <= self._width - 2 * self._margin

    def _draw(self, time: float) -> np.ndarray:
        line_height = round(1.35 * self._font.size)
        size = (self._width, min(len(self._lines), MAX_LINES) * line_height + line_height // 2)
        image = Image.new("RGB", size, (16, 16, 20))
        draw = ImageDraw.Draw(image)
        last = max(MAX_LINES, sum(any(word.start <= time for word in line) for line in self._lines))
        for row, line in enumerate(self._lines[last - MAX_LINES : last]):
            # Right-to-left scripts start at the right edge.
            rightwards = next((unicodedata.bidirectional(c) == "L" for c in text_of(line) if c.isalpha()), True)
            x, step, anchor = (self._margin, 1, "la") if rightwards else (self._width - self._margin, -1, "ra")
            before = ""
            for word in line:
                piece = word.text if word.joined or not before else f" {word.text}"
                place = (x + step * self._font.getlength(before), line_height // 4 + row * line_height)
                color = score_color(word.score) if word.start <= time else LATER_COLOR
                draw.text(place, piece, color, self._font, anchor)
                before += piece
        return np.array(image)


def score_color(score: float | None) -> tuple[int, int, int]:
    """Returns the colour of a word by its score, 0 to 1; white without a score."""
    if score is None:
        return WORD_COLOR
    channels = zip(*SCORE_COLORS, strict=True)
    return tuple(round(np.interp(score, np.linspace(0, 1, len(SCORE_COLORS)), channel)) for channel in channels)


def _load_font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the first common font of the system, or Pillow's own."""
    for name in FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)
