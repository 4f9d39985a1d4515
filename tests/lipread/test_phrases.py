# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Phrase books: recorded from a video, read by pipeline, transcribe and live, changed, embedded again, trained on."""

import json
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest
from datasets import load_from_disk
from transformers import AutoModel, AutoProcessor

from data.dataset import open_split
from data.talker import perform
from lipread.landmark_rows import decode_row
from lipread.live import voice
from lipread.phrases.book import PhraseBook
from lipread.phrases.takes import TakeError, check_take, look_alikes, recorded_takes
from modeling_lipread import LipReadingPipeline
from modeling_lipread.phrases_lipread import PhraseBookError, PhraseIndex, embedder_hash, spoken_span
from tests.helpers.clips import EXAMPLE, write_video
from tests.helpers.readers import run_elsewhere

PHRASES = ("i need some water", "please call my sister", "good morning")


def say(head, text: str, seed: int) -> list[np.ndarray]:
    """A phrase with a second of rest before and after it."""
    frames = list(head.frames(perform(text, seed)))
    return frames[:1] * 25 + frames + frames[-1:] * 25


@pytest.fixture(scope="module")
def takes_video(head, tmp_path_factory):
    frames = [frame for seed, text in enumerate(PHRASES * 2) for frame in say(head, text, seed)]
    return write_video(tmp_path_factory.mktemp("takes") / "takes.mp4", frames)


@pytest.fixture(scope="module")
def asked_video(head, tmp_path_factory):
    """A phrase of the book, one that is in no book, and another one."""
    texts = (PHRASES[1], "what time is it now", PHRASES[2])
    frames = [frame for seed, text in enumerate(texts, start=20) for frame in say(head, text, seed)]
    return write_video(tmp_path_factory.mktemp("asked") / "asked.mp4", frames)


@pytest.fixture(scope="module")
def enrolled(takes_video, tmp_path_factory):
    """A phrase book recorded from the video by the command; nobody writes into it."""
    from lipread.cli import main

    folder = tmp_path_factory.mktemp("enrolled")
    (folder / "phrases.txt").write_text("\n".join(PHRASES) + "\n", encoding="utf-8")
    arguments = ["enroll", folder / "phrases.txt", "--output", folder / "book", "--takes", 2, "--source", takes_video]
    assert main([*map(str, arguments), "--at_once", "--device", "cpu"]) == 0
    return folder / "book"


@pytest.fixture(scope="module")
def sequences(enrolled):
    return [decode_row(row) for row in load_from_disk(str(enrolled))["train"].with_format("numpy")]


@pytest.fixture
def book(pipeline, sequences, tmp_path):
    """A new book with a take of the first two phrases."""
    book = PhraseBook(tmp_path / "book", pipeline)
    book.add(PHRASES[0], sequences[0])
    book.add(PHRASES[1], sequences[1])
    return book


def test_enrolled_phrases_are_read_and_said_aloud_and_others_are_not(enrolled, asked_video, lipread, monkeypatch):
    said, options = [], ("--phrases", enrolled, "--device", "cpu")
    status, out, _ = lipread("transcribe", asked_video, "--format", "tsv", *options)
    assert status == 0
    assert [line.split("\t")[2] for line in out.splitlines()[1:]] == [PHRASES[1], PHRASES[2]]
    # A machine that tests has no loudspeaker.
    monkeypatch.setattr(voice, "Voice", lambda: SimpleNamespace(say=said.append))
    status, out, _ = lipread("live", "--source", asked_video, "--at_once", "--speak", *options)
    assert status == 0 and said == [PHRASES[1], PHRASES[2]]
    assert out.splitlines() == [PHRASES[1], "(none of the phrases)", PHRASES[2]]


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux does the voice need a player")
def test_a_system_that_cannot_play_sound_is_named(monkeypatch):
    pytest.importorskip("pyttsx3", reason="the extra phrases is not installed")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="cannot play sound; install alsa-utils"):
        voice.Voice()


@pytest.mark.slow
def test_confirmed_phrases_become_takes(enrolled, asked_video, pipeline, tmp_path):
    """The first answer is confirmed, the second corrected, the third wrong, as the person says on a terminal."""
    folder = shutil.copytree(enrolled, tmp_path / "book")
    options = ["--source", asked_video, "--at_once", "--confirm", "--phrases", folder, "--device", "cpu"]
    terminal, theirs = pty.openpty()
    os.write(terminal, b"\n1\nn\n")
    command = [sys.executable, "-m", "lipread.cli", "live", *map(str, options)]
    result = subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, timeout=300)
    shown = os.read(terminal, 1 << 16).decode()
    assert result.returncode == 0 and f"{PHRASES[1]}? [Enter: yes" in shown and "(none of the phrases)" in shown, shown
    book, before = PhraseBook(folder, pipeline), PhraseBook(enrolled, pipeline)
    more = {text: book.count(text) - before.count(text) for text in PHRASES}
    assert more[PHRASES[1]] >= 1 and sum(more.values()) == 2, shown


