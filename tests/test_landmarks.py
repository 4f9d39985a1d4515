# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Videos to landmarks: a real face, real files, and files that are not what they should be."""

import copy
import multiprocessing
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import (
    PORTRAIT,
    made_up_face,
    moving_portrait,
    portrait_on,
    turned_clockwise,
    write_video,
)

from modeling_lipread.geometry_lipread import (
    JAW,
    LIPS,
    MIRROR,
    angles_from_rotation,
    rigid_rotation,
    rotation_from_angles,
)
from modeling_lipread.landmarks_lipread import (
    Face3DKeypointExtractor,
    landmarker_path,
    solve_head_pose,
)
from modeling_lipread.video_lipread import read_frames

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def extractor():
    with Face3DKeypointExtractor() as extractor:
        yield extractor


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "face.mp4", moving_portrait())


def center(face: np.ndarray) -> np.ndarray:
    return face[:, :2].mean(axis=0)


def width(face: np.ndarray) -> float:
    return float(np.ptp(face[:, 0]))


def test_landmarks_are_pixels_with_x_right_y_up_and_z_to_the_camera(extractor):
    face = extractor.extract(PORTRAIT)
    assert face.shape == (478, 3) and face.dtype == np.float32
    assert (face[:, 0] > 0).all() and (face[:, 0] < 360).all()
    assert (face[:, 1] < 0).all() and (face[:, 1] > -288).all()
    assert face[33, 0] < face[263, 0]  # the subject's right eye is on the left of the picture
    assert face[10, 1] > face[1, 1] > face[152, 1]  # forehead above nose above chin
    assert face[1, 2] > face[[234, 454], 2].max()  # the nose is nearer than the ears
    wider = extractor.extract(np.pad(PORTRAIT, ((0, 0), (0, 360), (0, 0))))
    assert width(wider) == pytest.approx(width(face), rel=0.05)  # the frame's shape does not stretch the face


def test_a_mirrored_picture_has_the_mirrored_landmarks(extractor):
    mirrored = extractor.extract(PORTRAIT[:, ::-1])[MIRROR] * (-1, 1, 1) + (360, 0, 0)
    face = extractor.extract(PORTRAIT)
    assert np.abs(mirrored - face)[:, :2].mean() < 0.02 * width(face)
    irises = np.arange(468, 478)
    nearest = np.linalg.norm(mirrored[irises, None, :2] - face[irises, :2], axis=-1).argmin(axis=1)
    assert nearest.tolist() == list(range(10))


def test_a_frame_that_is_not_contiguous_gives_the_same_face(extractor):
    padded = np.zeros((288, 368, 3), np.uint8)
    padded[:, :360] = PORTRAIT
    view = padded[:, :360]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(extractor.extract(view), extractor.extract(PORTRAIT))


def test_no_face_and_no_image(extractor):
    assert extractor.extract(np.full((288, 360, 3), 90, np.uint8)) is None
    assert extractor.extract(np.random.default_rng(0).integers(0, 255, (288, 360, 3)).astype(np.uint8)) is None
    for wrong in (np.zeros((288, 360), np.uint8), np.zeros((288, 360, 4), np.uint8), np.zeros((288, 360, 3))):
        with pytest.raises(ValueError, match="RGB uint8"):
            extractor.extract(wrong)


def test_a_video_of_360_pixels_width(extractor, clip):
    sequence = extractor.extract_video(clip)
    assert sequence.keypoints.shape == (8, 478, 3) and sequence.keypoints.dtype == np.float32
    assert sequence.coverage == 1.0 and len(sequence) == 8
    assert (sequence.width, sequence.height) == (360, 288)
    assert sequence.frame_rate == pytest.approx(25)
    np.testing.assert_allclose(sequence.timestamps, np.arange(8) / 25, atol=1e-6)
    moved = center(sequence.keypoints[7]) - center(sequence.keypoints[0])
    np.testing.assert_allclose(moved, (14, 0), atol=2)


def test_frames_give_what_their_video_gives(extractor, clip):
    frames = np.stack([frame for _, frame in read_frames(clip)])
    sequence = extractor.extract_frames(frames, frame_rate=25)
    np.testing.assert_array_equal(sequence.keypoints, extractor.extract_video(clip).keypoints)
    np.testing.assert_allclose(sequence.keypoints[3, :, :2], extractor.extract(frames[3])[:, :2], atol=4)
    with pytest.raises(ValueError, match="no frames"):
        extractor.extract_frames([], frame_rate=25)


def test_a_clip_does_not_depend_on_the_one_before(extractor, clip):
    before = extractor.extract_video(clip).keypoints
    extractor.extract_frames([portrait_on(288, 360, [(0.7, 150, 20)])] * 3, frame_rate=25)
    np.testing.assert_array_equal(extractor.extract_video(clip).keypoints, before)


def test_a_span(extractor, clip):
    whole, span = extractor.extract_video(clip), extractor.extract_video(clip, start=0.08, end=0.2)
    np.testing.assert_allclose(span.keypoints[..., :2], whole.keypoints[2:5, :, :2], atol=4)
    np.testing.assert_allclose(span.timestamps, (0, 0.04, 0.08), atol=1e-6)


def test_rotation_metadata_is_honoured(extractor, tmp_path):
    lying = [np.rot90(frame, 1) for frame in moving_portrait(2)]  # a quarter turn against the clock, as stored
    path = turned_clockwise(write_video(tmp_path / "telephone.mp4", lying))
    sequence = extractor.extract_video(path)
    assert (sequence.width, sequence.height) == (360, 288)
    np.testing.assert_allclose(sequence.keypoints[0], extractor.extract(PORTRAIT), atol=6)
    assert angles_from_rotation(rigid_rotation(sequence.keypoints))[0, 2] == pytest.approx(0, abs=15)


