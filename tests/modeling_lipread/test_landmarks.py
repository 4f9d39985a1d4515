# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Landmarks of videos and of `.npy` files: a real face, real files, and files that are not what they should be."""

import copy
import io
import multiprocessing
import os
import pickle
import resource

import numpy as np
import pytest

from modeling_lipread.geometry_lipread import solve_head_pose
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkFileError, read_landmark_file
from tests.helpers.clips import PORTRAIT, center, made_up_face, rotation_from_angles, write_video
from tests.helpers.readers import Bomb
from tests.helpers.training import run_python


def test_landmarks_are_pixels_with_x_right_y_up_and_z_to_the_camera(extractor):
    face = extractor.extract(PORTRAIT)
    assert face.shape == (478, 3) and face.dtype == np.float32
    assert (face[:, 0] > 0).all() and (face[:, 0] < 360).all()
    assert (face[:, 1] < 0).all() and (face[:, 1] > -288).all()
    assert face[33, 0] < face[263, 0]  # the subject's right eye is on the left of the picture
    assert face[10, 1] > face[1, 1] > face[152, 1]  # forehead above nose above chin
    assert face[1, 2] > face[[234, 454], 2].max()  # the nose is nearer than the ears
    wider = extractor.extract(np.pad(PORTRAIT, ((0, 0), (0, 360), (0, 0))))
    assert np.ptp(wider[:, 0]) == pytest.approx(np.ptp(face[:, 0]), rel=0.05), "not stretched"


def test_no_face_and_no_image(extractor):
    assert extractor.extract(np.full((288, 360, 3), 90, np.uint8)) is None
    assert extractor.extract(np.random.default_rng(0).integers(0, 255, (288, 360, 3)).astype(np.uint8)) is None
    for wrong in (np.zeros((288, 360), np.uint8), np.zeros((288, 360, 4), np.uint8), np.zeros((288, 360, 3))):
        with pytest.raises(ValueError, match="RGB uint8"):
            extractor.extract(wrong)
    with pytest.raises(ValueError, match="no frames"):
        extractor.extract_frames([], frame_rate=25)


def test_a_video_of_360_pixels_width_and_one_of_a_single_frame(extractor, portrait_video, tmp_path):
    sequence = extractor.extract_video(portrait_video)
    assert sequence.keypoints.shape == (8, 478, 3) and sequence.keypoints.dtype == np.float32
    assert sequence.coverage == 1.0 and len(sequence) == 8
    assert (sequence.width, sequence.height) == (360, 288)
    assert sequence.frame_rate == pytest.approx(25)
    np.testing.assert_allclose(sequence.timestamps, np.arange(8) / 25, atol=1e-6)
    moved = center(sequence.keypoints[7]) - center(sequence.keypoints[0])
    np.testing.assert_allclose(moved, (14, 0), atol=2)
    one = extractor.extract_video(write_video(tmp_path / "one.mp4", [PORTRAIT]))
    assert (len(one), one.coverage, one.frame_rate, one.timestamps.tolist()) == (1, 1.0, 0.0, [0.0])


def test_a_model_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="face_landmarker.task"):
        Face3DKeypointExtractor(tmp_path / "face_landmarker.task")


def test_copies_forks_and_closed_extractors_find_the_same_landmarks(extractor):
    expected = extractor.extract_frames([PORTRAIT] * 3, 25).keypoints
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    target = lambda: results.put(extractor.extract_frames([PORTRAIT] * 3, 25).keypoints)  # noqa: E731
    context.Process(target=target, daemon=True).start()
    np.testing.assert_array_equal(results.get(timeout=60), expected)
    np.testing.assert_array_equal(copy.deepcopy(extractor).extract(PORTRAIT), expected[0])
    extractor.close()
    np.testing.assert_array_equal(extractor.extract(PORTRAIT), expected[0])


def test_without_video_libraries_everything_else_works():
    code = (
        "import sys, numpy\n"
        "for name in ('ai_edge_litert', 'cv2', 'av'): sys.modules[name] = None\n"
        "from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor\n"
        "from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor\n"
        "print(LipReadFeatureExtractor()(numpy.random.rand(5, 478, 3))['keypoints'].shape)\n"
        "Face3DKeypointExtractor().extract(numpy.zeros((64, 64, 3), numpy.uint8))"
    )
    done = run_python("-c", code, status=1)
    assert done.stdout == "(1, 5, 79, 3)\n"
    assert "pip install opencv-contrib-python" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("angles", [(0, 0, 0), (-20, 15, 10)])
def test_solve_head_pose_reads_a_known_pose_back(angles):
    size = np.array([640, 480])
    seen = made_up_face()
    # The six points of MediaPipe's canonical face, seen by a camera whose focal length is the frame's width.
    mouth = (2.4562, -4.3426, 4.2839)
    seen[[1, 152, 61, 291]] = [(0, -1.1269, 7.4756), (0, -9.4034, 4.2645), (-mouth[0], *mouth[1:]), mouth]
    turned = seen @ rotation_from_angles(*angles).T + (3.0, -2.0, -80.0)
    picture = np.concatenate([turned[:, :2] / -turned[:, 2:] * 640 + size / 2 * (1, -1), turned[:, 2:] * 8], axis=1)
    pose = solve_head_pose(picture, *size)
    np.testing.assert_allclose(pose, rotation_from_angles(*angles), atol=2e-3)


