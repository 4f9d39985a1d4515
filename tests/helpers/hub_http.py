# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How the loopback Hub of `hub_server.py` speaks HTTP: a request is read whole, answered by a method, and sent."""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.helpers.hub_repository import HubError

Reply = tuple[int, dict[str, str], bytes]


def reply(content: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/json", **named}, json.dumps(content).encode()


class Handler(BaseHTTPRequestHandler):
    """Sends what a method answers; `routes`: HTTP methods, the path's pattern, the method that takes its groups."""

    hub: Any  # the `HubServer`
    protocol_version = "HTTP/1.1"
    routes: list[tuple[str, str, str]] = []

    def _handle(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        self.hub.requests.append((self.command, url.path))
        try:
            status = self.hub.fault(self.command, url.path)
            if status is not None:
                raise HubError(status, "the server was told to fail")
            self._send(*self._answer(url.path))
        except HubError as error:
            headers = {"X-Error-Message": error.message, "X-Error-Code": error.code, **error.headers}
            self._send(*reply({"error": error.message, **error.details}, error.status, **headers))

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _answer(self, path: str) -> Reply:
        for methods, pattern, name in self.routes:
            if self.command in methods.split() and (match := re.fullmatch(pattern, path)):
                return getattr(self, name)(**{k: value and unquote(value) for k, value in match.groupdict().items()})
        raise HubError(404, f"there is no {self.command} {path} here")

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_content(self, content: bytes, **headers: str) -> Reply:
        """A file, or the range of it that was asked for."""
        named = {"Accept-Ranges": "bytes", **{name.replace("_", "-"): value for name, value in headers.items()}}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return 200, named, content
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        return 206, {**named, "Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]

    def log_message(self, *arguments: object) -> None:
        """Nothing: `HubServer.requests` holds what was asked."""
