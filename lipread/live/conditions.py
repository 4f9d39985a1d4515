# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Light, distance and direction of a face in a picture, in words for the person in front of the camera."""

from __future__ import annotations

import numpy as np

from modeling_lipread.geometry_lipread import angles_from_rotation, rigid_rotation

SMALL_FACE = 60  # pixels from ear to ear; smaller faces are read badly
DARK = 40  # mean brightness of the picture, of 255
MOST_TURNED = 30.0  # degrees to a side, up or down

TOO_DARK = "It is too dark. Turn on a light in front of your face."
NO_FACE = "No face in the picture. Look into the camera, in good light."
TOO_FAR = "Your face is too far away. Come nearer."
CUT_OFF = "Part of your face is outside the picture. Move to the middle."
TURNED_AWAY = "Your face is turned away. Look towards the camera."


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
