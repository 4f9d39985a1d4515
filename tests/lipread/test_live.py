# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread live`: words while somebody speaks, which windows are read, and what is slow or absent."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from data.talker import perform
from lipread.diagnosis import CUT_OFF, NO_FACE, TOO_DARK, TOO_FAR, TURNED_AWAY, find_problem
from lipread.live.session import LiveSession
from lipread.live.source import LiveSource
from lipread.live.windows import LiveTranscript, LiveWindows, Window
from lipread.long_form.segmentation import Segment, SegmentSettings
from lipread.long_form.streaming import StreamedFrame
from modeling_lipread import LipReadingPipeline
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.clips import made_up_face, rotation_from_angles, write_video
from tests.lipread.test_segmentation import FACE, talking


@pytest.fixture(scope="module")
def talk(head, tmp_path_factory) -> Path:
    """Two sentences, each with a rest of a second and a half after it."""
    frames = []
    for seed, text in enumerate(("the weather is good today", "my teacher will find a garden")):
        said = list(head.frames(perform(text, seed=seed)))
        frames += said + said[-1:] * 37
    return write_video(tmp_path_factory.mktemp("talk") / "talk.ts", frames)


def updates(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def live(lipread):
    """Runs the command without abstention."""
    return partial(lipread, "live", "--device", "cpu", "--no_abstain", "--source")


def test_partial_updates_come_in_real_time_and_final_ones_do_not_depend_on_speed(talk, live):
    status, out, errors = live(talk, "--format", "json")
    assert status == 0 and "partial updates" in errors[-1]
    found = updates(out)
    finals = [index for index, update in enumerate(found) if update["type"] == "final"]
    assert len(finals) == 2 and finals[-1] == len(found) - 1
    assert finals[0] > 0 and finals[1] - finals[0] > 1  # partial ones before each, few on a busy machine
    ends = [update["end"] for update in found if update["type"] == "partial"]
    assert ends == sorted(ends)
    first, last = (found[index] for index in finals)
    assert first["text"] and last["text"] and first["end"] <= last["start"] + 0.5
    for update in found:
        assert update["latency"] > 0 and update["text"].split() == [chunk["text"] for chunk in update["chunks"]]
    assert live(talk, "--at_once")[1].splitlines() == [first["text"], last["text"]]


@pytest.mark.slow
def test_a_stream_is_read_like_a_file(talk, tmp_path, live, server):
    shutil.copyfile(talk, tmp_path / "talk.ts")
    assert len(live(f"{server}/talk.ts")[1].splitlines()) == 2
    status, _, errors = live(f"{server}/none.ts")
    assert status == 1 and "/none.ts: the stream cannot be read" in errors[-1]


def test_a_missing_source_is_an_error(live):
    for source, message in (
        ("63", "camera 63 cannot be opened: is it plugged in"),
        ("nowhere.mp4", "nowhere.mp4: no such file"),
        ("rtsp://127.0.0.1:9/none", "the stream cannot be read"),
    ):
        status, _, errors = live(source)
        assert status == 1 and message in errors[-1]


def test_ctrl_c_ends_with_what_was_read_on_a_terminal(talk):
    command = [sys.executable, "-m", "lipread.cli", "live", "--device", "cpu", "--no_abstain", "--source", str(talk)]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    written = b""
    while b"\x1b[K" not in written:  # words, the first time
        written += os.read(ours, 4096)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):  # raised when the terminal is closed
        while more := os.read(ours, 4096):
            written += more
    errors = process.communicate(timeout=60)[1].decode()
    os.close(ours)
    assert process.returncode == 0 and "Traceback" not in errors
    assert "partial updates" in errors
    before, last = written.decode().split("\r\x1b[K")[:-1][-2:]
    assert last.endswith("\r\n") and last.strip(), "the utterance on a line of its own"
    assert "\n" not in before, "partial words stay on their line"


def test_late_partial_windows_are_dropped_and_no_final_one(talk, pipeline):
    class Slow(LipReadingPipeline):
        def __call__(self, *arguments, **options):
            time.sleep(0.7)
            return super().__call__(*arguments, **options)

    found, source = [], LiveSource(str(talk), at_once=True)
    slow = Slow(model=pipeline.model, processor=pipeline.processor, device="cpu")
    with LiveSession(slow, SegmentSettings(), 5, found.append, abstain=False) as session:
        session.read(source, pipeline.processor.keypoint_extractor, "largest", print)
    source.close()
    assert session.dropped > 5 and source.dropped == 0
    assert [update.is_final for update in found].count(True) == 2
    starts = [update.start for update in found]
    assert starts == sorted(starts)


def test_a_slow_consumer_loses_the_oldest_frames_of_a_camera():
    source = LiveSource("63")  # a camera that is not there, whose frames are made here instead
    source._frames = ((index / 100, index) for index in range(60))
    taken = []
    for _, frame in source:
        taken.append(frame)
        time.sleep(0.05)
    assert taken == sorted(taken) and taken[-1] == 59
    assert source.dropped > 20 and len(taken) + source.dropped == 60


def test_notices_and_rejections_are_updates_too(talk, tmp_path, live, lipread):
    video = write_video(tmp_path / "grey.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 75)
    (notice,) = updates(live(video, "--format", "json", "--at_once")[1])
    assert notice["type"] == "notice" and "no face" in notice["text"]
    out = lipread("live", "--source", talk, "--device", "cpu", "--at_once", "--format", "json")[1]
    first = next(update for update in updates(out) if update["type"] == "final")
    assert first["text"] == "" and first["reason"] == "no speech that the model knows"


SETTINGS = SegmentSettings()


def windows(said: list[tuple[float, float]], seconds: float, every: int = 5) -> list[Window]:
    live, found = LiveWindows(SETTINGS, every), []
    for at, face in talking(said, seconds):
        found += live.push(StreamedFrame(at, {} if face is None else {0: face}, (360, 288)), arrived=at)
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


def reading(*words: tuple[str, float, float], scores=(0.9,) * 9, **more) -> dict:
    said = zip(words, scores, strict=False)
    chunks = [{"text": text, "timestamp": (start, end), "score": score} for (text, start, end), score in said]
    return {"text": " ".join(text for text, *_ in words), "chunks": chunks, **more}


@pytest.mark.parametrize("scores, shown", [([0.8, 0.3, 0.1], 2), ([0.3, 0.9, 0.1], 2), ([0.4, 0.4, 0.6], 0)])
def test_partial_words_are_the_beginning_that_the_reader_is_sure_of(scores, shown):
    words = ("bin", 0.2, 0.4), ("blue", 0.4, 0.7), ("red", 0.7, 0.9)
    transcript = LiveTranscript(SETTINGS, min_confidence=0.5)
    (*partial_updates,) = transcript.update(Window(segment(0, 1), False, 0.0), reading(*words, scores=scores))
    assert sum(len(update.words) for update in partial_updates) == shown
    (final,) = transcript.update(Window(segment(0, 1), True, 0.0), reading(*words, scores=scores))
    assert len(final.words) == 3, "of the whole utterance the pipeline has judged"


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
        (120, None, 0, 0, 0, NO_FACE),
        (120, 40, 200, 0, 0, TOO_FAR),
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
