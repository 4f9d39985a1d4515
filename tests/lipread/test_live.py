# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread live`: words while somebody speaks, and what happens if something is slow or absent."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from data.talker import TalkingHead, perform
from lipread.live.session import LiveSession
from lipread.live.source import LiveSource
from lipread.long_form.segmentation import SegmentSettings
from modeling_lipread import LipReadingPipeline
from tests.helpers.clips import write_video


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """The talking head: two sentences, each with a rest of a second and a half after it."""
    head, frames = TalkingHead(), []
    for seed, text in enumerate(("the weather is good today", "my teacher will find a garden")):
        said = list(head.frames(perform(text, seed=seed)))
        frames += said + said[-1:] * 37
    return write_video(tmp_path_factory.mktemp("talk") / "talk.mp4", frames)


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
        assert update["text"].startswith(update["stable"]) and update["latency"] > 0
        assert update["text"].split() == [chunk["text"] for chunk in update["chunks"]]
    assert live(talk, "--at_once")[1].splitlines() == [first["text"], last["text"]]


@pytest.mark.slow
def test_a_stream_is_read_like_a_file(talk, tmp_path, live, server):
    with av.open(str(talk)) as source, av.open(str(tmp_path / "talk.ts"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
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
    first = updates(out)[0]
    assert (first["type"], first["text"]) == ("final", "") and first["reason"] == "no speech that the model knows"
