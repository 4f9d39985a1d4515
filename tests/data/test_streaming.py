# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A split gives the same clips in each of its forms: prepared, in Parquet, and as a stream from here or from a Hub."""

import json
import pickle
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

from data.dataset import ClipStream, has_split, is_parquet, open_split
from data.schema import CorpusError, load_split
from lipread.landmark_rows import decode_row
from tests.helpers.training import REPOSITORY


def same(one, two):
    left, right = decode_row(one), decode_row(two)
    assert str(one["id"]) == str(two["id"]) and str(one["text"]) == str(two["text"])
    for name in ("keypoints", "present", "timestamps"):
        assert np.array_equal(getattr(left, name), getattr(right, name))
    assert (left.width, left.height, left.frame_rate) == (right.width, right.height, right.frame_rate)


@pytest.mark.parametrize("streaming", [False, True])
def test_every_form_gives_the_same_clips(corpus, exported, streaming):
    expected, found = load_split(corpus, "train"), open_split(exported, "train", streaming)
    assert len(found) == len(expected) == 24
    for one, two in zip(expected, found, strict=True):
        same(one, two)
    for one, two in zip(expected, open_split(corpus, "train"), strict=True):
        same(one, two)
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
    with pytest.raises(CorpusError, match="no split 'test'; the corpus has train, validation"):
        open_split(exported, "test")
    with pytest.raises(CorpusError, match="no split was named"):
        open_split(exported, streaming=True)
    with pytest.raises(CorpusError, match="leave --streaming out"):
        open_split(corpus, "train", streaming=True)
    with pytest.raises(CorpusError, match="neither a folder here"):
        open_split("runs/corpus", "train")
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
