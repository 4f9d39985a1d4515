# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A process for each visitor. It can be killed at any moment, also while a library in C hangs on a damaged video."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pkgutil import resolve_name
from typing import Any

# Imported once, by the server of processes.
_IMPORTED = [
    "__main__",
    "lipread.page.reading",
    "lipread.page.live",
    "lipread.page.phrases",
    "ai_edge_litert.interpreter",
    "av",
    "cv2",
]
ZIP = b"PK\x03\x04"  # how a phrase book among camera pictures begins; as a picture's time it would be 10^79 seconds


class ProcessEnded(Exception):
    """Raised when a process ended, or took too long, before it sent its next message."""


class VisitorProcess:
    """A process that runs `work(connection, *arguments)` and sends dictionaries; use it with `async with`.

    On Linux, processes are forked from a server that has imported the libraries and runs none of them, because
    threads do not survive a fork. Elsewhere each starts afresh.

    Args:
        work: A function, `module:name`, so that this process does not import what it needs. Its connection has `send`
            and `recv`, and ends when the visitor leaves.
        arguments: Its other arguments; they are pickled.
        seconds: Wall-clock limit of all its work.
    """

    def __init__(self, work: str, *arguments: Any, seconds: float):
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            context.set_forkserver_preload(_IMPORTED)
        self._connection, self._far_end = context.Pipe()
        self._process = context.Process(target=_run, args=(work, self._far_end, *arguments), daemon=True)
        self._loop, self._messages = asyncio.get_running_loop(), asyncio.Queue()
        self._seconds, self._deadline = seconds, math.inf

    async def __aenter__(self) -> VisitorProcess:
        """Starts the process, in a thread: the first one waits for the imports of the server of processes."""
        start = asyncio.ensure_future(asyncio.to_thread(self._process.start))
        try:
            await asyncio.shield(start)
        except asyncio.CancelledError:  # the visitor has left
            start.add_done_callback(lambda _: self._process.is_alive() and self._process.kill())
            raise
        except (
            EOFError,
            OSError,
        ) as error:  # the server of processes was killed, or TMPDIR is too long for its socket
            raise ProcessEnded(f"The program could not be started. {error}") from error
        self._far_end.close()  # so that the connection ends with the process
        self._deadline = self._loop.time() + self._seconds
        threading.Thread(target=self._receive, daemon=True).start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Kills the process."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)

    async def receive(self, seconds: float = math.inf) -> dict[str, Any] | None:
        """Returns the next message, or None if none arrived in `seconds`.

        Raises:
            ProcessEnded: The process has ended, or its time is over.
        """
        left = self._deadline - self._loop.time()
        try:
            message = await asyncio.wait_for(self._messages.get(), min(seconds, left))
        except asyncio.TimeoutError:
            if left > seconds:
                return None
            raise ProcessEnded(f"It took longer than {self._seconds:.0f} seconds and was stopped.") from None
        if message is None:
            raise ProcessEnded("It was stopped by an error in the program.")
        return message

    async def send(self, message: Any) -> None:
        """Sends a message to the process; it is lost if the process has ended."""
        await asyncio.to_thread(self._send, message)

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # the process has ended; `receive` says so
            self._connection.send(message)

    def _receive(self) -> None:
        try:
            while True:
                self._tell(self._connection.recv())
        except (EOFError, OSError):
            self._tell(None)

    def _tell(self, message: dict[str, Any] | None) -> None:
        with suppress(RuntimeError):  # the page has ended
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)


def _run(work: str, connection: Connection, *arguments: Any) -> None:
    try:
        resolve_name(work)(connection, *arguments)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):  # the visitor has left, or the page ends
        pass
    except Exception as error:
        print(f"lipread: {work}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
