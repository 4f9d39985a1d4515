# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Landmarks to features: known geometry is read back, any frame rate reads alike, gaps are filled or marked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.training.augmentation import MIRROR
from modeling_lipread import LipReadFeatureExtractor
from modeling_lipread import geometry_lipread as geometry
from modeling_lipread.feature_extraction_lipread import NORMALIZE, resample
from modeling_lipread.geometry_lipread import JAW, LIPS, LOWER_FACE, RIGID
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.clips import made_up_face, rotation_from_angles

MOUTH_AND_JAW = sorted({*LIPS, *JAW})


def opening_its_mouth(t: np.ndarray) -> np.ndarray:
    """A frontal face that opens and closes its mouth at these seconds, `(times, 478, 3)`."""
    clip = np.repeat(made_up_face()[None], len(t), axis=0)
    clip[:, MOUTH_AND_JAW, 1] -= (1 + np.sin(2 * np.pi * 1.5 * t))[:, None]
    return clip


def talking(timestamps: np.ndarray, turning: bool = True) -> LandmarkSequence:
    """A face that turns, wanders and speaks, each a smooth function of time, sampled at any times."""
    t = np.asarray(timestamps, dtype=np.float64)
    clip = opening_its_mouth(t)
    if turning:
        rotation = rotation_from_angles(15 * np.sin(2 * t), 8 * np.cos(3 * t), 5 * np.sin(t))
        clip = clip @ np.swapaxes(rotation, 1, 2)
    clip = 10 * clip + np.stack([320 + 20 * t, -240 + 5 * t, 3 * t], axis=-1)[:, None]
    frame_rate = (len(t) - 1) / (t[-1] - t[0]) if len(t) > 1 else 0.0
    return LandmarkSequence(clip.astype(np.float32), np.ones(len(t), bool), t, 640, 480, frame_rate)


def at_rate(frame_rate: float, seconds: float = 3.0) -> np.ndarray:
    return np.arange(round(seconds * frame_rate)) / frame_rate


def features(extractor: LipReadFeatureExtractor, *clips, **arguments) -> tuple[np.ndarray, np.ndarray]:
    batch = extractor(list(clips), return_tensors="np", **arguments)
    return batch["keypoints"], batch["keypoints_mask"]


VARIABLE_RATE = np.cumsum(np.random.default_rng(0).choice([1, 2, 3], size=87)) / 60


@pytest.mark.parametrize("timestamps", [at_rate(15), at_rate(29.97), at_rate(60), VARIABLE_RATE - VARIABLE_RATE[0]])
def test_all_frame_rates_read_alike(timestamps):
    extractor = LipReadFeatureExtractor()
    expected, _ = features(extractor, talking(at_rate(25)))
    found, mask = features(extractor, talking(timestamps))
    assert found.shape == expected.shape == (1, 75, 79, 3)
    assert mask.all()
    times = extractor.frame_times(timestamps + 0.3, 75)
    np.testing.assert_allclose(times, timestamps[0] + 0.3 + np.arange(76) / 25)
    moves = np.ptp(expected, axis=1).max()
    inner = slice(0, 72)  # a slower video ends a little before the last frame of 3 seconds
    assert np.abs(found - expected)[:, inner].max() < 0.05 * moves
    assert np.abs(np.roll(expected, 1, axis=1) - expected)[:, 1:].max() > 0.15 * moves  # a frame's shift would be seen


@pytest.mark.parametrize("frame_rate", [25.0, 50.0, 10.0])
def test_short_gaps_are_filled_along_the_line(frame_rate):
    times = at_rate(25, 2.0)
    line = (np.arange(6.0).reshape(1, 2, 3) + times[:, None, None]).astype(np.float32)
    present = np.ones(50, bool)
    present[10:15] = False  # 0.2 s
    line[~present] = 0
    filled, mask = resample(LandmarkSequence(line, present, times, 0, 0, 25.0), frame_rate, max_gap_seconds=0.2)
    assert mask.all() and len(mask) == 2 * frame_rate
    seconds = np.minimum(np.arange(len(mask)) / frame_rate, times[-1])[:, None, None]
    np.testing.assert_allclose(filled, np.arange(6.0).reshape(1, 2, 3) + seconds, atol=1e-5)


