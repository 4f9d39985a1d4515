# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The replay: landmarks and words in one file that a browser plays without a network."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lipread.long_form.transcription import sequence_frames, transcribe_frames
from lipread.replay import MAX_STEPS, write_replay
from tests.helpers.browser import open_browser
from tests.helpers.pages import Page


@pytest.fixture(scope="module")
def sequence(pipeline, talker_clip):
    return pipeline.processor.extract_landmarks(talker_clip)[0]


@pytest.fixture(scope="module")
def page(pipeline, sequence, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "replay.html"
    transcript = transcribe_frames(pipeline, sequence_frames(sequence), "<!--<script>.mp4", abstain=False)
    write_replay(path, sequence, transcript)
    return path


@pytest.fixture(scope="module")
def clip(page) -> dict:
    return content(page)


def read(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_landmarks_come_back(clip, sequence):
    steps = read(clip["landmarks"], "<i2").reshape(clip["frames"], clip["points"], 3)
    assert np.abs(steps).max() == MAX_STEPS and read(clip["present"], "u1").tolist() == sequence.present.tolist()
    pixels = np.ptp(sequence.keypoints, axis=(0, 1)).max() / np.ptp(steps.astype(float), axis=(0, 1)).max()
    true = sequence.keypoints - (sequence.keypoints[:1, :1] - pixels * steps[:1, :1])
    assert np.abs(pixels * steps - true).max() < 2 * pixels < 0.1


def test_the_page_needs_nothing_and_may_load_nothing(page, clip):
    parsed = Page(page)
    assert any(name == "content" and "default-src 'none'" in value for name, value in parsed.attributes)
    assert not {"src", "href"} & {name for name, _ in parsed.attributes}
    assert not re.search(r"https?://|@import|url\(|fetch\(", parsed.source)
    assert [word["text"] for word in clip["words"]] and all(0 < word["score"] <= 1 for word in clip["words"])


@pytest.mark.slow
def test_it_plays_and_turns_in_a_browser(page, clip):
    with open_browser() as browser:
        opened, errors, asked = browser.new_page(viewport={"width": 1000, "height": 900}), [], []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(page.as_uri())
        assert opened.inner_text("#name") == "<!--<script>.mp4"
        opacities = opened.eval_on_selector_all(
            "#words button", "all => all.map(one => getComputedStyle(one).opacity)"
        )
        assert opacities == ["1"] * len(clip["words"]), "words are at full contrast from the start"
        face = opened.locator("#face")
        before, box = face.screenshot(), face.bounding_box()
        opened.mouse.move(box["x"] + 300, box["y"] + 200)
        opened.mouse.down()
        opened.mouse.move(box["x"] + 400, box["y"] + 230, steps=3)
        opened.mouse.up()
        turned = face.screenshot()
        opened.locator("#words button").last.click()
        assert opened.input_value("#time") == str(sum(time < clip["words"][-1]["start"] for time in clip["times"]))
        assert len({before, turned, face.screenshot()}) == 3
        opened.fill("#time", "0")
        opened.click("#play")
        opened.locator("#play", has_text="Pause").wait_for()
        opened.locator("#play", has_text="Play").wait_for(timeout=60_000)  # at the end
        assert opened.input_value("#time") == str(clip["frames"] - 1)
        assert opened.locator("#words .said").count() == len(clip["words"])
        assert not errors and asked == [page.as_uri()]


def content(page: Path) -> dict:
    return json.loads(
        re.search(r'<script type="application/json" id="clip">(.*?)</script>', page.read_text(), re.S)[1]
    )
