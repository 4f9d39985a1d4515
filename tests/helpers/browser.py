# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Headless Chromium, with a video file in place of its camera."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from modeling_lipread.video_lipread import read_frames

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def open_browser(camera: Path | None = None) -> Iterator[Any]:
    """Yields a new browser, whose camera repeats a `.y4m` file. Skips the test if there is no browser."""
    reason = "playwright is not installed: pip install playwright"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    if camera is not None:
        options += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        options += [f"--use-file-for-fake-video-capture={camera}"]
    # The system's Chromium; None lets Playwright look for its own.
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as running:
        try:
            browser = running.chromium.launch(executable_path=path, args=options)
        except playwright.Error as error:
            pytest.skip(f"no Chromium: apt-get or playwright install chromium ({error.message[:80]})")
        try:
            yield browser
        finally:
            browser.close()


def write_camera(video: Path, path: Path) -> Path:
    """Writes a video as a `.y4m` file, which Chromium's camera takes."""
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        pictures = [picture for _, picture in read_frames(video)]
        stream = container.add_stream("wrapped_avframe", rate=25)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
