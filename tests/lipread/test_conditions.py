# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the person in front of a camera is told about light, distance and direction."""

import numpy as np
import pytest

from lipread.live.conditions import CUT_OFF, NO_FACE, TOO_DARK, TOO_FAR, TURNED_AWAY, find_problem
from tests.helpers.clips import made_up_face, rotation_from_angles


@pytest.mark.parametrize(
    "brightness, width, left, yaw, pitch, problem",
    [
        (120, 150, 200, 0, 0, ""),
        (120, 150, 200, 20, -20, ""),
        (20, 150, 200, 0, 0, TOO_DARK),
        (20, None, 0, 0, 0, TOO_DARK),
        (120, None, 0, 0, 0, NO_FACE),
        (120, 40, 200, 0, 0, TOO_FAR),
        (120, 150, -30, 0, 0, CUT_OFF),
        (120, 150, 520, 0, 0, CUT_OFF),
        (120, 150, 200, 45, 0, TURNED_AWAY),
        (120, 150, 200, 0, -45, TURNED_AWAY),
    ],
)
def test_the_first_problem_is_named(brightness, width, left, yaw, pitch, problem):
    face = None
    if width is not None:
        face = made_up_face() @ rotation_from_angles(yaw, pitch, 0.0).T
        face *= width / np.ptp(face[:, 0])
        face += (left, -150, 0) - np.array([face[:, 0].min(), face[:, 1].max(), 0]) * (1, 1, 0)
    picture = np.full((480, 640, 3), brightness, np.uint8)
    assert find_problem(picture, face) == problem
