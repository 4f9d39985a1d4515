# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Whatever a file holds: it gives skips, or clips that hold what clips must hold, in time that grows with the file."""

import re
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpora import formats, read_source
from data.sources.records import SourceError, clean_text, says_something
from tests.helpers.corpora import fill, srt, textgrid, vtt

# What the formats are made of, so that chance gets past the first line.
TOKENS = {
    "grid": ["0", "25000", "37500", "99999999999999999999", "-1", "bin", "sil", " ", "\n", "\r\n", "\t", "0 1 a\n"],
    "lrs": ["Text:", "Conf:", "WORD START END ASDSCORE\n", "FRAME X Y W H\n", "A", "0.1", "1e5", "{LG}", " ", "\n"],
    "textgrid": ['File type = "ooTextFile"\n', '"TextGrid"\n', "0 ", "1.5 ", "1e999 ", "-2 ", "<exists> ", "<absent> "]
    + ['"IntervalTier" ', '"TextTier" ', '"words" ', '"', '""', "! ", "\n", "2 ", "99999999 "],
    "subtitles": ["WEBVTT\n\n", "1\n", "00:00:01,000", "00:02.000", " --> ", "99:99:99.999", "<v Anna>", "<", ">"]
    + ["\n", "NOTE x\n", "STYLE\n", "word", "[", "]", "(", "♪", "{\\an8}", "- ", "<00:00:01.500>", "&amp;", "\n\n"]
    + ["-->"],
}
TOKENS["timit"] = TOKENS["grid"]
TIDE = [("utterances", [(0.0, 1.0, "the tide")]), ("words", [(0.0, 0.5, "the"), (0.5, 1.0, "tide")])]
# A valid file of each format.
VALID = [
    ("folder", ".txt", "some words"),
    ("grid", ".align", "0 25000 bin\n25000 50000 blue\n"),
    ("timit", ".wrd", "0 8000 bin\n8000 16000 blue\n"),
    ("timit", ".txt", "0 46797 The tide comes in."),
    ("lrs", ".txt", "Text:  THE TIDE\nConf:  4\n\nWORD START END ASDSCORE\nTHE 0.1 0.2 3.0\nTIDE 0.2 0.4 3.0\n"),
    ("subtitles", ".srt", srt((0, 1, "- The tide."), (1, 2, "comes in"))),
    ("subtitles", ".vtt", vtt((0, 1, "<v Anna>The tide."), (1, 2, "<v Ben>Comes in."))),
    ("textgrid", ".textgrid", textgrid(TIDE)),
]


@pytest.mark.parametrize(("format", "suffix", "text"), VALID)
@given(data=st.data())
def test_damaged_corpora_give_skips_or_clips_that_hold(format, suffix, text, data, tmp_path_factory):
    """A valid file with a piece cut out or put in, or any other: what is left holds, and its neighbour is unharmed."""
    token = st.sampled_from([*TOKENS.get(format, ()), text]) | st.text(max_size=8)
    words = [match.span() for match in re.finditer(r"\S+", text)]
    place = st.sampled_from(words) | st.tuples(*[st.integers(0, len(text))] * 2).map(sorted)
    changed = st.tuples(place, token).map(lambda change: text[: change[0][0]] + change[1] + text[change[0][1] :])
    encoded = st.tuples(changed | st.lists(token).map("".join), st.sampled_from(["utf-8", "utf-16"]))
    damaged = data.draw(encoded.map(lambda written: written[0].encode(written[1], "replace")) | st.binary())
    folder = tmp_path_factory.mktemp("fuzz", numbered=True) / "s1"
    fill(folder, {"a.mp4": None, f"a{suffix}": damaged, "b.mp4": None, f"b{suffix}": text})
    source = read_source(folder, format=format)
    assert {"b"} <= {record.source[0] for record in source.records}
    seen = {record.source for record in source.records} | {skip.where.split("/")[1][:5] for skip in source.skips}
    assert any(name.startswith("a") for name in seen), "neither a clip nor a word about it"
    for record in source.records:
        assert record.text == clean_text(record.text) and says_something(record.text)
        assert record.end is None or 0 <= record.start < record.end
        assert all(0 <= word.start <= word.end for word in record.words)


def test_every_format_is_fuzzed():
    assert {format for format, *_ in VALID} == set(formats())


@given(st.text())
def test_cleaning_a_text_changes_nothing_twice_and_loses_no_letter(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert [c for c in cleaned if c.isalnum()] == [c for c in text if c.isalnum()]
    assert cleaned == cleaned.strip() and "  " not in cleaned and "\n" not in cleaned


@pytest.fixture
def at_most_a_minute():
    """For what takes a second, or days where the time grows with the square of the file."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(60)
    yield
    signal.alarm(0)


PIECES = ["<", "[", "(", "{\\", '"', '""', " ", "\n", " \n", "-", ">", "<v ", "<v Anna", "0 ", "!", "&"]


@pytest.mark.parametrize(
    "piece", ["<", *(pytest.param(piece, marks=pytest.mark.slow) for piece in PIECES[1:])], ids=map(repr, PIECES)
)
def test_the_time_grows_with_the_file_and_not_with_its_square(piece, tmp_path, at_most_a_minute):
    """Half a million repetitions of what a format's marks begin with."""
    many = piece * 500_000
    bodies = {
        ".txt": f"Text: a {many}\nWORD START END ASDSCORE\n{many}",
        ".vtt": f"WEBVTT\n\n00:00.000 --> 00:01.000\nword {many}\n",
        ".srt": f"1\n00:00:00,000 --> 00:00:01,000\nword {many}\n",
        ".align": f"0 1 a\n{many}",
        ".wrd": f"0 1 a\n{many}",
        ".TextGrid": f'"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "words" 0 1 1 0 1 {many}',
    }
    formats = {".align": "grid", ".wrd": "timit", ".TextGrid": "textgrid", ".vtt": "subtitles", ".srt": "subtitles"}
    for suffix, format in [*((".txt", format) for format in ("lrs", "folder", "timit")), *formats.items()]:
        folder = fill(tmp_path / f"{format}{suffix}" / "s1", {"a.mp4": None, f"a{suffix}": bodies[suffix]})
        try:
            source = read_source(folder, format=format)
            assert source.records or source.skips
        except SourceError as error:
            assert str(error)
