# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Stored rows: precision, round trips, and the folders that are refused."""

import json

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from data.schema import (
    TRAINING_COLUMNS,
    CorpusError,
    encode_row,
    features,
    load_split,
    rows_to_table,
)
from lipread.landmark_rows import decode_row
from modeling_lipread.geometry_lipread import NUM_LANDMARKS
from modeling_lipread.landmarks_lipread import LandmarkSequence

EYES = (33, 263)


def face_sequence(frames=30, eye_distance=66.0, center=(1100.0, -420.0, -30.0), seed=0):
    """A face-sized cloud that drifts by one eye distance and is lost in one frame."""
    rng = np.random.default_rng(seed)
    shape = rng.uniform(-1.2, 1.2, (NUM_LANDMARKS, 3))
    shape[EYES[0]], shape[EYES[1]] = (-0.5, 0.4, 0), (0.5, 0.4, 0)
    drift = np.linspace(-0.5, 0.5, frames)[:, None, None]
    motion = rng.normal(0, 0.02, (frames, NUM_LANDMARKS, 3))
    motion[:, EYES] = 0
    keypoints = ((shape + drift + motion) * eye_distance + center).astype(np.float32)
    present = np.ones(frames, dtype=bool)
    present[frames // 2] = False
    keypoints[~present] = 0.0
    timestamps = np.arange(frames) / 29.97 + rng.uniform(0, 0.003, frames)
    return LandmarkSequence(keypoints, present, timestamps, 1280, 720, 29.97)


@pytest.fixture
def corpus(tmp_path):
    rows = [encode_row(face_sequence(20 + index, seed=index), text=f"t {index}", id=str(index)) for index in range(5)]
    dataset = DatasetDict({"train": Dataset(rows_to_table(rows[:3])), "test": Dataset(rows_to_table(rows[3:]))})
    dataset.save_to_disk(tmp_path / "corpus")
    return tmp_path / "corpus"


@pytest.mark.parametrize(("scale", "center"), [(66.0, (1100.0, -420.0, -30.0)), (1e-4, (0, 0, 0)), (1e5, (0, 0, 0))])
def test_landmarks_come_back_within_a_thousandth_of_the_eye_distance(scale, center):
    sequence = face_sequence(eye_distance=scale, center=center)
    decoded = decode_row(encode_row(sequence, text="x", id="y"))
    assert decoded.keypoints.dtype == np.float32
    assert np.abs(decoded.keypoints - sequence.keypoints).max() < scale / 1000
    assert not decoded.keypoints[~sequence.present].any()
    np.testing.assert_array_equal(decoded.present, sequence.present)
    np.testing.assert_allclose(decoded.timestamps, sequence.timestamps, atol=1e-6)
    assert (decoded.width, decoded.height) == (1280, 720)
    assert decoded.frame_rate == pytest.approx(29.97)
    # A whole face in one point does not overflow.
    sequence.keypoints[:] = 5.0
    assert (decode_row(encode_row(sequence, text="x", id="y")).keypoints[sequence.present] == 5.0).all()


def test_what_cannot_be_stored():
    sequence = face_sequence(4)
    sequence.keypoints[0, 7, 1] = np.nan
    with pytest.raises(ValueError, match="clip bad: keypoints are not finite"):
        encode_row(sequence, text="x", id="bad")
    sequence.present[:] = False
    with pytest.raises(ValueError, match="clip bad: no frame holds a face"):
        encode_row(sequence, text="x", id="bad")
    sequence.keypoints = sequence.keypoints[:, :468]
    with pytest.raises(ValueError, match=r"clip bad: keypoints have shape \(4, 468, 3\), expected \(4, 478, 3\)"):
        encode_row(sequence, text="x", id="bad")
    row = encode_row(face_sequence(3000), text="x", id="long") | {"num_frames": np.float16(2049)}
    with pytest.raises(ValueError, match="clip long: 4302000 keypoint values are not 2048 frames"):
        decode_row(row)


def test_table_holds_every_column_as_declared():
    words = [{"word": "hi", "start": 0.25, "end": 0.5}]
    rows = [
        encode_row(face_sequence(3), text="hi", id="a", speaker="s", source="a.mp4", words=words),
        encode_row(face_sequence(2), text="ho", id="b"),
    ]
    dataset = Dataset(rows_to_table(rows))
    assert dataset.features == features()
    first, second = dataset[0], dataset[1]
    assert (first["speaker"], first["source"], first["words"]) == ("s", "a.mp4", words)
    assert (second["speaker"], second["source"], second["words"], second["num_frames"]) == (None, None, [], 2)
    assert Dataset(rows_to_table([])).features == features()


@pytest.mark.parametrize("form", ["numpy", None])
def test_rows_read_back_in_any_format_alone_and_in_batches(corpus, form):
    dataset = load_split(corpus, "train")
    assert set(dataset[0]) == set(TRAINING_COLUMNS) and isinstance(dataset[0]["keypoints"], np.ndarray)
    if form is None:
        dataset = dataset.with_format(None)
    for rows in (dataset.__getitems__([0, 1, 2]), [dataset[index] for index in range(3)]):
        for index, row in enumerate(rows):
            sequence, before = face_sequence(20 + index, seed=index), np.array(row["keypoints"])
            decoded = decode_row(row)
            assert row["text"] == f"t {index}" and np.array_equal(row["keypoints"], before), "the row is left alone"
            assert np.abs(decoded.keypoints - sequence.keypoints).max() < 66.0 / 1000
            np.testing.assert_allclose(decoded.timestamps, sequence.timestamps, atol=1e-6)


def test_load_split_finds_splits(corpus):
    assert len(load_split(corpus, "train")) == 3
    assert len(load_split(corpus / "test")) == 2
    assert len(load_split(str(corpus / "test"), "test")) == 2
    with pytest.raises(CorpusError, match="there is no split 'dev'; the corpus has train, test"):
        load_split(corpus, "dev")
    with pytest.raises(CorpusError, match="no split was named; the corpus has train, test"):
        load_split(corpus)
    with pytest.raises(CorpusError, match="the folder of one split"):
        load_split(corpus / "test", "train")
    (corpus / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    assert len(load_split(corpus)) == 2


def test_load_split_refuses_other_folders(corpus, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CorpusError, match="not a prepared corpus; make one with: python -m data.prepare"):
            load_split(folder, "train")
    (tmp_path / "begun" / ".parts").mkdir(parents=True)
    with pytest.raises(CorpusError, match="not finished; run the same data.prepare command again"):
        load_split(tmp_path / "begun", "train")
    Dataset.from_dict({"text": ["a"], "keypoints": [[1.0]]}).save_to_disk(tmp_path / "other")
    with pytest.raises(CorpusError, match="columns id, speaker, .*keypoints.* missing or of another type"):
        load_split(tmp_path / "other")
