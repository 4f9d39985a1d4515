# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts as files: cues that can be read, and subtitle files that webvtt-py reads back."""

import errno
import io
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webvtt import WebVTT

from lipread.output_files import replacing
from lipread.settings import CueSettings
from lipread.transcript import Transcript, Utterance, Word, text_of, text_width
from lipread.writers import (
    MAX_CHARACTERS_PER_SECOND,
    MIN_CUE_SECONDS,
    format_subtitles,
    format_transcript,
    make_cues,
    transcript_dict,
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


SETTINGS = st.builds(
    CueSettings, max_line_width=st.integers(10, 60), max_line_count=st.integers(1, 3), by_word=st.booleans()
)


@given(transcripts(), SETTINGS)
def test_cues_hold_every_word_once_and_can_be_read(read, settings):
    cues = make_cues(read, settings)
    people = {entry.speaker for entry in read.utterances}
    for speaker in people:
        own = [cue for cue in cues if cue.speaker == (speaker if len(people) > 1 else None)]
        spoken = [word for entry in read.utterances if entry.speaker == speaker for word in entry.text.split()]
        assert " ".join(line for cue in own for line in cue.lines).split() == spoken
        label = f"[{speaker}] " if len(people) > 1 else ""
        for cue in own:
            room = max(settings.max_line_width - len(label), 1)
            assert 0 < len(cue.lines) <= settings.max_line_count
            assert all(text_width(line) <= room or " " not in line for line in cue.lines)
        for cue, following in pairwise([*own, None]):
            width = len(label) + text_width(" ".join(cue.lines))
            wanted = max(MIN_CUE_SECONDS, width / MAX_CHARACTERS_PER_SECOND)
            alone = len(cue.lines) == 1 == len(cue.lines[0].split())
            assert alone or cue.end - cue.start <= max(settings.seconds, wanted) + 1e-6
            free = float("inf") if following is None else following.start - cue.start
            assert cue.start < cue.end <= cue.start + free
            assert cue.end - cue.start >= min(wanted, free) - 1e-6, "there is time to read it"


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
    assert [(cue.start, cue.lines) for cue in make_cues(spoken, CueSettings(max_line_width=30))] == [
        (0.5, ["bin blue at f two now"]),
        (4.0, ["the tide comes in at seven and", "nobody knows where it will be"]),
        (pytest.approx(7.9), ["when the evening comes again"]),
    ]
    spoken = transcript(utterance("bin blue", 0.5, continues=True), utterance("at f two", 1.1))
    assert [cue.lines for cue in make_cues(spoken)] == [["bin blue at f two"]]
    # By word: slow words are cues of their own, quick ones share a cue that can be read.
    cues = make_cues(transcript(utterance("bin blue at", 0.5, pace=1.0)), CueSettings(by_word=True))
    assert [cue.lines for cue in cues] == [["bin"], ["blue"], ["at"]]
    cues = make_cues(transcript(utterance("bin blue at f two now please", 0.5)), CueSettings(by_word=True))
    assert [cue.lines for cue in cues] == [["bin blue at"], ["f two now"], ["please"]]
    assert min(cue.end - cue.start for cue in cues) >= MIN_CUE_SECONDS - 1e-6


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


UNSPACED = {
    "Mandarin": "她昨天下午坐火车去南方的一座小城市看望多年没有见面的老朋友他们在河边的茶馆里聊了很久直到天黑才回家",
    "Japanese": "きのうはちょっとコーヒーを飲みながら、ともだちと駅前のラーメン屋さんでゆっくりはなしをしました。",
    "Thai": "เมื่อวานนี้ฉันไปตลาดกับแม่และซื้อผลไม้หลายอย่างกลับบ้านก่อนฝนจะตกหนัก",
    "Khmer": "ម្សិលមិញខ្ញុំទៅផ្សារជាមួយម្តាយហើយទិញផ្លែឈើជាច្រើនយកមកផ្ទះមុនពេលភ្លៀងធ្លាក់ខ្លាំង",
    "Lao": "ມື້ວານນີ້ຂ້ອຍໄປຕະຫຼາດກັບແມ່ແລະຊື້ໝາກໄມ້ຫຼາຍຢ່າງກັບບ້ານກ່ອນຝົນຈະຕົກໜັກ",
    "Burmese": "မနေ့ကကျွန်တော်အမေနဲ့ဈေးသွားပြီးသစ်သီးတွေအများကြီးဝယ်ပြီးအိမ်ပြန်လာတယ်",
    "mixed": "我昨天用iPhone给在London工作的老朋友打电话问他meeting几点开始他说下午三点半在Room 101开会",
}


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("width", [42, 20])
@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_scripts_without_spaces_are_wrapped_timed_and_complete(text, width, by_word):
    spoken = transcript(Utterance(0.0, 14.0, [Word(text, 0.2, 13.8, 0.9)]))
    cues = make_cues(spoken, CueSettings(max_line_width=width, by_word=by_word))
    assert "".join(line for cue in cues for line in cue.lines).replace(" ", "") == text.replace(" ", "")
    assert max(cue.end - cue.start for cue in cues) <= 6.0 and len(cues) > 2
    assert all(len(cue.lines) <= 2 and max(map(text_width, cue.lines)) <= width for cue in cues)
    # No line begins with a mark that belongs to the letter before it.
    assert not any(line[0] in "ー。、ょっ\u0e31\u0e49\u17d2\u102d" for cue in cues for line in cue.lines)


def test_json_is_that_of_transformers_and_of_whisper():
    spoken = transcript(utterance("set white", 0.2, person=1), utterance("我用iPhone", 3.0, person=2))
    found = transcript_dict(spoken)
    assert [chunk["text"] for chunk in found["chunks"]] == ["set", "white", "我用iPhone"]
    first, second = found["segments"]
    assert (first["id"], first["start"], first["text"], second["id"]) == (0, 0.2, "set white", 1)
    assert [word["word"] for word in first["words"]] == ["set", " white"]
    assert set(first["words"][0]) == {"word", "start", "end", "probability"}
    for segment in found["segments"]:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
    units = [unit for word in ("我用iPhone打电话", "hello", "สวัสดี") for unit in Word(word, 0.0, 1.0).split()]
    assert text_of(units) == "我用iPhone打电话 helloสวัสดี", "words are joined as they are written"
    assert [(unit.text, unit.start) for unit in units[:2]] == [("我", 0.0), ("用", pytest.approx(1 / 6))]
    rows = [row.split("\t") for row in format_transcript(spoken, "tsv").splitlines()]
    assert rows[:2] == [["start", "end", "text"], ["200", "740", "[person 1] set white"]]


@pytest.mark.parametrize(
    "error, said", [(OSError(errno.ENOSPC, "full"), r"full: '.*new.txt'"), (KeyboardInterrupt(), None)]
)
def test_a_writer_that_fails_leaves_the_folder_as_it_was_and_a_full_disk_names_the_file(tmp_path, error, said):
    (tmp_path / "new.txt").write_text("old")
    with pytest.raises(type(error), match=said), replacing(tmp_path / "new.txt") as beside:
        beside.write_text("half")
        raise error
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