def test_long_gaps_and_ends_are_marked_absent():
    clip = talking(at_rate(25))
    clip.present[:4] = clip.present[30:36] = clip.present[70:] = False
    clip.keypoints[~clip.present] = 0
    keypoints, mask = features(LipReadFeatureExtractor(), clip)
    np.testing.assert_array_equal(mask[0], clip.present)
    assert not keypoints[0, ~clip.present].any()
    whole, _ = features(LipReadFeatureExtractor(), talking(at_rate(25)))
    np.testing.assert_allclose(keypoints[0, clip.present], whole[0, clip.present], atol=1e-5)


def test_frames_that_are_not_numbers_are_absent_or_an_error():
    clip = talking(at_rate(25))
    clip.keypoints[40:60, 7] = np.nan
    _, mask = features(LipReadFeatureExtractor(), clip.keypoints)
    assert np.flatnonzero(mask[0] == 0).tolist() == list(range(40, 60))
    with pytest.raises(ValueError, match="Clip 1 .* frame 40"):
        features(LipReadFeatureExtractor(), talking(at_rate(25)), clip)


def test_turning_the_head_changes_nothing():
    times = at_rate(25)
    still, _ = features(LipReadFeatureExtractor(), talking(times, turning=False))
    turned, _ = features(LipReadFeatureExtractor(), talking(times))
    np.testing.assert_allclose(turned, still, atol=1e-5)
    unposed, _ = features(LipReadFeatureExtractor(pose=None), talking(times))
    assert np.abs(unposed - still).max() > 0.1


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("pose", ["rigid", "solvepnp", None])
def test_every_setting_gives_numbers(pose, normalize):
    keypoints, mask = features(LipReadFeatureExtractor(pose=pose, normalize=normalize), talking(at_rate(25, 0.2)))
    assert keypoints.shape == (1, 5, 79, 3) and keypoints.dtype == np.float32
    assert np.isfinite(keypoints).all() and mask.all()
    point = np.ones((3, 478, 3), np.float32)  # a face shrunk to a point
    assert np.isfinite(features(LipReadFeatureExtractor(pose=None, normalize=normalize), point)[0]).all()


def test_landmarks_are_selected_and_at_the_wanted_rate_nothing_is_touched():
    clip = talking(at_rate(25))
    for landmarks, indices in {"face": range(478), "lips": LIPS, "lower_face": LOWER_FACE, (5, 3): (5, 3)}.items():
        extractor = LipReadFeatureExtractor(pose=None, normalize=None, landmarks=landmarks)
        assert extractor.num_landmarks == len(indices)
        found, mask = features(extractor, clip)
        np.testing.assert_array_equal(found[0], clip.keypoints[:, list(indices)])
        assert mask.dtype == np.int64 and mask.all()
    other = clip.keypoints[:, :68]  # as of another pipeline
    np.testing.assert_array_equal(features(extractor, other)[0][0], other[:, [5, 3]])
    with pytest.raises(ValueError, match=f"Clip 0 has 68 landmarks.*number {max(RIGID)}"):
        LipReadFeatureExtractor()([other])


def test_clips_of_all_forms_are_padded_into_a_batch():
    long, short = talking(at_rate(25)), talking(at_rate(25, 1.0))
    batch = LipReadFeatureExtractor()([long, short, short.keypoints], return_tensors="pt")
    assert batch["keypoints"].shape == (3, 75, 79, 3) and batch["keypoints"].dtype == torch.float32
    assert batch["keypoints_mask"].dtype == torch.int64
    assert batch["keypoints_mask"].sum(1).tolist() == [75, 25, 25]
    assert not batch["keypoints"][1:, 25:].any()
    torch.testing.assert_close(batch["keypoints"][2], batch["keypoints"][1])
    unpadded = LipReadFeatureExtractor()([long, short], padding=False)
    assert [len(array) for array in unpadded["keypoints"]] == [75, 25]
    np.testing.assert_array_equal(LipReadFeatureExtractor()(short)["keypoints"][0], unpadded["keypoints"][1])


