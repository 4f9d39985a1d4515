# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Preparing corpora that are no manifests: what is known of a clip only once its video is read, splits, warnings."""

import pytest
from datasets import load_from_disk

from data.prepare import main, prepare
from tests.helpers.clips import moving_portrait, write_video
from tests.helpers.corpora import fill, srt, textgrid, write_manifest


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Half a second."""
    return write_video(tmp_path_factory.mktemp("video") / "face.mp4", moving_portrait(12)).read_bytes()


def test_cues_beyond_the_end_of_the_video_are_skipped_by_name(video, tmp_path):
    cues = [(0.0, 0.2, "Good morning."), (0.3, 0.9, "It ends in this one."), (60.0, 61.0, "It is over.")]
    folder = fill(
        tmp_path / "talks", {"a.mp4": video, "a.srt": srt(*cues), "b.mp4": b"damaged", "b.srt": srt(*cues[:1])}
    )
    report = prepare([folder], tmp_path / "corpus", val_ratio=0)
    rows = load_from_disk(tmp_path / "corpus")["train"]
    assert rows["id"][:] == ["a_0.000-0.200", "a_0.300-0.900"]
    assert rows["num_frames"][:] == [5, 4]
    reasons = {skip["where"]: skip["reason"] for skip in report["skipped"]}
    assert reasons.keys() == {"talks/a.srt cue 3", "talks/b.srt cue 1"}
    assert "no frame between 60 and" in reasons["talks/a.srt cue 3"]
    assert "not a readable video" in reasons["talks/b.srt cue 1"]


def test_words_in_a_segment_and_words_that_do_not_fit_the_text(video, tmp_path):
    words = [(0.1, 0.2, "good"), (0.2, 0.32, "morning"), (0.32, 0.4, "all")]
    tiers = [("utterances", [(0.08, 0.32, "Good morning!"), (0.32, 0.48, "All of you.")]), ("words", words)]
    manifest = [{"video": "a.mp4", "text": "good morning all", "align": "a.TextGrid", "id": "whole"}]
    manifest += [{"video": "a.mp4", "text": "morning", "start": 0.2, "end": 0.32, "id": "part"}]
    manifest[1]["words"] = [{"word": "Morning", "start": 0.2, "end": 0.32}]
    folder = fill(tmp_path / "talks", {"a.mp4": video, "a.TextGrid": textgrid(tiers)})
    report = prepare([folder], tmp_path / "corpus", val_ratio=0)
    first, second = load_from_disk(tmp_path / "corpus")["train"]["words"][:]
    approximate = [(word["word"], round(word["start"], 5), round(word["end"], 5)) for word in first]
    assert approximate == [("good", 0.02, 0.12), ("morning", 0.12, 0.24)] and second == []
    (warning,) = report["warnings"]
    assert warning.startswith(
        "talks/a.TextGrid utterances interval 2 (a_0.320-0.480): no word times: the alignment says"
    )
    (folder / "a.TextGrid").write_text(textgrid(tiers[1:]))
    report = prepare([write_manifest(folder, "train.jsonl", manifest)], tmp_path / "by_manifest")
    rows = load_from_disk(tmp_path / "by_manifest")["train"]["words"][:]
    assert [[word["word"] for word in row] for row in rows] == [["good", "morning", "all"], ["Morning"]]
    assert rows[1][0]["start"] == 0.0 and report["warnings"] == []


def test_splits_of_the_corpus_and_of_sources_that_clash(video, tmp_path):
    files = {f"{name}/faks0/sx1.txt": "0 8000 Hello" for name in ("TRAIN", "TEST")}
    files |= {f"{name}/faks0/sx1.mp4": video for name in ("TRAIN", "TEST")}
    timit = fill(tmp_path / "timit", files)
    assert prepare([timit], tmp_path / "corpus")["splits"].keys() == {"train", "test"}
    train = fill(tmp_path / "train", {"a.mp4": video, "a.txt": "0 8000 Hello"})
    divided = "the sources are the splits test, train; --split_by divides a single other"
    for sources, more, reason in (
        ([timit, train], "", "a split 'train' is given twice"),
        ([timit], "--split_by speaker", divided),
        ([timit], "--format lrs", "no usable clip in the format lrs"),
    ):
        with pytest.raises(SystemExit) as exit:
            main([*map(str, sources), "--output", str(tmp_path / "other"), *more.split()])
        assert reason in exit.value.code
    assert not (tmp_path / "other").exists()


def test_lrs3_in_lower_case_and_the_command_that_trains_on_it(video, tmp_path, capsys):
    text = "Text:  GOOD DAY\nRef: abc\n\nWORD START END ASDSCORE\nGOOD 0.1 0.2 7.1\nDAY 0.2 0.4 6.9\n"
    clips = [f"{split}/abc/1" for split in ("pretrain", "trainval", "test")]
    files = {f"{clip}.mp4": video for clip in clips} | {f"{clip}.txt": text for clip in clips}
    folder = fill(tmp_path / "lrs3", files)
    for more, said, advised in (([], "GOOD DAY", True), (["--case", "lower", "--overwrite"], "good day", False)):
        main([str(folder), "--output", str(tmp_path / "corpus"), *more])
        printed = capsys.readouterr().out
        assert "--output_dir runs/a --train_split trainval" in printed
        assert ("transcripts of pretrain, test, trainval are in capitals" in printed) == advised
        assert ("--case lower --overwrite" in printed) == advised
        for rows in load_from_disk(tmp_path / "corpus").values():
            assert rows["text"][:] == [said]
            assert [word["word"] for word in rows["words"][0]] == said.split()
