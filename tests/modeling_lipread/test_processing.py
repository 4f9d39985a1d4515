# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The processor as its users meet it: any form of clip, and saved folders read by processes that have not our code."""

import io
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data.tokenizer import train_tokenizer
from modeling_lipread import LipReadFeatureExtractor, LipReadProcessor
from modeling_lipread.landmarker_lipread import LANDMARKER_FILE
from modeling_lipread.landmarks_lipread import LandmarkFileError, LandmarkSequence, NoFaceError
from modeling_lipread.video_lipread import VideoError, read_frames
from tests.helpers.training import TEXTS


class Decoder:
    """The interface of torchcodec's VideoDecoder, whose wheels need a system's FFmpeg."""

    def __init__(self, frames: np.ndarray):
        self.frames = frames

    def get_all_frames(self) -> SimpleNamespace:
        seconds = torch.arange(len(self.frames), dtype=torch.float64) / 25
        return SimpleNamespace(data=torch.from_numpy(self.frames).movedim(-1, 1), pts_seconds=seconds)


@pytest.fixture(scope="module")
def processor() -> LipReadProcessor:
    return LipReadProcessor(LipReadFeatureExtractor(), train_tokenizer(TEXTS, 280))


@pytest.fixture(scope="module")
def sequence(processor, portrait_video) -> LandmarkSequence:
    return processor.extract_landmarks(portrait_video)[0]


def test_every_form_of_a_clip_gives_the_same_features(processor, portrait_video, sequence, tmp_path):
    frames = np.stack([frame for _, frame in read_frames(portrait_video)])
    np.save(tmp_path / "clip.npy", sequence.keypoints)
    forms = [portrait_video, str(portrait_video), frames, torch.from_numpy(frames), list(frames)]
    forms += [sequence.keypoints, sequence, tmp_path / "clip.npy", av.open(str(portrait_video)), Decoder(frames)]
    channels_first = torch.from_numpy(frames).movedim(-1, 1)
    with av.open(str(portrait_video)) as container:
        forms += [channels_first, list(channels_first), tuple(frames), list(container.decode(video=0))]
    forms.append([Image.fromarray(frame) for frame in frames])
    expected = processor.feature_extractor(sequence, return_tensors="pt")
    assert expected["keypoints"].shape == (1, 8, 79, 3)
    for form in forms:
        batch = processor(videos=form, return_tensors="pt")
        assert set(batch) == {"keypoints", "keypoints_mask"}
        torch.testing.assert_close(batch["keypoints"], expected["keypoints"], atol=1e-5, rtol=0)
        assert batch["keypoints_mask"].all()
    batch = processor(videos=forms, return_tensors="pt")
    everyone = expected["keypoints"].expand(len(forms), -1, -1, -1)
    torch.testing.assert_close(batch["keypoints"], everyone, atol=1e-5, rtol=0)
    assert processor(videos=np.stack([frames, frames]))["keypoints"].shape == (2, 8, 79, 3)


def test_spans_and_rates(processor, portrait_video, sequence):
    batch = processor(videos=[portrait_video] * 2, start=0.08, end=0.2, return_tensors="np")
    assert batch["keypoints_mask"].sum(axis=1).tolist() == [3, 3]
    assert processor(videos=sequence.keypoints, frame_rate=50)["keypoints"].shape[1] == 4
    with pytest.raises(ValueError, match="clip 0: start and end are for files"):
        processor(videos=sequence, start=0.1)


def test_text_is_tokenised_with_or_without_videos(processor, sequence):
    batch = processor(videos=[sequence, sequence], text=list(TEXTS[:2]), padding=True, return_tensors="pt")
    assert set(batch) >= {"keypoints", "keypoints_mask", "input_ids", "attention_mask"}
    read = processor.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert read == list(TEXTS[:2])
    assert processor.decode(batch["input_ids"][0], skip_special_tokens=True) == read[0]
    assert "keypoints" not in processor(text=TEXTS[0])
    with pytest.raises(ValueError, match="pixels must be uint8"):
        processor(videos=np.ones((2, 8, 8, 3)))
    with pytest.raises(ValueError, match="videos, text, or both"):
        processor()


