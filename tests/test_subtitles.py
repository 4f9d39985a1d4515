# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Cues that can be read, and subtitle files that the library that wrote them reads back."""

import io
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webvtt import WebVTT

from modeling_lipread.stitching_lipread import Word
from modeling_lipread.subtitles_lipread import SHORTEST_SECONDS, CueSettings, make_cues, write_subtitles
from modeling_lipread.transcript_files_lipread import format_transcript
from modeling_lipread.transcript_lipread import Transcript, Utterance


def utterance(text: str, start: float, person: int = 0, pace: float = 0.3, **more) -> Utterance:
    words = [
        Word(word, start + pace * index, start + pace * (index + 0.8), 0.9) for index, word in enumerate(text.split())
    ]
    return Utterance(start, words[-1].end if words else start, words, person, **more)


def transcript(*utterances: Utterance) -> Transcript:
    return Transcript("talk.mp4", 3600.0, sorted(utterances, key=lambda said: said.start))


def read_back(text: str, kind: str) -> list:
    return list(WebVTT.from_buffer(io.StringIO(text), format=kind))


@st.composite
def transcripts(draw) -> Transcript:
    said = []
    for person in range(1, draw(st.integers(1, 3)) + 1):
        time = draw(st.floats(0, 4000))
        for _ in range(draw(st.integers(1, 4))):
            text = " ".join(draw(st.lists(st.text("abc<&>-'é", min_size=1, max_size=20), min_size=1, max_size=40)))
            said.append(utterance(text, time, person, draw(st.floats(0.02, 0.6)), goes_on=draw(st.booleans())))
            time = said[-1].end + draw(st.floats(0.01, 5.0))
    return transcript(*said)


@given(transcripts(), st.builds(CueSettings, line_length=st.integers(10, 60), lines=st.integers(1, 3)))
def test_cues_say_every_word_once_and_can_be_read(read, settings):
    cues = make_cues(read, settings)
    people = {said.speaker for said in read.utterances}
    for speaker in people:
        own = [cue for cue in cues if cue.speaker == (speaker if len(people) > 1 else None)]
        said = [word for entry in read.utterances if entry.speaker == speaker for word in entry.text.split()]
        assert " ".join(line for cue in own for line in cue.lines).split() == said
        label = f"[{speaker}] " if len(people) > 1 else ""
        for cue in own:
            assert 0 < len(cue.lines) <= settings.lines
            assert all(len(line) <= max(settings.line_length - len(label), 1) or " " not in line for line in cue.lines)
            assert len(cue.lines) == 1 == len(cue.lines[0].split()) or cue.end - cue.start <= settings.seconds + 0.7
        for cue, following in pairwise(own):
            assert cue.start < cue.end <= following.start
            assert cue.end - cue.start >= min(SHORTEST_SECONDS, following.start - cue.start) - 1e-6


@given(transcripts())
def test_files_come_back_as_they_were_written(read):
    cues = make_cues(read)
    for kind in ("srt", "vtt"):
        found = read_back(write_subtitles(cues, kind), kind)
        assert [cue.start_in_seconds for cue in found] == [int(round(cue.start, 3)) for cue in cues]
        assert len(found) == len(cues)
        if kind == "srt":
            shown = [caption.text.split("] ", 1)[-1].translate({ord("‹"): "<", ord("›"): ">"}) for caption in found]
            assert [text.split() for text in shown] == [" ".join(cue.lines).split() for cue in cues]
    texts = [caption.raw_text.split(">", 1)[-1] if read.several_people else caption.raw_text for caption in found]
    expected = ["\n".join(cue.lines) for cue in cues]
    assert [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in texts] == expected


def test_cues_end_at_pauses_and_where_two_lines_are_full():
    said = transcript(
        utterance("bin blue at f two now", 0.5),
        utterance("the tide comes in at seven and nobody knows where it will be when the evening comes again", 4.0),
    )
    assert [(cue.start, cue.lines) for cue in make_cues(said, CueSettings(line_length=30))] == [
        (0.5, ["bin blue at f two now"]),
        (4.0, ["the tide comes in at seven and", "nobody knows where it will be"]),
        (pytest.approx(7.9), ["when the evening comes again"]),
    ]


def test_a_cut_through_speech_is_no_end_of_a_cue():
    said = transcript(utterance("bin blue", 0.5, goes_on=True), utterance("at f two", 1.1))
    assert [cue.lines for cue in make_cues(said)] == [["bin blue at f two"]]


def test_every_word_may_be_a_cue():
    said = transcript(utterance("bin blue at f", 0.5))
    cues = make_cues(said, CueSettings(by_word=True))
    assert [(cue.lines, cue.start) for cue in cues] == [
        (["bin"], 0.5),
        (["blue"], pytest.approx(0.8)),
        (["at"], pytest.approx(1.1)),
        (["f"], pytest.approx(1.4)),
    ]
    assert cues[-1].end == pytest.approx(1.4 + SHORTEST_SECONDS)  # nothing follows: it stays long enough to be read


def test_people_are_named_where_there_are_several():
    said = transcript(utterance("set white", 0.2, person=1), utterance("bin blue", 0.5, person=2))
    vtt = read_back(format_transcript(said, "vtt"), "vtt")
    assert [(cue.voice, cue.text) for cue in vtt] == [("person 1", "set white"), ("person 2", "bin blue")]
    srt = read_back(format_transcript(said, "srt"), "srt")
    assert [cue.text for cue in srt] == ["[person 1] set white", "[person 2] bin blue"]
    assert format_transcript(said, "txt") == "[person 1] set white\n[person 2] bin blue\n"
    assert [chunk["speaker"] for chunk in json.loads(format_transcript(said, "json"))["chunks"]] == [
        "person 1",
        "person 1",
        "person 2",
        "person 2",
    ]
    alone = transcript(utterance("set white", 0.2, person=1))
    assert read_back(format_transcript(alone, "srt"), "srt")[0].text == "set white"


def test_an_hour_is_an_hour():
    (cue,) = read_back(format_transcript(transcript(utterance("now", 3599.9996)), "srt"), "srt")
    assert cue.start == "01:00:00.000"


@pytest.mark.parametrize("kind", ["srt", "vtt", "txt"])
def test_nothing_said_is_an_empty_file_of_its_kind(kind):
    assert format_transcript(transcript(), kind).strip() == ("WEBVTT" if kind == "vtt" else "")
