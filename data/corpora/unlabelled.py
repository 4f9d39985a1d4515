# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Videos without transcripts, for --pretrain: cut every few seconds (--option seconds=4), wherever that is.

Only --format unlabelled takes a folder so: a forgotten transcript should be noticed.
"""

from __future__ import annotations

from collections.abc import Iterator

from modeling_lipread.video_lipread import video_seconds

from ..folder import Folder
from ..records import Record, Skip, is_inside

SHORTEST = 1.0  # seconds; a shorter rest goes with the span before it


def recognise(folder: Folder) -> bool:
    """Never."""
    return False


def read(folder: Folder, *, seconds: float = 4.0) -> Iterator[Record | Skip]:
    """So many spans a video as it says it is long; one if it does not say."""
    for video in folder.videos():
        length = video_seconds(folder.root / video) if folder.allow_outside or is_inside(folder.root, video) else 0.0
        count = max(1, int((length - SHORTEST) // seconds) + 1)
        for index in range(count):
            start = index * seconds if index else None
            end = (index + 1) * seconds if index + 1 < count else None
            yield folder.clip(video, None, start=start, end=end)
