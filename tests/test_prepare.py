# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Preparing corpora: what is kept, what is skipped and why, and going on after a kill."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import skimage.data
from corpora import all_rows, wait_for, write_manifest
from datasets import load_from_disk

from data import prepare as prepare_module
from data.prepare import main, prepare
from data.schema import CorpusError, decode_row, load_split

REPOSITORY = Path(__file__).resolve().parent.parent


def encode_video(path, frames, frame_rate=25):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=frame_rate)
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Short videos: a face that moves, the same with the face gone most of the time, and files that are no use."""
    folder = tmp_path_factory.mktemp("media")
    portrait = skimage.data.astronaut()
    crops = [portrait[:256, 100 + 2 * index : 356 + 2 * index] for index in range(24)]
    blank = np.full_like(crops[0], 128)
    encode_video(folder / "face.mp4", crops)
    encode_video(folder / "seldom.mp4", crops[:3] + [blank] * 9)
    encode_video(folder / "wall.mp4", [blank] * 6)
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes((folder / "face.mp4").read_bytes()[:3000])
    return folder


def test_videos_end_to_end(media, tmp_path, capsys):
    (tmp_path / "hello.align").write_text("0 2500 sil\n2500 7500 hello\n7500 20000 there\n")
    face = str(media / "face.mp4")
    manifest = write_manifest(
        tmp_path,
        "test.jsonl",
        [
            {"video": face, "text": "hello there", "id": "whole", "speaker": "eileen", "align": "hello.align"},
            {"video": face, "text": "there", "id": "part", "start": 0.4, "end": 0.72, "align": "hello.align"},
            {"video": face, "text": "goodbye", "id": "misaligned", "align": "hello.align"},
            {"video": str(media / "seldom.mp4"), "text": "x", "id": "seldom"},
            {"video": str(media / "wall.mp4"), "text": "x", "id": "wall"},
            {"video": str(media / "empty.mp4"), "text": "x", "id": "empty"},
            {"video": str(media / "cut.mp4"), "text": "x", "id": "cut"},
            {"video": face, "text": "x", "id": "late", "start": 60},
            '{"video": "x.mp4", "text": ',
            {"video": "nowhere.mp4", "text": "x"},
            {"video": face, "text": "x", "id": "whole"},
        ],
    )
    main([str(manifest), "--output", str(tmp_path / "corpus"), "--allow_outside"])

    rows = load_from_disk(tmp_path / "corpus" / "test")
    assert rows["id"][:] == ["whole", "part", "misaligned"]
    assert rows["num_frames"][:] == [24, 8, 24]
    assert rows["speaker"][:] == ["eileen", None, None]
    words = [[(word["word"], word["start"], word["end"]) for word in row] for row in rows["words"]]
    assert words[0] == [
        ("hello", pytest.approx(0.1), pytest.approx(0.3)),
        ("there", pytest.approx(0.3), pytest.approx(0.8)),
    ]
    assert words[1] == [("there", 0.0, pytest.approx(0.32))]
    assert words[2] == []
    whole, part = (decode_row(load_split(tmp_path / "corpus", "test")[index]) for index in (0, 1))
    assert whole.present.all() and (whole.width, whole.height) == (256, 256)
    assert whole.frame_rate == pytest.approx(25) and part.timestamps[:2] == pytest.approx([0.0, 0.04], abs=1e-4)
    # The crop moves right by 2 pixels a frame, so the face moves left; and the segment is frames 10 to 17.
    drift = np.diff(whole.keypoints.mean(axis=1), axis=0).mean(axis=0)
    assert drift[0] == pytest.approx(-2.0, abs=0.3) and abs(drift[1]) < 0.3
    # Followed from another frame on, a face lies some tenths of a pixel elsewhere; the frames are the right ones.
    distances = [np.abs(part.keypoints - whole.keypoints[start : start + 8]).mean() for start in (9, 10, 11)]
    assert np.argmin(distances) == 1 and distances[1] < 0.5

    report = json.loads((tmp_path / "corpus" / "report.json").read_text())
    quality = report["splits"]["test"].pop("quality")
    assert quality["coverage"]["median"] == 1.0 and quality["face_width"]["unknown"] == 0
    assert report["splits"]["test"] == {
        "clips": 3,
        "seconds": pytest.approx(56 / 25),
        "frames": 56,
        "frames_with_face": 56,
        "face_coverage": 1.0,
    }
    reasons = {f"{skip['where']} {skip['id']}": skip["reason"] for skip in report["skipped"]}
    expected = {
        "test.jsonl line 4 seldom": "a face in 3 of 12 frames (25%, wanted 50%)",
        "test.jsonl line 5 wall": "a face in 0 of 6 frames",
        "test.jsonl line 6 empty": "empty (0 bytes)",
        "test.jsonl line 7 cut": "truncated",
        "test.jsonl line 8 late": "no frame between start=60",
        "test.jsonl line 9 None": "not JSON",
        "test.jsonl line 10 None": "nowhere.mp4 is no file",
        "test.jsonl line 11 whole": "the id already stands in line 1",
    }
    assert reasons.keys() == expected.keys()
    for where, reason in expected.items():
        assert reason in reasons[where]
    (warning,) = report["warnings"]
    assert "test.jsonl line 3 (misaligned): no word times: the alignment says 'hello there'" in warning
    printed = capsys.readouterr().out
    assert "test: 3 clips, 0 min 02.2 s, 56 frames, a face in 100.00% of them" in printed
    assert "skipped: 8" in printed and "  test.jsonl line 5 (wall): a face in 0 of 6 frames" in printed


def test_min_coverage_is_a_setting(media, tmp_path):
    manifest = write_manifest(tmp_path, "train.jsonl", [{"video": str(media / "seldom.mp4"), "text": "x"}])
    report = prepare([manifest], tmp_path / "corpus", min_coverage=0.2, allow_outside=True)
    assert report["splits"]["train"]["face_coverage"] == 0.25
    decoded = decode_row(load_split(tmp_path / "corpus")[0])
    assert decoded.present.tolist() == [True] * 3 + [False] * 9
    assert not decoded.keypoints[3:].any()


def test_grid_clips(grid_dir, tmp_path):
    lines = [json.loads(line) for line in (grid_dir / "test.jsonl").read_text().splitlines()[:3]]
    for line in lines:
        line |= {key: str(grid_dir / line[key]) for key in ("video", "align")}
    report = prepare([write_manifest(tmp_path, "test.jsonl", lines)], tmp_path / "corpus", allow_outside=True)
    assert report["skipped"] == report["warnings"] == []
    assert report["splits"]["test"]["clips"] == 3
    assert report["splits"]["test"]["face_coverage"] == 1.0
    for row, line in zip(load_from_disk(tmp_path / "corpus" / "test"), lines, strict=True):
        assert [word["word"] for word in row["words"]] == line["text"].split()
        assert (row["id"], row["speaker"], row["num_frames"], row["width"]) == (line["id"], "s1", 75, 360)
        assert 0.0 < row["words"][0]["start"] < row["words"][-1]["end"] < 3.0


def test_kill_and_continue(media, tmp_path):
    """SIGKILL of the real command in the midst of extraction: same rows as undisturbed, no work done twice, and two
    workers' parts equal to one process's."""
    face, wall = str(media / "face.mp4"), str(media / "wall.mp4")
    lines = [
        {"video": face, "text": f"text {index}", "start": index / 50, "end": index / 50 + 0.16, "id": str(index)}
        for index in range(40)
    ]
    lines[5] = {"video": wall, "text": "x", "id": "5"}
    lines[37] = {"video": wall, "text": "x", "id": "37"}
    manifest = write_manifest(tmp_path, "talk.jsonl", lines)
    command = [sys.executable, "-m", "data.prepare", manifest, "--output", tmp_path / "killed", "--num_proc", "2"]
    command.append("--allow_outside")
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    parts = tmp_path / "killed" / ".parts"
    wait_for(lambda: list(parts.glob("*.arrow")) or process.poll() is not None, seconds=120)
    workers = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and workers
    assert not psutil.wait_procs(workers, timeout=30)[1], "workers end with their parent"
    with pytest.raises(CorpusError, match="not finished"):
        load_split(tmp_path / "killed", "train")
    finished = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.arrow")}

    extracted = []
    original = prepare_module.extract_chunk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "extract_chunk", lambda *args: (extracted.append(args[0]), original(*args)))
        resumed = prepare([manifest], tmp_path / "killed", allow_outside=True)
    assert finished and extracted and not {chunk.part.name for chunk in extracted} & finished.keys()
    undisturbed = prepare([manifest], tmp_path / "undisturbed", allow_outside=True)
    assert resumed == undisturbed
    assert {skip["id"] for skip in resumed["skipped"]} == {"5", "37"}
    assert sum(totals["clips"] for totals in resumed["splits"].values()) == 38
    assert all_rows(tmp_path / "killed") == all_rows(tmp_path / "undisturbed")
    assert not parts.exists()
