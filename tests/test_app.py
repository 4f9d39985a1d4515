# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page in a browser: with a camera, with files good and bad, and nothing is kept of them."""

import configparser
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from modeling_lipread.video_lipread import read_frames
from tests.helpers.browser import open_browser
from tests.helpers.clips import PORTRAIT, write_video
from tests.helpers.corpora import wait_for
from tests.helpers.long_videos import grid_lines, one_after_another
from tests.helpers.training import REPOSITORY

pytest.importorskip("gradio", reason="gradio is not installed: pip install -c constraints.txt -e '.[app]'")
WAIT = 60_000  # milliseconds; a busy machine reads slowly


@pytest.fixture(scope="module")
def browser(talker_clip, tmp_path_factory):
    frames = [frame for _, frame in read_frames(talker_clip)]
    with open_browser(write_video(tmp_path_factory.mktemp("camera") / "c.y4m", frames, codec="rawvideo")) as opened:
        yield opened


@pytest.fixture(scope="module")
def app(browser, tmp_path_factory):
    """The address of the running page and the folder in which it keeps everything."""
    temporary = tmp_path_factory.mktemp("server")
    command = [sys.executable, "app.py", "--device", "cpu"]
    env = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True)
    try:
        address = next((found[0] for line in process.stdout if (found := re.search(r"http://[\d.:]+", line))), None)
        assert address, "the page did not start"
        (folder,) = temporary.glob("lipread-page-*")
        yield address, folder
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert not list(temporary.glob("lipread-page-*")), "all of it goes when the page is ended"


@pytest.fixture
def page(browser, app):
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    opened.set_default_timeout(WAIT)
    opened.goto(app[0])
    opened.wait_for_selector("#read")
    yield opened
    opened.close()


def give(page, video: Path) -> None:
    page.set_input_files("#given input[type=file]", str(video))
    page.wait_for_selector("#given video")
    page.click("#read")


def shown(page) -> list[str]:
    page.wait_for_selector("#words .word", state="attached")
    return page.eval_on_selector_all("#words .word", "words => words.map(word => word.firstChild.textContent)")


def kept(folder: Path) -> list[Path]:
    """Files of visitors; the examples are nobody's."""
    return [path for path in folder.rglob("*") if path.is_file() and "examples" not in path.parts]


@pytest.mark.slow
def test_from_the_camera_to_words_in_time(page):
    page.check("input[type=checkbox]")  # the reader in the package does not know this face
    page.click('button[aria-label="Capture from camera"]')
    page.click("text=Click to Access Webcam")
    page.click('button[aria-label="start recording"]')
    page.wait_for_timeout(4000)
    page.click("button:has-text('Stop')")
    page.wait_for_selector("#given video[src]")
    page.click("#read")
    words = shown(page)
    assert words
    page.wait_for_function("document.querySelector('#seen video').readyState >= 2")
    said = "document.querySelectorAll('#words .said').length"
    page.evaluate("document.querySelector('#seen video').pause()")
    for time_, count in (("0", 0), ("document.querySelector('#seen video').duration", len(words))):
        page.evaluate(f"document.querySelector('#seen video').currentTime = {time_}")
        page.wait_for_function(f"{said} <= {count}" if not count else f"{said} == {count}")
    start = page.eval_on_selector("#words .word:last-of-type", "word => Number(word.dataset.start)")
    page.click("#words .word:last-of-type")
    page.wait_for_function(f"Math.abs(document.querySelector('#seen video').currentTime - {start}) < 0.1")


def test_a_file_that_the_reader_knows(page, app, grid_dir, tmp_path):
    (line,) = grid_lines(grid_dir, "validation", "s1", 1)
    give(page, one_after_another(grid_dir, [line], tmp_path / "clip.mp4"))
    assert " ".join(shown(page)) == line["text"]
    assert all(share.endswith("%") for share in page.locator("#words small").all_inner_texts())
    for kind, begins in (("srt", "1\n00:00:0"), ("vtt", "WEBVTT")):
        with page.expect_download() as download:
            page.click(f"#{kind}")
        written = Path(download.value.path()).read_text()
        assert written.startswith(begins) and line["text"] in written.replace("\n", " ")
    files = kept(app[1])
    assert {file.name for file in files} == {"lips.mp4", "lips.srt", "lips.vtt"}, "the upload is gone"
    page.close()
    wait_for(lambda: not kept(app[1]), seconds=90)


@pytest.mark.slow
def test_the_page_says_why_nothing_was_read(page, talker_clip):
    give(page, talker_clip)
    page.wait_for_selector("#words p")
    assert re.search(r"Nothing read from 0\.\d to \d\.\d s: .*words", page.inner_text("#words"))


GREY = np.full((240, 320, 3), 120, np.uint8)
SMALL = cv2.resize(PORTRAIT, None, fx=0.18, fy=0.18, interpolation=cv2.INTER_AREA)
BAD_VIDEOS = {
    "too dark": [GREY // 20] * 10,
    "too small": [np.pad(SMALL, ((100, 88), (130, 125), (0, 0)), constant_values=120)] * 10,
    "No face was found": [GREY] * 10,
    "at most 30 are read": [GREY] * 800,
    "Scale down": [np.zeros((1400, 2000, 3), np.uint8)] * 3,
    "not a readable video": None,
}


@pytest.mark.parametrize(
    "said", ["too dark", *(pytest.param(said, marks=pytest.mark.slow) for said in [*BAD_VIDEOS][1:])]
)
def test_errors_name_the_cause(page, app, tmp_path, said):
    before, path = set(kept(app[1])), tmp_path / "bad.mp4"
    if BAD_VIDEOS[said] is None:
        path.write_text("no video\n" * 200)
    else:
        write_video(path, BAD_VIDEOS[said])
    give(page, path)
    toast = page.locator(".toast-body", has_text=said)  # the browser's player may have its own before it
    toast.wait_for()
    text = toast.inner_text()
    assert str(app[1]) not in text and "Traceback" not in text
    assert set(kept(app[1])) == before, "nothing of it is kept"


def test_without_a_video(page):
    page.click("#read")
    page.wait_for_selector(".toast-body")
    assert "Give a video first" in page.inner_text(".toast-body")


def test_a_space_gets_what_the_page_needs():
    settings, document = configparser.ConfigParser(), (REPOSITORY / "docs" / "app.md").read_text()
    settings.read(REPOSITORY / "setup.cfg")
    extras = settings["options.extras_require"]
    lists = [settings["options"]["install_requires"], *(extras[name] for name in ("app", "train", "talker"))]
    needed = " ".join(lists).split()
    pins = set((REPOSITORY / "constraints.txt").read_text().replace('; python_version >= "3.11"', "").splitlines())
    listed = re.search(r"```\n--extra-index-url \S+\n(.*?)```", document, re.S)[1].split()
    assert {line.split("==")[0] for line in listed} == {line.split(">=")[0] for line in needed}
    assert set(listed) <= pins
    card = re.search(r"```yaml\n---\n(.*?)---\n```", document, re.S)[1]
    assert f"gradio=={re.search(r'sdk_version: (.*)', card)[1]}" in pins
