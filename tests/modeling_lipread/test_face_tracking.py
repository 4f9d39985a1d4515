# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Face tracking: small faces, several, speaking ones, faces that leave and come back; extractors used again."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import mediapipe
import numpy as np
import pytest

from benchmarks.extraction import landmarks, make_landmarker
from data.talker import TalkingHead, perform
from modeling_lipread.face_tracking_lipread import MOST_FACES
from modeling_lipread.geometry_lipread import identity_switches, lip_motion
from modeling_lipread.landmarker_lipread import landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from tests.helpers.clips import PORTRAIT, center, moving_portrait, portrait_on

# The portrait's face made longer: the shape of another person's.
LONGER = cv2.resize(PORTRAIT, None, fx=1, fy=1.2)[20:308]


@pytest.fixture(scope="module")
def talking() -> list[np.ndarray]:
    """A small head, 200 pixels square, that says something for two seconds."""
    performance = perform("please follow the doctor now", seed=3)
    return [cv2.resize(frame, (200, 200), interpolation=cv2.INTER_AREA) for frame in TalkingHead().frames(performance)]


def silent(count: int) -> list[np.ndarray]:
    """A larger head that sways, in front of a noisy camera, and says nothing."""
    random = np.random.default_rng(0)
    large = cv2.resize(PORTRAIT[:, 60:310], None, fx=1.3, fy=1.3)
    frames = [np.roll(large, round(3 * np.sin(index / 6)), axis=1) for index in range(count)]
    return [(frame + random.normal(0, 2, frame.shape)).clip(0, 255).astype(np.uint8) for frame in frames]


