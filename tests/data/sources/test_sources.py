# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Sources, and how folders are walked: links, loops, hidden files, names of all kinds."""

import os
import sys

import pytest

from data.corpora import read_source
from data.sources.records import SourceError
from tests.helpers.corpora import fill, read

LINE = '{"video": "a.mp4", "text": "hello"}\n'


def test_a_source_may_be_a_manifest_a_link_or_the_current_folder(tmp_path, monkeypatch):
    fill(tmp_path, {"a.mp4": None, "clips.jsonl": LINE, "clips.list": LINE, "list.txt": LINE})
    for name in ("clips.jsonl", "clips.list", "list.txt"):
        source = read_source(tmp_path / name)
        assert (source.split, [record.text for record in source.records]) == (name.split(".")[0], ["hello"])
    root = fill(tmp_path / "corpus", {"a.mp4": None, "a.txt": "one"})
    (tmp_path / "link").symlink_to(root)
    assert clips_and_reasons(tmp_path / "link")[0] == ["a"]
    monkeypatch.chdir(root)
    source = read_source(".", format="folder")
    assert (source.name, source.split, len(source.records)) == ("corpus", "corpus", 1)


def test_sources_that_cannot_be_read_are_errors_that_name_formats_and_options(tmp_path):
    timit = fill(tmp_path / "corpus", {"a.mp4": None, "a.txt": "0 16000 hello", "clips.jsonl": LINE})
    for path, settings, message in (
        (timit, {}, "is a folder; give its format with --format NAME .folder, grid, lrs"),
        (timit, {"format": "gird"}, "there is no format 'gird'; there are folder, grid"),
        (timit, {"format": "grid"}, r"no usable clip in the format grid .1 unusable.*a.mp4: no .align of that"),
        (tmp_path / "nowhere", {"format": "grid"}, "no such folder"),
        (timit, {"format": "timit", "options": {"words": "x"}}, "format timit has no option 'words'; it has none"),
        (timit, {"format": "textgrid", "options": {"x": "x"}}, "no option 'x'; it has words, utterances"),
        (timit / "clips.jsonl", {"options": {"words": "x"}}, "a manifest has no options .words"),
    ):
        with pytest.raises(SourceError, match=f"(?s){message}"):
            read_source(path, **settings)


def clips_and_reasons(path, **settings):
    clips, skipped = read(path, format="folder", **settings)
    return [clip.id for clip in clips], skipped


def test_order_is_natural_hidden_files_are_passed_over_and_no_transcript_is_a_gigabyte(tmp_path):
    deep = "/".join(["y"] * 300)
    names = ["b", "a10", "a9", "A1", "x/10/z", "x/9/z", "x/9/.hidden", ".git/a", "._a9", "ü", "a2b10", "a2b9", "large"]
    names.append(f"{deep}/a")
    fill(tmp_path, {f"{name}.mp4": None for name in names} | {f"{name}.txt": "x" for name in names})
    os.truncate(tmp_path / "large.txt", 2**30)  # a hole, which takes no room
    ids, reasons = clips_and_reasons(tmp_path)
    assert ids == ["A1", "a2b9", "a2b10", "a9", "a10", "b", "ü", "x/9/z", "x/10/z", f"{deep}/a"]
    assert reasons == {"large.mp4": "large.txt: larger than 64 MiB, which no transcript is"}


def test_links_are_followed_once_and_not_out_of_the_folder(tmp_path):
    fill(tmp_path / "elsewhere", {"a.mp4": None, "a.txt": "outside"})
    root = fill(tmp_path / "corpus", {"z/one.mp4": None, "z/one.txt": "one", "z/two.txt": "two", "three.mp4": None})
    links = {"a_link_to_z": "z", "z/up": "..", "z/self": ".", "z/round": "round", "z/ping": "pong", "z/pong": "ping"}
    links |= {"out": tmp_path / "elsewhere", "z/two.mp4": tmp_path / "elsewhere" / "a.mp4"}
    links |= {"three.txt": tmp_path / "elsewhere" / "a.txt", "gone.mp4": "nothing"}
    links |= {"zz": "..", "z/one_again.mp4": "one.mp4", "z/one_again.txt": root / "z" / "one.txt"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "gone.txt").write_text("gone")
    ids, reasons = clips_and_reasons(root)
    assert ids == ["z/one", "z/one_again"]
    outside = "copy there what it leads to, or give --allow_outside"
    assert reasons.pop("z/two.mp4").startswith(f"z/two.mp4 lies outside the folder {root}")
    assert reasons.pop("gone.mp4") == f"gone.mp4 is no file; paths are relative to {root}"
    assert reasons == {
        **dict.fromkeys(("out", "zz"), f"a symbolic link out of the folder; {outside}"),
        "three.mp4": f"three.txt leads out of the folder; {outside}",
        **dict.fromkeys(("a_link_to_z", "z/up", "z/self"), "leads to a folder that is read already"),
    }
    ids, reasons = clips_and_reasons(root, allow_outside=True)
    assert ids == ["three", "out/a", "z/one", "z/one_again", "z/two"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_names_that_are_no_text_and_pipes_are_skipped(tmp_path):
    fill(tmp_path, {"a.mp4": None, "a.txt": "one", "pipe.mp4": None})
    for name in (b"caf\xe9.mp4", b"caf\xe9.txt"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    os.mkfifo(tmp_path / "pipe.txt")
    ids, reasons = clips_and_reasons(tmp_path)
    wrong = dict.fromkeys(("caf�.mp4", "caf�.txt"), "the name is not valid UTF-8; rename it")
    assert ids == ["a"] and reasons == wrong | {"pipe.mp4": "pipe.txt is no file"}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_skipped(tmp_path):
    fill(tmp_path, {"a.mp4": None, "a.txt": "one", "locked/b.txt": "two"})
    (tmp_path / "locked").chmod(0)
    try:
        ids, reasons = clips_and_reasons(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert ids == ["a"] and "cannot be read" in reasons["locked"]
