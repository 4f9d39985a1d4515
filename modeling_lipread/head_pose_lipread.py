# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The classic head pose: OpenCV's solvePnP on six points of the face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .geometry_lipread import angles_from_rotation
from .video_lipread import require

# The six points most head-pose tutorials use, here with their places on MediaPipe's canonical face in centimetres
# (geometry_pipeline_metadata_landmarks in face_landmarker.task, Apache-2.0 by Google): tip of the nose, chin, outer
# corners of the eyes, corners of the mouth.
HEAD_POSE_POINTS = (1, 152, 33, 263, 61, 291)
_MODEL = np.array(
    [
        (0.0, -1.1269, 7.4756),
        (0.0, -9.4034, 4.2645),
        (-4.4459, 2.6640, 3.1734),
        (4.4459, 2.6640, 3.1734),
        (-2.4562, -4.3426, 4.2839),
        (2.4562, -4.3426, 4.2839),
    ]
)
_TO_OPENCV = np.array([1.0, -1.0, -1.0])  # OpenCV's Y points down and its Z away from the camera


@dataclass
class HeadPose:
    """Where a head is turned, in project axes.

    Attributes:
        yaw: Degrees; positive turns the nose to the right of the image.
        pitch: Degrees; positive raises the nose.
        roll: Degrees; positive turns the face counter-clockwise in the image.
        rotation: Float64 `(3, 3)`, `seen = rotation @ frontal`.
    """

    yaw: float
    pitch: float
    roll: float
    rotation: np.ndarray


def solve_head_pose(keypoints: np.ndarray, width: float, height: float) -> HeadPose:
    """The classic head pose: OpenCV's solvePnP on six points of the picture, ignoring their depth.

    Chin and mouth corners move with speech, and so does this pose: `geometry_lipread.rigid_rotation` does not. The
    camera is taken to have its focal length equal to the frame's width and its centre in the frame's middle.

    Args:
        keypoints: Landmarks of one face `(478, 3)` in project axes.
        width: Pixels of the frame.
        height: Pixels of the frame.

    Returns:
        The pose.

    Raises:
        ValueError: OpenCV found no pose.
    """
    cv2 = require("cv2", "opencv-contrib-python", 'pose="solvepnp"')
    picture = np.asarray(keypoints, dtype=np.float64)[list(HEAD_POSE_POINTS), :2] * (1, -1)
    camera = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64)
    solved, vector, _ = cv2.solvePnP(_MODEL * _TO_OPENCV, picture, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not solved:
        raise ValueError("solvePnP found no head pose; the landmarks are not those of a face")
    rotation = _TO_OPENCV[:, None] * cv2.Rodrigues(vector)[0] * _TO_OPENCV
    yaw, pitch, roll = angles_from_rotation(rotation).tolist()
    return HeadPose(yaw, pitch, roll, rotation)
