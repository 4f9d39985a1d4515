# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page's server without a browser: visitors at the same time, limits, hostile files, and nothing left behind."""

import asyncio
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from modeling_lipread.video_lipread import read_frames
from tests.helpers.corpora import wait_for
from tests.helpers.page_server import read, serve
from tests.helpers.training import REPOSITORY

CLIP = REPOSITORY / "examples" / "clip.mp4"
SENTENCE = "lay blue at f eight now"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a page, and the folder of its uploads."""
    folder = tmp_path_factory.mktemp("uploads")
    with serve(folder, example=CLIP, read_seconds=300, slots=2) as address:
        yield address, folder
    assert not list(folder.iterdir())


def words(answer: dict) -> str:
    return " ".join(word["word"] for word in answer["words"])


@pytest.mark.slow
def test_identical_videos_at_once_are_all_read(page):
    address, folder = page
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: read(address, CLIP.read_bytes()), range(4)))
    assert [words(answer) for answer in answers] == [SENTENCE] * 4
    assert len(answers[0]["points"]) == len(answers[0]["times"]) == len([*read_frames(CLIP)])
    assert SENTENCE in answers[0]["srt"].replace("\n", " ") and answers[0]["vtt"].startswith("WEBVTT")
    assert not list(folder.iterdir())


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:3600\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{}\n"


@pytest.mark.parametrize("names", ["a missing file", "another file"])
def test_a_playlist_neither_holds_the_page_nor_reads_other_files(tmp_path, names):
    """Without the end of the list, FFmpeg would wait for more of it for hours."""
    other = tmp_path / "mpegts.ts" if names == "a missing file" else CLIP
    with serve(tmp_path, read_seconds=10, slots=1) as address:
        answer = read(address, PLAYLIST.format(other).encode())
        assert answer["type"] == "error" and "words" not in answer and str(tmp_path) not in answer["message"]
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("started", [False, True])
def test_a_process_that_hangs_in_native_code_is_stopped(started):
    processes = pytest.importorskip("lipread.page.processes")

    async def visit():
        with processes.VisitorProcess("tests.helpers.page_server:hang", started, seconds=8) as process:
            if started:
                assert await process.receive() == {"type": "progress"}
            assert await process.receive(0.1) is None
            with pytest.raises(processes.ProcessEnded, match="longer than 8 seconds"):
                await process.receive()
        return process

    assert asyncio.run(visit()).exit_code == -9


@pytest.mark.slow
def test_a_visitor_who_leaves_leaves_nothing(page):
    address, folder = page
    with httpx.stream("POST", f"http://{address}/read", content=CLIP.read_bytes(), timeout=60) as response:
        assert json.loads(next(response.iter_lines()))["type"] == "progress" and list(folder.iterdir())
    wait_for(lambda: not list(folder.iterdir()), seconds=30)


@pytest.mark.parametrize("size, title", [(0, "No video"), (100_000_001, "Too large")])
def test_uploads_of_a_wrong_size(page, size, title):
    assert read(page[0], bytes(size))["title"] == title


def jpeg(picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.slow
def test_a_camera_is_read_while_it_speaks(page):
    """Each picture is answered, and what is final is never changed."""
    from websockets.sync.client import connect

    final, said = [], []
    with connect(f"ws://{page[0]}/live") as socket:
        ready = json.loads(socket.recv(timeout=60))
        assert ready["type"] == "ready"
        pictures = [(time, picture) for time, picture in read_frames(CLIP)]
        pictures += [(pictures[-1][0] + index / 25, pictures[0][1]) for index in range(1, 40)]
        for time, picture in pictures:
            socket.send(struct.pack(">d", time) + jpeg(picture))
            while (answer := json.loads(socket.recv(timeout=60)))["type"] != "picture":
                said.append(answer)
            assert len(answer["points"]) == 2 * sum(ready["contours"]) and answer["problem"] == ""
        while not final:
            answer = json.loads(socket.recv(timeout=60))
            said.append(answer)
            final = [answer for answer in said if answer["type"] == "final"]
    assert " ".join(word["word"] for word in final[0]["words"]) == SENTENCE
    assert any(answer["type"] == "partial" for answer in said)


@pytest.mark.parametrize("sent", [b"", struct.pack(">d", 0.0) + b"no picture"])
def test_a_camera_that_sends_no_pictures_is_told_so(page, sent):
    from websockets.sync.client import connect

    with connect(f"ws://{page[0]}/live") as socket:
        assert json.loads(socket.recv(timeout=60))["type"] == "ready"
        socket.send(sent)
        assert json.loads(socket.recv(timeout=60))["type"] == "error"


@pytest.mark.slow
def test_cameras_beyond_the_slots_are_refused_at_once(page):
    from websockets.sync.client import connect

    address = f"ws://{page[0]}/live"
    with connect(address) as first, connect(address) as second:
        assert {json.loads(socket.recv(timeout=60))["type"] for socket in (first, second)} == {"ready"}
        with connect(address) as third:
            assert "Try again" in json.loads(third.recv(timeout=60))["message"]


def test_nothing_outside_of_the_page_is_served(page):
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/example.mp4/../../../etc/passwd"):
        assert httpx.get(f"http://{page[0]}{path}").status_code == 404
    assert "default-src 'self'" in httpx.get(f"http://{page[0]}/").headers["content-security-policy"]
    assert Path(CLIP).read_bytes() == httpx.get(f"http://{page[0]}/example.mp4").content
