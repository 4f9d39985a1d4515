# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Overlay and replay: a video with its landmarks and words drawn on it, and a page that turns and plays them."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from lipread.long_form.transcription import sequence_frames, transcribe_frames
from lipread.overlay import LIP_COLOR, OUTER_LIPS, SCORE_COLORS, score_color, write_overlay
from lipread.replay import MAX_STEPS, write_replay
from lipread.transcript import Word
from modeling_lipread.video_lipread import read_frames
from tests.helpers.browser import open_browser
from tests.helpers.clips import write_video
from tests.helpers.pages import Page


@pytest.fixture(scope="module")
def clip(head, extractor, tmp_path_factory):
    """A short clip, its word timings and its landmarks."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    words = [Word(word["word"], word["start"], word["end"]) for word in head.render("call mama", path)]
    return path, words, extractor.extract_video(path)


@pytest.mark.parametrize("command, suffix", [("overlay", ".mp4"), ("replay", ".html")])
def test_a_command_overwrites_no_file_and_no_folder(clip, tmp_path, lipread, command, suffix):
    video, folder, mine = (tmp_path / f"{name}{suffix}" for name in ("talk", "folder", "mine"))
    shutil.copyfile(clip[0], video)
    folder.mkdir()
    mine.write_text("mine")
    cases = {video: "is the input video", folder: "exists; choose another name", mine: "--overwrite"}
    for output, word in (cases | {tmp_path / "a.txt": f"end in {suffix}"}).items():
        status, _, errors = lipread(command, video, "--output", output)
        assert status == 2 and word in errors[-1]
    assert video.read_bytes() == clip[0].read_bytes() and mine.read_text() == "mine"
    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize("command, suffix", [("overlay", ".mp4"), ("replay", ".html")])
def test_a_command_makes_a_new_folder_and_says_why_there_are_no_words(clip, tmp_path, lipread, command, suffix):
    output, reason = tmp_path / "new" / f"out{suffix}", "no speech that the model knows"
    for more in ((), ("--overwrite",)):
        status, out, errors = lipread(command, clip[0], "-o", output, "--device", "cpu", *more)
        assert status == 0 and out.splitlines() == [str(output)] and f"{clip[0]}: no words: {reason}" in errors[-1]
    assert reason in output.read_text() if command == "replay" else len(read(output)) == len(clip[2])


def test_a_damaged_video_is_drawn_and_replayed_without_its_lost_frames(clip, tmp_path, lipread, caplog):
    path = write_video(tmp_path / "tv.ts", read(clip[0]), codec_options={"g": "10"})
    data, lost = path.read_bytes(), path.stat().st_size // 188 // 2 * 188
    path.write_bytes(data[:lost] + data[lost + 188 :])
    for command, suffix in (("overlay", ".mp4"), ("replay", ".html")):
        assert lipread(command, path, "-o", tmp_path / f"out{suffix}", "--device", "cpu")[0] == 0
    assert caplog.text.count(f"{path}: the video is damaged at") == 2
    assert 0 < len(read(tmp_path / "out.mp4")) < len(clip[2])


@pytest.mark.parametrize("sound, container", [("aac", "mp4"), ("pcm_s16le", "avi"), ("libopus", "mkv")])
def test_the_sound_is_kept_at_its_time(clip, extractor, tmp_path, sound, container):
    """A tone that begins after half of the clip."""
    video, output = tmp_path / f"talk.{container}", tmp_path / "overlay.mp4"
    write_with_tone(video, read(clip[0]), sound, begins=0.5)
    for start in (None, 0.24):
        sequence = extractor.extract_video(video, start=start)
        write_overlay(video, [sequence], output, start=start)
        with av.open(str(output)) as copied:
            (stream,) = copied.streams.audio
            heard = [(frame.time, np.abs(frame.to_ndarray().astype(float)).max()) for frame in copied.decode(stream)]
        loudest = max(level for _, level in heard)
        first = next(time for time, level in heard if level > 0.3 * loudest)
        assert first == pytest.approx(0.5 - (start or 0.0), abs=0.08)
        assert heard[-1][0] == pytest.approx(sequence.timestamps[-1], abs=0.15)


def write_with_tone(path, frames: list[np.ndarray], codec: str, begins: float) -> None:
    """Writes frames at 25 a second, with a sound that is silent and then a tone."""
    rate = 48000
    times = np.arange(int(len(frames) / 25 * rate)) / rate
    tone = np.where(times >= begins, np.sin(2 * np.pi * 440 * times), 0.0)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25)
        pictures.height, pictures.width, pictures.pix_fmt = *frames[0].shape[:2], "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout="mono")
        for index, frame in enumerate(frames):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            samples = (tone[index * rate // 25 : (index + 1) * rate // 25] * 20000).astype(np.int16)
            piece = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            piece.sample_rate, piece.pts = rate, index * rate // 25
            container.mux(sound.encode(piece))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))


def test_all_faces_are_drawn_and_named(clip, tmp_path, lipread):
    pair, output = tmp_path / "pair.mp4", tmp_path / "overlay.mp4"
    frames = read(clip[0])
    write_video(pair, [np.hstack([frame, frame]) for frame in frames])
    status, out, _ = lipread("overlay", pair, "-o", output, "--face", "all", "--no_abstain", "--device", "cpu")
    assert status == 0 and "[person 1] " in out and "[person 2] " in out
    marked = near(read(output)[len(frames) // 2][: frames[0].shape[0]], LIP_COLOR)[:, 1]
    width = frames[0].shape[1]
    assert min((marked < width).sum(), (marked > width).sum()) > 50


def read(path) -> list[np.ndarray]:
    return [frame for _, frame in read_frames(path)]


def near(frame: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of a colour, `(pixels, 2)`."""
    return np.argwhere(np.abs(frame.astype(int) - color).sum(axis=2) < 130)


