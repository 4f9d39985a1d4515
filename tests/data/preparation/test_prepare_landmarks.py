# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Preparing landmarks of other pipelines, and all that does not depend on videos: splits, refusals, interruptions."""

import json
import os
import shutil
import sys
import tracemalloc
from pathlib import Path
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
from datasets import load_from_disk
from filelock import FileLock

from data.files import DiskList, PrepareError
from data.preparation import workers, write
from data.preparation.plan import split_records
from data.prepare import main, prepare
from data.schema import encode_row, load_split
from data.sources.records import Record, SourceError
from lipread.landmark_rows import decode_row
from tests.helpers.corpora import all_files, all_rows, fill, landmark_lines, write_manifest
from tests.helpers.readers import Bomb


@pytest.fixture
def manifest(tmp_path):
    """80 clips: five parts and more, in a second."""
    return write_manifest(tmp_path, "clips.jsonl", landmark_lines(tmp_path, 80))


def test_normalised_landmarks_round_trip(tmp_path):
    keypoints = np.random.default_rng(1).normal(0, 0.4, (50, 478, 3)).astype(np.float32)
    keypoints[7], keypoints[8] = 0.0, np.nan  # how pipelines write a frame without a face
    np.save(tmp_path / "a.npy", keypoints)
    np.save(tmp_path / "b.npy", keypoints.astype(np.float64))
    lines = [{"kp_path": "a.npy", "text": "whole", "fps": 50}]
    lines += [{"kp_path": "b.npy", "text": "second half", "fps": 50, "start": 0.5, "id": "half"}]
    report = prepare([write_manifest(tmp_path, "train.jsonl", lines)], tmp_path / "corpus")
    assert report["splits"]["train"]["seconds"] == pytest.approx(1.5)
    whole, half = (decode_row(row) for row in load_split(tmp_path / "corpus"))
    assert whole.present.tolist() == [index not in (7, 8) for index in range(50)]
    keypoints[8] = 0.0
    scale = np.median(np.linalg.norm(keypoints[whole.present, 33] - keypoints[whole.present, 263], axis=-1))
    assert np.abs(whole.keypoints - keypoints).max() < scale * np.abs(keypoints / scale).max() / 1024
    np.testing.assert_allclose(half.keypoints, keypoints[25:], atol=2e-3)
    np.testing.assert_allclose(half.timestamps, np.arange(25) / 50, atol=1e-6)
    assert (whole.frame_rate, whole.width, whole.height) == (50.0, 0, 0)


def test_clips_that_cannot_be_read_are_skipped_by_name_and_not_unpickled(tmp_path):
    arrays = {
        "mesh": (np.ones((10, 468, 3), np.float32), "mesh.npy: holds float32 (10, 468, 3)"),
        "absent": (np.zeros((10, 478, 3), np.float32), "a face in 0 of 10 frames"),
        "objects": (np.array([Bomb(tmp_path / "unpickled")]), "Python objects"),
    }
    for name, (array, _) in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    manifest = write_manifest(tmp_path, "train.jsonl", [{"kp_path": f"{name}.npy", "text": "x"} for name in arrays])
    with pytest.raises(SystemExit) as exit:
        main([str(manifest), "--output", str(tmp_path / "corpus"), "--num_proc", "0"])
    assert "error: every clip was skipped, so there is no corpus" in exit.value.code
    report = json.loads((tmp_path / "corpus" / "report.json").read_text())
    found = {skip["id"]: skip["reason"] for skip in report["skipped"]}
    assert found.keys() == arrays.keys() and all(reason in found[name] for name, (_, reason) in arrays.items())
    assert arrays["mesh"][1] in exit.value.code and not (tmp_path / "unpickled").exists()