def test_confirming_needs_a_phrase_book_and_a_terminal(enrolled, lipread):
    for options, message in (((), "--phrases FOLDER"), (("--phrases", enrolled), "on a terminal")):
        status, _, errors = lipread("live", "--confirm", *options)
        assert status == 2 and message in errors[-1]


def test_the_pipeline_returns_the_phrase_with_scores_and_times(enrolled, sequences, pipeline):
    result = pipeline(sequences[4], phrases=enrolled, return_timestamps="word")
    assert result["text"] == PHRASES[1] and result["score"] > 0.9
    assert [match["text"] for match in result["phrases"]][0] == PHRASES[1] and len(result["phrases"]) == 3
    ((start, end),) = [chunk["timestamp"] for chunk in result["chunks"]]
    assert start < end and (start, end) == pytest.approx(spoken_span(sequences[4]), abs=0.1)
    still = replace(sequences[4], keypoints=np.repeat(sequences[4].keypoints[:1], len(sequences[4]), axis=0))
    results = pipeline([sequences[0], still], phrases=enrolled, batch_size=2)
    assert results[0]["text"] == PHRASES[0]
    assert results[1] == {"text": "", "reason": "the lips do not move", "phrases": []}


@pytest.mark.slow
def test_a_checkpoint_reads_a_book_with_nothing_of_ours_installed(enrolled, sequences, pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "reader")
    np.save(tmp_path / "clip.npy", sequences[5].keypoints)
    code = """
sys.modules["datasets"] = sys.modules["pyarrow"] = None
from transformers import pipeline
reader = pipeline("lip-reading", model="reader", trust_remote_code=True, device="cpu")
print(reader("clip.npy", phrases=sys.argv[1])["text"])
"""
    assert run_elsewhere(tmp_path, code, enrolled).splitlines()[-1] == PHRASES[2]


@pytest.mark.slow
def test_enrolment_goes_on_where_it_stopped(takes_video, asked_video, lipread, tmp_path):
    (tmp_path / "phrases.txt").write_text("\n".join((*PHRASES, "one more")), encoding="utf-8")
    arguments = ("enroll", tmp_path / "phrases.txt", "--output", tmp_path / "book", "--at_once", "--device", "cpu")
    status, _, errors = lipread(*arguments, "--takes", 2, "--source", takes_video)
    assert status == 1 and "takes that are missing: 2" in " ".join(errors)
    status, out, _ = lipread(*arguments, "--takes", 2, "--source", asked_video)
    assert status == 0
    assert "[1/2]" in out and out.count("one more") == 1  # one of its takes was recorded before


@pytest.mark.slow
def test_recordings_are_added_once_and_bad_ones_refused(head, lipread, tmp_path):
    for text, seed in ((PHRASES[0], 1), (PHRASES[1], 2)):
        (tmp_path / "takes" / text).mkdir(parents=True)
        write_video(tmp_path / "takes" / text / "1.mp4", say(head, text, seed))
    still = say(head, PHRASES[0], 1)[:1] * 40
    write_video(tmp_path / "takes" / PHRASES[0] / "2.mp4", still)
    arguments = ("enroll", tmp_path / "takes", "--output", tmp_path / "book", "--device", "cpu")
    for _ in range(2):
        status, _, errors = lipread(*arguments)
        assert status == 1 and "hardly move" in " ".join(errors)
        assert errors[-1].endswith("2 phrases, 2 takes")
    status, out, _ = lipread("phrases", tmp_path / "book", "--rename", PHRASES[0], "water", "--device", "cpu")
    assert status == 0 and out.splitlines() == ["water\ttakes: 1", f"{PHRASES[1]}\ttakes: 1"]


@pytest.mark.parametrize("name", ["phrases.txt", "takes.jsonl"])
def test_a_file_that_is_no_text_is_named(lipread, tmp_path, name):
    (tmp_path / name).write_bytes(EXAMPLE.read_bytes())
    status, _, errors = lipread("enroll", tmp_path / name, "--output", tmp_path / "book")
    assert status == 1 and f"{name}: not a text file in UTF-8; give one phrase a line" in errors[-1]


def test_manifests_of_takes(tmp_path):
    manifest = tmp_path / "takes.jsonl"
    manifest.write_text('{"video": "1.mp4", "text": " hello ", "start": 1}\n\n{"video": "2.mp4"}\n', encoding="utf-8")
    takes = recorded_takes(manifest)
    assert next(takes) == {"video": tmp_path / "1.mp4", "text": "hello", "start": 1.0, "end": None}
    with pytest.raises(TakeError, match="line 3"):
        next(takes)