def test_a_face_lost_in_many_frames_is_said(processor, sequence, caplog):
    keypoints = sequence.keypoints.copy()
    keypoints[2:] = 0
    batch = processor(videos=keypoints, return_tensors="np")
    assert batch["keypoints_mask"].tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]]
    assert "clip 0: a face was found in only 2 of 8 frames" in caplog.text


def test_bad_clips_say_why(processor, sequence, tmp_path):
    with pytest.raises(NoFaceError, match="clip 1: no face found in any of 3 frames"):
        processor(videos=[np.ones((3, 478, 3)), np.zeros((3, 478, 3))])
    for name, error in (("absent.npy", LandmarkFileError), ("absent.mp4", VideoError)):
        with pytest.raises(error, match=f"{name}: no such file"):
            processor(videos=[sequence, tmp_path / name])
    for wrong in (np.zeros((288, 360, 3), np.uint8), np.zeros((5, 478, 3), np.int64), np.zeros((5, 478)), None):
        with pytest.raises(ValueError, match="clip 1: neither frames.*as one list or array"):
            processor(videos=[sequence, wrong])
    pictures = [np.zeros((size, 64, 3), np.uint8) for size in (64, 32)]
    for wrong, reason in (
        ([], "videos is empty; give at least one clip"),
        ("https://example.org/clip.mp4", "https://example.org/clip.mp4: addresses are not read; download the video"),
        (b"bytes of a video", "clip 0: bytes and open files are not read; write a video file"),
        (io.BytesIO(), "clip 0: bytes and open files are not read"),
        (pictures, "clip 0: its frames differ in size"),
    ):
        with pytest.raises(ValueError, match=reason):
            processor(videos=wrong)
    with pytest.raises(ValueError, match="there is no clip"):
        processor.feature_extractor([])
    np.save(tmp_path / "clip.npy", sequence.keypoints)
    for clip in (tmp_path / "clip.npy", sequence, sequence.keypoints):
        with pytest.raises(ValueError, match="landmarks are of one face, so face='central' has no effect"):
            processor(videos=clip, face="central")


def test_arguments_for_texts_and_videos_are_merged_or_refused(processor, sequence):
    text, options = list(TEXTS[:2]), {"return_tensors": "pt"}
    flat = processor(videos=[sequence] * 2, text=text, add_special_tokens=False, padding=True, **options)
    nested = {"text_kwargs": {"add_special_tokens": False}, "common_kwargs": {"padding": True, **options}}
    found = processor(videos=[sequence] * 2, text=text, videos_kwargs={"face": "largest"}, **nested)
    assert set(found) == set(flat) and all(torch.equal(found[name], flat[name]) for name in flat)
    long = processor(text=text, text_kwargs={"padding": "max_length", "max_length": 20}, **options)
    assert long["input_ids"].shape == (2, 20)
    for wrong, reason in (
        ({"video": sequence}, "the processor has no argument video; there are .*face"),
        ({"text_kwargs": {"face": "largest"}}, "text_kwargs has no argument face"),
        ({"videos_kwargs": {"truncation": True}}, "videos_kwargs has no argument truncation"),
    ):
        with pytest.raises(TypeError, match=reason):
            processor(text=text, **wrong)
    with pytest.raises(ValueError, match="truncation is given directly and in text_kwargs"):
        processor(text=text, truncation=True, text_kwargs={"truncation": False})


def test_a_folder_without_the_model_file_falls_back_and_a_changed_one_is_refused(processor, portrait_video, tmp_path):
    assert str(tmp_path / LANDMARKER_FILE) in processor.save_pretrained(tmp_path)
    assert str(tmp_path) not in (tmp_path / "processor_config.json").read_text(), "no path of this machine"
    (tmp_path / LANDMARKER_FILE).unlink()
    loaded = LipReadProcessor.from_pretrained(tmp_path, trust_remote_code=True)
    assert loaded.landmarker_path is None
    assert loaded(videos=portrait_video)["keypoints_mask"].all()
    (tmp_path / LANDMARKER_FILE).write_bytes(b"something else")
    loaded = LipReadProcessor.from_pretrained(tmp_path, trust_remote_code=True)
    with pytest.raises(ValueError, match="face_landmarker.task: not the expected face model .sha256"):
        loaded(videos=portrait_video)
    with pytest.raises(ValueError, match="sha256"):
        loaded.save_pretrained(tmp_path / "copy")
