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
    FACE,
    PORTRAIT,
    made_up_face,
    moving_portrait,
    portrait_on,
    turned_clockwise,
    without_durations,
    write_song,
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
    VideoError,
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


def test_a_long_video_is_sought_in(tmp_path):
    shades = [np.full((64, 64, 3), 20 + 2 * second, np.uint8) for second in range(100)]
    for name in ("long.mp4", "long.mkv", "long.ts"):
        path = write_video(tmp_path / name, shades, frame_rate=1)
        times, frames = zip(*read_frames(path, start=90, end=93), strict=True)
        np.testing.assert_allclose(times, (0, 1, 2), atol=1e-6)
        np.testing.assert_allclose([frame.mean() for frame in frames], (200, 202, 204), atol=1.5)


def test_times_are_the_streams_own(tmp_path):
    milliseconds = [0, 40, 120, 153, 220, 240, 300]
    path = write_video(tmp_path / "variable.mp4", moving_portrait(7), milliseconds=milliseconds)
    np.testing.assert_allclose([time * 1000 for time, _ in read_frames(path)], milliseconds, atol=0.5)


@pytest.mark.parametrize("name", ["broken.mp4", "clip.avi"])
def test_without_usable_timestamps_the_nominal_rate_counts(tmp_path, name):
    path = write_video(tmp_path / name, moving_portrait(10), reorder=name == "clip.avi")
    if name == "broken.mp4":
        without_durations(path)
    np.testing.assert_allclose([time for time, _ in read_frames(path)], np.arange(10) / 25, atol=1e-6)
    times, _ = zip(*read_frames(path, start=0.2), strict=True)
    np.testing.assert_allclose(times, np.arange(5) / 25, atol=1e-6)


def test_a_stray_timestamp_does_not_turn_time_back(tmp_path):
    path = write_video(
        tmp_path / "stray.mp4", moving_portrait(6), milliseconds=[0, 40, 90, 150, 220, 300], reorder=False
    )
    times, _ = zip(*read_frames(without_durations(path, 2)), strict=True)
    np.testing.assert_allclose(times, (0, 0.04, 0.09, 0.091, 0.16, 0.24), atol=1e-3)
    assert (np.diff(times) > 0).all()


def test_pixels_are_made_square(tmp_path):
    path = write_video(tmp_path / "anamorphic.mp4", [PORTRAIT[:, ::2]], pixel_width=2)
    ((_, frame),) = read_frames(path)
    assert frame.shape == PORTRAIT.shape
    assert np.abs(frame.astype(int) - PORTRAIT).mean() < 8


def test_rotation_metadata_is_honoured(extractor, tmp_path):
    lying = [np.rot90(frame, 1) for frame in moving_portrait(2)]  # a quarter turn against the clock, as stored
    path = turned_clockwise(write_video(tmp_path / "telephone.mp4", lying))
    sequence = extractor.extract_video(path)
    assert (sequence.width, sequence.height) == (360, 288)
    np.testing.assert_allclose(sequence.keypoints[0], extractor.extract(PORTRAIT), atol=6)
    assert angles_from_rotation(rigid_rotation(sequence.keypoints))[0, 2] == pytest.approx(0, abs=15)


def test_a_small_face_in_a_wide_frame_is_found(extractor):
    scale, left, top = 0.8, 900, 350
    found = extractor.extract(portrait_on(720, 1280, [(scale, left, top)]))
    assert width(found) < 0.08 * 1280
    expected = extractor.extract(FACE)[:, :2] * scale + (left, -top)
    np.testing.assert_allclose(found[:, :2], expected, atol=6)


def shape(faces: np.ndarray) -> np.ndarray:
    return faces[..., :2] - faces[..., :2].mean(axis=-2, keepdims=True)


@pytest.mark.parametrize("step", [8, 36])
def test_a_small_face_is_followed_through_a_wide_frame(extractor, step):
    lefts = 20 + step * np.arange(20)
    clip = extractor.extract_frames([portrait_on(480, 1280, [(0.6, left, 200)]) for left in lefts], frame_rate=25)
    assert clip.coverage == 1.0
    np.testing.assert_allclose(np.diff(clip.keypoints[..., 0].mean(axis=1)), step, atol=step / 10)
    assert np.abs(shape(clip.keypoints) - shape(clip.keypoints[0])).max() < 2.5  # never cut by the region searched


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


