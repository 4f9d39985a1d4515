# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Confidence of words, its calibration, and what is abstained from, for which reason."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoProcessor

from data.calibrate import main as calibrate
from data.collator import LipReadCollator
from data.dataset import ClipTable
from data.evaluation import Prediction, predict
from data.evaluation.calibration import abstention, fit_calibration, fit_limits, reliability
from data.evaluation.hallucination import video_clips
from data.hallucination import main as hallucination
from data.schema import encode_row, rows_to_table
from lipread.options import load_pipeline
from modeling_lipread import LipReadConfig, LipReadingPipeline, NoFaceError
from modeling_lipread.confidence_lipread import (
    FEW_FRAMES,
    LOWEST_FIT,
    NO_FACE,
    NO_WORDS,
    STILL_LIPS,
    UNKNOWN_SPEECH,
    evidence,
    lip_speed,
    logistic,
    token_units,
    word_evidence,
    word_scores,
)
from modeling_lipread.configuration_lipread import CALIBRATION
from tests.helpers.clips import grid_lines, write_video
from tests.helpers.training import TEXTS, make_clip

VOCABULARY = ["", "b", "e", "i", "l", "n", "u"]


def processor_of(pieces, special=()):
    """Its tokens are these bytes, and the special ones are left out."""

    def decode(tokens, skip_special_tokens):
        return b"".join(pieces[token] for token in tokens if token not in special).decode(errors="replace")

    return SimpleNamespace(decode=decode, tokenizer=SimpleNamespace(all_special_ids=special))


def words_of(tokens, log_probs, head=None, ctc=None):
    processor = processor_of([b"<s>", b"bi", b"n", b" blue", b"</s>", b"<pad>"], (0, 4, 5))
    config = LipReadConfig(ctc_vocab=VOCABULARY, encoder_config={"alignment_head": True, "ctc_vocab_size": 7})
    heads = None if head is None else torch.from_numpy(np.stack([head if ctc is None else ctc, head]))
    return word_evidence(processor, config, tokens, log_probs, heads)


def seen(text):
    """Posteriors of an alignment head that is all but sure of a character a frame, `_` being silence."""
    log_probs = np.full((len(text), len(VOCABULARY)), np.log(0.01))
    log_probs[np.arange(len(text)), [VOCABULARY.index(c.strip("_")) for c in text]] = np.log(0.94)
    return log_probs


def test_a_word_has_the_probability_of_its_tokens_and_the_fit_of_its_characters():
    tokens, log_probs = [1, 2, 3, 4, 5], [-0.1, -0.2, -0.4, -3.0, -9.0]
    words = words_of(tokens, log_probs, seen("_bbin__blueee"))
    assert [(word.text, word.frames) for word in words] == [("bin", (1, 5)), ("blue", (7, 13))]
    assert [word.log_prob for word in words] == pytest.approx([-0.3, -0.4]), "end and padding are no word's"
    assert [word.fit for word in words] == pytest.approx([np.log(0.94)] * 2)
    elsewhere = words_of(tokens, log_probs, seen("_bbin__blueee"), seen("_uuuu__blueee"))
    assert [word.frames for word in elsewhere] == [(1, 5), (7, 13)], "the alignment head places the words"
    assert elsewhere[0].fit == pytest.approx(np.log(0.01)) and elsewhere[1].fit == words[1].fit
    assert [word.certainty for word in words] == pytest.approx([-np.log(-np.log(0.94))] * 2)
    short = words_of(tokens, log_probs, seen("bin"))
    assert [(word.frames, word.fit) for word in short] == [(None, LOWEST_FIT)] * 2
    assert [word.fit for word in words_of(tokens, log_probs)] == [0.0, 0.0]
    assert words_of([4, 5], [-0.1, -0.1]) == []


def test_in_scripts_without_spaces_each_character_has_its_probability():
    """Tokens of several characters, and a character of two tokens, as byte-level tokenizers write it."""
    processor = processor_of(["今天".encode(), "好".encode()[:2], "好".encode()[2:] + "。".encode(), b" ok"])
    assert token_units(processor, [0, 1, 2, 3]) == [[0, 1], [2], [2], [3]]
    words = word_evidence(processor, LipReadConfig(), [0, 1, 2, 3], [-0.4, -0.1, -0.2, -1.0], None)
    assert [word.text for word in words] == ["今", "天", "好。", "ok"]
    assert [word.log_prob for word in words] == pytest.approx([-0.2, -0.2, -0.3, -1.0])