def noisy(picture: np.ndarray, frames: int = 12) -> np.ndarray:
    noise = np.random.default_rng(0).normal(scale=6, size=(frames, *picture.shape))
    return (picture + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("placed", [[(1.0, 0, 0)], [(1.0, 0, 0), (0.8, 200, 10)], [(0.8, 0, 10), (1.0, 200, 0)]])
def test_following_is_steadier_than_finding(extractor, placed):
    picture = portrait_on(288, 400, placed)
    if len(placed) > 1:  # the largest face is out of focus, so that MediaPipe would rather follow the other
        left = next(left for scale, left, _ in placed if scale == 1.0)
        picture[:, left : left + 200] = cv2.GaussianBlur(picture[:, left : left + 200], (0, 0), 3)
    frames = noisy(picture)
    followed = extractor.extract_frames(frames, frame_rate=25).keypoints[2:]
    found = np.stack([extractor.extract(frame) for frame in frames[2:]])
    np.testing.assert_allclose(followed.mean(axis=(0, 1)), found.mean(axis=(0, 1)), atol=4)
    assert followed.std(axis=0).mean() < 0.6 * found.std(axis=0).mean()


def test_a_video_without_a_face_is_no_error(extractor, tmp_path):
    path = write_video(tmp_path / "grey.mp4", [np.full((288, 360, 3), 90, np.uint8)] * 4)
    sequence = extractor.extract_video(path)
    assert sequence.coverage == 0.0 and sequence.present.shape == (4,)
    assert not sequence.keypoints.any()


def test_a_model_file_that_is_not_the_expected_one_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="face_landmarker.task"):
        Face3DKeypointExtractor(tmp_path / "face_landmarker.task")
    changed = bytearray(landmarker_path().read_bytes())
    changed[1000] ^= 1
    (tmp_path / "face_landmarker.task").write_bytes(changed)
    with pytest.raises(ValueError, match="sha256"):
        Face3DKeypointExtractor(tmp_path / "face_landmarker.task")


def test_copies_and_closed_extractors_work(extractor):
    expected = extractor.extract(PORTRAIT)
    np.testing.assert_array_equal(copy.deepcopy(extractor).extract(PORTRAIT), expected)
    extractor.close()
    np.testing.assert_array_equal(extractor.extract(PORTRAIT), expected)


def test_a_fork_does_not_wait_for_a_landmarker_it_has_not(extractor):
    expected = extractor.extract(PORTRAIT)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(extractor.extract(PORTRAIT)), daemon=True)
    child.start()
    np.testing.assert_array_equal(results.get(timeout=60), expected)


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_nothing_is_printed(clip):
    done = run_python(
        "from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor\n"
        f"print(Face3DKeypointExtractor().extract_video({str(clip)!r}).coverage)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1.0\n", "")


def test_without_mediapipe_everything_else_works():
    done = run_python(
        "import sys, numpy\n"
        "for name in ('mediapipe', 'cv2', 'av'): sys.modules[name] = None\n"
        "from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor\n"
        "from modeling_lipread.feature_extraction_lipread import LipReadFeatureExtractor\n"
        "print(LipReadFeatureExtractor()(numpy.random.rand(5, 478, 3))['keypoints'].shape)\n"
        "Face3DKeypointExtractor().extract(numpy.zeros((64, 64, 3), numpy.uint8))"
    )
    assert done.stdout == "(1, 5, 79, 3)\n"
    assert "pip install mediapipe" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (-20, 15, 10), (10, -25, -30)])
def test_solve_head_pose_reads_a_known_pose_back(angles):
    size = np.array([640, 480])
    seen = made_up_face()
    # The six points of MediaPipe's canonical face, seen by a camera whose focal length is the frame's width.
    seen[[1, 152, 61, 291]] = [
        (0, -1.1269, 7.4756),
        (0, -9.4034, 4.2645),
        (-2.4562, -4.3426, 4.2839),
        (2.4562, -4.3426, 4.2839),
    ]
    turned = seen @ rotation_from_angles(*angles).T + (3.0, -2.0, -80.0)
    picture = np.concatenate([turned[:, :2] / -turned[:, 2:] * 640 + size / 2 * (1, -1), turned[:, 2:] * 8], axis=1)
    pose = solve_head_pose(picture, *size)
    np.testing.assert_allclose((pose.yaw, pose.pitch, pose.roll), angles, atol=0.1)
    np.testing.assert_allclose(pose.rotation, rotation_from_angles(*angles), atol=2e-3)


def test_speech_leaks_into_the_classic_pose_alone():
    face = made_up_face() * 10 + (320, -240, 0)
    face[[1, 152, 61, 291], :2] = np.array([(0, -1.1), (0, -9.4), (-2.5, -4.3), (2.5, -4.3)]) * 10 + (320, -240)
    speaking = face.copy()
    speaking[sorted({*LIPS, *JAW}), 1] -= 20
    assert abs(solve_head_pose(speaking, 640, 480).pitch - solve_head_pose(face, 640, 480).pitch) > 1
    np.testing.assert_array_equal(rigid_rotation(speaking[None]), rigid_rotation(face[None]))


def test_a_grid_clip_is_covered_frame_by_frame(extractor, grid_dir):
    sequence = extractor.extract_video(grid_dir / "video" / "s1" / "bbaf2n.mp4")
    assert sequence.present.sum() == len(sequence) == 75
    np.testing.assert_allclose(sequence.timestamps, np.arange(75) / 25, atol=1e-6)  # though its container says 0 s
    assert np.abs(angles_from_rotation(rigid_rotation(sequence.keypoints))).max() < 25