def test_manifests_become_the_splits_named_after_them_and_another_is_divided(manifest, tmp_path):
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    lines[0]["words"] = "damaged"
    train = write_manifest(tmp_path, "train.jsonl", lines[:30])
    unseen = write_manifest(tmp_path, "unseen-speakers.jsonl", lines[29:40])
    report = prepare([train, unseen], tmp_path / "corpus")
    clips = {split: totals["clips"] for split, totals in report["splits"].items()}
    assert clips == {"train": 30, "unseen_speakers": 11}
    same, note = report["warnings"]
    assert same == "unseen-speakers.jsonl line 1 (npy/29): the same clip as train.jsonl line 30"
    assert note.startswith("train.jsonl line 1 (npy/0): no word times")
    assert load_split(tmp_path / "corpus", "unseen_speakers")["text"][:2].tolist() == ["text 29", "text 30"]
    assert load_split(tmp_path / "corpus" / "train")["id"][:].tolist() == [f"npy/{index}" for index in range(30)]
    with pytest.raises(SourceError, match="a split 'train' is given twice"):
        prepare([train, train], tmp_path / "other")
    for ratio, sizes in (("0.25", {"train": 60, "validation": 20}), ("0", {"train": 80})):
        main([str(manifest), "--output", str(tmp_path / ratio), "--num_proc", "0", "--val_ratio", ratio])
        assert {split: len(rows) for split, rows in load_from_disk(tmp_path / ratio).items()} == sizes
    np.save(tmp_path / "bad.npy", np.zeros(3))
    bad = write_manifest(tmp_path, "validation.jsonl", [{"kp_path": "bad.npy", "text": "x"}])
    report = prepare([manifest.rename(tmp_path / "test.jsonl"), bad], tmp_path / "named")
    assert report["warnings"] == ["split validation: every clip was skipped, so the corpus has no such split"]
    assert set(load_from_disk(tmp_path / "named")) == {"test"}


def test_a_finished_corpus_is_left_alone_unless_told_otherwise(manifest, tmp_path):
    output = tmp_path / "corpus"
    (output / ".parts").mkdir(parents=True)
    with FileLock(output / ".parts" / "lock"), pytest.raises(PrepareError, match="another data.prepare is at work"):
        prepare([manifest], output)
    first = prepare([manifest], output)
    before = all_files(output)
    assert prepare([manifest], output) == first
    other = write_manifest(tmp_path, "other.jsonl", [json.loads(manifest.read_text().splitlines()[0])])
    for source, settings in ((other, {}), (manifest, {"min_coverage": 0.9}), (manifest, {"seed": 1})):
        with pytest.raises(PrepareError, match=r"other manifests, clips or settings \(clips.jsonl\)"):
            prepare([source], output, **settings)
    assert all_files(output) == before
    assert prepare([other], output, overwrite=True)["splits"] != first["splits"]
    assert load_split(output)["text"][:].tolist() == ["text 0"]
    assert sorted(path.name for path in output.iterdir()) == ["dataset_dict.json", "report.json", "train"]

    fill(tmp_path, {"mine/thesis.txt": "x"})
    for overwrite in (False, True):
        with pytest.raises(PrepareError, match="holds files that data.prepare did not write"):
            prepare([other], tmp_path / "mine", overwrite=overwrite)
        with pytest.raises(PrepareError, match="is a file"):
            prepare([other], other, overwrite=overwrite)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("length", [None, 0, 100])