def test_scores_are_probabilities_until_they_are_calibrated():
    found = [np.log(0.8), np.log(0.5), 0.0], [-0.5, -4.0, -0.1], [2.0, 2.0, 1.0]
    assert word_scores(*found, None) == pytest.approx([0.8, 0.5, 1.0])
    unchanged = dict.fromkeys(CALIBRATION, 0.0) | {"log_odds": 1.0}
    assert word_scores(*found, unchanged) == pytest.approx([0.8, 0.5, 1.0], abs=1e-3), "a sure word is finite too"
    weights = unchanged | {"fit": 0.7, "certainty": 0.3, "product": 0.2, "bias": 1.0}
    expected = 1 / (1 + np.exp(-(np.log(4) - 0.5 * 0.7 + 2 * 0.3 + 2 * np.log(4) * 0.2 + 1)))
    assert word_scores(*found, weights)[0] == pytest.approx(expected)
    assert word_scores([], [], [], weights) == word_scores([], [], [], None) == []
    assert word_scores([-900.0], [LOWEST_FIT], [0.0], unchanged) == pytest.approx([0.0])


def test_the_calibration_finds_what_made_the_words_right():
    random, words = np.random.default_rng(0), 20000
    found = evidence(np.log(random.uniform(0.2, 0.999, words)), *random.uniform((-3, 0), (0, 3), (words, 2)).T)
    weights = [0.6, 0.9, -0.2, 0.1, 0.4]
    right = random.uniform(size=len(found)) < logistic(found @ weights)
    assert list(fit_calibration(found, right).values()) == pytest.approx(weights, abs=0.12)
    # Of a few words it learns a little; where all are right or all are wrong it stays finite.
    assert list(fit_calibration(found[:1], right[:1]).values()) == pytest.approx([1.0, 0, 0, 0, 0], abs=0.8)
    for all_of_them in (np.ones(300, bool), np.zeros(300, bool)):
        assert np.abs(list(fit_calibration(found[:300], all_of_them).values())).max() < 10
    sure = evidence(np.full(300, -1e-3), np.full(300, -0.1), np.full(300, 2.0))
    a_third_is_wrong = fit_calibration(sure, np.arange(300) % 3 > 0)
    assert logistic(sure @ list(a_third_is_wrong.values())) == pytest.approx(2 / 3, abs=0.02)


def scored(reference, read, scores, **more):
    words = [
        {"word": word, "start": start, "end": start + 0.2, "log_prob": np.log(score), "fit": 0.0, "score": score}
        for word, score, start in zip(read.split(), scores, np.arange(9) * 0.2, strict=False)
    ]
    return Prediction(reference, None, reference, read, "x", words=words, **more)


def test_reliability_of_scores_in_tenths():
    readings = [scored("a b c d", "a b c x", [0.95, 0.95, 0.95, 0.95]), scored("a b", "a x", [0.25, 0.21])]
    found = reliability(readings)
    assert [(row["words"], row["correct"]) for row in found["bins"]] == [(2, 0.5), (4, 0.75)]
    assert found["bins"][0]["score"] == pytest.approx(0.23)
    assert found["ece"] == found["probability_ece"] == pytest.approx((2 * 0.27 + 4 * 0.2) / 6)
    assert found["words"] == 6 and found["correct"] == pytest.approx(4 / 6)
    assert reliability([Prediction("0", None, "a", "a", "")]) == {}


def test_what_abstaining_would_cost():
    readings = [
        scored("a b", "a b", [0.9, 0.9], lip_speed=0.5),
        scored("c d", "c x", [0.4, 0.3], lip_speed=0.5, reason=UNKNOWN_SPEECH),
        Prediction("lost", None, "e f", "", ""),  # could not be read at all
    ]
    found = abstention(readings)
    words = {"correct_words_lost": 1, "correct_words": 3, "wer": pytest.approx(4 / 6)}
    assert found == {"clips": 1, "reasons": {UNKNOWN_SPEECH: 1}, **words}
    assert abstention([Prediction("0", None, "a", "a", "")]) == {}


def clip(score, speed):
    return scored("a", "a", [score], lip_speed=speed)


