# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page in a browser, from start to spoken word: with a camera, with files good and bad, and accessible."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from modeling_lipread.video_lipread import read_frames
from tests.helpers.browser import open_browser
from tests.helpers.clips import EXAMPLE, EXAMPLE_WORDS, PORTRAIT, portrait_on, write_video
from tests.helpers.corpora import wait_for
from tests.helpers.page_server import serve
from tests.helpers.training import REPOSITORY, run_python

reason = "the extras app and dev are not installed: pip install -c constraints.txt -e '.[app,dev]'"
pytest.importorskip("uvicorn", reason=reason)
Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=reason).Axe
WAIT = 90_000  # milliseconds; a busy machine reads slowly
LOOKS = [("light", {"width": 1280, "height": 800}), ("dark", {"width": 390, "height": 844})]
in_each_look = pytest.mark.parametrize("look", LOOKS, ids=["wide", "phone"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    frames = [frame for _, frame in read_frames(EXAMPLE)]
    frames += frames[:1] * 40
    with open_browser(write_video(tmp_path_factory.mktemp("camera") / "c.y4m", frames, codec="rawvideo")) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """The address of a page, and the folder of its uploads."""
    folder = tmp_path_factory.mktemp("uploads")
    with serve(folder, example=EXAMPLE) as address:
        yield SimpleNamespace(address=f"http://{address}", folder=folder)
    assert not list(folder.iterdir())


@pytest.fixture
def visit(browser, server):
    """Opens the page. What it says aloud and copies is collected in `window.spoken` and `window.copied`."""
    contexts = []

    def open_page(look=LOOKS[0], **options):
        contexts.append(browser.new_context(color_scheme=look[0], viewport=look[1], **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(WAIT)
        page.add_init_script(
            "window.spoken = []; window.copied = []; speechSynthesis.speak = (speech) => spoken.push(speech.text);"
            "navigator.clipboard.writeText = async (text) => { copied.push(text) }"
        )
        page.goto(server.address)
        page.wait_for_selector("#video-example:not([hidden])", state="attached")  # the scripts have run
        return page

    yield open_page
    for context in contexts:
        context.close()


def words(page) -> str:
    """Returns the words that were read, without how sure each is."""
    page.wait_for_selector("#video-words .word")
    return " ".join(
        page.eval_on_selector_all("#video-words .word", "words => words.map(word => word.firstChild.textContent)")
    )


def read(page, video: Path | None = None) -> None:
    if video is not None:
        page.set_input_files("#video-file", str(video))
    page.click("#video-read")


def reach(page, selector: str) -> None:
    """Moves the focus to an element by the keyboard alone."""
    element = page.locator(selector).first
    for _ in range(60):
        if element.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by the keyboard")


def press(page, selector: str, key: str = "Enter") -> None:
    """Presses a button by the keyboard alone."""
    reach(page, selector)
    page.keyboard.press(key)


def check_accessible(page, state: str) -> None:
    """Runs axe-core, and checks that nothing is wider than the window; `LIPREAD_SCREENS=folder` keeps a picture."""
    if folder := os.environ.get("LIPREAD_SCREENS"):
        page.screenshot(path=Path(folder) / f"{state}-{page.viewport_size['width']}.png")
    found = Axe().run(page).response["violations"]
    assert not found, (state, [(item["id"], item["impact"], item["nodes"][0]["html"]) for item in found])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state


@pytest.mark.parametrize(
    "number, status", [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_during_a_reading_ends_the_page_and_leaves_nothing(tmp_path, tmp_path_factory, number, status):
    noise = np.random.default_rng(0).integers(0, 255, (360, 640, 3), np.uint8)
    video = write_video(tmp_path / "long.mp4", [noise] * 700)
    temporary = tmp_path_factory.mktemp("tmp")  # short: the path of a socket has at most 107 bytes
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "app.py", "--device", "cpu", "--port", "0"]
    # Shells start background jobs with SIGINT ignored.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "text": True, "preexec_fn": default}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes)
    address = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.:]+", line)))
    (folder,) = temporary.glob("lipread-page-*")
    with httpx.stream("POST", f"{address}/read", content=video.read_bytes(), timeout=60) as response:
        lines = response.iter_lines()  # the connection ends with it
        assert "progress" in next(lines) and list(folder.iterdir())
        process.send_signal(number)
        assert process.wait(timeout=5) == status
        assert not folder.exists(), "all of it goes when the page is ended"


def test_one_sentence_explains_a_wrong_start(tmp_path):
    errors = run_python("app.py", "--model", tmp_path / "nothing", "--port", "0", status=1).stderr
    assert "Traceback" not in errors
    assert re.search(r"^error: --model .*nothing: no such folder here, check the path", errors, re.M)


@pytest.mark.slow
def test_the_example_then_an_upload_then_the_camera(visit, server, tmp_path):
    """All three are read in one way, the video stays for another try, and nothing stays on the server."""
    page = visit()
    page.click("#tab-video")
    page.click("#video-example")
    read(page)
    assert words(page) == EXAMPLE_WORDS
    assert "6 words read" in page.inner_text("#video-status")
    page.click("#video-copy")
    assert page.evaluate("copied") == [EXAMPLE_WORDS]
    for kind, begins in (("srt", "1\n00:00:0"), ("vtt", "WEBVTT")):
        with page.expect_download() as download:
            page.click(f"#video-{kind}")
        written = Path(download.value.path()).read_text()
        assert written.startswith(begins) and EXAMPLE_WORDS in written.replace("\n", " ")
    page.check("#video-all")
    read(page)
    assert words(page) == EXAMPLE_WORDS, "the video stays"

    page.uncheck("#video-all")
    read(page, write_video(tmp_path / "portrait.mp4", [PORTRAIT] * 30))
    page.locator("#video-notes", has_text="The lips do not move").wait_for()
    assert not page.query_selector("#video-words .word")

    page.click("#video-record")
    page.locator("#video-record", has_text="(3 s)").wait_for()
    page.click("#video-record")
    read(page)
    assert words(page)
    assert not list(server.folder.iterdir())


@pytest.mark.slow
@in_each_look
def test_words_are_reached_by_keyboard_move_the_video_and_are_said_aloud(visit, server, look, tmp_path):
    page = visit(look, reduced_motion="reduce")
    page.focus("#tab-live")
    for tab in ("tab-phrases", "tab-video"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == tab
    assert page.is_visible("#video")
    check_accessible(page, "video-empty")
    page.click("#video-example")
    shown = "video => video.readyState > 1 || new Promise((done) => (video.onloadeddata = () => done(true)))"
    page.locator("#video-picture video").evaluate(shown)
    check_accessible(page, "video-chosen")
    bottom = page.locator("#video-read").evaluate("button => scrollY + button.getBoundingClientRect().bottom")
    assert bottom <= look[1]["height"], "the main button is seen without scrolling"
    page.focus("#video-read")
    page.keyboard.press("Enter")
    words(page)
    top = page.locator("#video-result").evaluate("place => place.getBoundingClientRect().top")
    assert 0 <= top <= look[1]["height"] / 2, "the result is in view"
    assert page.evaluate("document.activeElement.textContent") == "Words"
    for _ in range(6):
        page.keyboard.press("Tab")
    start = page.evaluate("Number(document.activeElement.dataset.start)")
    assert start > 1
    page.keyboard.press("Enter")
    page.wait_for_selector("#video-words .word:last-child.now")
    assert abs(page.evaluate("document.querySelector('#video-picture video').currentTime") - start) < 0.1
    page.focus("#video-speak")
    page.keyboard.press("Enter")
    assert page.evaluate("spoken") == [EXAMPLE_WORDS]
    check_accessible(page, "video-words")
    read(page, write_video(tmp_path / "long.mp4", [PORTRAIT] * 740))  # long enough to be seen
    page.locator("#video-status", has_text="face").wait_for()
    check_accessible(page, "video-reading")
    page.click("#video-example")
    wait_for(lambda: not list(server.folder.iterdir()), seconds=30)  # it ends the reading


GREY = np.full((240, 320, 3), 120, np.uint8)
BAD_VIDEOS = {
    "too dark": [GREY // 20] * 10,
    "too small": [portrait_on(240, 320, [(0.18, 140, 100)])] * 10,
    "no face was found": [GREY] * 10,
    "at most 30 are read": [GREY] * 800,
    "Save it smaller": [np.zeros((1400, 2000, 3), np.uint8)] * 3,
    "not a video": None,
}


@pytest.mark.parametrize(
    "said", ["too dark", *(pytest.param(said, marks=pytest.mark.slow) for said in [*BAD_VIDEOS][1:])]
)
def test_errors_stand_where_the_words_would(visit, server, tmp_path, said):
    path = tmp_path / "bad.mp4"
    if BAD_VIDEOS[said] is None:
        path.write_text("no video\n" * 200)
    else:
        write_video(path, BAD_VIDEOS[said])
    page = visit()
    page.click("#tab-video")
    read(page, path)
    error = page.locator("#video-error", has_text=said)
    error.wait_for()
    assert str(server.folder) not in error.inner_text() and "Traceback" not in error.inner_text()
    assert not list(server.folder.iterdir())
    assert page.is_enabled("#video-read"), "it can be tried again"
    check_accessible(page, "video-error")


@pytest.mark.slow
@in_each_look
def test_live_words_from_the_camera_are_said_aloud(visit, look):
    """By the keyboard alone; words are grey at first, then black and never changed."""
    page = visit(look)
    check_accessible(page, "live-empty")
    page.evaluate(
        """() => {
          window.settled = [];
          const log = document.getElementById("live-settled");
          new MutationObserver(() => settled.push(log.textContent)).observe(log, {subtree: true, childList: true,
            characterData: true});
        }"""
    )
    press(page, "#live-speak", "Space")
    press(page, "#live-start")
    page.wait_for_selector("#live-light.good")
    check_accessible(page, "live-camera")
    page.locator("#live-partial:not(.reason)", has_text=re.compile(r"\w+ \w+")).wait_for()
    check_accessible(page, "live-partial")
    page.wait_for_selector("#live-settled p:nth-child(2)")
    check_accessible(page, "live-words")
    press(page, "#live-copy")
    press(page, "#live-start")
    assert page.inner_text("#live-start") == "Start the camera" and not page.inner_text("#live-light")
    history = page.evaluate("settled")
    assert all(after.startswith(before) for before, after in zip(history, history[1:], strict=False))
    spoken = page.evaluate("spoken")
    assert "\n".join(spoken).startswith(page.evaluate("copied")[0])
    assert any(len(set(EXAMPLE_WORDS.split()) & set(line.split())) >= 3 for line in spoken)
    press(page, "#live-clear")
    assert not page.inner_text("#live-settled")


@pytest.mark.slow
@in_each_look
def test_own_phrases_are_recorded_read_and_said_aloud(visit, server, look, tmp_path):
    """By the keyboard alone."""
    pytest.importorskip("datasets")
    page = visit(look)
    reach(page, "#tab-live")
    page.keyboard.press("ArrowRight")
    check_accessible(page, "phrases-empty")
    reach(page, "#phrases-new")
    page.keyboard.type("pat\nbat\nGood morning")
    press(page, "#phrases-add")
    page.wait_for_selector("#phrases-alike li")
    check_accessible(page, "phrases-alike")
    for _ in range(2):
        press(page, "#phrases-table button:last-child >> nth=0")
    assert page.is_hidden("#phrases-alike")
    reach(page, "#phrases-takes")
    page.keyboard.press("1")
    press(page, "#phrases-record")
    page.locator("#phrases-count", has_text="Now").wait_for()
    check_accessible(page, "phrases-recording")
    for attempt in range(8):  # a take that began in the middle of the sentence is recorded again
        page.wait_for_selector("#phrases-again:not([hidden])")
        check_accessible(page, "phrases-take")
        page.wait_for_timeout(1000 * attempt)  # or the next one could begin at the same place of the camera's loop
        press(page, "#phrases-next" if page.is_visible("#phrases-next") else "#phrases-again")
        if not page.is_visible("#phrases-recording"):
            break
    assert "1 take" in page.inner_text("#phrases-table")
    check_accessible(page, "phrases-recorded")
    press(page, "#phrases-read")
    page.locator("#phrases-said", has_text="Good morning").wait_for()
    assert page.evaluate("spoken")[0] == "Good morning"
    check_accessible(page, "phrases-read")
    press(page, "#phrases-choices button:first-child")
    page.locator("#phrases-table", has_text="2 takes").wait_for(state="attached")
    press(page, "#phrases-stop")
    with page.expect_download() as download:
        press(page, "#phrases-save")
    download.value.save_as(tmp_path / "my_phrases.zip")
    again = visit(look)
    again.click("#tab-phrases")
    again.set_input_files("#phrases-file", str(tmp_path / "my_phrases.zip"))
    again.locator("#phrases-table", has_text="2 takes").wait_for()
    again.click("#phrases-table button:last-child")
    again.locator("#phrases-table", has_text="Good morning").wait_for(state="detached")
    page.click("#tab-live")
    again.click("#tab-live")
    wait_for(lambda: not list(server.folder.iterdir()), seconds=30)


@in_each_look
def test_a_camera_that_is_not_allowed_is_named(visit, look):
    page = visit(look)
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')) }"
    )
    for tab in ("live", "phrases"):
        page.click(f"#tab-{tab}")
        page.click(f"#{tab}-start")
        page.locator(f"#{tab}-error", has_text="not allowed").wait_for()
        check_accessible(page, f"{tab}-error")


def test_right_to_left_words_run_from_right_to_left(visit):
    names = ("שלום", "עולם")
    spoken = [{"word": name, "start": 0.5 * at, "end": 0.5 * at + 0.5, "score": 0.95} for at, name in enumerate(names)]
    answer = {"type": "result", "words": spoken, "notes": [], "srt": "", "vtt": "", "times": [0.0], "points": [None]}
    page = visit()
    page.route("**/read?*", lambda route: route.fulfill(json={**answer, "contours": []}))
    page.click("#tab-video")
    page.click("#video-example")
    read(page)
    assert words(page) == " ".join(names)
    first, second = (page.locator("#video-words .word").nth(index).bounding_box() for index in (0, 1))
    assert first["x"] > second["x"]


def test_the_dockerfile_copies_what_the_page_needs():
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1] if "=" not in name}
    assert all((REPOSITORY / name).exists() for name in copied)
    settings = {"setup.cfg", "pyproject.toml", "constraints.txt"}
    assert {"app.py", "lipread", "modeling_lipread", "examples/clip.mp4"} | settings <= copied
