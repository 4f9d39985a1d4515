# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A corpus that leaves: as Parquet with a card, on the Hub, and back to a manifest of landmarks."""

import json
import os
import sys
from unittest.mock import Mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset, load_from_disk
from huggingface_hub import DatasetCard

from data import prepare
from data.export import main
from data.schema import load_split
from lipread.landmark_rows import decode_row
from tests.helpers.corpora import all_files, fill
from tests.helpers.training import REPOSITORY

LOAD_FROM_HUB = """
import json, sys
from datasets import load_dataset
splits = load_dataset(sys.argv[1])
rows = {name: split.with_format("arrow")[:].to_pylist() for name, split in splits.items()}
print(json.dumps({name: list(map(repr, split)) for name, split in rows.items()}))
"""
PUSHED = [f"data/{split}-00000-of-00001.parquet" for split in ("train", "validation")]
PUSHED = [".gitattributes", "README.md", *PUSHED]


def test_parquet_loads_as_what_it_was(corpus, exported, tmp_path):
    shards = [f"train-{shard:05d}-of-00003.parquet" for shard in range(3)]
    files = sorted(path.name for path in (exported / "data").iterdir())
    assert files == [*shards, "validation-00000-of-00001.parquet"]
    loaded = load_dataset(str(exported), cache_dir=str(tmp_path))
    for split, rows in load_from_disk(corpus).items():
        assert loaded[split].features == rows.features
        assert loaded[split].with_format("arrow")[:].equals(rows.with_format("arrow")[:])
        as_python, stored = (decode_row(dataset[0]) for dataset in (loaded[split], load_split(corpus, split)))
        assert np.array_equal(as_python.keypoints, stored.keypoints), "rows are read in any format"
    schema = pq.read_schema(exported / "data" / "validation-00000-of-00001.parquet")
    assert str(schema.field("keypoints").type) == "list<element: halffloat not null>"


def test_card_says_what_is_in_it_and_whose_it_is(corpus, exported, tmp_path):
    card = DatasetCard.load(exported / "README.md")
    assert card.data.license == "cc-by-4.0" and card.data.language == ["en"]
    said = ("no pixels", "not anonymous", "personal data", "M. Cooke and others", "scale")
    for words in (*said, "| train | 24 |", "| validation | 4 |"):
        assert words in card.text, words
    main([str(corpus), "--parquet", str(tmp_path / "dataset")])
    card = DatasetCard.load(tmp_path / "dataset" / "README.md")
    assert card.data.license is None and "No licence of the source was given" in card.text


def test_another_folder_is_left_alone_and_an_earlier_export_replaced_only_when_told(corpus, tmp_path):
    fill(tmp_path, {"mine/thesis.txt": "years of work"})
    for target in ("--parquet", "--npy"):
        with pytest.raises(SystemExit, match="no export"):
            main([str(corpus), target, str(tmp_path / "mine"), "--overwrite"])
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]
    folder = tmp_path / "dataset"
    main([str(corpus), "--parquet", str(folder), "--max_shard_size", "500000"])
    with pytest.raises(SystemExit, match="--overwrite"):
        main([str(corpus), "--parquet", str(folder)])
    main([str(corpus), "--parquet", str(folder), "--overwrite"])
    assert len(list((folder / "data").glob("train-*"))) == 1
    assert sorted(os.listdir(tmp_path)) == ["dataset", "mine"]  # nothing half-written beside them


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("CORPUS --npy OUT --license mit", "--license needs --"),
        ("CORPUS --parquet OUT --private", "--private needs --"),
        ("CORPUS --npy OUT --max_shard_size 9", "--max_shard_size needs --"),
        ("CORPUS --parquet OUT --max_shard_size 0", "argument --max_shard_size"),
        ("CORPUS --push_to_hub a/b --overwrite", "--overwrite needs --"),
        ("CORPUS/train --parquet OUT", "folder above"),
        ("nowhere --parquet OUT", "data.prepare"),
    ],
)
def test_what_cannot_be_exported_is_refused(corpus, tmp_path, arguments, said, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments.replace("OUT", str(tmp_path / "out")).replace("CORPUS", str(corpus)).split())
    assert said in capsys.readouterr().err + str(exit.value.code) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("exchanges", [True, False])
