# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The replay: landmarks and where words looked, in one file that a browser plays without a network."""

import base64
import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from lipread.long_form.transcription import sequence_frames, transcribe_frames
from lipread.replay import MAX_STEPS, describe_clip, token_frames, word_attention, write_replay
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.browser import open_browser
from tests.helpers.pages import Page
from tests.helpers.readers import ENCODERS, make_reader
from tests.lipread.test_segmentation import talking


@pytest.fixture(scope="module")
def sequence(pipeline, talker_clip):
    return pipeline.processor.extract_landmarks(talker_clip)[0]


@pytest.fixture(scope="module")
def clip(pipeline, sequence):
    return describe_clip(pipeline, sequence, "talker <b>.mp4", text="</script>", abstain=False)


@pytest.fixture(scope="module")
def page(clip, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "replay.html"
    write_replay(path, clip)
    return path


def read(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_tokens_stand_for_their_frames(encoder):
    config, mask = make_reader(encoder).config.encoder_config, np.ones(11, bool)
    mask[4:6] = False
    shares = token_frames(config, mask)
    centres = (shares * np.arange(11)).sum(1) / np.maximum(shares.sum(1), 1e-9)
    alive = shares.sum(1) > 0
    assert (np.diff(centres[alive]) > 0).all() and shares[:, 4:6].sum() == 0
    np.testing.assert_allclose(shares[alive].sum(1), 1)
    assert (shares.sum(0) > 0)[mask].all(), "every frame with a face is seen"


def test_words_attend_to_frames_in_their_order(pipeline, grid_dir):
    line = json.loads((grid_dir / "validation.jsonl").read_text().splitlines()[0])
    sequence = pipeline.processor.extract_landmarks(grid_dir / line["video"])[0]
    features = pipeline.processor.feature_extractor([sequence], return_tensors="pt")
    looked = word_attention(pipeline.model, pipeline.processor, features, line["text"])
    assert looked.shape == (6, 75)
    np.testing.assert_allclose(looked.sum(1), 1, rtol=1e-6)
    middles = (looked * np.arange(75)).sum(1)
    assert np.corrcoef(middles, np.arange(6))[0, 1] > 0.8


def test_a_long_clip_says_what_its_transcript_says(pipeline):
    """Lips that never rest are cut through speech: no word at a cut appears twice, and none without times."""
    times, faces = zip(*talking([(0, 14)], 14, opening=4.0), strict=True)
    sequence = LandmarkSequence.from_faces(faces, np.array(times), (0, 0))
    clip = describe_clip(pipeline, sequence, "long", abstain=False)
    transcript = transcribe_frames(pipeline, sequence_frames(sequence), "long", abstain=False)
    assert [(word["text"], word["start"]) for word in clip["words"]] == [
        (word.text, round(word.start, 3)) for word in transcript.words()
    ]
    assert clip["unread"] == [asdict(span) for span in transcript.unread] and len(transcript.utterances) > 2
    assert all(read(word["frames"], "u1").max() == 255 for word in clip["words"])


def test_landmarks_come_back(clip, sequence):
    steps = read(clip["landmarks"], "<i2").reshape(clip["frames"], clip["points"], 3)
    back = steps * clip["scale"]
    true = sequence.keypoints - (sequence.keypoints[:1, :1] - back[:1, :1])
    assert np.abs(back - true).max() < 2 * clip["scale"] < 0.1 and np.abs(steps).max() <= MAX_STEPS
    assert read(clip["present"], "u1").tolist() == sequence.present.tolist()
    assert all(len(read(word["frames"], "u1")) == clip["frames"] for word in clip["words"])


def test_the_page_needs_nothing_and_may_load_nothing(page, clip):
    parsed = Page(page)
    assert any(name == "content" and "default-src 'none'" in value for name, value in parsed.attributes)
    assert not {"src", "href"} & {name for name, _ in parsed.attributes}
    assert not re.search(r"https?://|@import|url\(|fetch\(", parsed.source)
    assert content(page) == clip


@pytest.mark.slow
def test_it_plays_and_turns_in_a_browser(page, clip):
    with open_browser() as browser:
        opened, errors, asked = browser.new_page(viewport={"width": 1000, "height": 900}), [], []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(page.as_uri())
        assert opened.inner_text("#name") == "talker <b>.mp4: </script>"
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


def test_the_commands(talker_clip, tmp_path, lipread):
    output = tmp_path / "replay.html"
    status, out, _ = lipread("replay", talker_clip, "--output", output, "--device", "cpu")
    assert status == 0 and str(output) in out
    assert content(output)["unread"][0]["reason"], "why nothing was read"
    status, _, errors = lipread("replay", tmp_path / "none.mp4", "--output", output, "--device", "cpu")
    assert status == 1 and "none.mp4: no such file" in errors[-1]
