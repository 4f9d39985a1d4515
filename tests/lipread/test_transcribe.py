# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread transcribe`: what it writes, where, and what scripts can tell by its exit status and its error lines."""

import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoProcessor
from webvtt import WebVTT

from lipread.options import BUNDLED_MODEL
from lipread.video_files import _named_apart, find_videos
from tests.helpers.clips import PORTRAIT, write_video
from tests.helpers.long_videos import grid_lines, one_after_another


@pytest.fixture(scope="module")
def talk(grid_dir, tmp_path_factory) -> Path:
    """Two sentences that the reader in the package can read."""
    lines = grid_lines(grid_dir, "validation", "s1", 4)
    return one_after_another(grid_dir, [lines[0], lines[3]], tmp_path_factory.mktemp("talk") / "talk.mp4")


@pytest.fixture
def transcribe(lipread):
    """Runs the command."""
    return partial(lipread, "transcribe", "--device", "cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, talk) -> Path:
    """Two folders with a video of the same name, beside a damaged one."""
    root = tmp_path_factory.mktemp("folders")
    for name in ("anna/clip.mp4", "ben/clip.mp4"):
        (root / name).parent.mkdir()
        shutil.copyfile(talk, root / name)
    (root / "ben" / "damaged.MP4").write_bytes(talk.read_bytes()[:5000])
    (root / "ben" / "notes.txt").write_text("no video")
    return root


def test_all_formats_say_the_same(transcribe, talk):
    status, text, errors = transcribe(talk)
    assert (status, errors) == (0, [])
    lines = text.splitlines()
    assert len(lines) == 2 and all(lines)
    words = text.split()

    read = json.loads(transcribe(talk, "--format", "json")[1])
    assert read["text"].split() == [chunk["text"] for chunk in read["chunks"]] == words
    assert [said["text"] for said in read["utterances"]] == lines
    assert all(0 < chunk["score"] <= 1 for chunk in read["chunks"])
    times = [time for chunk in read["chunks"] for time in chunk["timestamp"]]
    assert times == sorted(times)

    rows = list(csv.DictReader(io.StringIO(transcribe(talk, "--format", "tsv")[1]), delimiter="\t"))
    assert [row["word"] for row in rows] == words
    assert [float(row["start"]) for row in rows] == [chunk["timestamp"][0] for chunk in read["chunks"]]

    read = json.loads(transcribe(talk, "--format", "json", "--nbest", 2)[1])
    assert [len(said["alternatives"]) for said in read["utterances"]] == [2, 2]

    for kind in ("srt", "vtt"):
        cues = list(WebVTT.from_buffer(io.StringIO(transcribe(talk, "--format", kind)[1]), format=kind))
        assert " ".join(cue.text for cue in cues).split() == words
        assert len(cues) < len(words) / 2
        by_word = transcribe(talk, "--format", kind, "--by_word")[1]
        assert [cue.text for cue in WebVTT.from_buffer(io.StringIO(by_word), format=kind)] == words


def test_a_folder_is_read_and_what_is_damaged_named(transcribe, folders, tmp_path):
    output = tmp_path / "read"
    status, out, errors = transcribe(folders, "--format", "srt", "--output", output)
    assert (status, out) == (1, "")
    assert len(errors) == 1 and "damaged.MP4" in errors[0] and "Traceback" not in errors[0]
    written = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert written == {"anna/clip.srt", "ben/clip.srt", ".lipread.jsonl"}
    first = (output / "anna/clip.srt").read_text()
    assert "-->" in first

    # Again: what is there stays, unless it is to be read again; what failed is tried again.
    (output / "anna/clip.srt").write_text("mine")
    status, _, errors = transcribe(folders, "--format", "srt", "--output", output)
    assert status == 1 and "2 of 3 videos are in" in errors[0] and "damaged.MP4" in errors[1]
    assert all(str(folders / name) in errors[0] for name in ("anna/clip.mp4", "ben/clip.mp4"))
    assert (output / "anna/clip.srt").read_text() == "mine"
    assert transcribe(folders / "anna", "--format", "srt", "--output", output / "anna", "--overwrite")[0] == 0
    assert (output / "anna/clip.srt").read_text() == first


def test_the_same_name_in_two_folders_gives_two_files(transcribe, folders, tmp_path):
    clips = sorted(folders.rglob("clip.mp4"))
    assert transcribe(*clips, clips[0], "--output", tmp_path)[0] == 0  # one given twice is read once
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")} == {
        "anna/clip.txt",
        "ben/clip.txt",
    }
    status, out, errors = transcribe(folders / "*" / "clip.*", "--format", "vtt")
    assert (status, out) == (2, "") and "2 videos need --output" in errors[0]
    status, out, _ = transcribe(folders / "*" / "clip.*")
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(clip) for clip in clips]


