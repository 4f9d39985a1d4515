# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""One landmarker for many clips: as good as new for each, and called without MediaPipe's Python."""

import ctypes
import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import mediapipe
import numpy as np
import pytest
from clips import PORTRAIT, moving_portrait, portrait_on

from modeling_lipread.face_search_lipread import FaceFinder, whole
from modeling_lipread.landmarker_lipread import FaceCounter, Landmarker, landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from modeling_lipread.mediapipe_calls_lipread import DirectCalls, ObjectCalls, make_calls

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


def test_a_lone_face_is_the_one_that_a_search_finds(fresh, monkeypatch):
    """Most clips show one face; it is followed without looking for all of them first."""
    monkeypatch.setattr(FaceFinder, "count", lambda *_: 0)
    for name, frames in CLIPS.items():
        with Face3DKeypointExtractor() as extractor:
            np.testing.assert_array_equal(extractor.extract_frames(frames, 25).keypoints, fresh[name], name)


def test_the_search_begins_only_where_there_is_a_choice(monkeypatch):
    searched = []
    monkeypatch.setattr(FaceFinder, "detect", lambda *_: searched.append(1) or [])
    with Face3DKeypointExtractor() as extractor:
        assert extractor.extract_frames(CLIPS["moving"], 25).most_faces == 1 and not searched
        extractor.extract_frames(CLIPS["two faces"], 25)
        assert searched


def test_faces_are_counted():
    counter = FaceCounter(landmarker_path(), 0.5)
    assert [counter.count(frames[0]) for frames in CLIPS.values()] == [1, 1, 1, 2]
    assert counter.count(GREY) == 0
    assert counter.count(PORTRAIT[:, ::-1]) == 1, "frames need not be contiguous"
    counter.close()


@pytest.mark.parametrize("video", [True, False])
def test_direct_calls_find_what_mediapipes_objects_say(video):
    found = []
    for calls in (DirectCalls, ObjectCalls):
        landmarker = Landmarker(landmarker_path(), video, num_faces=1 if video else 4)
        assert isinstance(landmarker._calls, DirectCalls), "this version of MediaPipe is called directly"
        landmarker._calls = calls(mediapipe, landmarker._task)
        frames = [*moving_portrait(4), GREY, CLIPS["two faces"][0]]
        found.append(
            [
                landmarker.detect(frame, whole(frame), index / 25 if video else None)
                for index, frame in enumerate(frames)
            ]
        )
        landmarker.close()
    assert [len(faces) for faces in found[0]] == [1, 1, 1, 1, 0, 1 if video else 2]
    for direct, objects in zip(*found, strict=True):
        assert len(direct) == len(objects)
        for face, other in zip(direct, objects, strict=True):
            assert face.dtype == np.float32 and face.shape == (478, 3)
            np.testing.assert_array_equal(face, other)


def test_what_mediapipe_refuses_is_an_error():
    landmarker = Landmarker(landmarker_path(), video=True, num_faces=1)
    landmarker._calls.detect(PORTRAIT, 40)
    with pytest.raises(RuntimeError, match="MpFaceLandmarkerDetectForVideo: .*timestamp"):
        landmarker._calls.detect(PORTRAIT, 40)
    landmarker.close()
    with pytest.raises(ValueError, match="closed"):
        landmarker._calls.detect(PORTRAIT, 80)


def test_one_extractor_serves_several_threads(fresh):
    with Face3DKeypointExtractor() as extractor, ThreadPoolExecutor(3) as threads:
        names = list(CLIPS) * 3
        clips = list(threads.map(lambda name: extractor.extract_frames(CLIPS[name], 25), names))
    for name, clip in zip(names, clips, strict=True):
        np.testing.assert_array_equal(clip.keypoints, fresh[name], name)


class OtherVersion:
    """A landmarker of a MediaPipe that keeps its functions elsewhere."""

    _handle = None


def test_another_version_of_mediapipe_is_called_through_its_python(monkeypatch):
    landmarker = Landmarker(landmarker_path(), video=True, num_faces=1)
    assert isinstance(make_calls(mediapipe, OtherVersion()), ObjectCalls)
    module = sys.modules[type(landmarker._task).__module__]
    with monkeypatch.context() as other:
        fewer = [signature for signature in module._CTYPES_SIGNATURES if not signature.func_name.endswith("ForVideo")]
        other.setattr(module, "_CTYPES_SIGNATURES", fewer)
        assert isinstance(make_calls(mediapipe, landmarker._task), ObjectCalls)
    with monkeypatch.context() as other:
        longer = type("Longer", (ctypes.Structure,), {"_fields_": [("faces", ctypes.c_int)]})
        other.setattr(module, "MpFaceLandmarkerResultC", longer)
        assert isinstance(make_calls(mediapipe, landmarker._task), ObjectCalls)
    assert isinstance(make_calls(mediapipe, landmarker._task), DirectCalls)
    landmarker.close()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads have no cores of their own here")
def test_a_landmarker_has_as_many_threads_on_any_machine_and_they_run_on_all_its_cores():
    cores, counts = os.sched_getaffinity(0), []
    if len(cores) < 2:
        pytest.skip("one core: as many threads as there are cores are as many as on one core")
    for allowed in ({max(cores)}, cores):
        os.sched_setaffinity(0, allowed)
        try:
            before = set(os.listdir("/proc/self/task"))
            landmarker = Landmarker(landmarker_path(), True, num_faces=1)
            threads = set(os.listdir("/proc/self/task")) - before
            assert os.sched_getaffinity(0) == allowed
            assert all(os.sched_getaffinity(int(thread)) == allowed for thread in threads)
            counts.append(len(threads))
            landmarker.close()
        finally:
            os.sched_setaffinity(0, cores)
    assert counts[0] == counts[1] > 0
