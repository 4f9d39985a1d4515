# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""One landmarker for many clips: as good as new for each, and read without MediaPipe's objects."""

import itertools

import numpy as np
import pytest
from clips import PORTRAIT, moving_portrait, portrait_on

from modeling_lipread.landmarker_lipread import Landmarker, _has_arrays, landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor

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
        assert len(extractor._finder._idle) == 1, "one landmarker follows them all"


def test_when_a_clip_begins_does_not_matter(fresh):
    times = [7.3 + index / 25 for index in range(6)]
    with Face3DKeypointExtractor() as extractor:
        late = extractor._extract(zip(times, CLIPS["moving"], strict=True), "largest")
    np.testing.assert_array_equal(late.keypoints, fresh["moving"])


def test_arrays_are_what_mediapipes_objects_say():
    found = []
    for reads_arrays in (True, False):
        landmarker = Landmarker(landmarker_path(), video=True, num_faces=1)
        assert landmarker._reads_arrays, "this version of MediaPipe is read without its objects"
        landmarker._reads_arrays = reads_arrays
        region = (0, 0, PORTRAIT.shape[1], PORTRAIT.shape[0])
        found.append(
            [landmarker.detect(frame, region, index / 25) for index, frame in enumerate([*moving_portrait(4), GREY])]
        )
        landmarker.close()
    assert [len(faces) for faces in found[0]] == [1, 1, 1, 1, 0]
    for arrays, objects in zip(*found, strict=True):
        assert len(arrays) == len(objects)
        for array, other in zip(arrays, objects, strict=True):
            assert array.dtype == np.float32 and array.shape == (478, 3)
            np.testing.assert_array_equal(array, other)


class OtherVersion:
    """A landmarker of a MediaPipe that keeps its results elsewhere."""

    _handle = None


def test_another_version_of_mediapipe_is_read_through_its_objects():
    landmarker = Landmarker(landmarker_path(), video=True, num_faces=1)
    image = landmarker._image(PORTRAIT)
    assert _has_arrays(landmarker._landmarker, image)
    assert not _has_arrays(OtherVersion(), image)
    assert not _has_arrays(landmarker._landmarker, object())
    landmarker.close()
