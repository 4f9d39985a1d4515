# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finds the likely reason why a video without words could not be read: darkness, a small face, one upside down."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import islice

import numpy as np

from modeling_lipread.face_tracking_lipread import whole
from modeling_lipread.landmarker_lipread import Landmarker, landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from modeling_lipread.video_lipread import VideoError, read_frames, require

from .live.conditions import DARK, SMALL_FACE, brightness

SAMPLED_FRAMES, STEP = 5, 25  # frames looked at, and from one to the next
# At MediaPipe's default of 0.5 the landmarker also fits an upright face to every other one that is upside down.
CONFIDENCE = 0.8


def why_unread(path: str | os.PathLike, start: float | None = None, end: float | None = None) -> str | None:
    """Returns a sentence with the reason and the remedy; None if the face can be seen well."""
    try:
        with closing(read_frames(path, start, end)) as frames:
            samples = [frame for _, frame in islice(frames, 0, SAMPLED_FRAMES * STEP, STEP)]
    except VideoError:
        return None
    if np.mean([brightness(frame) for frame in samples]) < DARK:
        return "The picture is too dark. Turn on a light in front of the face, and record again."
    landmarker = Landmarker(landmarker_path())
    found = [sum(_has_face(landmarker, np.rot90(frame, turns)) for frame in samples) for turns in range(4)]
    upright, to_the_right, upside_down, to_the_left = found  # as the face is turned in the video
    if upside_down > upright and upside_down >= max(to_the_right, to_the_left):
        return "The face is upside down. Turn the video by 180 degrees."
    if upright:
        return None
    if to_the_right or to_the_left:
        way = "left" if to_the_right > to_the_left else "right"
        return f"The face lies on its side. Turn the video by 90 degrees to the {way}."
    cv2 = require("cv2", "opencv-contrib-python", "Looking for small faces")
    enlarged = cv2.resize(samples[len(samples) // 2], None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    with Face3DKeypointExtractor() as extractor:  # which also searches tiles: the detector shrinks pictures again
        face = extractor.extract(enlarged)
    if face is None:
        return f"The face must be lit, seen from the front, and about {SMALL_FACE} pixels wide or more."
    width = np.ptp(face[:, 0]) / 3
    return f"The face is too small: about {width:.0f} pixels wide, {SMALL_FACE} are needed. Come nearer, or crop."


def _has_face(landmarker: Landmarker, frame: np.ndarray) -> bool:
    return bool(landmarker.detect(frame, whole(frame), confidence=CONFIDENCE))
