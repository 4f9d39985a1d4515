# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Which windows of a face are read live, which words are stable, and what is said of light, distance and direction."""

import numpy as np
import pytest

from lipread.live.conditions import CUT_OFF, NO_FACE, TOO_DARK, TOO_FAR, TURNED_AWAY, find_problem
from lipread.live.windows import LiveTranscript, LiveWindows, Window
from lipread.long_form.segmentation import Segment, SegmentSettings
from lipread.long_form.streaming import StreamedFrame
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.clips import made_up_face, rotation_from_angles
from tests.lipread.test_segmentation import FACE, talking

SETTINGS = SegmentSettings()


def windows(said: list[tuple[float, float]], seconds: float, every: int = 5) -> list[Window]:
    live, found = LiveWindows(SETTINGS, every), []
    for time, face in talking(said, seconds):
        found += live.push(StreamedFrame(time, {} if face is None else {0: face}, (360, 288)), arrived=time)
    return found + list(live.flush())


def test_an_utterance_is_read_while_it_grows_and_when_the_lips_rest():
    found = windows([(1.0, 2.5), (5.0, 6.0)], 9)
    finals = [window for window in found if window.is_final]
    assert len(finals) == 2
    for (start, end), final in zip([(1.0, 2.5), (5.0, 6.0)], finals, strict=True):
        assert final.segment.start <= start and end <= final.segment.end < end + 0.8
        assert end < final.arrived < end + 1.8
    partial = [window for window in found if not window.is_final and window.arrived < finals[0].arrived]
    assert partial[0].arrived < 1.0 + 0.9
    assert {round(b.arrived - a.arrived, 2) for a, b in zip(partial, partial[1:], strict=False)} == {0.2}
    assert all(window.segment.end == window.arrived for window in partial), "up to the newest frame"
    partial = [window for window in windows([(1.0, 3.0)], 4, every=12) if not window.is_final]
    assert {round((b.arrived - a.arrived) * 25) for a, b in zip(partial, partial[1:], strict=False)} == {12}
    assert windows([], 5) == [], "lips at rest are not read"


def segment(start: float, end: float, cut_before: float | None = None, cut_after: float | None = None) -> Segment:
    times = np.arange(start, end + 1e-6, 0.04)
    faces = np.repeat(FACE[None], len(times), axis=0)
    return Segment(LandmarkSequence(faces, np.ones(len(times), bool), times, 0, 0, 25.0), cut_before, cut_after)


def reading(*words: tuple[str, float, float], **more) -> dict:
    chunks = [{"text": text, "timestamp": (start, end), "score": 0.9} for text, start, end in words]
    return {"text": " ".join(text for text, *_ in words), "chunks": chunks, **more}


def test_the_common_prefix_of_two_hypotheses_is_agreed():
    transcript, agreed = LiveTranscript(SETTINGS), []
    bin_, blue, red, at = ("bin", 0.2, 0.4), ("blue", 0.4, 0.7), ("red", 0.4, 0.7), ("at", 0.7, 0.9)
    for words in ([bin_], [bin_, red], [bin_, blue], [bin_, blue, at]):
        (update,) = transcript.update(Window(segment(0, 1), False, 0.0), reading(*words))
        agreed.append(update.stable)
    assert agreed == [0, 1, 1, 2]
    (final,) = transcript.update(Window(segment(0, 1), True, 0.0), reading(bin_, blue, at))
    assert final.is_final and final.stable == 3 and final.text == "bin blue at"
    (update,) = transcript.update(Window(segment(2, 3), False, 0.0), reading(bin_))
    assert update.stable == 0, "the next utterance begins anew"


def test_the_utterance_before_a_cut_waits_for_the_next_and_no_word_is_doubled():
    transcript = LiveTranscript(SETTINGS)
    first = reading(("bin", 0.5, 0.9), ("blue", 3.6, 4.1))
    assert list(transcript.update(Window(segment(0, 4.3, cut_after=3.8), True, 0.0), first)) == []
    follows = segment(3.3, 5, cut_before=3.8)
    second = reading(("blue", 3.62, 4.1), ("at", 4.2, 4.5))
    (partial,) = transcript.update(Window(follows, False, 0.0), second)
    assert partial.text == "bin blue at"
    finals = list(transcript.update(Window(follows, True, 0.0), second))
    assert [final.text for final in finals] == ["bin", "blue at"]
    assert list(transcript.flush()) == []


def test_flush_rejection_and_untimed_words():
    transcript = LiveTranscript(SETTINGS)
    assert list(transcript.update(Window(segment(0, 4.3, cut_after=3.8), True, 0.0), reading(("bin", 1, 2)))) == []
    (final,) = transcript.flush()
    assert final.text == "bin" and final.is_final
    nothing = {"text": "", "chunks": [], "reason": "the lips hardly move"}
    (final,) = transcript.update(Window(segment(5, 6), True, 0.0), nothing)
    assert final.text == "" and final.reason == "the lips hardly move"
    untimed = {"text": "bin blue", "chunks": [{"text": w, "timestamp": (None, None), "score": 0.1} for w in "ab"]}
    assert list(transcript.update(Window(segment(7, 8), False, 0.0), untimed)) == []


@pytest.mark.parametrize(
    "brightness, width, left, yaw, pitch, problem",
    [
        (120, 150, 200, 0, 0, ""),
        (120, 150, 200, 20, -20, ""),
        (20, 150, 200, 0, 0, TOO_DARK),
        (20, None, 0, 0, 0, TOO_DARK),
        (120, None, 0, 0, 0, NO_FACE),
        (120, 40, 200, 0, 0, TOO_FAR),
        (120, 150, -30, 0, 0, CUT_OFF),
        (120, 150, 520, 0, 0, CUT_OFF),
        (120, 150, 200, 45, 0, TURNED_AWAY),
        (120, 150, 200, 0, -45, TURNED_AWAY),
    ],
)
def test_the_first_problem_is_named(brightness, width, left, yaw, pitch, problem):
    face = None
    if width is not None:
        face = made_up_face() @ rotation_from_angles(yaw, pitch, 0.0).T
        face *= width / np.ptp(face[:, 0])
        face += (left, -150, 0) - np.array([face[:, 0].min(), face[:, 1].max(), 0]) * (1, 1, 0)
    picture = np.full((480, 640, 3), brightness, np.uint8)
    assert find_problem(picture, face) == problem
