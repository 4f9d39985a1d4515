# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The talking head: pronunciation, timing, drawing, MediaPipe's view of it, and the corpus."""

import json

import numpy as np
import pytest

from data.sources.manifest import read_manifest
from data.talker import GRAMMAR, main, make_corpus, perform
from data.talker.visemes import articulate, schedule, visemes_of
from lipread.pronunciation import pronounce


def movements(text: str) -> np.ndarray:
    return articulate(schedule(text)[0])


def test_homophenes_look_alike_and_other_words_do_not():
    for word, *others in (("pat", "bat", "mat"), ("fan", "van"), ("tie", "die"), ("time", "dime"), ("sue", "zoo")):
        assert all(np.array_equal(movements(word), movements(other)) for other in others)
    for word, other in (("pat", "fat"), ("pat", "tat"), ("bee", "boo"), ("thin", "tin"), ("cat", "cot")):
        one, two = movements(word), movements(other)
        frames = min(len(one), len(two))
        assert np.abs(one[:frames] - two[:frames]).max() > 0.25, (word, other)
    words = {word for slot in GRAMMAR for phrase in slot for word in phrase.split()}
    looks = {tuple(viseme for phoneme in pronounce(word) for viseme, _ in visemes_of(phoneme)) for word in words}
    assert len(looks) == len(words) >= 38, "no homophenes in the grammar"


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("Doctor,", "D AA1 K T ER0"),
        ("don\u2019t", "D OW1 N T"),
        ("42", "F AO1 R T UW1"),
        ("caf\u00e9", "K AH0 F EY1"),
        ("twenty-one", "T W EH1 N T IY0 W AH1 N"),
        ("brillig", "B R IH1 L IH1 G"),
        ("shrophing", "SH R AA1 F IH1 NG"),
    ],
)
def test_pronunciation_from_the_dictionary_and_from_letters(text, phonemes):
    assert pronounce(text) == phonemes.split()
    for word in ("quixotic", "wrxyz", "aeiou", "thoughtfulnessingtion", "b"):
        assert all(visemes_of(phoneme) for phoneme in pronounce(word)), word
    with pytest.raises(ValueError, match="\u043c\u0438\u0440"):
        pronounce("\u043c\u0438\u0440")
    with pytest.raises(ValueError, match="empty"):
        schedule("  ")


def test_mediapipe_follows_the_mouth(head, extractor, tmp_path):
    """Opening and width of the mouth, as MediaPipe sees them, by the distance of the eyes, and as they are meant."""
    seen, meant, mouth, corners = [], [], head.face.mouth, [13, 14, 61, 291]
    for seed, text in enumerate(("please call the doctor tomorrow", "we move four puppies")):
        words, performance = head.render(text, tmp_path / f"{seed}.mp4", seed=seed), perform(text, seed)
        sequence = extractor.extract_video(tmp_path / f"{seed}.mp4")
        assert sequence.coverage == 1.0 and len(sequence) == len(performance.parameters)
        assert words == performance.words and words[-1]["end"] < len(sequence) / 25
        points, moves = sequence.keypoints[..., :2], np.stack([mouth.moves[index] for index in corners])
        lips = mouth.rest[corners] + np.einsum("fp,ipc->fic", performance.parameters, moves)
        eyes = np.linalg.norm(points[:, 33] - points[:, 263], axis=1)
        seen.append(np.linalg.norm(points[:, [13, 61]] - points[:, [14, 291]], axis=-1).T / eyes)
        meant.append(np.linalg.norm(lips[:, [0, 2]] - lips[:, [1, 3]], axis=-1).T)
    seen, meant = (np.concatenate(found, axis=1) for found in (seen, meant))
    # MediaPipe smooths landmarks over time, so fast movements appear smaller.
    assert all(np.corrcoef(one, other)[0, 1] > 0.85 for one, other in zip(seen, meant, strict=True))
    assert np.ptp(seen[0]) > 0.15, "in distances between the eyes"


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_command_line_writes_a_corpus_and_resumes(tmp_path):
    arguments = ["--output", str(tmp_path), "--num_clips", "2", "--num_test", "1", "--seed", "5"]
    main(arguments)
    splits = {split: rows(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    assert {split: len(lines) for split, lines in splits.items()} == {"train": 2, "test": 1}
    for split, lines in splits.items():
        records, skipped = read_manifest(tmp_path / f"{split}.jsonl")
        assert [record.text for record in records] == [line["text"] for line in lines] and not skipped
        for line in lines:
            assert set(line) == {"video", "text", "id", "speaker", "words"}
            assert [word["word"] for word in line["words"]] == line["text"].split()
    assert not {line["text"] for line in splits["train"]} & {line["text"] for line in splits["test"]}
    videos = sorted((tmp_path / "video").iterdir())
    assert len(videos) == 3
    content, kept = videos[0].read_bytes(), {video: video.stat().st_mtime_ns for video in videos[1:]}
    videos[0].unlink()
    main([*arguments, "--num_proc", "2"])
    assert videos[0].read_bytes() == content and rows(tmp_path / "train.jsonl") == splits["train"]
    assert {video: video.stat().st_mtime_ns for video in videos[1:]} == kept
    make_corpus(tmp_path, num_clips=2, num_test=1, seed=6)
    assert len({video.read_bytes() for video in (tmp_path / "video").iterdir()}) == 6, "of another seed"


def test_own_sentences(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\ufeffHello there!\r\n\r\nGood  morning\nHello there!\n", encoding="utf-8")
    make_corpus(tmp_path, num_clips=2, num_test=1, sentences_file=lines)
    train, test = ([row["text"] for row in rows(tmp_path / f"{split}.jsonl")] for split in ("train", "test"))
    assert len(set(train)) == 1 and len(train) == 2
    assert set(train) | set(test) == {"Hello there!", "Good morning"}
    with pytest.raises(ValueError, match="--num_test"):
        make_corpus(tmp_path, num_clips=2, num_test=2, sentences_file=lines)
    with pytest.raises(ValueError, match="sentences"):  # of its own it has fewer
        make_corpus(tmp_path, num_clips=10**6, num_test=1)
    lines.write_text("good morning\n\u65e9\u4e0a\u597d\n", encoding="utf-8")
    with pytest.raises(ValueError, match="\u65e9\u4e0a\u597d"):
        make_corpus(tmp_path, num_clips=2, num_test=0, sentences_file=lines)
