# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Saying nothing where there is nothing to read, and why: in the pipeline, and on real faces that do not speak."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset

from data.collator import LipReadCollator
from data.dataset import ClipTable
from data.evaluation import predict
from data.evaluation.hallucination import silences, there_and_back, video_clips
from data.hallucination import main as hallucination
from data.schema import encode_row, rows_to_table
from lipread.options import load_pipeline
from modeling_lipread import LipReadingPipeline, NoFaceError
from modeling_lipread.confidence_lipread import (
    FEW_FRAMES,
    NO_FACE,
    NO_WORDS,
    STILL_LIPS,
    UNKNOWN_SPEECH,
    lip_speed,
    reason_to_abstain,
)
from tests.helpers.clips import grid_lines, write_video
from tests.helpers.training import TEXTS, make_clip

LIMITS = {"min_lip_motion": 0.2, "min_confidence": 0.7}
SURE = {"scores": [0.9, 0.8], "speed": 0.5}


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({}, None),
        ({"speed": None, "seldom_seen": True}, FEW_FRAMES),
        ({"speed": 0.1}, STILL_LIPS),
        ({"scores": []}, NO_WORDS),
        ({"scores": [0.9, 0.4]}, UNKNOWN_SPEECH),
        ({"speed": None}, None),  # what is not known is not held against it
    ],
)
def test_the_reason_to_say_nothing(seen, reason):
    assert reason_to_abstain(LIMITS, **{**SURE, **seen}) == reason
    # Without limits, lips may be still and words unlikely.
    assert reason_to_abstain(None, **{**SURE, **seen}) == (reason if reason in (NO_FACE, NO_WORDS) else None)


def test_lips_are_as_fast_as_in_their_fastest_second():
    """A mouth that opens and closes for a second, in a video of ten."""
    face = np.random.default_rng(0).normal(size=(478, 3)).astype(np.float32) * 50
    keypoints = np.repeat(face[None], 250, axis=0)
    eyes = np.linalg.norm(face[33] - face[263])
    gap = (face[13] - face[14]) / np.linalg.norm(face[13] - face[14])
    moving = slice(100, 126)
    keypoints[moving, 13] += 0.1 * eyes * np.sin(np.arange(26) * 0.8)[:, None] * gap
    clip = replace(make_clip(TEXTS[0], 0, 250), keypoints=keypoints)
    alone = replace(make_clip(TEXTS[0], 0, 26), keypoints=keypoints[moving])
    assert lip_speed(clip) == pytest.approx(lip_speed(alone), rel=0.05) and lip_speed(alone) > 0.5
    assert lip_speed(replace(clip, keypoints=np.repeat(face[None], 250, axis=0))) == 0.0
    assert lip_speed(replace(clip, keypoints=keypoints[:, :79])) is None


def test_a_speed_that_cannot_be_told_is_not_that_of_still_lips(reader, limits):
    """A video of four frames a second, and one whose face is found in every sixth frame."""
    clip = make_clip(TEXTS[0], 0, 75)
    seen = np.arange(75) % 6 == 0
    faces = clip.keypoints[seen], clip.present[seen], clip.timestamps[seen]
    slow = replace(clip, keypoints=faces[0], present=faces[1], timestamps=faces[2], frame_rate=25 / 6)
    assert lip_speed(slow) is None and lip_speed(replace(clip, present=seen)) is None
    assert reader(slow) == reader(replace(clip, present=seen)) == {"text": "", "reason": FEW_FRAMES}
    assert reader(slow, min_lip_motion=0) == {"text": "", "reason": UNKNOWN_SPEECH}, "this reader knows nothing"


@pytest.fixture(scope="module")
def reader(reader_dir):
    return load_pipeline(str(reader_dir), "cpu")


@pytest.fixture
def limits(reader):
    reader.model.config.abstention = dict(LIMITS)
    yield
    reader.model.config.abstention = None


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("grey") / "grey.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 4))


def test_no_face_is_a_reason_and_with_abstention_off_an_error(reader, grey, portrait_video):
    assert reader(grey) == {"text": "", "reason": NO_FACE}
    assert reader(grey, num_beams=2, num_return_sequences=2) == [{"text": "", "reason": NO_FACE}] * 2
    with pytest.raises(NoFaceError, match="no face found in any of 4 frames"):
        reader(grey, abstain=False)
    face, options = str(portrait_video), {"return_timestamps": "word"}
    alone, nothing = reader(face, **options), {"text": "", "reason": NO_FACE, "chunks": []}
    assert alone["chunks"] and "reason" not in alone
    read = reader([face, grey, face], batch_size=3, **options)
    assert read[1] == nothing and [result["text"] for result in read] == [alone["text"], "", alone["text"]]


