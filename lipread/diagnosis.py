# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What makes a face hard to read, in words for the person: in a camera's picture, and in a video without words."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import islice

import numpy as np

from modeling_lipread.face_tracking_lipread import whole
from modeling_lipread.geometry_lipread import angles_from_rotation, rigid_rotation
from modeling_lipread.landmarker_lipread import Landmarker, landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from modeling_lipread.video_lipread import VideoError, read_frames, require

SMALL_FACE = 60  # pixels from ear to ear; smaller faces are read badly
DARK = 40  # mean brightness of the picture, of 255
MOST_TURNED = 30.0  # degrees to a side, up or down

TOO_DARK = "It is too dark. Turn on a light in front of your face."
NO_FACE = "No face in the picture. Look into the camera, in good light."
TOO_FAR = "Your face is too far away. Come nearer."
CUT_OFF = "Part of your face is outside the picture. Move to the middle."
TURNED_AWAY = "Your face is turned away. Look towards the camera."

SAMPLED_FRAMES, STEP = 5, 25  # frames looked at, and from one to the next
# At MediaPipe's default of 0.5 the landmarker also fits an upright face to every other one that is upside down.
CONFIDENCE = 0.8


def brightness(picture: np.ndarray) -> float:
    """Returns the mean brightness, 0 to 255, of a sample of the pixels of a picture, uint8 `(height, width, 3)`."""
    return float(picture[::8, ::8].mean())


def find_problem(picture: np.ndarray, face: np.ndarray | None) -> str:
    """Returns what makes a face hard to read and what to do about it, or "" if it is well seen.

    Args:
        picture: RGB, uint8, `(height, width, 3)`.
        face: Its landmarks `(478, 3)` in pixels, None if no face was found.
    """
    if brightness(picture) < DARK:
        return TOO_DARK
    if face is None:
        return NO_FACE
    x, y = face[:, 0], -face[:, 1]
    if np.ptp(x) < SMALL_FACE:
        return TOO_FAR
    if x.min() < 0 or y.min() < 0 or x.max() > picture.shape[1] or y.max() > picture.shape[0]:
        return CUT_OFF
    yaw, pitch, _ = angles_from_rotation(rigid_rotation(face[None]))[0]
    return TURNED_AWAY if max(abs(yaw), abs(pitch)) > MOST_TURNED else ""


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
