# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Corpora made in shards and merged."""

import json
import shutil

import pytest

from data.files import PrepareError
from data.preparation.shards import merge
from data.prepare import main, prepare
from tests.helpers.corpora import all_files, fill, landmark_lines, write_manifest


@pytest.fixture
def manifests(tmp_path):
    """Two splits of four and three chunks, with lines that the manifest rules out and clips that are skipped."""
    lines = landmark_lines(tmp_path, 100)
    lines[3] = "no JSON"
    lines[70]["start"] = 60.0
    return [write_manifest(tmp_path, "train.jsonl", lines[:60]), write_manifest(tmp_path, "test.jsonl", lines[59:])]


def make_shards(manifests, folder, count):
    return [prepare(manifests, folder, shard=(index, count)) for index in range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_merged_shards_are_the_corpus(manifests, tmp_path, count):
    undisturbed = prepare(manifests, tmp_path / "undisturbed")
    assert len(undisturbed["skipped"]) == 2 and len(undisturbed["warnings"]) == 1
    shards = make_shards(manifests, tmp_path / "parts", count)
    clips = [shard["clips"] for shard in shards]
    assert sum(clips) == 99 and max(clips) <= 16 * -(-7 // count), "evenly spread"
    assert merge([tmp_path / "parts"], tmp_path / "corpus") == undisturbed
    assert all_files(tmp_path / "corpus") == all_files(tmp_path / "undisturbed")
    # Merged once more, nothing is written.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus").rglob("*")}
    assert merge([tmp_path / "parts"], tmp_path / "corpus") == undisturbed
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_shard_goes_on_where_it_stopped(manifests, tmp_path):
    prepare(manifests, tmp_path / "undisturbed")
    # As a kill during the first file leaves them.
    shard = fill(tmp_path / "parts" / "shard-1-of-2", {"lock": "", "run.json.0123456789abcdef.tmp": ""})
    make_shards(manifests, tmp_path / "parts", 2)
    assert not list(shard.glob("*.tmp"))
    expected = all_files(shard)
    first, *others = sorted(shard.glob("*.arrow"))
    # As a kill leaves them: not all parts, one half-written, and no mark of the end.
    (shard / "shard.json").unlink()
    first.rename(shard / f"{first.name}.0123.tmp")
    with pytest.raises(PrepareError, match=r"shard-1-of-2: is not finished; run its command again"):
        merge([tmp_path / "parts"], tmp_path / "corpus")
    kept = {path: path.stat().st_mtime_ns for path in others}
    prepare(manifests, tmp_path / "parts", shard=(1, 2))
    assert {path: path.stat().st_mtime_ns for path in others} == kept
    assert all_files(shard) == expected
    merge([tmp_path / "parts"], tmp_path / "corpus")
    assert all_files(tmp_path / "corpus") == all_files(tmp_path / "undisturbed")


def test_what_does_not_make_a_corpus_is_refused_by_name(manifests, tmp_path):
    parts = tmp_path / "parts"
    make_shards(manifests, parts, 4)
    shards = sorted(parts.iterdir())

    def complaints(*folders):
        with pytest.raises(PrepareError) as error:
            merge(folders, tmp_path / "corpus")
        assert not (tmp_path / "corpus").exists()
        return str(error.value)

    assert "of 4 shards there is no finished 2, 4" in complaints(shards[0], shards[2])
    copy = shutil.copytree(shards[2], tmp_path / "copy")
    assert f"shard 3 is given twice: {shards[2]} and {copy}" in complaints(parts, copy)
    prepare(manifests, tmp_path / "other", shard=(3, 4), min_coverage=0.9)
    prepare(manifests, tmp_path / "halves", shard=(1, 2))
    from_others = ": was made from other manifests, clips or settings than"
    said = complaints(shards[0], shards[1], tmp_path / "other", shards[3])
    assert f"{tmp_path / 'other' / shards[2].name}{from_others} {shards[0]}" in said
    said = complaints(*shards[1:], tmp_path / "halves")
    assert f"{tmp_path / 'halves' / 'shard-1-of-2'}{from_others} {shards[1]}, or is not one of 4" in said
    assert f"{tmp_path / 'npy'}: holds no shard" in complaints(tmp_path / "npy", parts)
    part = next(shards[1].glob("*.arrow"))
    part.write_bytes(part.read_bytes()[:-1000])
    with pytest.raises(PrepareError, match=f"{part.name}: not a whole part"):
        merge([parts], tmp_path / "corpus")


def test_folders_that_hold_something_else(manifests, tmp_path):
    prepare(manifests, tmp_path / "corpus")
    with pytest.raises(PrepareError, match="holds a corpus; give shards a folder of their own"):
        prepare(manifests, tmp_path / "corpus", shard=(1, 2))
    make_shards(manifests, tmp_path / "parts", 2)
    with pytest.raises(PrepareError, match=r"shard-1-of-2: was made from other .* \(train.jsonl, test.jsonl\)"):
        prepare(manifests[:1], tmp_path / "parts", shard=(1, 2))
    fill(tmp_path, {"mine/shard-1-of-2/thesis.txt": ""})
    for folder, more in (("parts", {}), ("parts", {"overwrite": True}), ("mine", {"shard": (1, 2)})):
        with pytest.raises(PrepareError, match="holds files that data.prepare did not write"):
            prepare(manifests, tmp_path / folder, **more)
    with pytest.raises(PrepareError, match="holds files that data.prepare did not write"):
        merge([tmp_path / "parts"], tmp_path / "parts")
    report = prepare(manifests[:1], tmp_path / "parts", shard=(1, 2), overwrite=True)
    assert report["layout_manifests"] == ["train.jsonl"]


def test_the_commands(manifests, tmp_path, capsys):
    parts, corpus = str(tmp_path / "parts"), str(tmp_path / "corpus")
    for index in range(1, 11):
        main([*map(str, manifests), "--output", parts, "--shard", f"{index}/10", "--num_proc", "0"])
    printed = capsys.readouterr().out
    assert "shard 1/10: 15 clips\nskipped: 0" in printed and "shard 8/10: 0 clips" in printed
    assert f"next, once all are made: python -m data.prepare merge {parts} --output CORPUS" in printed
    with pytest.raises(SystemExit, match="error: of 10 shards there is no finished 2, 3"):
        main(["merge", f"{parts}/shard-01-of-10", "--output", corpus])
    main(["merge", parts, "--output", corpus])
    assert f"next: accelerate launch train_hf.py --dataset {corpus}" in capsys.readouterr().out
    assert json.loads((tmp_path / "corpus" / "report.json").read_text())["splits"]["train"]["clips"] == 59
