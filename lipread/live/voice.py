# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Speaks text by the voice of the system, offline."""

from __future__ import annotations

import shutil
import sys

from modeling_lipread.video_lipread import require


class Voice:
    """The system's voice: SAPI on Windows, NSSpeech on macOS, eSpeak NG on Linux.

    Raises:
        ImportError: pyttsx3 is not installed.
        RuntimeError: The system has no voice, or cannot play sound.
    """

    def __init__(self) -> None:
        pyttsx3 = require("pyttsx3", "pyttsx3", "Speaking")
        if sys.platform == "linux" and shutil.which("aplay") is None:  # which pyttsx3 starts there
            raise RuntimeError("this system cannot play sound; install alsa-utils")
        try:
            self._engine = pyttsx3.init()
        except (RuntimeError, OSError) as error:
            raise RuntimeError(f"this system has no voice ({error}); on Linux install espeak-ng") from error

    def say(self, text: str) -> None:
        """Speaks a text and returns when it is spoken."""
        self._engine.say(text)
        self._engine.runAndWait()
