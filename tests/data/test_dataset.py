# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Stored rows and their precision; a split gives the same clips prepared, in Parquet, and as a stream from a Hub."""

import json
import pickle
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from data.dataset import ClipStream, has_split, is_parquet, open_split
from data.schema import CorpusError, encode_row, load_split
from lipread.landmark_rows import decode_row
from modeling_lipread.geometry_lipread import NUM_LANDMARKS
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.training import REPOSITORY


def face_sequence(frames=30, eye_distance=66.0, center=(1100.0, -420.0, -30.0)):
    """A face-sized cloud that drifts by one eye distance and is lost in one frame."""
    rng = np.random.default_rng(0)
    shape = rng.uniform(-1.2, 1.2, (NUM_LANDMARKS, 3))
    shape[[33, 263]] = (-0.5, 0.4, 0), (0.5, 0.4, 0)  # the eyes
    drift = np.linspace(-0.5, 0.5, frames)[:, None, None]
    keypoints = ((shape + drift) * eye_distance + center).astype(np.float32)
    present = np.arange(frames) != frames // 2
    keypoints[~present] = 0.0
    timestamps = np.arange(frames) / 29.97 + rng.uniform(0, 0.003, frames)
    return LandmarkSequence(keypoints, present, timestamps, 1280, 720, 29.97)


@pytest.mark.parametrize(("scale", "center"), [(66.0, (1100.0, -420.0, -30.0)), (1e-4, (0, 0, 0)), (1e5, (0, 0, 0))])
def test_landmarks_come_back_within_a_thousandth_of_the_eye_distance(scale, center):
    sequence = face_sequence(eye_distance=scale, center=center)
    decoded = decode_row(encode_row(sequence, text="x", id="y"))
    assert decoded.keypoints.dtype == np.float32
    assert np.abs(decoded.keypoints - sequence.keypoints).max() < scale / 1000
    assert not decoded.keypoints[~sequence.present].any()
    np.testing.assert_array_equal(decoded.present, sequence.present)
    np.testing.assert_allclose(decoded.timestamps, sequence.timestamps, atol=1e-6)
    assert (decoded.width, decoded.height, decoded.frame_rate) == (1280, 720, pytest.approx(29.97))
    # A whole face in one point does not overflow.
    sequence.keypoints[:] = 5.0
    assert (decode_row(encode_row(sequence, text="x", id="y")).keypoints[sequence.present] == 5.0).all()