def test_a_video_of_the_same_name_given_later_is_not_taken_for_the_first(transcribe, folders, tmp_path):
    first, second = folders / "anna" / "clip.mp4", folders / "ben" / "clip.mp4"
    assert transcribe(first, "--output", tmp_path)[0] == 0
    (tmp_path / "clip.txt").write_text("mine")
    status, _, errors = transcribe(second, "--output", tmp_path)
    assert status == 1 and str(second) in errors[0] and f"was read from {first.resolve()}" in errors[0]
    assert transcribe(first, "--output", tmp_path)[0] == 0
    assert (tmp_path / "clip.txt").read_text() == "mine"
    assert transcribe(second, "--output", tmp_path, "--overwrite")[0] == 0
    assert (tmp_path / "clip.txt").read_text() != "mine"
    (tmp_path / ".lipread.jsonl").open("a").write('{"file": "cl')
    status, _, errors = transcribe(first, "--output", tmp_path)
    assert status == 1 and f"was read from {second.resolve()}" in errors[0]


def test_what_is_hidden_or_a_folder_is_no_video(tmp_path):
    """macOS writes `._clip.mp4` beside `clip.mp4` on disks of other systems."""
    for name in ("clip.mp4", "._clip.mp4", ".Trash/old.mp4", "talk.mp4/clip.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, errors = find_videos([str(tmp_path)])
    assert [str(file.relative_to(tmp_path)) for file, _ in found] == ["clip.mp4", "talk.mp4/clip.mov"]
    assert errors == []
    ((named, _),), _ = find_videos([str(tmp_path / "._clip.mp4")])
    assert named.name == "._clip.mp4", "but one that is asked for is read"


def test_what_cannot_be_read_is_one_line_and_status_1(transcribe, talk, tmp_path):
    missing = tmp_path / "missing.mp4"
    (tmp_path / "empty").mkdir()
    status, out, errors = transcribe(missing, tmp_path / "empty", tmp_path / "*.mkv", talk)
    assert status == 1
    assert len(errors) == 3 and all(error.startswith("lipread: ") for error in errors)
    for name, reason in ((missing, "no such file"), ("empty", "no video"), ("*.mkv", "no file matches")):
        assert any(str(name) in error and reason in error for error in errors)
    assert out.splitlines()  # and the rest is read
    np.save(tmp_path / "lips.npy", np.random.default_rng(0).normal(size=(50, 79, 3)))
    for face in ("largest", "speaking"):
        status, _, errors = transcribe(tmp_path / "lips.npy", "--face", face)
        assert status == 1 and len(errors) == 1 and "has 79 landmarks a frame" in errors[0]
    (tmp_path / "out" / "talk.txt").mkdir(parents=True)
    status, _, errors = transcribe(talk, "--output", tmp_path / "out", "--overwrite")
    assert status == 1 and "talk.txt" in errors[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["talk.txt"]


def test_a_video_without_words_is_no_failure_but_told_of(transcribe, tmp_path):
    still = write_video(tmp_path / "still.mp4", [PORTRAIT] * 200)
    for kind, empty in (("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n")):
        status, out, errors = transcribe(still, "--format", kind)
        assert (status, out) == (0, empty)
        assert errors == [f"lipread: {still}: no words: the lips do not move"]


def test_words_that_do_not_fit_the_lips_are_rejected_unless_requested(transcribe, talker_clip):
    status, out, errors = transcribe(talker_clip)
    assert (status, out) == (0, "") and "no words: the words do not fit the lips" in errors[0]
    (span,) = json.loads(transcribe(talker_clip, "--format", "json")[1])["unread"]
    assert span["reason"] == "the words do not fit the lips"
    status, out, errors = transcribe(talker_clip, "--no_abstain")
    assert (status, errors) == (0, []) and len(out.split()) == 6


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--model", "nowhere/at-all"], "--model"),
        (["--device", "abacus"], "--device"),
        (["--max_seconds", "0.5"], "--max_seconds"),
        (["--pause_seconds", "nan"], "--pause_seconds"),
        (["--format", "pdf"], "--format"),
        (["--nbest", "2"], "--format json"),
        (["--beams", "0"], "--beams"),
        (["--face", "nobody"], "--face"),
        (["--output", __file__], "--output"),
        (["--output", "talk.srt"], "> talk.srt"),
        (["--model", "nowhere/at-all"], "no such folder"),
        (["--model", str(Path(__file__).parent)], "holds no reader"),
    ],
)
def test_wrong_usage_is_status_2(transcribe, talk, arguments, word):
    status, out, errors = transcribe(talk, *arguments)
    assert (status, out) == (2, "")
    assert word in errors[-1] and not any("Traceback" in error for error in errors)


