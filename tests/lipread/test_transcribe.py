# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread transcribe`: its output, its files, its exit status and its error messages."""

import csv
import io
import json
import os
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor
from webvtt import WebVTT

from lipread.diagnosis import why_unread
from lipread.options import BUNDLED_MODEL, load_pipeline
from lipread.video_files import find_videos
from modeling_lipread.face_tracking_lipread import FaceFinder
from modeling_lipread.video_lipread import read_frames
from tests.helpers.clips import EXAMPLE, PORTRAIT, grid_lines, one_after_another, write_video
from tests.helpers.corpora import fill


@pytest.fixture
def transcribe(lipread):
    """Runs the command."""
    return partial(lipread, "transcribe", "--device", "cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, grid_dir) -> Path:
    """Two folders with a video of the same name, beside a damaged one."""
    root = tmp_path_factory.mktemp("folders")
    clip = (grid_dir / grid_lines(grid_dir, "validation", "s1", 1)[0]["video"]).read_bytes()
    files = {"anna/clip.mp4": clip, "ben/clip.mp4": clip, "ben/damaged.MP4": clip[:5000], "ben/notes.txt": "no video"}
    return fill(root, files)


def test_all_formats_say_the_same(transcribe, grid_dir, tmp_path, monkeypatch):
    lines = grid_lines(grid_dir, "validation", "s1", 4)
    talk = one_after_another(grid_dir, [lines[0], lines[3]], tmp_path / "talk.mp4")
    output = tmp_path / "output"
    status, text, errors = transcribe(talk)
    words, lines = text.split(), text.splitlines()
    assert (status, errors) == (0, []) and len(lines) == 2 and all(lines)
    assert transcribe(talk, "--output_format", "all", "-o", output)[:2] == (0, "")
    written = {path.suffix[1:]: path.read_text(encoding="utf-8") for path in output.glob("talk.*")}
    assert written.keys() == {"txt", "vtt", "srt", "tsv", "json"} and written["txt"] == text

    read = json.loads(written["json"])
    assert [chunk["text"] for chunk in read["chunks"]] == words
    assert [said["text"] for said in read["segments"]] == lines
    assert all(0 < chunk["score"] <= 1 for chunk in read["chunks"])
    times = [time for chunk in read["chunks"] for time in chunk["timestamp"]]
    assert times == sorted(times)
    rows = list(csv.DictReader(io.StringIO(written["tsv"]), delimiter="\t"))
    assert [row["text"] for row in rows] == lines
    assert [int(row["start"]) for row in rows] == [round(1000 * said["start"]) for said in read["segments"]]
    cues = list(WebVTT.from_buffer(io.StringIO(written["srt"]), format="srt"))
    assert " ".join(cue.text for cue in cues).split() == words and len(cues) < len(words) / 2

    by_word = transcribe(talk, "--format", "vtt", "--by_word")[1]
    shorter = [cue.text for cue in WebVTT.from_buffer(io.StringIO(by_word), format="vtt")]
    assert " ".join(shorter).split() == words and len(shorter) >= len(cues)
    # A set of files is completed, and what is there stays.
    (output / "talk.srt").unlink()
    (output / "talk.txt").write_text("mine")
    assert transcribe(talk, "-f", "all", "-o", output)[0] == 0
    assert (output / "talk.srt").read_text() == written["srt"] and (output / "talk.txt").read_text() == "mine"
    assert "--overwrite" in transcribe(talk, "-f", "all", "-o", output)[2][0]
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("modeling_lipread.video_lipread.video_seconds", lambda path: 0.5)  # shorter than it is
    assert transcribe(talk)[1] == text and f"{talk.name} (1 of 1)" in terminal.getvalue()


def test_a_folder_is_read_and_a_damaged_video_is_named(transcribe, folders, tmp_path):
    output = tmp_path / "read"
    status, out, errors = transcribe(folders, "--format", "srt", "--output", output)
    assert (status, out) == (1, "")
    assert len(errors) == 1 and "damaged.MP4" in errors[0] and "Traceback" not in errors[0]
    written = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert written == {"anna/clip.srt", "ben/clip.srt"}
    first = (output / "anna/clip.srt").read_text()
    assert "-->" in first

    # Again: files stay unless they are to be overwritten, and the damaged video is tried again.
    (output / "anna/clip.srt").write_text("mine")
    status, _, errors = transcribe(folders, "--format", "srt", "--output", output)
    assert status == 1 and "2 of 3 have files in" in errors[0] and "damaged.MP4" in errors[1]
    assert all(str(folders / name) in errors[0] for name in ("anna/clip.mp4", "ben/clip.mp4"))
    assert (output / "anna/clip.srt").read_text() == "mine"
    assert transcribe(folders / "anna", "--format", "srt", "--output", output / "anna", "--overwrite")[0] == 0
    assert (output / "anna/clip.srt").read_text() == first


def test_several_videos_on_one_stream(transcribe, folders):
    first, second = folders / "anna" / "clip.mp4", folders / "ben" / "clip.mp4"
    status, out, errors = transcribe(folders / "*" / "clip.*", "--format", "vtt")
    assert (status, out) == (2, "") and "2 videos need --output_dir" in errors[0]
    status, out, _ = transcribe(folders / "*" / "clip.*", first)  # one given twice is read once
    assert status == 0 and [line.split("\t")[0] for line in out.splitlines()] == [str(first), str(second)]


def test_hidden_files_and_folders_are_no_videos(tmp_path):
    """macOS writes `._clip.mp4` beside `clip.mp4` on disks of other systems."""
    names = ["clip.mp4", "._clip.mp4", ".Trash/old.mp4", "talk.mp4/clip.mov", "talk[1].avi"]
    fill(tmp_path, dict.fromkeys(names))
    found, errors = find_videos([str(tmp_path)])
    assert [str(file.relative_to(tmp_path)) for file, _ in found] == ["clip.mp4", "talk.mp4/clip.mov", "talk[1].avi"]
    for name in ("._clip.mp4", "talk[1].avi"):  # but one that is named is read, even if the name is a pattern
        assert find_videos([str(tmp_path / name)])[0] == [(tmp_path / name, Path(name).with_suffix(""))]


@pytest.mark.parametrize("stems", ["a b", "a A", "a c/a", "c/a d/c/a", "b c/b d/c/b a"])
def test_outputs_never_share_a_name(stems, tmp_path):
    videos = [str(tmp_path / f"{stem}{suffix}") for stem in stems.split() for suffix in (".mp4", ".mov")]
    fill(tmp_path, dict.fromkeys(videos))
    for given in (videos, videos[::2]):  # suffixes are needed for the first, folders alone for the second
        named, errors = find_videos(given)
        assert [str(file) for file, _ in named] == given and not errors
        assert len({str(name) for _, name in named}) == len(given)
        assert not any(name.is_absolute() or ".." in name.parts for _, name in named)


def test_an_unreadable_video_is_one_line_and_status_1(transcribe, folders, tmp_path):
    missing, clip = tmp_path / "missing.mp4", folders / "anna" / "clip.mp4"
    unknown, address = tmp_path / "codec.mp4", "https://example.org/clip.mp4"
    unknown.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
    (tmp_path / "empty").mkdir()
    status, out, errors = transcribe(missing, tmp_path / "empty", tmp_path / "*.mkv", unknown, address, clip)
    assert status == 1
    assert len(errors) == 5 and all(error.startswith("lipread: ") for error in errors)
    reasons = {missing: "no such file", "empty": "no video", "*.mkv": "no file matches"}
    for name, reason in (reasons | {unknown: "codec is unknown", address: "an address"}).items():
        assert any(str(name) in error and reason in error for error in errors)
    assert out.splitlines()  # and the rest is read
    np.save(tmp_path / "lips.npy", np.random.default_rng(0).normal(size=(50, 79, 3)))
    for options, reason in (((), "has 79 landmarks a frame"), (("--face", "all"), "lips.npy: landmarks are of")):
        status, _, errors = transcribe(tmp_path / "lips.npy", *options)
        assert status == 1 and len(errors) == 1 and reason in errors[0]
    (tmp_path / "out" / "clip.txt").mkdir(parents=True)
    status, _, errors = transcribe(clip, "--output", tmp_path / "out", "--overwrite")
    assert status == 1 and "clip.txt" in errors[0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.txt"]


def test_faces_are_found_while_the_model_is_loaded(transcribe, portrait_video, monkeypatch):
    found, choose = threading.Event(), FaceFinder.choose

    def observed(*arguments):
        found.set()
        return choose(*arguments)

    monkeypatch.setattr(FaceFinder, "choose", observed)
    monkeypatch.setattr(
        "lipread.options.load_pipeline", lambda *arguments: found.wait(60) and load_pipeline(*arguments)
    )
    assert transcribe(portrait_video)[0] == 0


@pytest.mark.parametrize(("missing", "package"), [("av", "av"), ("ai_edge_litert.interpreter", "ai-edge-litert")])
def test_a_missing_package_is_named(transcribe, portrait_video, missing, package, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    status, out, errors = transcribe(portrait_video)
    assert (status, out) == (1, "") and f"pip install {package}" in errors[-1]


@pytest.mark.skipif(os.name == "nt", reason="named pipes and devices are files on POSIX systems alone")
def test_what_is_no_file_is_called_what_it_is(transcribe, lipread, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name, reason in ((pipe, "is a pipe"), ("/dev/null", "is a device")):
        status, out, errors = transcribe(name)
        assert (status, out) == (1, "") and reason in errors[0]
    for name, reason in (("https://example.org/clip.mp4", "is an address"), (tmp_path, "is a folder")):
        status, _, errors = lipread("overlay", name, "--output", tmp_path / "a.mp4")
        assert status == 1 and f"{name}: {reason}" in errors[0]


def test_a_face_on_its_side_is_told_apart_from_a_small_one(tmp_path):
    lying = [np.ascontiguousarray(np.rot90(frame)) for _, frame in read_frames(EXAMPLE)]
    why = why_unread(write_video(tmp_path / "lying.mp4", lying))
    assert why == "The face lies on its side. Turn the video by 90 degrees to the right."


def test_videos_without_words_are_answered_alike_and_are_no_failure(transcribe, tmp_path, talker_clip):
    """No face, a face at rest, one upside down, and unknown words: each says what it is, in a message and in JSON."""
    grey = write_video(tmp_path / "grey.mp4", [np.full((240, 320, 3), 90, np.uint8)])  # of a single frame
    still = write_video(tmp_path / "still.mp4", [PORTRAIT] * 75)
    turned = write_video(tmp_path / "turned.mp4", [np.ascontiguousarray(PORTRAIT[::-1, ::-1])] * 75)
    unknown = "no speech that the model knows"
    cases = ((grey, "no face", "must be lit"), (still, "the lips do not move", ""), (turned, "", "is upside down"))
    for video, reason, why in (*cases, (talker_clip, unknown, unknown)):
        status, out, errors = transcribe(video, "--output_format", "json")
        found = json.loads(out)
        assert status == 0 and not found["text"] and len(errors) == 1
        assert found["unread"] and reason in found["unread"][0]["reason"] and why in errors[0]
    for kind, empty in (("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n")):
        assert transcribe(still, "--format", kind) == (0, empty, [f"lipread: {still}: no words: the lips do not move"])
    status, out, errors = transcribe(talker_clip, "--no_abstain")
    assert (status, errors) == (0, []) and len(out.split()) == 6


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--device", "abacus"], "--device"),
        (["--max_seconds", "1.5"], "max_seconds must be at least 2, not 1.5"),
        (["--pause_seconds", "nan"], "--pause_seconds: must be a number of seconds, 0 or more, not nan"),
        (["--pause_seconds", "0"], "pause_seconds must be more than 0"),
        (["--start", "-1"], "--start"),
        (["--start", "2", "--end", "1"], "--end 1: must be after"),
        (["--ctc_decoding_weight", "2"], "--ctc_decoding_weight"),
        (["--output_format", "all"], "--output_dir"),
        (["--output_dir", "/proc/nowhere"], "cannot be written"),
        (["--format", "pdf"], "--format"),
        (["--beams", "0"], "--beams"),
        (["--face", "nobody"], "--face"),
        (["--output", __file__], "--output"),
        (["--output", "talk.srt"], "> talk.srt"),
        (["--model", "nowhere/at-all"], "--model nowhere/at-all: no such folder"),
        (["--model", str(Path(__file__).parent)], "holds no reader"),
    ],
)
def test_wrong_usage_is_status_2(transcribe, folders, arguments, word):
    status, out, errors = transcribe(folders / "anna" / "clip.mp4", *arguments)
    assert (status, out) == (2, "")
    assert word in errors[-1] and not any("Traceback" in error for error in errors)


def test_an_encoder_alone_is_refused(transcribe, folders, tmp_path):
    model = AutoModel.from_pretrained(BUNDLED_MODEL)
    for adapter in model.adapters:
        torch.nn.init.zeros_(adapter.o_proj.weight)
    model.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(BUNDLED_MODEL).save_pretrained(tmp_path)
    status, out, errors = transcribe(folders / "anna" / "clip.mp4", "--model", tmp_path)
    assert (status, out) == (2, "") and f"--encoder {tmp_path}" in errors[-1]