def test_mending_a_line_keeps_the_parts_of_the_others_that_are_whole(manifest, tmp_path, monkeypatch, length):
    output, write_part = tmp_path / "corpus", Mock(wraps=workers.write_part)
    monkeypatch.setattr(workers, "write_part", write_part)
    with monkeypatch.context() as patch:
        patch.setattr("data.preparation.write._assemble", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare([manifest], output, val_ratio=0)
    assert write_part.call_count == 5
    if length is not None:
        os.truncate(min((output / ".parts").glob("*.arrow")), length)  # as a power cut leaves it
    lines = manifest.read_text().splitlines(keepends=True)
    lines[20] = lines[20].replace("text 20", "mended")
    manifest.write_text("".join(lines))
    with pytest.raises(PrepareError, match="other manifests"):
        prepare([manifest], output, val_ratio=0)
    prepare([manifest], output, val_ratio=0, overwrite=True)
    made = [call.args[0].records[0].line for call in write_part.call_args_list[5:]]
    assert made == [17] if length is None else set(made) >= {17}
    assert load_split(output)["text"][18:22].tolist() == ["text 18", "text 19", "mended", "text 21"]
    assert len(load_split(output)) == 80


def test_a_clip_skipped_for_want_of_memory_is_tried_again(manifest, tmp_path, monkeypatch):
    undisturbed = prepare([manifest], tmp_path / "undisturbed")
    fail_once = Mock(wraps=encode_row, side_effect=[MemoryError("no room"), *[DEFAULT] * 79])
    with monkeypatch.context() as patch:
        patch.setattr("data.preparation.extraction.encode_row", fail_once)
        report = prepare([manifest], tmp_path / "corpus")
    assert [skip["reason"] for skip in report["skipped"]] == ["MemoryError: no room"]
    write_part = Mock(wraps=workers.write_part)
    monkeypatch.setattr(workers, "write_part", write_part)
    assert prepare([manifest], tmp_path / "corpus") == undisturbed
    assert write_part.call_count == 1, "the other parts are kept for that"
    assert all_rows(tmp_path / "corpus") == all_rows(tmp_path / "undisturbed")
    assert not (tmp_path / "corpus" / ".parts").exists()


def test_the_length_of_landmarks_is_known_before_they_are_read(tmp_path):
    path = tmp_path / "long.npy"  # a hole of 13 GB
    np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=(90_000 * 25, 478, 3)).flush()
    lines = [*landmark_lines(tmp_path, 1), {"kp_path": path.name, "text": "hi"}]
    manifest = write_manifest(tmp_path, "m.jsonl", lines)
    tracemalloc.start()
    report = prepare([manifest], tmp_path / "corpus", val_ratio=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "lasts 90000 seconds, and 300 are allowed" in report["skipped"][0]["reason"] and peak < 100 * 2**20


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("--num_proc -1", "0 or more"),
        ("--val_ratio 1", "0 to below 1"),
        ("--min_coverage -1", "0 to below 1"),
        ("--option x", "not NAME=VALUE"),
        ("--split_by day", "invalid"),
        *((f"--shard {shard}", "is no shard; 3/16 is the third of 16") for shard in ("0/3", "4/3", "3")),
    ],
)
def test_settings_out_of_range(manifest, tmp_path, capsys, more, reason):
    with pytest.raises(SystemExit) as exit:
        main([str(manifest), "--output", str(tmp_path / "corpus"), *more.split()])
    assert exit.value.code == 2 and reason in capsys.readouterr().err


@pytest.mark.parametrize("exchanges", [True, False])
def test_interrupted_at_every_step_of_the_last_act(tmp_path, monkeypatch, exchanges):
    """Whichever change is the last before the end, the next run ends as if nothing had happened. Where folders can be
    exchanged, the old corpus or the new one can be read at every moment."""
    if not exchanges:
        monkeypatch.setattr(write, "exchange", lambda first, second: False)
    elif not sys.platform.startswith("linux"):
        pytest.skip("folders are exchanged on Linux alone")
    manifest = write_manifest(tmp_path, "clips.jsonl", landmark_lines(tmp_path, 20))
    prepare([manifest], tmp_path / "undisturbed", seed=1)
    expected = all_rows(tmp_path / "undisturbed")
    output, seen = tmp_path / "corpus", set()
    prepare([manifest], output, seed=2)  # an older corpus that is to be replaced
    (output / "report.html").write_text("a page")
    older = all_rows(output)
    for allowed in range(1000):
        with monkeypatch.context() as patch:
            limit_steps(patch, allowed)
            try:
                prepare([manifest], output, seed=1, overwrite=True)
                break
            except KeyboardInterrupt:
                pass
        rows = all_rows(output) if (output / "dataset_dict.json").is_file() else None
        assert rows in (older, None, expected), "never half a corpus"
        seen.add((older, None, expected).index(rows))
    assert seen == ({0, 2} if exchanges else {0, 1, 2}), "interrupted before, during and after the swap"
    assert all_rows(output) == expected
    files = ["dataset_dict.json", "report.html", "report.json", "train", "validation"]
    assert sorted(path.name for path in output.iterdir()) == files
    assert not list(tmp_path.glob(".*"))


