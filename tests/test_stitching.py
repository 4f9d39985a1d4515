# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Two overlapping readings made one: nothing doubled, nothing lost, whatever stands at their edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_lipread.stitching_lipread import Word, stitch

CUT, REACH = 4.0, 0.5


def words(*entries: tuple[str, float, float]) -> list[Word]:
    return [Word(*entry) for entry in entries]


def texts(*parts: list[Word]) -> list[str]:
    return [word.text for part in parts for word in part]


@st.composite
def speech(draw) -> list[Word]:
    """Words from 0 to 8 seconds, few different ones, so that many repeat."""
    said, time = [], draw(st.floats(0.0, 1.0))
    while time < 8:
        length, gap = draw(st.floats(0.15, 0.45)), draw(st.floats(0.0, 0.4))
        said.append(Word(draw(st.sampled_from("no yes the tide")), time, time + length))
        time += length + gap
    return said


def read(said: list[Word], start: float, end: float, shift: float, garbage: bool) -> list[Word]:
    """What a segment shows of it: whole words, a little off; of a word that its edge cuts, perhaps another one."""
    seen = []
    for word in said:
        first, last = max(word.start, start), min(word.end, end)
        whole = (first, last) == (word.start, word.end)
        if whole or (garbage and last - first > 0.02):
            text = word.text if whole else f"cut-{word.text}"
            seen.append(Word(text, max(first + shift, start), min(last + shift, end)))
    return seen


@given(speech(), st.floats(-0.03, 0.03), st.floats(-0.03, 0.03), st.booleans())
def test_two_readings_of_one_speech_are_that_speech(said, shift, other_shift, garbage):
    before = read(said, 0, CUT + REACH, shift, garbage)
    after = read(said, CUT - REACH, 9, other_shift, garbage)
    first, second = stitch(before, after, CUT, REACH)
    assert texts(first, second) == texts(said)
    assert all(word.middle < CUT for word in first)


@given(speech(), speech())
def test_whatever_two_segments_read_each_word_is_one_of_theirs_and_in_order(before, after):
    before = [word for word in before if word.end <= CUT + REACH]
    after = [word for word in after if word.start >= CUT - REACH]
    stitched = sum(stitch(before, after, CUT, REACH), [])
    for own in (before, after):
        kept = [own.index(word) for word in stitched if word in own]
        assert kept == sorted(set(kept))
    assert set(stitched) <= {*before, *after}


def test_a_word_that_one_reading_misread_is_said_once():
    before = words(("blue", 3.0, 3.3), ("at", 3.5, 3.7), ("eff", 3.9, 4.2))
    after = words(("blur", 3.52, 3.72), ("f", 3.92, 4.22), ("two", 4.6, 4.9))
    assert texts(*stitch(before, after, 4.0, 0.7)) == ["blue", "at", "f", "two"]


def test_the_same_word_said_twice_stays_twice():
    before = words(("no", 3.2, 3.4), ("no", 3.7, 3.9), ("no", 4.2, 4.4))
    after = words(("no", 3.71, 3.91), ("no", 4.21, 4.41), ("no", 4.7, 4.9))
    assert texts(*stitch(before, after, CUT, REACH)) == ["no"] * 4


@pytest.mark.parametrize("empty_first", [True, False])
def test_a_segment_without_words_takes_nothing_away(empty_first):
    said = words(("bin", 3.65, 3.85), ("blue", 4.1, 4.3))
    pair = ([], said) if empty_first else (said, [])
    assert texts(*stitch(*pair, CUT, REACH)) == ["bin", "blue"]
