# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts as files: cues that can be read, and subtitle files that webvtt-py reads back."""

import io
import json
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webvtt import WebVTT

from lipread.long_form.segmentation import SegmentSettings
from lipread.transcript import Transcript, Utterance, Word
from lipread.writers import (
    MIN_CUE_SECONDS,
    CueSettings,
    format_subtitles,
    format_transcript,
    make_cues,
    write_atomically,
)


def utterance(text: str, start: float, person: int = 0, pace: float = 0.3, **settings) -> Utterance:
    words = [
        Word(word, start + pace * index, start + pace * (index + 0.8), 0.9) for index, word in enumerate(text.split())
    ]
    return Utterance(start, words[-1].end if words else start, words, person, **settings)


def transcript(*utterances: Utterance) -> Transcript:
    return Transcript("talk.mp4", 3600.0, sorted(utterances, key=lambda entry: entry.start))


def read_back(text: str, kind: str) -> list:
    return list(WebVTT.from_buffer(io.StringIO(text), format=kind))


@st.composite
def transcripts(draw) -> Transcript:
    utterances = []
    for person in range(1, draw(st.integers(1, 3)) + 1):
        time = draw(st.floats(0, 4000))
        for _ in range(draw(st.integers(1, 4))):
            text = " ".join(draw(st.lists(st.text("abc<&>-'é", min_size=1, max_size=20), min_size=1, max_size=40)))
            continues = draw(st.booleans())
            utterances.append(utterance(text, time, person, draw(st.floats(0.02, 0.6)), continues=continues))
            time = utterances[-1].end + draw(st.floats(0.01, 5.0))
    return transcript(*utterances)


@given(transcripts(), st.builds(CueSettings, line_length=st.integers(10, 60), lines=st.integers(1, 3)))
def test_cues_hold_every_word_once_and_can_be_read(read, settings):
    cues = make_cues(read, settings)
    people = {entry.speaker for entry in read.utterances}
    for speaker in people:
        own = [cue for cue in cues if cue.speaker == (speaker if len(people) > 1 else None)]
        spoken = [word for entry in read.utterances if entry.speaker == speaker for word in entry.text.split()]
        assert " ".join(line for cue in own for line in cue.lines).split() == spoken
        label = f"[{speaker}] " if len(people) > 1 else ""
        for cue in own:
            assert 0 < len(cue.lines) <= settings.lines
            assert all(len(line) <= max(settings.line_length - len(label), 1) or " " not in line for line in cue.lines)
            assert len(cue.lines) == 1 == len(cue.lines[0].split()) or cue.end - cue.start <= settings.seconds + 0.7
        for cue, following in pairwise(own):
            assert cue.start < cue.end <= following.start
            assert cue.end - cue.start >= min(MIN_CUE_SECONDS, following.start - cue.start) - 1e-6


@given(transcripts())
def test_subtitle_files_are_read_back_as_written(read):
    cues = make_cues(read)
    for kind in ("srt", "vtt"):
        found = read_back(format_subtitles(cues, kind), kind)
        assert [cue.start_in_seconds for cue in found] == [int(round(cue.start, 3)) for cue in cues]
        assert len(found) == len(cues)
        if kind == "srt":
            shown = [caption.text.split("] ", 1)[-1].translate({ord("‹"): "<", ord("›"): ">"}) for caption in found]
            assert [text.split() for text in shown] == [" ".join(cue.lines).split() for cue in cues]
    texts = [caption.raw_text.split(">", 1)[-1] if read.has_several_people else caption.raw_text for caption in found]
    expected = ["\n".join(cue.lines) for cue in cues]
    assert [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in texts] == expected


def test_cues_end_at_pauses_and_where_two_lines_are_full_and_not_at_a_cut():
    long = "the tide comes in at seven and nobody knows where it will be when the evening comes again"
    spoken = transcript(utterance("bin blue at f two now", 0.5), utterance(long, 4.0))
    assert [(cue.start, cue.lines) for cue in make_cues(spoken, CueSettings(line_length=30))] == [
        (0.5, ["bin blue at f two now"]),
        (4.0, ["the tide comes in at seven and", "nobody knows where it will be"]),
        (pytest.approx(7.9), ["when the evening comes again"]),
    ]
    spoken = transcript(utterance("bin blue", 0.5, continues=True), utterance("at f two", 1.1))
    assert [cue.lines for cue in make_cues(spoken)] == [["bin blue at f two"]]
    cues = make_cues(transcript(utterance("bin blue", 0.5)), CueSettings(by_word=True))
    assert [(cue.lines, cue.start) for cue in cues] == [(["bin"], 0.5), (["blue"], pytest.approx(0.8))]
    assert cues[-1].end == pytest.approx(0.8 + MIN_CUE_SECONDS)  # nothing follows


def test_speakers_are_named_if_there_are_several():
    spoken = transcript(utterance("set white", 0.2, person=1), utterance("bin blue", 3599.9996, person=2))
    vtt = read_back(format_transcript(spoken, "vtt"), "vtt")
    assert [(cue.voice, cue.text) for cue in vtt] == [("person 1", "set white"), ("person 2", "bin blue")]
    srt = read_back(format_transcript(spoken, "srt"), "srt")
    assert [cue.text for cue in srt] == ["[person 1] set white", "[person 2] bin blue"]
    assert srt[1].start == "01:00:00.000"
    assert format_transcript(spoken, "txt") == "[person 1] set white\n[person 2] bin blue\n"
    speakers = [chunk["speaker"] for chunk in json.loads(format_transcript(spoken, "json"))["chunks"]]
    assert speakers == ["person 1", "person 1", "person 2", "person 2"]
    alone = transcript(utterance("set white", 0.2, person=1))
    assert read_back(format_transcript(alone, "srt"), "srt")[0].text == "set white"


@pytest.mark.parametrize("kind", ["srt", "vtt", "txt"])
def test_a_transcript_without_words_is_a_valid_file(kind):
    assert format_transcript(transcript(), kind).strip() == ("WEBVTT" if kind == "vtt" else "")


def test_files_are_complete_or_absent(tmp_path):
    write_atomically(tmp_path / "new" / "a.txt", "é\n")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "new" / "a.txt", "\udc80")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == ["é\n".encode()]


def test_no_option_of_segments_is_one_of_cues():
    assert not {field.name for field in fields(CueSettings)} & {field.name for field in fields(SegmentSettings)}