def beside(left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    """Two clips in the upper corners of grey frames."""
    frames = np.full((len(left), 380, 640, 3), 90, np.uint8)
    frames[:, : left[0].shape[0], : left[0].shape[1]] = left
    frames[:, : right[0].shape[0], 640 - right[0].shape[1] :] = right
    return frames


def switches(sequence) -> list[float]:
    """The times of the jumps from one face to another."""
    times = sequence.timestamps[sequence.present]
    return times[identity_switches(sequence.keypoints[sequence.present], times)].tolist()


def test_a_small_face_is_followed_through_a_wide_frame(extractor):
    lefts = 20 + 36 * np.arange(20)
    clip = extractor.extract_frames([portrait_on(480, 1280, [(0.6, left, 200)]) for left in lefts], frame_rate=25)
    assert clip.coverage == 1.0
    np.testing.assert_allclose(np.diff(clip.keypoints[..., 0].mean(axis=1)), 36, atol=3.6)
    shapes = clip.keypoints[..., :2] - clip.keypoints[..., :2].mean(axis=1, keepdims=True)
    assert np.abs(shapes - shapes[0]).max() < 2.5  # never cut by the region searched


def test_the_largest_face_is_taken_then_followed(extractor):
    frames = [
        portrait_on(288, 400, [(1.0, 0, 0), (0.75, 200, 20)]),
        portrait_on(288, 400, [(0.9, 0, 0), (0.9, 200, 20)]),
        portrait_on(288, 400, [(0.75, 0, 20), (1.0, 200, 0)]),
    ]
    assert center(extractor.extract(frames[0]))[0] < 200 < center(extractor.extract(frames[2]))[0]
    followed = extractor.extract_frames(frames, frame_rate=25)
    assert followed.coverage == 1.0 and (followed.keypoints[..., 0].mean(axis=1) < 200).all()


def test_a_lost_face_is_waited_for_before_another_is_taken(extractor):
    both = portrait_on(288, 400, [(1.0, 0, 0), (0.9, 200, 20)])
    other = portrait_on(288, 400, [(0.9, 200, 20)])
    assert extractor.extract(other) is not None
    sequence = extractor.extract_frames([both, other, both, *[other] * 4], frame_rate=10)
    assert sequence.present.tolist() == [True, False, True, False, False, True, True]
    assert not sequence.keypoints[1].any()
    assert center(sequence.keypoints[2])[0] < 200 < center(sequence.keypoints[6])[0]


def test_small_faces_are_found_anywhere_in_a_wide_frame(extractor):
    """Faces of 6% of the frame's width, at 12 places of a 1280x720 frame."""
    scale, share = 0.8, 0.06
    places = [(left, top) for top in (10, 200, 400) for left in (0, 330, 700, 1050)]
    found = [extractor.extract(portrait_on(720, 1280, [(scale, left, top)])) for left, top in places]
    assert all(face is not None for face in found)
    for face, (left, top) in zip(found, places, strict=True):
        assert np.ptp(face[:, 0]) == pytest.approx(share * 1280, rel=0.15)
        assert left < center(face)[0] < left + 200 * scale and top < -center(face)[1] < top + 288 * scale


def test_the_central_face_is_followed_if_asked_for_and_an_unknown_choice_refused(extractor):
    picture = portrait_on(300, 560, [(1.0, 0, 0), (0.8, 200, 40)])
    central = extractor.extract_frames([picture] * 3, frame_rate=25, face="central")
    assert (central.keypoints[..., 0].mean(axis=1) > 200).all()
    assert extractor.extract_frames([picture], 25).keypoints[..., 0].mean() < 200
    nobody = extractor.extract_frames([np.full((288, 360, 3), 90, np.uint8)] * 3, frame_rate=25, face="speaking")
    assert nobody.coverage == 0.0 and len(nobody) == 3
    with pytest.raises(ValueError, match="face must be one of .*'speaking'.*, not 'loudest'"):
        extractor.extract_frames([], 25, face="loudest")


def test_the_speaking_face_is_followed_if_asked_for(extractor, talking):
    still = silent(len(talking))
    for frames, speaker_is_left in ((beside(still, talking), False), (beside(talking, still), True)):
        largest = extractor.extract_frames(frames, frame_rate=25)
        speaking = extractor.extract_frames(frames, frame_rate=25, face="speaking")
        assert largest.coverage == speaking.coverage == 1.0
        assert ((largest.keypoints[..., 0].mean(axis=1) < 320) == (not speaker_is_left)).all()
        assert ((speaking.keypoints[..., 0].mean(axis=1) < 320) == speaker_is_left).all()
        motion = [lip_motion(sequence.keypoints, sequence.timestamps) for sequence in (largest, speaking)]
        assert motion[0] < 0.1 < 0.5 < motion[1]
    # Followed among others, a face has the landmarks that it has alone.
    alone = extractor.extract_frames([frame[:, :240] for frame in frames], frame_rate=25, face="speaking")
    assert alone.coverage == 1.0
    assert np.abs(alone.keypoints - speaking.keypoints)[..., :2].mean() < 0.5


def test_a_speaker_who_comes_late_or_leaves_for_a_while_is_found_again(extractor, talking):
    still, empty = silent(len(talking)), np.full((200, 200, 3), 90, np.uint8)
    here = np.ones(len(talking), bool)
    here[:6] = here[20:32] = False
    frames = beside([frame if shown else empty for frame, shown in zip(talking, here, strict=True)], still)
    sequence = extractor.extract_frames(frames, frame_rate=25, face="speaking")
    assert not sequence.present[~here].any()
    missed = int((here & ~sequence.present).sum())
    assert missed <= 2 * 13  # newcomers beside another face are looked for every half second
    assert (sequence.keypoints[sequence.present][..., 0].mean(axis=1) < 320).all()
    assert sequence.present[:20].any() and sequence.present[32:].any()


@pytest.mark.slow
def test_a_cut_to_another_person_is_counted(extractor):
    cut = extractor.extract_frames([PORTRAIT] * 20 + [LONGER] * 30, frame_rate=25)
    assert cut.coverage == 1.0  # the second face is where the first was, and followed like it
    assert switches(cut) == [pytest.approx(0.8, abs=0.13)]
    empty = np.full_like(PORTRAIT, 90)
    for person, expected in ((PORTRAIT, []), (LONGER, [pytest.approx(35 / 25)])):  # found again, or somebody else
        away = extractor.extract_frames([PORTRAIT] * 20 + [empty] * 15 + [person] * 20, frame_rate=25)
        assert away.coverage == pytest.approx(40 / 55) and switches(away) == expected


def turned_portrait(degrees: float) -> np.ndarray:
    return cv2.warpAffine(PORTRAIT, cv2.getRotationMatrix2D((180, 144), degrees, 1), (360, 288))


GREY = np.full_like(PORTRAIT, 90)
CLIPS = {
    "moving": moving_portrait(6),
    "turning": [turned_portrait(8 * index) for index in range(9)],
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


PICTURES = {
    "the edge": PORTRAIT[:, 60:],
    "two faces": CLIPS["two faces"][0],
    "a part": portrait_on(480, 1280, [(0.6, 200, 200)])[100:440, 50:400],
    **{f"rolled by {degrees}": turned_portrait(degrees) for degrees in (-80, -30, 60)},
    "nobody": GREY,
}


@pytest.mark.parametrize("name", PICTURES)
def test_faces_are_detected_as_mediapipes_image_mode_detects_them(extractor, name):
    picture = np.ascontiguousarray(PICTURES[name])
    height, width = picture.shape[:2]
    base = mediapipe.tasks.BaseOptions(model_asset_buffer=landmarker_path().read_bytes())
    options = mediapipe.tasks.vision.FaceLandmarkerOptions(base_options=base, num_faces=MOST_FACES)
    with mediapipe.tasks.vision.FaceLandmarker.create_from_options(options) as landmarker:
        faces = landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, picture)).face_landmarks
    expected = [np.array([(point.x * width, -point.y * height, -point.z * width) for point in face]) for face in faces]
    # In a larger frame too, of which only a part is searched.
    within = np.pad(picture, ((8, 3), (5, 0), (0, 0)), constant_values=255)
    for frame, left, top in (picture, 0, 0), (within, 5, 8):
        found = extractor.finder.detect(frame, (left, top, width, height))
        assert len(found) == len(expected)
        for face, other in zip(found, expected, strict=True):
            assert np.sqrt(np.mean((face - (left, -top, 0) - other) ** 2)) < 0.1  # pixels


