# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The web page's server: receives videos and camera pictures, and gives each visitor a process.

A video is stored in a folder of its own until it has been read, and nothing is kept afterwards: the answer goes to the
browser, which draws it.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from .processes import ZIP, ProcessEnded, VisitorProcess

STATIC = Path(__file__).with_name("static")
MAX_MEGABYTES = 100
READ_SECONDS, LIVE_SECONDS = 120.0, 900.0  # wall-clock limits of one reading, and of one visit of the live camera
UPLOAD_SECONDS, SILENT_SECONDS = 300.0, 60.0  # of an upload; between two answers of a live process
COMPARE_SECONDS = 20.0  # of the comparison of phrases
LOAD_SECONDS = 1800.0  # of the first load of the reader, which may come from the Hub
MAX_WAITING = 16  # videos
MAX_PICTURES = 8  # sent to a process and not answered yet; further ones are dropped
MAX_TEXT_BYTES, MAX_PICTURE_BYTES, MAX_MESSAGE_BYTES = 2**16, 2**19, 2**26  # the last for phrase books
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """The routes of the page.

    Args:
        model: Folder or Hub id of a reader; by default the one in the package.
        device: A torch device, or `auto`.
        folder: Where uploads are stored while they are read.
        example: A video to try; the page shows no example without it.
        note: What the reader knows, for the visitor.
        read_seconds: Wall-clock limit of one reading.
        slots: Videos read at once, and also live cameras at once.
    """

    def __init__(
        self,
        model: str | None,
        device: str,
        folder: Path,
        example: Path | None = None,
        note: str = "",
        read_seconds: float = READ_SECONDS,
        slots: int | None = None,
    ):
        slots = slots or max(2, os.cpu_count() or 1)
        self._reader = (model, device)
        self._folder, self._example, self._note, self._read_seconds = folder, example, note, read_seconds
        self._reading, self._live, self._waiting = asyncio.Semaphore(slots), asyncio.Semaphore(slots), 0
        self.app = Starlette(
            routes=[
                Route("/", self.index),
                Route("/about", self.about),
                Route("/example.mp4", self.example),
                Route("/read", self.read, methods=["POST"]),
                Route("/alike", self.alike, methods=["POST"]),
                WebSocketRoute("/live", self.live),
                WebSocketRoute("/phrases", self.phrases),
                Mount("/static", StaticFiles(directory=STATIC)),
            ]
        )

    async def check_reader(self) -> str:
        """Loads the reader in a process, as visitors do. Returns an error, or "" if it can be used."""
        work = "lipread.page.reading:check_reader"
        try:
            async with VisitorProcess(work, *self._reader, seconds=LOAD_SECONDS) as process:
                return (await process.receive())["error"]
        except ProcessEnded as error:
            return f"the reader could not be loaded. {error}"

    def index(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    def about(self, request: Request) -> Response:
        return JSONResponse({"note": self._note, "example": self._example is not None, "megabytes": MAX_MEGABYTES})

    def example(self, request: Request) -> Response:
        return FileResponse(self._example) if self._example else Response(status_code=404)

    async def read(self, request: Request) -> Response:
        """Reads the video in the body, with `?all=1` also words that do not fit the lips.

        Returns:
            Lines of JSON as they come: `waiting`, `progress`, and in the end `result` or `error`.
        """
        with ExitStack() as upload:
            path = Path(upload.enter_context(tempfile.TemporaryDirectory(dir=self._folder)), "video")
            if error := await _store(request, path):
                return JSONResponse({"type": "error", "message": error}, headers=HEADERS)
            lines = self._read(upload.pop_all(), path, abstain=request.query_params.get("all") != "1")
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=HEADERS)

    async def _read(self, upload: ExitStack, path: Path, abstain: bool) -> AsyncIterator[str]:
        with upload:
            if self._waiting >= MAX_WAITING:
                yield _line(type="error", message="Too many videos are waiting. Try again in a few minutes.")
                return
            self._waiting += 1
            try:
                if self._reading.locked():
                    yield _line(type="waiting", text="Waiting for other people's videos")
                await self._reading.acquire()
            finally:
                self._waiting -= 1
            try:
                arguments, limit = (*self._reader, path, abstain), self._read_seconds
                async with VisitorProcess("lipread.page.reading:read_video", *arguments, seconds=limit) as process:
                    message: dict[str, Any] = {"type": "progress", "share": 0.0, "text": "Starting"}
                    yield _line(**message)
                    while message["type"] == "progress":
                        message = await process.receive()
                        yield _line(**message)
            except ProcessEnded as error:
                yield _line(type="error", message=f"{error} Try a shorter part, or save the video as MP4.")
            finally:
                self._reading.release()

    async def alike(self, request: Request) -> Response:
        """Returns which of the phrases in the body, one a line, look alike on the lips, as `{"pairs"}`."""
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_TEXT_BYTES:
                return JSONResponse({"pairs": []})
        texts = body.decode("utf-8", "replace").split("\n")
        work = "lipread.page.phrases:compare_phrases"
        try:
            async with VisitorProcess(work, texts, seconds=COMPARE_SECONDS) as process:
                return JSONResponse(await process.receive())
        except ProcessEnded:
            return JSONResponse({"pairs": []})

    async def live(self, websocket: WebSocket) -> None:
        """Reads a camera: pictures arrive as `lipread.page.live` describes, and its messages go back."""
        await self._visit(websocket, "lipread.page.live:read_camera")

    async def phrases(self, websocket: WebSocket) -> None:
        """Records and reads a visitor's phrases, as `lipread.page.phrases` describes."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            await self._visit(websocket, "lipread.page.phrases:read_phrases", Path(folder))

    async def _visit(self, websocket: WebSocket, work: str, *arguments: Any) -> None:
        await websocket.accept()
        if self._live.locked():
            await websocket.send_json({"type": "error", "message": "Other people use it. Try again in a few minutes."})
            await websocket.close()
            return
        try:
            async with self._live, VisitorProcess(work, *self._reader, *arguments, seconds=LIVE_SECONDS) as process:
                visit = _Visit(websocket, process)
                tasks = [asyncio.create_task(visit.receive_pictures()), asyncio.create_task(visit.send_answers())]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        except ProcessEnded as error:  # it could not be started
            await websocket.send_json({"type": "error", "message": f"{error} Try again in a few minutes."})
            await websocket.close()


class _Visit:
    """Passes messages between a browser and its process."""

    def __init__(self, websocket: WebSocket, process: VisitorProcess):
        self._websocket, self._process, self._unanswered = websocket, process, 0

    async def receive_pictures(self) -> None:
        """Gives pictures and commands to the process until the browser leaves; drops pictures if it is late."""
        while (event := await self._websocket.receive())["type"] == "websocket.receive":
            message = event.get("text") or event.get("bytes") or b""
            if isinstance(message, bytes) and not message.startswith(ZIP):
                if self._unanswered >= MAX_PICTURES or len(message) > MAX_PICTURE_BYTES:
                    continue
                self._unanswered += 1
            await self._process.send(message)

    async def send_answers(self) -> None:
        """Sends the messages of the process until it ends or is silent, and then says so."""
        with suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: the browser has left
            try:
                while (message := await self._process.receive(SILENT_SECONDS)) is not None:
                    self._unanswered -= message["type"] == "picture"
                    file = message.pop("file", None)
                    await self._websocket.send_json(message)
                    if file is not None:
                        await self._websocket.send_bytes(file)
                text = "The camera sent no pictures, so it was switched off."
                if self._unanswered:
                    text = "The program does not answer and was stopped. Start the camera again."
            except ProcessEnded as error:
                text = f"{error} Start the camera again."
            await self._websocket.send_json({"type": "error", "message": text})
            await self._websocket.close()


async def _store(request: Request, path: Path) -> str:
    """Writes the body to a file. Returns an error for the visitor, or ""."""
    size = 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            with open(path, "wb") as file:
                async for part in request.stream():
                    size += file.write(part)
                    if size > MAX_MEGABYTES * 1e6:
                        return f"At most {MAX_MEGABYTES} MB are allowed. Cut the video, or save it smaller."
    except TimeoutError:
        return f"It took longer than {UPLOAD_SECONDS:.0f} seconds to arrive. Save the video smaller."
    except ClientDisconnect:
        return "The video did not arrive."
    return "" if size else "There is no video. Choose one, or record one."


def _line(**message: Any) -> str:
    return json.dumps(message, ensure_ascii=False) + "\n"
