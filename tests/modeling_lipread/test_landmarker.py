# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""One landmarker for many clips, with the same landmarks as a new one for each."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

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


def test_one_extractor_serves_several_threads(fresh):
    with Face3DKeypointExtractor() as extractor, ThreadPoolExecutor(3) as threads:
        names = list(CLIPS) * 3
        clips = list(threads.map(lambda name: extractor.extract_frames(CLIPS[name], 25), names))
    for name, clip in zip(names, clips, strict=True):
        np.testing.assert_array_equal(clip.keypoints, fresh[name], name)