GOOD = np.random.default_rng(0).normal(size=(10, 478, 3)).astype(np.float32)


def header(shape: str, descr: str = "'<f4'", version: bytes = b"\x01\x00", fortran_order: str = "False") -> bytes:
    """The beginning of a .npy file that says what one likes."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}"
    length = 2 if version == b"\x01\x00" else 4
    text += " " * (-(6 + 2 + length + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(length, "little") + text.encode()


def test_every_layout_of_floats_is_read(tmp_path):
    path = tmp_path / "a.npy"
    for dtype, order, version in (("<f2", "C", 1), ("<f4", "F", 2), ("<f8", "C", 3), (">f2", "F", 1), (">f8", "C", 1)):
        with open(path, "wb") as file:
            np.lib.format.write_array(file, np.asarray(GOOD, dtype, order=order), version=(version, 0))
        sequence = read_landmark_file(path, 50)
        assert sequence.keypoints.dtype == np.float32 and sequence.keypoints.flags.c_contiguous
        np.testing.assert_array_equal(sequence.keypoints, GOOD.astype(dtype).astype(np.float32))
        assert sequence.present.all() and (sequence.width, sequence.height, sequence.frame_rate) == (0, 0, 50)
        np.testing.assert_allclose(sequence.timestamps, np.arange(10) / 50)


def test_frames_without_a_face_are_marked_and_a_span_is_what_is_read(tmp_path):
    path, keypoints = tmp_path / "a.npy", GOOD.copy()
    keypoints[2], keypoints[5] = 0.0, np.nan  # without a face
    np.save(path, keypoints)
    sequence = read_landmark_file(path)
    assert np.flatnonzero(~sequence.present).tolist() == [2, 5]
    assert not sequence.keypoints[[2, 5]].any() and np.isfinite(sequence.keypoints).all()
    np.save(path, GOOD)
    sequence = read_landmark_file(path, 10, start=0.25, end=0.6)
    np.testing.assert_array_equal(sequence.keypoints, GOOD[3:6])
    np.testing.assert_allclose(sequence.timestamps, (0.05, 0.15, 0.25))
    for span in ({"start": 1}, {"start": 0.32, "end": 0.38}, {"end": 0}):
        with pytest.raises(LandmarkFileError, match=r"a.npy: no frame in the span; the file lasts 1.00 s"):
            read_landmark_file(path, 10, **span)


def test_only_the_span_of_a_large_file_is_loaded(tmp_path):
    """Two hours of landmarks, 1 GB, of which the file system stores next to nothing."""
    path = tmp_path / "long.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (180_000, 478, 3))[90_000:90_010] = GOOD
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sequence = read_landmark_file(path, 25, start=3600, end=3600.4)
    np.testing.assert_array_equal(sequence.keypoints, GOOD)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def saved(array: np.ndarray, save=np.save, **options) -> bytes:
    file = io.BytesIO()
    save(file, array, **options)
    return file.getvalue()


NO_FILE = "not a complete .npy"
FILES = {
    "few landmarks": (saved(GOOD[:, :468]), r"holds float32 \(10, 468, 3\); expected floats \(frames, 478, 3\)"),
    "integers": (saved(GOOD.astype(np.int32)), "holds int32 .*; expected floats"),
    "no frame": (saved(GOOD[:0]), "no frame in the span; the file lasts 0.00 s"),
    "NaN": (saved(np.where(np.arange(3) == 1, np.nan, GOOD)), "frame 0 holds NaN beside numbers, or infinite values"),
    "beyond float32": (saved(GOOD.astype(np.float64) * 1e300), "frame 0 holds NaN beside"),
    "objects": (saved(np.array([Bomb("unpickled")]), allow_pickle=True), r"plain numbers \(.*Python objects"),
    "pickle": (pickle.dumps(Bomb("unpickled")), NO_FILE),
    "empty": (b"", NO_FILE),
    "cut off": (header("(10, 478, 3)") + GOOD.tobytes()[:-1], NO_FILE),
    "ten gigabytes": (header("(1743375, 478, 3)") + bytes(1000), NO_FILE),
    "a header of gigabytes": (b"\x93NUMPY\x02\x00" + b"\xff" * 4 + bytes(900), NO_FILE),
    "deep brackets": (header("(" * 3000 + ")" * 3000) + GOOD.tobytes(), NO_FILE),
    "code": (header("__import__('os').mkdir('unpickled')") + GOOD.tobytes(), NO_FILE),
    "objects in fields": (header("(10, 478, 3)", "[('x', '|O')]") + bytes(10 * 478 * 3 * 8), "Python objects"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_landmarks_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, reason = FILES[name]
    (tmp_path / "bad.npy").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LandmarkFileError, match=f"bad.npy: .*({reason})"):
        read_landmark_file(tmp_path / "bad.npy", num_landmarks=478)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB: nothing large was set aside
    assert not os.path.exists("unpickled")


def test_what_is_not_there_or_no_file_is_named(tmp_path):
    with pytest.raises(LandmarkFileError, match="absent.npy: no such file; check the path"):
        read_landmark_file(tmp_path / "absent.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(LandmarkFileError, match=r"folder.npy: cannot be read \(Is a directory\)"):
        read_landmark_file(tmp_path / "folder.npy")
