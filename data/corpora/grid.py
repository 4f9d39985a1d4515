# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""GRID: videos and .align files (start end word, 25,000 units a second).

Videos and alignments may lie in separate trees; they are matched by speaker and name. Source: Cooke, Barker,
Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech recognition", 2006.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from ..sources.folder import Folder, kind_of, parse_timed_words
from ..sources.records import Record, Skip, TranscriptError, Word

ALIGNMENT_SUFFIX = ".align"
UNITS_PER_SECOND = 25_000
_SPEAKER = re.compile(r"(s\d+)(?:[ ._-].*)?", re.IGNORECASE)
_NO_SPEAKERS = frozenset("align alignment alignments audio video videos mpg mpg_6000 mpg_vcd".split())


def read(folder: Folder) -> Iterator[Record | Skip]:
    """Yields one clip a video, with text and word times from its alignment."""
    paths: dict[str, dict[tuple[str, str], list[str]]] = {"video": {}, ALIGNMENT_SUFFIX: {}}
    for found in folder.walk():
        if isinstance(found, Skip):
            yield found
            continue
        directory, names = found
        speaker = folder.speaker(directory, _SPEAKER, _NO_SPEAKERS).lower()
        for name in names:
            if kind_of(name) in paths:
                key = speaker, Path(name).stem.casefold()
                paths[kind_of(name)].setdefault(key, []).append(posixpath.join(directory, name))
    alignments = paths[ALIGNMENT_SUFFIX]
    for key, videos in paths["video"].items():
        aligned = alignments.pop(key, [])
        if len(videos) > 1 or len(aligned) > 1:
            first, *others = videos if len(videos) > 1 else aligned
            yield folder.skip(first, f"stands beside {', '.join(others)}; keep one of them")
        elif not aligned:
            yield folder.skip(videos[0], f"no {ALIGNMENT_SUFFIX} of that speaker and name")
        else:
            try:
                words = parse_words(folder.read_text(aligned[0]), aligned[0])
            except TranscriptError as error:
                yield folder.skip(videos[0], error)
                continue
            text = " ".join(word.word for word in words)
            yield folder.clip(videos[0], text, speaker=key[0], words=words)
    for unmatched in alignments.values():
        yield from (folder.skip(path, "no video of that speaker and name") for path in unmatched)


def parse_words(text: str, name: str) -> list[Word]:
    """Returns the words of an alignment without the silences; see `data.sources.folder.parse_timed_words`."""
    return parse_timed_words(text, name, UNITS_PER_SECOND)