def test_bad_clips_say_why():
    clip = talking(at_rate(25))
    for wrong, reason in [
        (np.zeros((0, 478, 3)), "at least one frame"),
        (np.zeros((5, 478, 2)), "must be"),
        (replace(clip, timestamps=clip.timestamps[::-1]), "do not rise"),
        (replace(clip, timestamps=clip.timestamps[:-1]), "74 timestamps"),
    ]:
        with pytest.raises(ValueError, match=f"Clip 1.*{reason}"):
            LipReadFeatureExtractor()([clip, wrong])
    with pytest.raises(ValueError, match="Clip 0.*size of the frame, which .npy files and arrays"):
        LipReadFeatureExtractor(pose="solvepnp")([clip.keypoints])


def test_bad_settings_say_why():
    wrong = {"pose": ["euler"], "normalize": ["minmax"], "landmarks": ["nose", [], [1, 1], [-1]], "frame_rate": [0]}
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                LipReadFeatureExtractor(**{name: value})


SPEAKING = opening_its_mouth(np.arange(20) / 25)
ANGLES = [(0, 0, 0), (30, 0, 0), (0, 20, 0), (0, 0, -15), (-40, 25, 10), (60, -35, 80), (-10, 5, 170)]


@pytest.mark.parametrize("angles", ANGLES)
def test_a_known_rotation_is_read_back_and_speech_does_not_leak_into_it(angles):
    rotation = rotation_from_angles(*angles)
    found = geometry.rigid_rotation(31.0 * SPEAKING @ rotation.T + (200.0, -140.0, 12.0))
    np.testing.assert_allclose(found, np.broadcast_to(rotation, (20, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(geometry.angles_from_rotation(found), np.broadcast_to(angles, (20, 3)), atol=1e-6)


def test_a_rotation_is_never_a_reflection():
    # Flat and unrelated: half would fit best reflected.
    points = np.random.default_rng(1).normal(size=(200, 478, 3)) * (1.0, 1.0, 1e-3)
    rotation = geometry.rigid_rotation(points)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-9)
    np.testing.assert_allclose(rotation @ np.swapaxes(rotation, 1, 2), np.tile(np.eye(3), (200, 1, 1)), atol=1e-9)


def opening(clip: np.ndarray) -> np.ndarray:
    """How far each frame's chin is from where it was in the first frame."""
    return np.linalg.norm(clip[:, 152] - clip[0, 152], axis=-1)


def test_rigid_keeps_all_of_a_mouth_opening_and_changes_nothing_else():
    """Wherever the face is, and however large."""
    extractor = LipReadFeatureExtractor(pose=None, landmarks="face")
    path = np.cumsum(np.random.default_rng(0).normal(size=(20, 1, 3)), axis=0)
    normalized, moved = extractor([SPEAKING, 17.0 * (SPEAKING + path)])["keypoints"]
    np.testing.assert_allclose(moved, normalized, atol=1e-5)
    eyes = np.linalg.norm(SPEAKING[0, 33] - SPEAKING[0, 263])
    np.testing.assert_allclose(opening(normalized) * eyes, opening(SPEAKING), atol=1e-5)
    still = np.delete(normalized, MOUTH_AND_JAW, axis=1)
    np.testing.assert_allclose(still, np.repeat(still[:1], 20, axis=0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(normalized[:, 33] - normalized[:, 263], axis=-1), 1.0, atol=1e-6)


def test_per_frame_normalisations():
    sizes = np.linspace(1, 3, 20)[:, None, None]
    sphere = geometry.normalize_frames(SPEAKING * sizes, "unit_sphere")
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=-1).max(axis=1), 1.0)
    np.testing.assert_allclose(sphere.mean(axis=1), 0.0, atol=1e-9)
    box = geometry.normalize_frames(SPEAKING * sizes, "bbox_unit")
    np.testing.assert_allclose((box.max(axis=1) - box.min(axis=1)).max(axis=-1), 1.0)
    np.testing.assert_allclose(box.max(axis=1) + box.min(axis=1), 0.0, atol=1e-9)
    scores = geometry.normalize_frames(SPEAKING * sizes, "zscore")
    np.testing.assert_allclose(scores.mean(axis=1), 0.0, atol=1e-9)
    np.testing.assert_allclose(scores.std(axis=1), 1.0)


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
