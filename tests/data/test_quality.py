# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Metrics of a clip's quality: each follows what it is named after, and filters clips by name."""

import numpy as np
import pytest
from datasets import load_from_disk

from data.prepare import prepare
from data.quality import ANGLES, measure
from data.schema import load_split
from modeling_lipread.geometry_lipread import OUTER_EYE_CORNERS
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.clips import made_up_face, rotation_from_angles
from tests.helpers.corpora import write_manifest

FRAMES, RATE = 50, 25.0
FACE = made_up_face() * 10
EYES = float(np.linalg.norm(FACE[OUTER_EYE_CORNERS[0]] - FACE[OUTER_EYE_CORNERS[1]]))
LOWER_LIP = 14


def clip(keypoints=None, present=None, width=640) -> LandmarkSequence:
    keypoints = FACE if keypoints is None else keypoints
    present = np.ones(FRAMES, bool) if present is None else present
    keypoints = np.where(present[:, None, None], keypoints + 300, 0.0).astype(np.float32)
    return LandmarkSequence(keypoints, present, np.arange(FRAMES) / RATE, width, 480, RATE)


def moved(landmark: int, axis: int, distances: np.ndarray) -> np.ndarray:
    keypoints = np.repeat(FACE[None], FRAMES, axis=0)
    keypoints[:, landmark, axis] += distances
    return keypoints


def test_a_face_that_stands_still_gaps_and_the_frame_to_show():
    quality = measure(clip())
    assert quality.coverage == 1.0 and quality.longest_gap == 0.0
    assert quality.face_width == pytest.approx(np.ptp(FACE[:, 0]), rel=1e-4)
    assert quality.jitter == pytest.approx(0.0, abs=1e-5) and quality.lip_motion == pytest.approx(0.0, abs=1e-3)
    assert max(abs(getattr(quality, name)) for name in ANGLES) < 1.0 and quality.identity_switches == 0
    assert quality.thumbnail_frame in (FRAMES // 2, FRAMES // 2 - 1)
    assert measure(clip(width=0)).face_width is None
    present = np.ones(FRAMES, bool)
    present[5:10] = present[20:40] = False
    quality = measure(clip(present=present))
    assert (quality.coverage, quality.longest_gap) == pytest.approx((0.5, 20 / RATE)) and quality.thumbnail_frame == 19
    with pytest.raises(ValueError, match="no frame holds a face"):
        measure(clip(present=np.zeros(FRAMES, bool)))


def test_jitter_is_the_noise_rotation_the_heads_and_motion_that_of_the_lips():
    noise = 0.01
    shaken = FACE + np.random.default_rng(0).normal(scale=noise * EYES, size=(FRAMES, 478, 3))
    assert measure(clip(shaken)).jitter == pytest.approx(noise, rel=0.15)
    drifting = FACE + np.linspace(0, 5 * EYES, FRAMES)[:, None, None]
    assert measure(clip(drifting)).jitter < 1e-4, "steady movement is none"
    angles = np.linspace(-20, 30, FRAMES)
    quality = measure(clip(FACE @ rotation_from_angles(angles, 0 * angles, 0 * angles).swapaxes(1, 2)))
    low, high = np.percentile(angles, (5, 95))
    assert (quality.yaw_low, quality.yaw_high) == pytest.approx((low, high), abs=1.0)
    assert max(map(abs, (quality.pitch_low, quality.pitch_high, quality.roll_low, quality.roll_high))) < 2.0
    assert quality.lip_motion < 0.02, "a head that turns does not speak"
    opening = 0.1 * EYES * np.sin(np.arange(FRAMES) / RATE * 2 * np.pi * 3)
    slow, fast = (measure(clip(moved(LOWER_LIP, 1, scale * opening))).lip_motion for scale in (0.5, 1.0))
    assert fast == pytest.approx(2 * slow, rel=0.1) and fast > 0.5
    assert measure(clip(moved(10, 1, opening))).lip_motion < 0.1, "nor does a forehead"


def test_metrics_are_stored_and_filter_a_corpus(tmp_path):
    still, speaking = clip().keypoints, clip(moved(LOWER_LIP, 1, 0.1 * EYES * np.sin(np.arange(FRAMES)))).keypoints
    for name, keypoints in (("still", still), ("speaking", speaking)):
        np.save(tmp_path / f"{name}.npy", keypoints)
    lines = [{"kp_path": f"{name}.npy", "text": name} for name in ("still", "speaking")]
    prepare([write_manifest(tmp_path, "test.jsonl", lines)], tmp_path / "all")
    rows = load_split(tmp_path / "all", "test").with_format("python", columns=["id", "quality"])
    stored = {row["id"]: row["quality"] for row in rows}
    assert stored["still"]["face_width"] is None
    assert stored["still"]["lip_motion"] < 0.1 < stored["speaking"]["lip_motion"]
    assert "quality" not in load_split(tmp_path / "all", "test")[0], "training does not read them"
    stored = load_from_disk(tmp_path / "all")
    stored.filter(lambda quality: quality["lip_motion"] > 0.1, input_columns="quality").save_to_disk(tmp_path / "some")
    assert load_split(tmp_path / "some", "test")["id"][:] == ["speaking"]