def test_what_cannot_be_stored():
    keypoints = face_sequence(4).keypoints
    keypoints[0, 7, 1] = np.nan
    for changed, reason in (
        ({"keypoints": keypoints}, "keypoints are not finite"),
        ({"present": np.zeros(4, bool)}, "no frame holds a face"),
        ({"keypoints": keypoints[:, :468]}, r"keypoints have shape \(4, 468, 3\), expected \(4, 478, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"clip bad: {reason}"):
            encode_row(replace(face_sequence(4), **changed), text="x", id="bad")
    row = encode_row(face_sequence(3000), text="x", id="long") | {"num_frames": np.float16(2049)}
    with pytest.raises(ValueError, match="clip long: 4302000 keypoint values are not 2048 frames"):
        decode_row(row)


def test_prepared_splits_are_found_and_other_folders_refused(corpus, tmp_path):
    validation = corpus / "validation"
    sizes = [len(load_split(*path)) for path in ((corpus, "train"), (validation,), (str(validation), "validation"))]
    assert sizes == [24, 4, 4]
    (tmp_path / "begun" / ".parts").mkdir(parents=True)
    Dataset.from_dict({"text": ["a"], "keypoints": [[1.0]]}).save_to_disk(tmp_path / "other")
    for path, split, reason in (
        (corpus, "dev", "there is no split 'dev'; the corpus has train, validation"),
        (corpus, None, "no split was named; the corpus has train, validation"),
        (validation, "train", "the folder of one split"),
        (tmp_path, "train", "not a prepared corpus; make one with: python -m data.prepare"),
        (tmp_path / "nowhere", "train", "not a prepared corpus; make one with: python -m data.prepare"),
        (tmp_path / "begun", "train", "not finished; run the same data.prepare command again"),
        (tmp_path / "other", None, "columns id, speaker, .*keypoints.* missing or of another type"),
    ):
        with pytest.raises(CorpusError, match=reason):
            load_split(path, split)


def same(one, two):
    left, right = decode_row(one), decode_row(two)
    assert str(one["id"]) == str(two["id"]) and str(one["text"]) == str(two["text"])
    for name, value in vars(left).items():
        assert np.array_equal(value, getattr(right, name)), name


@pytest.mark.parametrize("streaming", [False, True])
def test_every_form_gives_the_same_clips(corpus, exported, streaming):
    expected, found = load_split(corpus, "train"), open_split(exported, "train", streaming)
    assert len(found) == len(expected) == 24
    for row, *others in zip(expected, found, open_split(corpus, "train"), strict=True):
        for other in others:
            same(row, other)
    assert found.column("text") == list(expected["text"][:])
    assert found.column("num_frames") == [20, 12, 25] * 8
    for indices in ([3, 4, 5], [9, 0, 9]):
        for index, row in zip(indices, found.__getitems__(indices), strict=True):
            same(expected[index], row)
    assert [row["id"] for row in found.select([5, 2, 7])] == ["train5", "train2", "train7"]


def test_a_stream_is_selected_spread_and_pickled(exported):
    stream = ClipStream(sorted(map(str, (exported / "data").glob("train-*"))))
    assert stream.blocks == [8, 8, 8]
    some = stream.select([3, 4, 20])
    assert some.blocks == [2, 1] and len(some) == 3
    assert [row["id"] for row in some.__getitems__([2, 0])] == ["train20", "train3"]
    assert some.column("id") == ["train3", "train4", "train20"]
    assert [row["id"] for row in some.select([1])] == ["train4"]
    assert stream.spread(4) == [0, 2, 4, 7] and len(stream.spread(99)) == 24
    assert {index // 8 for index in stream.spread(12)} == {0, 2}
    same(pickle.loads(pickle.dumps(stream))[9], stream[9])
    # Worker processes are forked while a file is open.
    batches = DataLoader(stream, batch_size=4, num_workers=2, collate_fn=lambda rows: [row["id"] for row in rows])
    assert [name for batch in batches for name in batch] == [f"train{index}" for index in range(24)]


def test_wrong_sources_are_named(corpus, exported, tmp_path):
    for source, split, streaming, reason in (
        (exported, "test", False, "no split 'test'; the corpus has train, validation"),
        (exported, None, True, "no split was named"),
        (corpus, "train", True, "leave --streaming out"),
        ("runs/corpus", "train", False, "neither a folder here"),
    ):
        with pytest.raises(CorpusError, match=reason):
            open_split(source, split, streaming)
    assert not is_parquet("runs/manifest.jsonl") and not is_parquet("corpus") and not is_parquet(corpus)
    assert has_split(exported, "validation") and not has_split(exported, "test")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"id": ["a"], "keypoints": [[1.0]]}), tmp_path / "data" / "train-0.parquet")
    for streaming in (False, True):
        with pytest.raises(CorpusError, match="columns text.*keypoints.*missing or of another type"):
            open_split(tmp_path, "train", streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_file_is_named(exported, tmp_path, streaming):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train-0.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(CorpusError, match=f"{tmp_path}.*amaged Parquet file"):
        open_split(tmp_path, "train", streaming)
    # Whole at both ends, where Parquet keeps what it knows of itself, and damaged between them.
    content = bytearray((exported / "data" / "train-00001-of-00003.parquet").read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    (folder / "train-0.parquet").write_bytes(content)
    with pytest.raises(CorpusError, match=f"{tmp_path}.*amaged Parquet file"):
        open_split(tmp_path, "train", streaming)[0]


READ_AS_A_STREAM = """
import json, sys
from data.dataset import has_split, open_split
clips = open_split(sys.argv[1], "train", streaming=True)
read = [[row["id"], float(row["keypoints"].astype("float64").sum())] for row in clips]
print(json.dumps({"rows": read, "texts": clips.column("text"), "validation": has_split(sys.argv[1], "validation")}))
"""


def test_streamed_from_a_hub_without_fetching_the_files(corpus, exported, hub, tmp_path):
    hub.add("someone/landmarks", exported, type="dataset")
    command = [sys.executable, "-c", READ_AS_A_STREAM, "someone/landmarks"]
    read = json.loads(hub.run(tmp_path / "home", *command, cwd=REPOSITORY).splitlines()[-1])
    expected = open_split(corpus, "train")
    sums = [[str(row["id"]), float(np.asarray(row["keypoints"]).astype("float64").sum())] for row in expected]
    assert read == {"rows": sums, "texts": expected.column("text"), "validation": True}
    assert not list((tmp_path / "home").rglob("*.parquet"))
