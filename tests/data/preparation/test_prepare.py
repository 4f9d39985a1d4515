# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Preparing corpora from videos: what is kept, what is skipped and why, splits and warnings."""

import json

import numpy as np
import pytest
from datasets import load_from_disk

from data.prepare import main, prepare
from data.schema import load_split
from lipread.landmark_rows import decode_row
from tests.helpers.clips import moving_portrait, write_video
from tests.helpers.corpora import fill, srt, write_manifest

ALIGN = "0 2500 sil\n2500 7500 hello\n7500 20000 there\n"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1,\nface.mp4\n#EXT-X-ENDLIST\n"


def test_videos_end_to_end(tmp_path, capsys):
    shown = moving_portrait(24)
    blank = [np.full_like(shown[0], 128)]
    for name, frames in (("face", shown), ("seldom", shown[:3] + blank * 9), ("wall", blank * 6)):
        write_video(tmp_path / f"{name}.mp4", frames)
    face = (tmp_path / "face.mp4").read_bytes()
    fill(tmp_path, {"cut.mp4": face[:3000], "codec.mp4": face.replace(b"avc1", b"zzzz"), "list.mp4": PLAYLIST})
    fill(tmp_path, {"script.mp4": "ffconcat version 1.0\nfile face.mp4\n", "lists/a.align": ALIGN})
    given = [{"word": "hello", "start": 0.1, "end": 0.3}, {"word": "There", "start": 0.3, "end": 0.8}]
    lines = [{"id": "whole", "text": "hello there", "speaker": "eileen", "align": "a.align"}]
    lines += [{"id": "part", "text": "there", "start": 0.4, "end": 0.72, "words": given}]
    lines += [{"id": "misaligned", "text": "goodbye", "align": "a.align"}]
    lines = [{"video": "../face.mp4", **line} for line in lines] + ['{"video": "x.mp4", "text": ']
    bad = ("seldom", "wall", "cut", "codec", "list", "script")
    lines += [{"video": f"../{name}.mp4", "text": "x", "id": name} for name in bad]
    manifest = write_manifest(tmp_path / "lists", "test.jsonl", lines)
    main([str(manifest), "--output", str(tmp_path / "corpus"), "--allow_outside"])

    rows = load_from_disk(tmp_path / "corpus" / "test")
    assert rows["id"][:] == ["whole", "part", "misaligned"]
    assert rows["num_frames"][:] == [24, 8, 24]
    assert rows["speaker"][:] == ["eileen", None, None]
    words = [[(word["word"], word["start"], word["end"]) for word in row] for row in rows["words"]]
    times = [pytest.approx(time) for time in (0.1, 0.3, 0.8)]
    assert words[0] == [("hello", times[0], times[1]), ("there", times[1], times[2])]
    assert words[1:] == [[("There", 0.0, pytest.approx(0.32))], []]
    whole, part = (decode_row(load_split(tmp_path / "corpus", "test")[index]) for index in (0, 1))
    assert whole.present.all() and (whole.width, whole.height) == (360, 288)
    assert whole.frame_rate == pytest.approx(25) and part.timestamps[:2] == pytest.approx([0.0, 0.04], abs=1e-4)
    # The face moves right by 2 pixels a frame, and the segment is frames 10 to 17.
    drift = np.diff(whole.keypoints.mean(axis=1), axis=0).mean(axis=0)
    assert drift[0] == pytest.approx(2.0, abs=0.3) and abs(drift[1]) < 0.3
    # Followed from another frame on, a face lies some tenths of a pixel elsewhere; the frames are the right ones.
    distances = [np.abs(part.keypoints - whole.keypoints[start : start + 8]).mean() for start in (9, 10, 11)]
    assert np.argmin(distances) == 1 and distances[1] < 0.5

    report = json.loads((tmp_path / "corpus" / "report.json").read_text())
    frames = {"frames": 56, "frames_with_face": 56, "speakers": 1, "face_coverage": 1.0, "capitals": 0.0}
    assert report["splits"]["test"] == {"clips": 3, "seconds": pytest.approx(56 / 25), **frames}
    reasons = {f"{skip['where']} {skip['id']}": skip["reason"] for skip in report["skipped"]}
    expected = {
        "test.jsonl line 4 None": "not JSON",
        "test.jsonl line 5 seldom": "a face in 3 of 12 frames (25%, wanted 50%)",
        "test.jsonl line 6 wall": "a face in 0 of 6 frames",
        "test.jsonl line 7 cut": "truncated",
        "test.jsonl line 8 codec": "its video codec is unknown here",
        "test.jsonl line 9 list": "not a video file",
        "test.jsonl line 10 script": "not a video file",
    }
    assert reasons.keys() == expected.keys() and all(reason in reasons[where] for where, reason in expected.items())
    (warning,) = report["warnings"]
    assert "test.jsonl line 3 (misaligned): no word times: the alignment says 'hello there'" in warning
    printed = capsys.readouterr().out
    assert "test: 3 clips, 0 min 02.2 s, 56 frames, a face in 100.00% of them" in printed
    assert "skipped: 7" in printed and "  test.jsonl line 6 (wall): a face in 0 of 6 frames" in printed
    seldom = write_manifest(tmp_path / "lists", "seldom.jsonl", lines[4:5])
    prepare([seldom], tmp_path / "more", min_coverage=0.2, allow_outside=True)
    seldom = decode_row(load_split(tmp_path / "more")[0])
    assert seldom.present.tolist() == [True] * 3 + [False] * 9 and not seldom.keypoints[3:].any()


