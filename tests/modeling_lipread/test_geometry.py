# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Known geometry: what is put in by construction must be read back."""

import numpy as np
import pytest

from data.training.augmentation import MIRROR
from modeling_lipread import LipReadFeatureExtractor
from modeling_lipread import geometry_lipread as geometry
from modeling_lipread.feature_extraction_lipread import NORMALIZE
from tests.helpers.clips import made_up_face, rotation_from_angles

MOUTH_AND_JAW = sorted({*geometry.LIPS, *geometry.JAW})
STILL = sorted(set(range(geometry.NUM_LANDMARKS)) - set(MOUTH_AND_JAW))


@pytest.fixture
def speaking() -> np.ndarray:
    """A frontal face that opens and closes its mouth, `(20, 478, 3)`."""
    clip = np.repeat(made_up_face()[None], 20, axis=0)
    clip[:, MOUTH_AND_JAW, 1] -= np.sin(np.linspace(0, 3, 20))[:, None] * 2
    return clip


ANGLES = [(0, 0, 0), (30, 0, 0), (0, 20, 0), (0, 0, -15), (-40, 25, 10), (60, -35, 80), (-10, 5, 170)]


@pytest.mark.parametrize("angles", ANGLES)
def test_a_known_rotation_is_read_back(angles):
    rotation = rotation_from_angles(*angles)
    seen = 31.0 * made_up_face() @ rotation.T + (200.0, -140.0, 12.0)
    found = geometry.rigid_rotation(seen[None])
    np.testing.assert_allclose(found[0], rotation, atol=1e-9)
    np.testing.assert_allclose(geometry.angles_from_rotation(found)[0], angles, atol=1e-6)


def test_signs_of_the_angles():
    nose = np.array([0.0, 0.0, 1.0])
    assert (rotation_from_angles(20, 0, 0) @ nose)[0] > 0  # to the right of the image
    assert (rotation_from_angles(0, 20, 0) @ nose)[1] > 0  # up
    right = rotation_from_angles(0, 0, 20) @ np.array([1.0, 0.0, 0.0])
    assert right[1] > 0  # counter-clockwise


def test_procrustes_never_reflects():
    random = np.random.default_rng(1)
    reference = random.normal(size=(12, 3))
    points = random.normal(size=(200, 12, 3)) * (1.0, 1.0, 1e-3)  # flat and unrelated: half would fit best reflected
    rotation = geometry.procrustes_rotation(points, reference)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-9)
    np.testing.assert_allclose(rotation @ np.swapaxes(rotation, 1, 2), np.tile(np.eye(3), (200, 1, 1)), atol=1e-9)


def test_speech_does_not_leak_into_the_rigid_pose(speaking):
    np.testing.assert_allclose(geometry.angles_from_rotation(geometry.rigid_rotation(speaking)), 0.0, atol=1e-9)


def opening(clip: np.ndarray) -> np.ndarray:
    """How far each frame's chin is from where it was in the first frame."""
    return np.linalg.norm(clip[:, 152] - clip[0, 152], axis=-1)


def test_rigid_keeps_all_of_a_mouth_opening_and_changes_nothing_else(speaking):
    """Wherever the face is, and however large."""
    extractor = LipReadFeatureExtractor(pose=None, landmarks="face")
    path = np.cumsum(np.random.default_rng(0).normal(size=(20, 1, 3)), axis=0)
    normalized, moved = extractor([speaking, 17.0 * (speaking + path)])["keypoints"]
    np.testing.assert_allclose(moved, normalized, atol=1e-5)
    eyes = np.linalg.norm(speaking[0, 33] - speaking[0, 263])
    np.testing.assert_allclose(opening(normalized) * eyes, opening(speaking), atol=1e-5)
    np.testing.assert_allclose(normalized[:, STILL], np.repeat(normalized[:1, STILL], 20, axis=0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normalized[:, 33] - normalized[:, 263], axis=-1), 1.0, atol=1e-6)


def test_per_frame_normalisations(speaking):
    sizes = np.linspace(1, 3, 20)[:, None, None]
    sphere = geometry.normalize_unit_sphere(speaking * sizes)
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=-1).max(axis=1), 1.0)
    np.testing.assert_allclose(sphere.mean(axis=1), 0.0, atol=1e-9)
    box = geometry.normalize_bbox_unit(speaking * sizes)
    np.testing.assert_allclose((box.max(axis=1) - box.min(axis=1)).max(axis=-1), 1.0)
    np.testing.assert_allclose(box.max(axis=1) + box.min(axis=1), 0.0, atol=1e-9)
    scores = geometry.normalize_zscore(speaking * sizes)
    np.testing.assert_allclose(scores.mean(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(scores.std(axis=1), 1.0)


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_a_face_shrunk_to_a_point_stays_finite(normalize):
    extractor = LipReadFeatureExtractor(pose=None, normalize=normalize)
    normalized = extractor(np.ones((3, geometry.NUM_LANDMARKS, 3), np.float32))["keypoints"][0]
    assert np.isfinite(normalized).all()


def test_landmark_sets():
    assert len(geometry.LIPS) == 40
    assert len(geometry.LOWER_FACE) == 79
    for indices in (*geometry.LANDMARK_SETS.values(), geometry.RIGID, geometry.EYES_AND_NOSE):
        assert len(set(indices)) == len(indices)
        assert set(MIRROR[list(indices)]) == set(indices)  # as good for the left half as for the right
    assert not set(geometry.RIGID) & {*geometry.LOWER_FACE}


def test_mirror_numbers_a_mirrored_face_as_mediapipe_would():
    assert (MIRROR[MIRROR] == np.arange(geometry.NUM_LANDMARKS)).all()
    assert MIRROR[33] == 263 and MIRROR[61] == 291 and MIRROR[468] == 473
    seen = made_up_face() @ rotation_from_angles(25, 10, -20).T
    flipped = seen[MIRROR] * (-1, 1, 1)
    angles = geometry.angles_from_rotation(geometry.rigid_rotation(flipped[None]))[0]
    np.testing.assert_allclose(angles, (-25, 10, 20), atol=1e-6)