@pytest.mark.parametrize("name", ["moving", "turning", "lost and found"])
def test_a_face_is_tracked_as_mediapipes_video_mode_tracks_it(fresh, name):
    with make_landmarker() as landmarker:
        for index, (frame, found) in enumerate(zip(CLIPS[name], fresh[name], strict=True)):
            faces = landmarks(landmarker, frame, index)
            assert found.any() == bool(faces), index
            if faces:
                expected = np.array([(point.x * 360, -point.y * 288, -point.z * 360) for point in faces[0]])
                assert np.sqrt(np.mean((found - expected) ** 2)) < 0.1, index  # pixels


def test_a_face_outside_the_frame_is_lost(extractor):
    face = extractor.extract(PORTRAIT) + (1000, 0, 0)
    assert extractor.finder.track(face, 0.0).step(PORTRAIT, 0.04) is None
    assert extractor.finder.find_again(PORTRAIT, face) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_one_extractor_serves_clips_in_any_order_and_several_threads(fresh, threads):
    names = [*itertools.chain(*list(itertools.permutations(CLIPS))[::7])] if threads == 1 else list(CLIPS) * 3
    standard_error = os.fstat(2)
    with Face3DKeypointExtractor() as extractor, ThreadPoolExecutor(threads) as pool:
        clips = list(pool.map(lambda name: extractor.extract_frames(CLIPS[name], 25), names))
    for name, clip in zip(names, clips, strict=True):
        np.testing.assert_array_equal(clip.keypoints, fresh[name], name)
    assert os.path.samestat(os.fstat(2), standard_error)  # discarded only while networks start