def test_the_largest_face_is_taken_then_followed(extractor):
    frames = [
        portrait_on(288, 400, [(1.0, 0, 0), (0.75, 200, 20)]),
        portrait_on(288, 400, [(0.9, 0, 0), (0.9, 200, 20)]),
        portrait_on(288, 400, [(0.75, 0, 20), (1.0, 200, 0)]),
    ]
    assert center(extractor.extract(frames[0]))[0] < 200 < center(extractor.extract(frames[2]))[0]
    followed = extractor.extract_frames(frames, frame_rate=25)
    assert followed.coverage == 1.0 and (followed.keypoints[..., 0].mean(axis=1) < 200).all()


def test_a_smaller_face_beside_is_not_mistaken_for_the_one_followed(extractor):
    picture = portrait_on(288, 400, [(1.0, 0, 0)])
    picture[:, :200] = cv2.GaussianBlur(picture[:, :200], (0, 0), 2)
    sharp = cv2.resize(FACE[:, 30:170], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    picture[10 : 10 + sharp.shape[0], 130 : 130 + sharp.shape[1]] = sharp  # in the region the first is followed in
    sequence = extractor.extract_frames([picture] * 3, frame_rate=25)
    assert sequence.coverage == 1.0
    np.testing.assert_allclose(sequence.keypoints[..., 0].mean(axis=1), center(extractor.extract(picture))[0], atol=4)
    assert center(sequence.keypoints[0])[0] < 120


def test_a_lost_face_is_waited_for_before_another_is_taken(extractor):
    both = portrait_on(288, 400, [(1.0, 0, 0), (0.9, 200, 20)])
    other = portrait_on(288, 400, [(0.9, 200, 20)])
    assert extractor.extract(other) is not None
    sequence = extractor.extract_frames([both, other, both, *[other] * 4], frame_rate=10)
    assert sequence.present.tolist() == [True, False, True, False, False, True, True]
    assert not sequence.keypoints[1].any()
    assert center(sequence.keypoints[2])[0] < 200 < center(sequence.keypoints[6])[0]


def test_a_video_without_a_face_is_no_error(extractor, tmp_path):
    path = write_video(tmp_path / "grey.mp4", [np.full((288, 360, 3), 90, np.uint8)] * 4)
    sequence = extractor.extract_video(path)
    assert sequence.coverage == 0.0 and sequence.present.shape == (4,)
    assert not sequence.keypoints.any()


def test_files_that_cannot_be_read_say_why(extractor, clip, tmp_path):
    data = clip.read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # its table of contents, at the end, is gone
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    indexed = write_video(tmp_path / "indexed.mp4", moving_portrait(30), movflags="+faststart").read_bytes()
    (tmp_path / "half.mp4").write_bytes(indexed[: len(indexed) * 2 // 3])
    long = write_video(tmp_path / "whole.mkv", moving_portrait(90)).read_bytes()
    (tmp_path / "half.mkv").write_bytes(long[: len(long) // 2])
    write_song(tmp_path / "song.m4a")
    for name, reason in {
        "absent.mp4": "no such file",
        "empty.mp4": "empty",
        "cut.mp4": "truncated",
        "noise.mp4": "not a readable video",
        "half.mp4": "truncated, its last frames are missing",
        "half.mkv": "truncated, its frames end at",
        "song.m4a": "no video stream",
    }.items():
        with pytest.raises(VideoError, match=f"{name}.*{reason}"):
            extractor.extract_video(tmp_path / name)


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"start": 9}, "ends at about 0.28 seconds"),
        ({"start": 0.3, "end": 1}, "ends at about 0.28 seconds"),
        ({"start": 0.2, "end": 0.1}, "start must be"),
        ({"start": 0.1, "end": 0.1}, "start must be"),
        ({"start": -1}, "start must be"),
    ],
)
def test_spans_that_hold_nothing_say_why(extractor, clip, span, reason):
    with pytest.raises(VideoError, match=reason):
        extractor.extract_video(clip, **span)


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
