# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Headless Chromium, with a video file in place of its camera."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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
