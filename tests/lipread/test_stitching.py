# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Stitching two overlapping hypotheses duplicates and loses no word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipread.long_form.stitching import stitch
from lipread.transcript import Word

CUT, OVERLAP = 4.0, 0.5


def words(timed: str) -> list[Word]:
    """The words of `text start end text start end ...`."""
    parts = iter(timed.split())
    return [Word(text, float(start), float(end)) for text, start, end in zip(parts, parts, parts, strict=True)]


def texts(*parts: list[Word]) -> list[str]:
    return [word.text for part in parts for word in part]


@st.composite
def speech(draw) -> list[Word]:
    """Words from 0 to 8 seconds from a small vocabulary, so that many repeat."""
    spoken, time = [], draw(st.floats(0.0, 1.0))
    while time < 8:
        length, gap = draw(st.floats(0.15, 0.45)), draw(st.floats(0.0, 0.4))
        spoken.append(Word(draw(st.sampled_from("no yes the tide")), time, time + length))
        time += length + gap
    return spoken


def read(spoken: list[Word], start: float, end: float, shift: float, garbage: bool) -> list[Word]:
    """Returns a segment's hypothesis: complete words, shifted, and perhaps wrong ones for truncated words."""
    seen = []
    for word in spoken:
        first, last = max(word.start, start), min(word.end, end)
        whole = (first, last) == (word.start, word.end)
        if whole or (garbage and last - first > 0.02):
            text = word.text if whole else f"cut-{word.text}"
            seen.append(Word(text, max(first + shift, start), min(last + shift, end)))
    return seen


@given(speech(), st.floats(-0.03, 0.03), st.floats(-0.03, 0.03), st.booleans())
def test_two_readings_of_one_speech_give_that_speech(spoken, shift, other_shift, garbage):
    before = read(spoken, 0, CUT + OVERLAP, shift, garbage)
    after = read(spoken, CUT - OVERLAP, 9, other_shift, garbage)
    first, second = stitch(before, after, CUT, OVERLAP)
    assert texts(first, second) == texts(spoken)
    assert all(word.middle < CUT for word in first)


@given(speech(), speech())
def test_any_two_hypotheses_keep_their_order(before, after):
    before = [word for word in before if word.end <= CUT + OVERLAP]
    after = [word for word in after if word.start >= CUT - OVERLAP]
    stitched = sum(stitch(before, after, CUT, OVERLAP), [])
    for own in (before, after):
        kept = [own.index(word) for word in stitched if word in own]
        assert kept == sorted(set(kept))
    assert set(stitched) <= {*before, *after}


@pytest.mark.parametrize(
    "before, after, overlap, expected",
    [
        ("blue 3 3.3 at 3.5 3.7 eff 3.9 4.2", "blur 3.52 3.72 f 3.92 4.22 two 4.6 4.9", 0.7, "blue at f two"),
        ("no 3.2 3.4 no 3.7 3.9 no 4.2 4.4", "no 3.71 3.91 no 4.21 4.41 no 4.7 4.9", OVERLAP, "no no no no"),
        ("", "bin 3.65 3.85 blue 4.1 4.3", OVERLAP, "bin blue"),
        ("bin 3.65 3.85 blue 4.1 4.3", "", OVERLAP, "bin blue"),
    ],
)
def test_misread_repeated_and_missing_words(before, after, overlap, expected):
    assert " ".join(texts(*stitch(words(before), words(after), CUT, overlap))) == expected
