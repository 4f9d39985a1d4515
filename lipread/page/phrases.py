# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Records a visitor's phrases and reads them, in a process of its own.

The server deletes the folder of the phrase book after the visit. After every change the browser gets it as a ZIP
archive, which it can keep, and send to another process.
"""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import datasets
import numpy as np

from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.phrases_lipread import ACCEPTED, PhraseBookError

from ..diagnosis import brightness
from ..live.windows import LiveWindows
from ..long_form.streaming import StreamedFrame
from ..phrases.book import PhraseBook
from ..phrases.takes import STILL, TakeError, check_take, look_alikes
from ..settings import MAX_PHRASE_SECONDS, SegmentSettings
from .live import CameraPictures, watch
from .reading import load_pipeline_quietly

MAX_PHRASES, MAX_LETTERS, MAX_BOOK_BYTES = 200, 200, 2**28


class PhraseSession:
    """A phrase book, the take that is being recorded, and what was said last.

    Args:
        folder: The folder of the book.
        send: Callback that gets each message for the browser.
    """

    def __init__(self, pipeline: object, folder: Path, send: Callable[..., None]):
        self._pipeline, self._folder, self._send = pipeline, folder, send
        self._book = PhraseBook(folder / "book", pipeline)
        self._settings = SegmentSettings(max_seconds=MAX_PHRASE_SECONDS)
        self._windows: LiveWindows | None = None  # while a take is recorded, or phrases are read
        self._text, self._begin = "", None  # of the take that is being recorded; time of its first frame
        self._brightness: deque[float] = deque(maxlen=25)
        self._said: LandmarkSequence | None = None
        commands = (self.record, self.cancel, self.undo, self.remove, self.read, self.confirm)
        self._commands = {command.__name__: command for command in commands}

    def handle(self, message: str | bytes) -> None:
        """Follows a command, `{"do", "text"}`, or opens a phrase book that the browser kept."""
        try:
            if isinstance(message, bytes):
                self._open(message)
                return
            command = json.loads(message)
            self._commands[command["do"]](" ".join(str(command.get("text", "")).split())[:MAX_LETTERS])
        except (PhraseBookError, TakeError) as error:
            self._send(type="refused", message=str(error).replace(f"{self._book.folder}: ", ""))

    def record(self, text: str) -> None:
        """Begins a take of a phrase."""
        if text not in self._book.texts and len(self._book.texts) >= MAX_PHRASES:
            raise PhraseBookError(f"a book on this page has at most {MAX_PHRASES} phrases")
        self._text, self._begin, self._windows = text, None, LiveWindows(self._settings)

    def cancel(self, text: str) -> None:
        """Stops recording and reading."""
        self._text, self._windows = "", None

    def undo(self, text: str) -> None:
        """Removes the last take of a phrase."""
        self._book.remove(text, self._book.count(text))
        self._changed()

    def remove(self, text: str) -> None:
        """Removes a phrase."""
        self._book.remove(text)
        self._changed()

    def read(self, text: str) -> None:
        """Begins to read phrases."""
        self._book.index  # noqa: B018 - raises for an empty book
        self._text, self._windows = "", LiveWindows(self._settings)

    def confirm(self, text: str) -> None:
        """Adds what was said last as a take of a phrase."""
        if self._said is not None:
            said, self._said = self._said, None
            self._book.add(text, said)
            self._changed()

    def push(self, frame: StreamedFrame, picture: np.ndarray, arrived: float) -> None:
        """Adds a frame with its faces to the take, or reads the phrase that ends with it."""
        if self._windows is None:
            return
        self._brightness.append(brightness(picture))
        for window in self._windows.push(frame, arrived):
            if window.is_final and self._text:
                return self._end_take(window.segment.sequence)
            if window.is_final:
                self._read(window.segment.sequence)
        self._begin = frame.time if self._begin is None else self._begin
        if self._text and frame.time - self._begin > MAX_PHRASE_SECONDS:
            self._end_take(None)

    def _end_take(self, sequence: LandmarkSequence | None) -> None:
        """Adds a take, or says why it is not used; None is one in which nothing was said."""
        text, self._text, self._windows = self._text, "", None
        try:
            if sequence is None:
                raise TakeError(STILL)
            check_take(sequence, float(np.mean(self._brightness)))
            self._book.add(text, sequence)
        except (PhraseBookError, TakeError) as error:
            self._send(type="take", text=text, problem=str(error))
            return
        self._changed()
        self._send(type="take", text=text, problem="")

    def _read(self, sequence: LandmarkSequence) -> None:
        matches = self._book.match(sequence)
        if matches:
            self._said = sequence
            phrases = [{"text": match.text, "score": match.score} for match in matches]
            self._send(type="phrases", phrases=phrases, accepted=matches[0].score >= ACCEPTED)

    def _changed(self) -> None:
        texts = self._book.texts
        mistaken = [{"text": found.text, "other": found.other} for found in self._book.confusions()] if texts else []
        phrases = [{"text": text, "takes": self._book.count(text)} for text in texts]
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for path in sorted(self._book.folder.rglob("*")):
                archive.write(path, path.relative_to(self._book.folder))
        self._send(type="book", phrases=phrases, mistaken=mistaken, file=file.getvalue())

    def _open(self, data: bytes) -> None:
        folder = self._folder / secrets.token_hex(8)
        unpack_book(data, folder)
        self._book = PhraseBook(folder, self._pipeline)
        self._changed()


def unpack_book(data: bytes, folder: Path) -> None:
    """Unpacks a phrase book into a new folder.

    Raises:
        PhraseBookError: It is no archive of a phrase book, is too large, or names files outside of it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAX_BOOK_BYTES:
                raise PhraseBookError("the phrase book is too large for this page")
            archive.extractall(folder)  # keeps every name inside of the folder
        # `datasets` opens the files that this one names.
        for state in folder.rglob("state.json"):
            for item in json.loads(state.read_text(encoding="utf-8"))["_data_files"]:
                if Path(item["filename"]).name != item["filename"]:
                    raise PhraseBookError("this phrase book names files outside of it")
    except PhraseBookError:
        raise
    except Exception as error:  # damaged archives make `zipfile` and the libraries below it raise many types
        raise PhraseBookError("this file is no phrase book, or is damaged; choose the ZIP file of one") from error


def compare_phrases(connection: Connection, texts: list[str]) -> None:
    """Sends which phrases look alike on the lips, as `{"pairs": [{"text", "other"}]}`."""
    pairs = look_alikes([text[:MAX_LETTERS] for text in texts[:MAX_PHRASES]])
    connection.send({"pairs": [{"text": text, "other": other} for text, other in pairs]})


def read_phrases(connection: Connection, model: str | None, device: str, folder: Path) -> None:
    """Sends the messages of `watch`, and the answers to commands."""
    pipeline = load_pipeline_quietly(model, device)
    datasets.disable_progress_bars()

    def send(**message: object) -> None:
        connection.send(message)

    session = PhraseSession(pipeline, folder, send)
    pictures = CameraPictures(connection, session.handle)
    for frame in watch(pictures, pipeline, send):
        session.push(frame, pictures.picture, pictures.arrived)
