# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Plain folders: clip.txt beside clip.mp4 holds its transcript."""

from __future__ import annotations

from collections.abc import Iterator

from ..sources.folder import Folder
from ..sources.records import Record, Skip, TranscriptError


def read(folder: Folder) -> Iterator[Record | Skip]:
    """Yields one clip a video; line breaks in the text become spaces."""
    for pair in folder.pairs(".txt"):
        if isinstance(pair, Skip):
            yield pair
            continue
        try:
            yield folder.clip(pair.video, folder.read_text(pair.transcripts[".txt"]))
        except TranscriptError as error:
            yield folder.skip(pair.video, error)