def ink(frame: np.ndarray) -> int:
    """Number of light pixels in the band of words."""
    return int((frame[512:].min(axis=2) > 150).sum())


@pytest.fixture
def drawn(clip, tmp_path):
    """Returns the frames of the overlay of the clip with words."""
    path, _, sequence = clip

    def draw(words: list[Word] = (), **changes) -> list[np.ndarray]:
        write_overlay(path, [replace(sequence, **changes)], tmp_path / "overlay.mp4", words=words)
        assert [file.name for file in tmp_path.iterdir()] == ["overlay.mp4"]
        return read(tmp_path / "overlay.mp4")

    return draw


def test_every_frame_is_there_with_its_lips_marked(clip, drawn):
    sequence, frames = clip[2], drawn()
    assert len(frames) == len(sequence)
    assert frames[0].shape == (512, 512, 3)  # no words, no band; small videos are enlarged
    for index in (0, len(frames) // 2):
        found, lips = near(frames[index], LIP_COLOR)[:, ::-1], sequence.keypoints[index, OUTER_LIPS, :2] * (2, -2)
        assert len(found) > 50
        assert (np.abs(np.median(found, axis=0) - np.median(lips, axis=0)) < (8, 12)).all()
        assert (lips.min(axis=0) - 6 < found.min(axis=0)).all() and (lips.max(axis=0) + 6 > found.max(axis=0)).all()
    assert not len(near(drawn(present=np.zeros(len(sequence), bool))[0], LIP_COLOR)), "no face, no landmarks"


def test_words_are_grey_until_they_are_spoken(clip, drawn):
    _, words, sequence = clip
    frames = drawn(words)
    inks = [ink(frame) for frame in frames]
    first, second = (next(i for i, time in enumerate(sequence.timestamps) if time >= word.start) for word in words)
    assert set(inks[:first]) == {0} and frames[0][512:].max() > 100, "the band is never empty"
    assert 0 < inks[first] == pytest.approx(inks[second - 1], rel=0.2)
    assert inks[second] > 1.4 * inks[first]
    assert len({frame.shape for frame in frames}) == 1
    end = sequence.timestamps[-1]
    last = drawn([Word("mamas", end * i / 60, end) for i in range(60)])[-1]
    assert last.shape[0] < 512 + 150 and ink(last) > 0  # the lines scroll


def test_words_wrap(drawn):
    heights = []
    for text in ("call mama", "call mama " * 12):
        frame = drawn([Word(word, 0.0, 0.1) for word in text.split()])[0]
        assert ink(frame) > 0 and frame[512:, -4:].max() < 100 and frame[-4:].max() < 100, "nothing is cut off"
        heights.append(frame.shape[0])
    assert heights[1] >= heights[0] + 60


def test_the_colour_of_a_word_is_its_score(drawn):
    assert [score_color(score) for score in (-1.0, 0.0, 0.5, 1.0, 2.0)] == [SCORE_COLORS[i] for i in (0, 0, 1, 2, 2)]
    assert not {score_color(None), score_color(0.75)} & set(SCORE_COLORS)
    band = drawn([Word("HHHH", 0.0, 0.1, score) for score in (1.0, 0.0)])[0][512:]
    right, wrong = near(band, SCORE_COLORS[-1])[:, 1], near(band, SCORE_COLORS[0])[:, 1]
    assert len(right) > 50 and len(wrong) > 50 and right.max() < wrong.min()


def test_times_are_kept_and_spans_match(clip, extractor, tmp_path):
    path = clip[0]
    sequence = extractor.extract_video(path, start=0.2, end=0.6)
    sequence.timestamps = np.cumsum(np.linspace(0.02, 0.06, len(sequence)))  # a variable frame rate
    sequence.timestamps -= sequence.timestamps[0]
    write_overlay(path, [sequence], tmp_path / "overlay.mp4", start=0.2, end=0.6)
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx(sequence.timestamps, abs=2e-3)


def test_a_file_of_landmarks_has_no_picture_to_draw_on(clip, tmp_path, lipread):
    np.save(tmp_path / "clip.npy", clip[2].keypoints)
    status, _, errors = lipread("overlay", tmp_path / "clip.npy", "-o", tmp_path / "overlay.mp4", "--device", "cpu")
    assert status == 1 and "give the video" in errors[-1] and not (tmp_path / "overlay.mp4").exists()


@pytest.fixture(scope="module")
def page(pipeline, clip, tmp_path_factory) -> tuple[Path, dict]:
    """The replay of the clip, and what it holds."""
    path = tmp_path_factory.mktemp("page") / "replay.html"
    transcript = transcribe_frames(pipeline, sequence_frames(clip[2]), "<!--<script>.mp4", abstain=False)
    write_replay(path, clip[2], transcript)
    held = re.search(r'<script type="application/json" id="clip">(.*?)</script>', path.read_text(), re.S)[1]
    return path, json.loads(held)


def test_landmarks_come_back_from_a_replay(page, clip):
    held, sequence = page[1], clip[2]
    steps = np.frombuffer(base64.b64decode(held["landmarks"]), "<i2").reshape(held["frames"], held["points"], 3)
    assert np.abs(steps).max() == MAX_STEPS
    assert np.frombuffer(base64.b64decode(held["present"]), "u1").tolist() == sequence.present.tolist()
    pixels = np.ptp(sequence.keypoints, axis=(0, 1)).max() / np.ptp(steps.astype(float), axis=(0, 1)).max()
    true = sequence.keypoints - (sequence.keypoints[:1, :1] - pixels * steps[:1, :1])
    assert np.abs(pixels * steps - true).max() < 2 * pixels < 0.1


def test_a_replay_needs_nothing_and_may_load_nothing(page):
    parsed, words = Page(page[0]), page[1]["words"]
    assert any(name == "content" and "default-src 'none'" in value for name, value in parsed.attributes)
    assert not {"src", "href"} & {name for name, _ in parsed.attributes}
    assert not re.search(r"https?://|@import|url\(|fetch\(", parsed.source)
    assert words and all(word["text"] and 0 < word["score"] <= 1 for word in words)


@pytest.mark.slow
def test_a_replay_plays_and_turns_in_a_browser(page):
    path, clip = page
    with open_browser() as browser:
        opened, errors, asked = browser.new_page(viewport={"width": 1000, "height": 900}), [], []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(path.as_uri())
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
        assert not errors and asked == [path.as_uri()]