def limit_steps(patch, allowed):
    """Let `allowed` changes of the file system pass and end the run at the next."""
    steps = iter(range(allowed))

    def limited(function):
        def step(*args, **kwargs):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return step

    for module, name in ((os, "replace"), (shutil, "rmtree"), (Path, "unlink"), (write, "exchange")):
        patch.setattr(module, name, limited(getattr(module, name)))


GROUPS = {"clip": lambda record: record.id, "speaker": lambda record: record.speaker}
GROUPS |= {"folder": lambda record: record.speaker, "video": lambda record: record.source}


@pytest.mark.parametrize("by", GROUPS)
def test_a_split_depends_on_seed_and_names_alone_and_keeps_groups_together(by):
    records = make_records([f"s{index * index % 7}" for index in range(200)])
    train, validation = split_records(records, 0.3, seed=1, by=by)
    assert not {*map(GROUPS[by], train)} & {*map(GROUPS[by], validation)} and 0 < len(validation) <= 60
    assert sorted([*ids(train), *ids(validation)]) == sorted(ids(records))
    assert [ids(train), ids(validation)] == [sorted(ids(train), key=int), sorted(ids(validation), key=int)]
    backwards = split_records(records[::-1], 0.3, seed=1, by=by)
    assert list(map(ids, backwards)) == [ids(train)[::-1], ids(validation)[::-1]]
    assert len({tuple(ids(split_records(records, 0.3, seed=seed, by=by)[1])) for seed in range(8)}) > 1


def test_split_sizes_and_what_cannot_be_divided():
    sizes = {(2, 0.1): (1, 1), (1, 0.5): (1, 0), (10, 0.0): (10, 0), (3, 0.99): (1, 2), (0, 0.1): (0, 0)}
    for (count, ratio), expected in sizes.items():
        assert tuple(map(len, split_records(make_records(["anna"] * count), ratio))) == expected
    # Frozen: the same clips on every machine and in every version, or figures could not be compared.
    assert ids(split_records(make_records(["anna"] * 100), 0.1, seed=1)[1])[:3] == ["27", "29", "30"]
    # Where all speakers are too large, the smallest is validation.
    train, validation = split_records(make_records(["anna"] * 50 + ["ben"] * 40 + ["carl"] * 45), 0.1, by="speaker")
    assert {record.speaker for record in validation} == {"ben"} and len(train) == 95
    with pytest.raises(SourceError, match="all clips are of one speaker, 'anna'"):
        split_records(make_records(["anna"] * 3), 0.1, by="speaker")
    with pytest.raises(SourceError, match="corpus line 3 .2. names no speaker"):
        split_records(make_records(["anna", "ben", None]), 0.1, by="speaker")
    assert tuple(map(len, split_records(make_records([None] * 3), 0.0, by="speaker"))) == (3, 0)


def ids(records):
    return [record.id for record in records]


def make_records(speakers):
    """Clips of these speakers, in folders and videos of their own."""
    sources = [f"{speaker}/{index % 3}.mp4" for index, speaker in enumerate(speakers)]
    return DiskList(
        Record(f"corpus line {index + 1}", index + 1, str(index), "x", source, Path(source), False, speaker=speaker)
        for index, (source, speaker) in enumerate(zip(sources, speakers, strict=True))
    )