def test_limits_stand_between_speech_and_none():
    spoken = [clip(score, speed=score - 0.4) for score in (0.8, 0.9, 0.95)]
    still, others = clip(0.99, speed=0.1), [clip(0.7, speed=1.0), clip(0.3, speed=1.0)]
    # Three tenths of the way from the best of those without speech, of which the still one does not count.
    assert fit_limits(spoken, [still, *others]) == {"min_lip_motion": 0.2, "min_confidence": 0.73}
    assert fit_limits(spoken, [still]) == {"min_lip_motion": 0.2, "min_confidence": 0.24}
    # Speech is not given up for what is surer than it.
    assert fit_limits(spoken, [clip(0.97, speed=1.0)]) == {"min_lip_motion": 0.2, "min_confidence": 0.24}
    assert fit_limits([clip(0.8, None)], []) == {"min_lip_motion": 0.0, "min_confidence": 0.24}


def test_a_reader_is_calibrated_and_its_pipeline_uses_it(reader_dir, corpus, tmp_path, capsys):
    folder = shutil.copytree(reader_dir, tmp_path / "reader")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calibrate([str(folder), str(corpus / "validation"), "--clips", "2", "--device", "cpu"])
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert [name for name in after if after[name] != before.get(name)] == ["config.json"], "and no file is added"
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert {"calibration": model.config.calibration, "abstention": model.config.abstention} == printed
    reader = LipReadingPipeline(model=model, processor=processor, device="cpu")
    clip = np.random.default_rng(0).normal(size=(20, 478, 3)).astype(np.float32)
    options = {"return_timestamps": "word", "abstain": False}
    model.config.calibration = dict.fromkeys(CALIBRATION, 0.0) | {"bias": np.log(3.0)}
    scores = [chunk["score"] for chunk in reader(clip, **options)["chunks"]]
    assert scores and scores == pytest.approx([0.75] * len(scores))
    # What is saved again takes it along.
    model.config.calibration = printed["calibration"]
    model.save_pretrained(tmp_path / "again")
    assert AutoModel.from_pretrained(tmp_path / "again").config.abstention == printed["abstention"]


LIMITS = {"min_lip_motion": 0.2, "min_confidence": 0.7}


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


@pytest.fixture(scope="module")
def reader(reader_dir):
    return load_pipeline(str(reader_dir), "cpu")


@pytest.fixture
def limits(reader):
    reader.model.config.abstention = dict(LIMITS)
    yield
    reader.model.config.abstention = None


def test_no_face_is_a_reason_and_with_abstention_off_an_error(reader, portrait_video, tmp_path):
    grey = str(write_video(tmp_path / "grey.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 4))
    assert reader(grey) == {"text": "", "reason": NO_FACE}
    with pytest.raises(NoFaceError, match=r"grey\.mp4: no face found in any of 4 frames"):
        reader(grey, abstain=False)
    face, options = str(portrait_video), {"return_timestamps": "word"}
    alone, nothing = reader(face, **options), {"text": "", "reason": NO_FACE, "chunks": []}
    assert alone["chunks"] and "reason" not in alone
    read = reader([face, grey, face], batch_size=3, **options)
    assert read[1] == nothing and [result["text"] for result in read] == [alone["text"], "", alone["text"]]


def test_limits_are_the_readers_and_can_be_set_for_a_call(reader, limits):
    face = np.repeat(make_clip(TEXTS[0], 0, 1).keypoints, 20, axis=0)
    assert reader(face) == {"text": "", "reason": STILL_LIPS}
    assert reader(face, min_lip_motion=0) == {"text": "", "reason": UNKNOWN_SPEECH}, "this reader knows nothing"
    end = {"max_new_tokens": 1, "forced_eos_token_id": reader.model.config.eos_token_id}
    assert reader(face, min_lip_motion=0, **end) == {"text": "", "reason": NO_WORDS}
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
    seen = {name: getattr(moving, name)[::6] for name in ("keypoints", "present", "timestamps")}
    clips["slow"] = replace(moving, frame_rate=25 / 6, **seen)
    rows = [encode_row(clip, text="", id=name) for name, clip in clips.items()]
    clips["faceless"] = replace(moving, present=np.zeros(75, bool))
    rows += [{**rows[0], "id": "faceless", "present": clips["faceless"].present}]
    collator = LipReadCollator(reader.processor, seq_len=16, train=False)
    read = predict(reader.model, reader.processor, ClipTable(Dataset(rows_to_table(rows))), collator, confidence=True)
    found = {reading.id: reading.reason for reading in read}
    assert found == {name: reader(clip).get("reason") for name, clip in clips.items()}
    assert found["still"] == STILL_LIPS and found["faceless"] == NO_FACE
    assert found["seldom"] == found["slow"] == FEW_FRAMES
    assert reader(clips["slow"], min_lip_motion=0) == {"text": "", "reason": UNKNOWN_SPEECH}


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