def test_limits_are_the_readers_and_can_be_set_for_a_call(reader, limits, tmp_path):
    face = np.repeat(make_clip(TEXTS[0], 0, 1).keypoints, 20, axis=0)
    assert reader(face) == {"text": "", "reason": STILL_LIPS}
    assert reader(face, min_lip_motion=0) == {"text": "", "reason": UNKNOWN_SPEECH}, "this reader knows nothing"
    written = reader(face, abstain=False)
    assert written["text"] and "reason" not in written
    assert reader(face, **dict.fromkeys(LIMITS, 0)) == written
    reader.model.config.abstention = None
    assert reader(face) == written
    assert reader(face, min_confidence=0.99) == {"text": "", "reason": UNKNOWN_SPEECH}
    sure = LipReadingPipeline(model=reader.model, processor=reader.processor, device="cpu", min_confidence=0.99)
    assert sure(face)["reason"] == UNKNOWN_SPEECH, "what is given when the pipeline is made holds for every call"
    assert sure(face, min_confidence=0) == written
    assert sure(face, abstain=False) == written and reader(face, abstain=False, **LIMITS) == written


def test_an_evaluation_and_the_pipeline_are_silent_for_the_same_reasons(reader, limits):
    moving = make_clip(TEXTS[0], 0, 75)
    still = replace(moving, keypoints=np.repeat(moving.keypoints[:1], 75, axis=0))
    clips = {"moving": moving, "still": still, "seldom": replace(moving, present=np.arange(75) % 6 == 0)}
    rows = [encode_row(clip, text="", id=name) for name, clip in clips.items()]
    clips["faceless"] = replace(moving, present=np.zeros(75, bool))
    rows += [{**rows[0], "id": "faceless", "present": clips["faceless"].present}]
    collator = LipReadCollator(reader.processor, seq_len=16, train=False)
    read = predict(reader.model, reader.processor, ClipTable(Dataset(rows_to_table(rows))), collator, confidence=True)
    found = {reading.id: reading.reason for reading in read}
    assert found == {name: reader(clip).get("reason") for name, clip in clips.items()}
    assert [found[name] for name in ("still", "seldom", "faceless")] == [STILL_LIPS, FEW_FRAMES, NO_FACE]


def test_silence_is_what_is_around_the_words():
    clip = make_clip(TEXTS[0], 0, 75)
    words = [{"word": "bin", "start": 0.8, "end": 1.2}, {"word": "blue", "start": 1.2, "end": 2.0}]
    before, after = silences(clip, words)
    assert np.array_equal(before.keypoints, clip.keypoints[:17]), "until 0.68 s: lips move before there is a sound"
    assert np.array_equal(after.keypoints, clip.keypoints[54:]) and after.timestamps[0] == 0.0
    assert silences(clip, []) == [] and silences(clip, [{"word": "a", "start": 0.3, "end": 2.8}]) == []
    assert len(there_and_back(before)) == 75


def test_the_reader_in_the_package_does_not_hallucinate(pipeline, grid_dir):
    """Real faces: as they speak, frozen, through a camera's noise, and the talker with its mouth closed."""
    (line,) = grid_lines(grid_dir, "validation", "s1", 1)
    sequence = pipeline.processor.extract_landmarks(str(grid_dir / line["video"]))[0]
    assert len(pipeline(sequence)["text"].split()) == 6
    frozen = replace(sequence, keypoints=np.repeat(sequence.keypoints[30:31], len(sequence), axis=0))
    assert pipeline(frozen) == {"text": "", "reason": STILL_LIPS}
    for clip in video_clips({line["id"]: grid_dir / line["video"]}, 1):
        assert pipeline(clip.sequence) == {"text": "", "reason": STILL_LIPS}, clip.kind


@pytest.mark.slow
def test_hallucinations_are_counted(reader_dir, corpus, tmp_path, capsys):
    folder = shutil.copytree(reader_dir, tmp_path / "reader")
    arguments = [str(folder), str(corpus / "validation"), "--clips", "1", "--device", "cpu"]
    hallucination(arguments)
    lines = capsys.readouterr().out.splitlines()
    # Nothing was calibrated, so it always says something; here of one clip of each kind, the talker's too.
    assert lines[-1] == "without speech: words hallucinated in 7 of 7 clips, without abstention in 7"
    assert lines[2] == "| average face | 1 | 1 | 1 |  |"
    assert sum(line.startswith("hallucinated, ") for line in lines) == 7
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"abstention": {"min_confidence": 1.0}}))
    hallucination(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "without speech: words hallucinated in 0 of 7 clips, without abstention in 7"
    with pytest.raises(SystemExit, match="not a prepared corpus"):
        hallucination([str(folder), str(tmp_path)])
