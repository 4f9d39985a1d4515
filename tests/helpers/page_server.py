# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The web page in this process, and work for its processes."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def serve(folder: Path, **options: Any) -> Iterator[str]:
    """Yields the address of a page that stores uploads in `folder`. Skips the test without the extra app."""
    reason = "the extra app is not installed: pip install -c constraints.txt -e '.[app]'"
    uvicorn = pytest.importorskip("uvicorn", reason=reason)
    from lipread.page.server import Page

    page = Page(model=None, device="cpu", folder=folder, **options)
    server = uvicorn.Server(uvicorn.Config(page.app, log_level="warning", timeout_graceful_shutdown=1))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def read(address: str, video: bytes) -> dict[str, Any]:
    """Returns the page's last answer about a video."""
    import httpx

    with httpx.stream("POST", f"http://{address}/read", content=video, timeout=300) as response:
        return [json.loads(line) for line in response.iter_lines()][-1]


def hang(connection: Any) -> None:
    """Never returns from a function in C, which no Python signal handler interrupts."""
    connection.send({"type": "progress"})
    re.match("(a+)+$", "a" * 64 + "b")