def test_an_export_that_is_killed_leaves_the_earlier_one(corpus, tmp_path, monkeypatch, exchanges):
    """And what it leaves beside it goes with the next."""
    if not exchanges:
        monkeypatch.setattr("data.files.exchange", lambda first, second: False)
    folder = tmp_path / "dataset"
    main([str(corpus), "--parquet", str(folder)])
    fill(tmp_path, {".dataset.building/new/data/train-00000-of-00009.parquet": "half of it"})
    files = all_files(folder)
    with monkeypatch.context() as patch:
        patch.setattr("data.export._write_card", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            main([str(corpus), "--parquet", str(folder), "--overwrite"])
    assert all_files(folder) == files
    main([str(corpus), "--parquet", str(folder), "--overwrite"])
    assert all_files(folder) == files and os.listdir(tmp_path) == ["dataset"]


def test_npy_and_back(corpus, tmp_path):
    main([str(corpus), "--npy", str(tmp_path / "npy")])
    manifests = [tmp_path / "npy" / f"{split}.jsonl" for split in ("train", "validation")]
    first = json.loads(manifests[0].read_text().splitlines()[0])
    array = np.load(tmp_path / "npy" / first["kp_path"])
    assert array.dtype == np.float32 and array.shape == (20, 478, 3)
    prepare.main([*map(str, manifests), "--output", str(tmp_path / "again"), "--num_proc", "0"])
    for split in ("train", "validation"):
        before, after = load_split(corpus, split), load_split(tmp_path / "again", split)
        assert len(before) == len(after)
        for old, new in zip(before, after, strict=True):
            assert all(str(old[key]) == str(new[key]) for key in ("id", "text", "speaker"))
            one, two = decode_row(old), decode_row(new)
            assert np.array_equal(one.present, two.present) and one.frame_rate == two.frame_rate
            # Stored twice: each time within half a step of float16, whose values here stay below 16.
            assert np.abs(one.keypoints - two.keypoints).max() <= float(old["scale"]) * 2**-7


@pytest.mark.slow
def test_pushed_in_one_commit_and_loaded_in_a_fresh_process(corpus, hub, tmp_path):
    command = [sys.executable, "-m", "data.export", corpus, "--push_to_hub"]
    for commits, more in ((2, ["--max_shard_size", "500000"]), (3, [])):  # the Hub makes the first one itself
        hub.run(tmp_path, *command, "someone/landmarks", "--private", "--license", "mit", *more, cwd=REPOSITORY)
        repository = hub.repository("someone/landmarks", "dataset")
        assert repository.private and len(repository.history()) == commits
    # The second time in fewer files: the older ones went in the same commit.
    assert sorted(hub.files("someone/landmarks", type="dataset")) == PUSHED
    load = [sys.executable, "-c", LOAD_FROM_HUB, "someone/landmarks"]
    loaded = hub.run(tmp_path / "elsewhere", *load, cwd=tmp_path)
    with pytest.raises(AssertionError, match="(?s)^(?!.*Traceback).*another/landmarks"):
        hub.run(tmp_path, *command, "another/landmarks", cwd=REPOSITORY)
    rows = {split: rows.with_format("arrow")[:].to_pylist() for split, rows in load_from_disk(corpus).items()}
    assert json.loads(loaded.splitlines()[-1]) == {split: list(map(repr, found)) for split, found in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize("request_that_fails", ["preupload", "commit"])
def test_a_push_that_is_cut_leaves_what_was_there_and_the_next_one_completes_it(
    corpus, hub, tmp_path, request_that_fails, monkeypatch
):
    repository = f"someone/cut-{request_that_fails}"
    command = [sys.executable, "-m", "data.export", corpus, "--license", "mit", "--push_to_hub", repository]
    with monkeypatch.context() as patched:
        patched.setattr(hub, "faults", [("POST", f"/api/datasets/.*/{request_that_fails}/main", 403)])
        message = "(?s)^(?!.*Traceback).*error: someone/cut.*: the upload failed .*told to fail"
        with pytest.raises(AssertionError, match=message):
            hub.run(tmp_path, *command, cwd=REPOSITORY)
    assert sorted(hub.files(repository, type="dataset")) == [".gitattributes"]
    hub.run(tmp_path, *command, cwd=REPOSITORY)
    assert sorted(hub.files(repository, type="dataset")) == PUSHED