def test_an_encoder_alone_is_not_read_with(transcribe, talk, tmp_path):
    model = AutoModel.from_pretrained(BUNDLED_MODEL)
    assert model.uses_video
    for adapter in model.adapters:
        torch.nn.init.zeros_(adapter.o_proj.weight)
    model.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(BUNDLED_MODEL).save_pretrained(tmp_path)
    status, out, errors = transcribe(talk, "--model", tmp_path)
    assert (status, out) == (2, "") and f"--encoder {tmp_path}" in errors[-1]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_progress_is_shown_on_a_terminal_and_nowhere_else(talk, tmp_path):
    import fcntl
    import pty
    import termios

    command = [sys.executable, "-m", "lipread.cli", "transcribe", str(talk), "--device", "cpu"]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, check=True, text=True)
    os.close(follower)
    assert "s of video" in _read_all(leader)
    piped = subprocess.run(command, capture_output=True, check=True, text=True)
    assert piped.stdout == shown.stdout
    assert "s of video" not in piped.stderr
    ours = [line for line in piped.stderr.splitlines() if line.startswith("lipread")]
    assert len(ours) == 1 and "no --model given" in ours[0]


def _read_all(terminal: int) -> str:
    """What was written to a pseudo-terminal that nobody writes to any more."""
    read = b""
    with open(terminal, "rb", buffering=0) as file:
        try:
            while part := file.read(4096):
                read += part
        except OSError:  # how Linux says that it is the end
            pass
    return read.decode()


@given(st.lists(st.sampled_from(["a", "b", "A", "c/a", "c/b", "d/c/a"]), unique=True), st.sampled_from(["", "/r"]))
def test_outputs_never_share_a_name(stems, root):
    suffixes = (".mp4", ".mov")
    videos = [(Path(f"{root}/{stem}{suffix}"), Path(f"{stem}{suffix}").name) for stem in stems for suffix in suffixes]
    named = _named_apart([(file, Path(name)) for file, name in videos])
    assert [file for file, _ in named] == [file for file, _ in videos]
    assert len({str(name) for _, name in named}) == len(videos)
    assert not any(name.is_absolute() or ".." in name.parts for _, name in named)


def test_a_file_whose_name_is_a_pattern_is_that_file(tmp_path):
    (tmp_path / "talk[1].mp4").touch()
    (tmp_path / "talk1.mp4").touch()
    ((found, output),), errors = find_videos([str(tmp_path / "talk[1].mp4")])
    assert (found.name, str(output), errors) == ("talk[1].mp4", "talk[1]", [])
