# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""One landmarker for many clips, with the same landmarks as a new one for each."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from modeling_lipread.face_tracking_lipread import whole
from modeling_lipread.landmarker_lipread import Landmarker, landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from tests.helpers.clips import PORTRAIT, moving_portrait, portrait_on

GREY = np.full_like(PORTRAIT, 90)
CLIPS = {
    "moving": moving_portrait(6),
    "other size": [portrait_on(300, 500, [(1.0, 20 + 3 * index, 5)]) for index in range(5)],
    "lost and found": [*moving_portrait(3), *[GREY] * 9, *moving_portrait(3)],
    "two faces": [portrait_on(300, 640, [(0.8, 20, 20), (1.0, 330 + index, 5)]) for index in range(4)],
}


@pytest.fixture(scope="module")
def fresh():
    """Each clip's landmarks from an extractor that has seen no other."""
    found = {}
    for name, frames in CLIPS.items():
        with Face3DKeypointExtractor() as extractor:
            found[name] = extractor.extract_frames(frames, 25).keypoints
    return found


@pytest.mark.parametrize("order", list(itertools.permutations(CLIPS))[::7])
def test_no_clip_depends_on_the_one_before(fresh, order):
    with Face3DKeypointExtractor() as extractor:
        for name in (*order, order[0]):
            np.testing.assert_array_equal(extractor.extract_frames(CLIPS[name], 25).keypoints, fresh[name], name)
        assert len(extractor.finder._idle) == 1, "one landmarker follows them all"


def test_when_a_clip_begins_does_not_matter(fresh):
    times = [7.3 + index / 25 for index in range(6)]
    with Face3DKeypointExtractor() as extractor:
        late = extractor._extract(zip(times, CLIPS["moving"], strict=True), "largest")
    np.testing.assert_array_equal(late.keypoints, fresh["moving"])


@pytest.mark.parametrize("video", [True, False])
def test_frames_need_not_be_contiguous(video):
    found = []
    for frames in (moving_portrait(3), [np.asfortranarray(frame) for frame in moving_portrait(3)]):
        landmarker = Landmarker(landmarker_path(), video, num_faces=1)
        times = [index / 25 if video else None for index in range(3)]
        found.append([landmarker.detect(frame, whole(frame), time) for frame, time in zip(frames, times, strict=True)])
        landmarker.close()
    assert np.shape(found[0]) == (3, 1, 478, 3)
    np.testing.assert_array_equal(*found)


def test_a_closed_landmarker_is_an_error():
    landmarker = Landmarker(landmarker_path(), video=True, num_faces=1)
    landmarker.close()
    with pytest.raises(ValueError, match="closed"):
        landmarker.detect(PORTRAIT, whole(PORTRAIT), 0.0)


def test_one_extractor_serves_several_threads(fresh):
    with Face3DKeypointExtractor() as extractor, ThreadPoolExecutor(3) as threads:
        names = list(CLIPS) * 3
        clips = list(threads.map(lambda name: extractor.extract_frames(CLIPS[name], 25), names))
    for name, clip in zip(names, clips, strict=True):
        np.testing.assert_array_equal(clip.keypoints, fresh[name], name)