def test_cues_beyond_the_end_of_the_video_are_skipped_by_name(portrait_video, tmp_path):
    video = portrait_video.read_bytes()
    cues = [(0.0, 0.2, "Good morning."), (0.2, 0.9, "It ends in this one."), (60.0, 61.0, "It is over.")]
    talks = fill(tmp_path / "talks", {"a.mp4": video, "a.srt": srt(*cues)})
    report = prepare([talks], tmp_path / "out", format="subtitles", val_ratio=0)
    rows = load_from_disk(tmp_path / "out")["train"]
    assert rows["id"][:] == ["a_0.000-0.200", "a_0.200-0.900"] and rows["num_frames"][:] == [5, 3]
    (skip,) = report["skipped"]
    assert skip["where"] == "talks/a.srt cue 3" and "no frame between 60 and" in skip["reason"]


def test_splits_of_the_corpus(portrait_video, tmp_path):
    files = {f"{name}/faks0/sx1.txt": "0 8000 Hello" for name in ("TRAIN", "TEST")}
    files |= {f"{name}/faks0/sx1.mp4": portrait_video.read_bytes() for name in ("TRAIN", "TEST")}
    timit = fill(tmp_path / "timit", files)
    assert prepare([timit], tmp_path / "corpus", format="timit")["splits"].keys() == {"train", "test"}
    for more, reason in (
        ("--format timit --split_by speaker", "the sources are the splits test, train; --split_by divides"),
        ("--format lrs", "no usable clip in the format lrs"),
    ):
        with pytest.raises(SystemExit, match=reason):
            main([str(timit), "--output", str(tmp_path / "other"), *more.split()])
    assert not (tmp_path / "other").exists()


def test_lrs3_in_lower_case_and_the_command_that_trains_on_it(portrait_video, tmp_path, capsys):
    text = "Text:  GOOD DAY\nRef: abc\n\nWORD START END ASDSCORE\nGOOD 0.1 0.2 7.1\nDAY 0.2 0.3 6.9\n"
    clips = [f"{split}/abc/1" for split in ("pretrain", "trainval", "test")]
    files = {f"{clip}.mp4": portrait_video.read_bytes() for clip in clips} | {f"{clip}.txt": text for clip in clips}
    folder = fill(tmp_path / "lrs3", files)
    for more, said, advised in (([], "GOOD DAY", True), (["--case", "lower", "--overwrite"], "good day", False)):
        main([str(folder), "--format", "lrs", "--output", str(tmp_path / "corpus"), *more])
        printed = capsys.readouterr().out
        assert "--output_dir runs/a --train_split trainval" in printed
        assert ("transcripts of pretrain, test, trainval are in capitals" in printed) == advised
        assert ("--case lower --overwrite" in printed) == advised
        for rows in load_from_disk(tmp_path / "corpus").values():
            assert rows["text"][:] == [said]
            assert [word["word"] for word in rows["words"][0]] == said.split()
