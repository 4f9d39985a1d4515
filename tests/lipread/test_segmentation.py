# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Segmentation of long streams of landmarks, on synthetic faces, and stitching of the overlapping hypotheses."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipread.long_form.segmentation import Segmenter, SegmentSettings
from lipread.long_form.stitching import stitch
from lipread.transcript import Word, text_of
from modeling_lipread import LipReadConfig
from modeling_lipread.text_normalizer_lipread import split_units
from tests.helpers.clips import made_up_face
from tests.lipread.test_writers import UNSPACED

SETTINGS = SegmentSettings()
FACE = made_up_face().astype(np.float32)


def talking(spans: list[tuple[float, float]], seconds: float, frame_rate=25.0, absent=(), opening=1.0) -> list:
    """Frames of a face whose lips open and close four times a second within the spans."""
    frames = []
    for index in range(round(seconds * frame_rate)):
        time = index / frame_rate
        face = FACE.copy()
        for start, end in spans:
            if start <= time < end:
                face[[13, 14], 1] += np.array([opening, -opening]) * (1 - np.cos(2 * np.pi * 4 * (time - start)))
        missing = any(start <= time < end for start, end in absent)
        frames.append((time, None if missing else face))
    return frames


def cut(frames: list, chosen: SegmentSettings = SETTINGS) -> list:
    segmenter, segments = Segmenter(chosen), []
    for time, face in frames:
        segments += segmenter.push(time, face, (360, 288))
    return segments + list(segmenter.flush())


def spans(segments: list) -> list[tuple[float, float]]:
    return [(segment.start, segment.end) for segment in segments]


def test_a_short_clip_is_one_segment_to_the_frame():
    frames = talking([(0.5, 1.0), (2.5, 3.0)], 3.9)
    (segment,) = cut(frames)
    assert len(segment.sequence) == len(frames)
    assert (segment.cut_before, segment.cut_after) == (None, None)
    for frame_rate in (3.125, 25 / 6):  # frames too far apart for a speed are read
        segments = cut(talking([(0.0, 12.0)], 12, frame_rate))
        assert segments[0].start == 0.0 and segments[-1].end > 11.5


@pytest.mark.parametrize("frame_rate", [15.0, 29.97, 60.0])
def test_utterances_are_cut_apart_in_the_pauses(frame_rate):
    said = [(1.0, 2.5), (4.0, 6.0), (7.2, 9.0), (20.0, 21.5)]
    segments = cut(talking(said, 30, frame_rate))
    assert len(segments) == 4
    for (start, end), (first, last) in zip(said, spans(segments), strict=True):
        assert first <= start and end <= last
        assert start - first < 0.8 and last - end < 0.8  # of the ten seconds of silence, nothing is read


def test_the_longest_pause_is_taken_not_the_first():
    said = [(0.5, 0.9), (1.4, 2.8), (3.6, 5.4)]  # lips open, rest half a second, then speak
    (first, second) = cut(talking(said, 7))
    assert first.start <= 0.5 and 2.8 <= first.end <= second.start <= 3.6


def test_nothing_is_segmented_without_a_face_or_without_movement():
    said = [(0.5, 5.0), (8.0, 9.5)]
    segments = cut(talking(said, 12, absent=[(2.0, 4.0)]))
    assert all(segment.sequence.present.any() for segment in segments)
    assert not any(start < 2.6 and 3.4 < end for start, end in spans(segments))
    swaying = [(time, face + np.float32([np.sin(2 * time), 0, 0]) * 5) for time, face in talking([], 20)]
    assert cut(talking(said, 12, absent=[(0, 12)])) == cut(talking([], 60)) == cut(swaying) == []


@st.composite
def schedules(draw) -> list[tuple[float, float]]:
    said, time = [], draw(st.floats(0.3, 3.0))
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.floats(0.4, 7.0))
        said.append((time, time + length))
        time += length + draw(st.floats(0.1, 6.0))
    return said


@settings(max_examples=10)
@example([(0.2, 19.8)])
@given(schedules())
def test_all_speech_is_in_a_segment_and_all_long_silence_in_none(said):
    segments = cut(talking(said, said[-1][1] + 2))
    found = spans(segments)
    for start, end in said:
        for time in np.arange(start + 0.1, end - 0.1, 0.04):
            assert any(first <= time <= last + 0.041 for first, last in found), (time, found)
    for (_, end), (start, _) in pairwise(said):
        if start - end > 2.5:
            middle = (start + end) / 2
            assert not any(first <= middle <= last for first, last in found) or len(found) == 1
    overlap = SETTINGS.overlap_seconds
    assert max(end - start for start, end in found) <= SETTINGS.max_seconds + overlap + 0.1
    for before, after in pairwise(segments):
        assert before.cut_after == after.cut_before
        if before.cut_after is None:
            assert before.end < after.start
        else:
            ends = before.end - overlap, after.start + overlap
            assert ends == pytest.approx((before.cut_after, before.cut_after), abs=0.09)


@pytest.mark.parametrize("hole", [(1.8, 4.2), (1.0, 4.4), (2.0, 2.5), (6.3, 9.0)])
def test_a_hole_in_the_timestamps_is_a_rest(hole):
    """As a camera that stalls leaves one: lips that move before and after it."""
    frames = [(time, face) for time, face in talking([(0.0, 12.0)], 12) if not hole[0] <= time < hole[1]]
    segments = cut(frames)
    assert segments[0].start == 0.0 and segments[-1].end > 11.5
    assert not any(start < hole[0] < hole[1] <= end for start, end in spans(segments)), spans(segments)
    assert all(segment.start >= hole[1] - 1e-6 or segment.end < hole[0] for segment in segments)
    if hole == (1.8, 4.2):  # and where speech is cut, the hole is not cut once more
        assert spans(cut(frames, SegmentSettings(pause_seconds=60.0)))[0] == pytest.approx((0.0, 1.76))


@pytest.mark.parametrize(
    ("clip_seconds", "given", "expected"),
    [
        (None, {}, SETTINGS.max_seconds),
        (2.8, {}, 2.8),
        (2.8, {"max_seconds": 6.0}, 6.0),
        (0.4, {}, 2.0),  # what overlap and margins take on both sides
        (0.4, {"margin_seconds": 1.0, "overlap_seconds": 1.0}, 4.0),
    ],
)
def test_segments_are_as_long_as_the_clips_of_the_training(clip_seconds, given, expected):
    config = LipReadConfig(clip_seconds=clip_seconds)
    assert SegmentSettings.for_model(config, **given) == SegmentSettings(**given | {"max_seconds": expected})


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


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("text", UNSPACED.values(), ids=UNSPACED)
def test_scripts_without_spaces_have_what_both_segments_read_once(text, timed):
    """Without times from the alignment, the hypothesis of a segment is one word that lasts as long as the segment."""
    units = [
        Word(unit.text, 0.25 * i, 0.25 * i + 0.25, joined=unit.joined) for i, unit in enumerate(split_units(text))
    ]
    before = [word for word in units if word.end <= CUT + OVERLAP]
    after = [word for word in units if word.start >= CUT - OVERLAP]
    assert len(before) + len(after) > len(units) > len(before)
    if not timed:
        segments = ((before, 0.0), (after, CUT - OVERLAP))
        before, after = ([Word(text_of(part), start, part[-1].end, timed=False)] for part, start in segments)
    first, second = stitch(before, after, CUT, OVERLAP)
    assert text_of([*first, *second]) == text
