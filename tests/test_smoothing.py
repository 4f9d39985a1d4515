# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Smoothing over time: no lag, movement kept, gaps respected, and nothing at all unless asked for."""

import numpy as np
import pytest
from clips import made_up_face
from scipy.signal import savgol_filter
from test_feature_extraction import at_rate, features, talking

from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor
from modeling_lipread.smoothing_lipread import runs, smooth


def track(values: np.ndarray) -> np.ndarray:
    """Landmarks `(frames, 2, 3)` that all follow one curve."""
    return np.repeat(np.asarray(values, np.float64)[:, None], 6, axis=1).reshape(-1, 2, 3)


def smoothed(values: np.ndarray, seconds: float, present: np.ndarray | None = None, times=None) -> np.ndarray:
    times = np.arange(len(values)) / 25 if times is None else times
    present = np.ones(len(values), bool) if present is None else present
    return smooth(track(values), present, times, seconds)[:, 0, 0]


@pytest.mark.parametrize(("seconds", "window"), [(0.2, 5), (0.28, 7), (0.36, 9)])
def test_it_is_savitzky_and_golays_filter(seconds, window):
    values = np.random.default_rng(0).normal(size=40)
    expected = savgol_filter(values, window, 2, mode="interp")
    np.testing.assert_allclose(smoothed(values, seconds), expected, atol=1e-9)
    # A run shorter than the window is one parabola.
    expected = np.polyval(np.polyfit(np.arange(4), values[:4], 2), np.arange(4))
    np.testing.assert_allclose(smoothed(values[:4], seconds), expected, atol=1e-9)


def test_a_pulse_stays_where_it_is():
    pulse = np.exp(-0.5 * ((np.arange(41) - 20) / 2.0) ** 2)
    found = smoothed(pulse, 0.28)
    assert found.argmax() == 20
    np.testing.assert_allclose(found, found[::-1], atol=1e-12)
    assert found.max() > 0.9  # a moving average of seven frames leaves 0.7
    lag = np.argmax(np.correlate(found, pulse, "full")) - (len(pulse) - 1)
    assert lag == 0


def test_rest_and_steady_movement_are_kept():
    t = np.arange(30) / 25
    for movement in (np.full(30, 3.0), 4 - 7 * t, 1 + 2 * t - 5 * t**2):
        np.testing.assert_allclose(smoothed(movement, 0.2), movement, atol=1e-9)
    uneven = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 30))
    np.testing.assert_allclose(smoothed(4 - 7 * uneven, 0.2, times=uneven), 4 - 7 * uneven, atol=1e-9)


def test_jitter_is_taken_out():
    noise = np.random.default_rng(0).normal(size=20_000)
    assert smoothed(noise, 0.2).std() == pytest.approx(np.sqrt(17 / 35), rel=0.03)
    assert smoothed(noise, 0.28).std() == pytest.approx(np.sqrt(1 / 3), rel=0.03)


def test_gaps_are_neither_filled_nor_looked_across():
    values, present = np.random.default_rng(0).normal(size=40), np.ones(40, bool)
    present[15:22] = present[0] = False
    values[~present] = 1e6
    found = smoothed(values, 0.2, present)
    assert (found[~present] == 1e6).all()
    for part in (slice(1, 15), slice(22, 40)):
        np.testing.assert_allclose(found[part], smoothed(values[part], 0.2), atol=1e-12)
    # Two or three frames that stand alone have nothing to be compared with.
    present[:] = False
    present[5:8] = True
    np.testing.assert_array_equal(smoothed(values, 0.2, present), values)


def test_what_is_too_short_to_smooth_is_left_alone():
    values = np.random.default_rng(0).normal(size=20)
    for seconds in (0.01, 0.08, 0.12):  # up to three frames
        np.testing.assert_array_equal(smoothed(values, seconds), values)
    np.testing.assert_array_equal(smoothed(values[:1], 0.2), values[:1])
    assert runs(np.array([], bool)) == [] and runs(np.array([True, False, True])) == [(0, 1), (2, 3)]


def test_by_default_nothing_is_smoothed():
    clip = talking(at_rate(25))
    clip.keypoints += np.random.default_rng(0).normal(0, 0.3, clip.keypoints.shape).astype(np.float32)
    expected, mask = features(LipReadFeatureExtractor(), clip)
    given, _ = features(LipReadFeatureExtractor(smoothing=None), clip)
    np.testing.assert_array_equal(given, expected)
    smooth_features, smooth_mask = features(LipReadFeatureExtractor(smoothing=0.2), clip)
    assert smooth_features.dtype == np.float32 and smooth_features.shape == expected.shape
    np.testing.assert_array_equal(smooth_mask, mask)
    clean, _ = features(LipReadFeatureExtractor(), talking(at_rate(25)))
    assert np.abs(smooth_features - clean).mean() < 0.8 * np.abs(expected - clean).mean()


@pytest.mark.parametrize("frame_rate", [15, 25, 60])
def test_the_window_is_in_seconds_at_any_frame_rate(frame_rate):
    """Videos are brought to one frame rate before they are smoothed, so they read alike afterwards too."""
    extractor = LipReadFeatureExtractor(smoothing=0.28)
    expected, _ = features(extractor, talking(at_rate(25)))
    found, _ = features(extractor, talking(at_rate(frame_rate)))
    assert np.abs(found - expected)[:, :72].max() < 0.05 * np.ptp(expected, axis=1).max()


def test_a_long_gap_stays_absent_and_leaves_its_surroundings_alone():
    clip = talking(at_rate(25))
    clip.present[30:45] = False
    clip.keypoints[30:45] = 0
    keypoints, mask = features(LipReadFeatureExtractor(smoothing=0.2), clip)
    np.testing.assert_array_equal(mask[0], clip.present)
    assert not keypoints[0, 30:45].any()
    whole, _ = features(LipReadFeatureExtractor(), talking(at_rate(25)))
    assert np.abs(keypoints[0, clip.present] - whole[0, clip.present]).max() < 0.01


def test_the_setting_is_checked_and_saved(tmp_path):
    for wrong in (0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="smoothing must be a positive number of seconds or None"):
            LipReadFeatureExtractor(smoothing=wrong)
    LipReadFeatureExtractor(smoothing=0.2).save_pretrained(tmp_path)
    assert LipReadFeatureExtractor.from_pretrained(tmp_path).smoothing == 0.2
    still = np.repeat(made_up_face()[None].astype(np.float32), 10, axis=0)
    extractor = LipReadFeatureExtractor(frame_rate=None, smoothing=0.2, pose=None, normalize=None, landmarks="face")
    np.testing.assert_allclose(features(extractor, still)[0][0], still, atol=1e-5)