def test_takes_that_would_not_help_are_refused_with_what_to_do(sequences):
    good = sequences[0]
    check_take(good)
    start, end = spoken_span(good)
    times = good.timestamps

    def part(kept: np.ndarray):
        return replace(good, keypoints=good.keypoints[kept], present=good.present[kept], timestamps=times[kept])

    nobody = replace(good, present=np.arange(len(good)) < 5)
    bad = {
        "beginning is cut off": part(times > start + 0.1),
        "end is cut off": part(times < end - 0.1),
        "hardly move": part(times < start),
        "move nearer": replace(good, keypoints=good.keypoints / 8),
        "look at the camera": nobody,
    }
    for message, sequence in bad.items():
        with pytest.raises(TakeError, match=message):
            check_take(sequence)
    with pytest.raises(TakeError, match="too dark"):
        check_take(nobody, brightness=8.0)


def test_a_book_is_changed_and_found_again(book, sequences, pipeline):
    book.add(PHRASES[1], sequences[4])
    book.rename(PHRASES[0], "water please")
    assert book.texts == ["water please", PHRASES[1]] and book.count(PHRASES[1]) == 2
    book.remove(PHRASES[1], take=1)
    again = PhraseBook(book.folder, pipeline)
    assert again.texts == ["water please", PHRASES[1]] and len(again) == 2
    assert again.match(sequences[3])[0].text == "water please"
    again.remove(PHRASES[1])
    assert PhraseIndex.load(book.folder, pipeline.model).texts == ["water please"]
    with pytest.raises(PhraseBookError, match="no phrase 'x'"):
        again.rename("x", "y")
    again.remove("water please")
    assert PhraseBook(book.folder, pipeline).texts == []
    with pytest.raises(PhraseBookError, match="is empty"):
        pipeline(sequences[0], phrases=book.folder)
    again.add("new", sequences[0])
    assert PhraseBook(book.folder, pipeline).texts == ["new"]


def test_confusions_are_counted_leaving_one_take_out(book, sequences):
    book.add(PHRASES[0], sequences[3])
    book.add(PHRASES[1], sequences[4])
    assert book.confusions() == []
    book.add("swapped", sequences[5])
    book.add("swapped", sequences[0])
    assert {(confusion.text, confusion.other) for confusion in book.confusions()} >= {("swapped", PHRASES[0])}


@pytest.mark.parametrize(("renames", "takes"), [(1, 2), (2, 2), (3, 3)], ids=["save_to_disk", "renamed", "embeddings"])
def test_a_killed_change_leaves_the_book_before_or_after_it(book, sequences, pipeline, monkeypatch, renames, takes):
    killed = Mock(wraps=os.replace, side_effect=[*[DEFAULT] * renames, KeyboardInterrupt])
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        book.add(PHRASES[2], sequences[2])
    monkeypatch.undo()
    again = PhraseBook(book.folder, pipeline)
    assert len(again) == takes
    assert again.match(sequences[0])[0].text == PHRASES[0]
    assert len(PhraseIndex.load(book.folder, pipeline.model).texts) == len(again)


def test_another_reader_refuses_the_embeddings_and_embeds_the_takes_again(book, reader_dir, sequences):
    model, processor = AutoModel.from_pretrained(reader_dir), AutoProcessor.from_pretrained(reader_dir)
    other = LipReadingPipeline(model=model, processor=processor, device="cpu")
    with pytest.raises(PhraseBookError, match="embedded by another reader"):
        other(sequences[0], phrases=book.folder)
    again = PhraseBook(book.folder, other)
    assert again.texts == book.texts
    assert json.loads((book.folder / "phrases.json").read_text())["weights"] == embedder_hash(model)
    assert other(sequences[0], phrases=book.folder)["phrases"][0]["text"] == PHRASES[0]


def test_a_book_is_a_corpus_to_train_on(book):
    clips = open_split(book.folder, "train")
    assert clips.column("text") == [PHRASES[0], PHRASES[1]]
    assert decode_row(clips[0]).keypoints.shape[1:] == (478, 3)


def test_a_folder_with_other_files_is_refused(pipeline, tmp_path, lipread):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(PhraseBookError, match="no phrase book"):
        PhraseBook(tmp_path, pipeline)
    with pytest.raises(PhraseBookError, match="lipread enroll"):
        PhraseIndex.load(tmp_path, pipeline.model)
    status, _, errors = lipread("phrases", tmp_path / "none")
    assert status == 2 and "lipread enroll" in errors[0]


def test_phrases_that_look_alike_are_pointed_out():
    alike = look_alikes(["pat my baby", "call my sister", "mat my baby", "open the window"])
    assert alike == [("pat my baby", "mat my baby")]
    assert look_alikes(["добрый день", "хорошо"]) == []
