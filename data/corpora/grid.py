# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""GRID: videos and .align files (start end word, 25,000 units a second), or the text from names such as bbaf2n.

Videos and alignments may lie in separate trees; they are matched by speaker and name. Source: Cooke, Barker,
Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech recognition", 2006.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..sources.folder import Folder, kind_of, parse_timed_words
from ..sources.records import Record, Skip, TranscriptError, Word

ALIGNMENT_SUFFIX = ".align"
UNITS_PER_SECOND = 25_000
# The word for each character of a name, by position. There is no letter w.
_SENTENCE = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
_SPEAKER = re.compile(r"(s\d+)(?:[ ._-].*)?", re.IGNORECASE)
_NO_SPEAKERS = frozenset("align alignment alignments audio video videos mpg mpg_6000 mpg_vcd".split())


def recognise(folder: Folder) -> bool:
    """Returns whether there are ``.align`` files, or else only videos named as GRID sentences without transcripts."""
    names = [Path(path).stem for path in folder.examples("video")]
    named = bool(names) and all(map(sentence, names)) and not folder.examples(".txt")
    return folder.has(ALIGNMENT_SUFFIX) or named


def read(folder: Folder) -> Iterator[Record | Skip]:
    """Yields one clip a video: text and word times from its alignment, otherwise the text from its name."""
    paths: dict[str, dict[tuple[str, str], list[str]]] = {"video": {}, ALIGNMENT_SUFFIX: {}}
    for found in folder.files():
        if isinstance(found, Skip):
            yield found
            continue
        directory, path = found
        if kind_of(path) in paths:
            key = _speaker(folder, directory), Path(path).stem.casefold()
            paths[kind_of(path)].setdefault(key, []).append(path)
    alignments = paths[ALIGNMENT_SUFFIX]
    for key, videos in paths["video"].items():
        aligned = alignments.pop(key, [])
        if len(videos) > 1 or len(aligned) > 1:
            first, *others = videos if len(videos) > 1 else aligned
            yield folder.skip(first, f"stands beside {', '.join(others)}; keep one of them")
        else:
            yield _clip(folder, videos[0], aligned, speaker=key[0])
    for unmatched in alignments.values():
        yield from (folder.skip(path, "no video of that speaker and name") for path in unmatched)


def _clip(folder: Folder, video: str, aligned: list[str], speaker: str) -> Record | Skip:
    text, words, notes = sentence(Path(video).stem), [], []
    try:
        if aligned:
            words = parse_words(folder.read_text(aligned[0]), aligned[0])
            text = " ".join(word.word for word in words)
        elif text is None:
            return folder.skip(video, f"no {ALIGNMENT_SUFFIX} of that speaker and name, and the name is no sentence")
    except TranscriptError as error:
        if text is None:
            return folder.skip(video, error)
        notes = [f"no word times: {error}"]
    return folder.clip(video, text, speaker=speaker, words=words, notes=notes)


def _speaker(folder: Folder, directory: str) -> str:
    """Returns the innermost folder named like a GRID speaker, else the innermost not named after the media."""
    names = folder.names_above(directory)
    for name in names:
        if match := _SPEAKER.fullmatch(name):
            return match[1].lower()
    return next((name for name in names if name.lower() not in _NO_SPEAKERS), names[-1])


def sentence(name: str) -> str | None:
    """Returns the sentence that a clip's name encodes, or None.

    >>> sentence("bbaf2n")
    'bin blue at f two now'
    """
    if len(name) != len(_SENTENCE):
        return None
    words = [meaning.get(character) for character, meaning in zip(name.lower(), _SENTENCE, strict=False)]
    return None if None in words else " ".join(words)


def parse_words(text: str, name: str) -> list[Word]:
    """Returns the words of an alignment without the silences; see `data.sources.folder.parse_timed_words`."""
    return parse_timed_words(text, name, UNITS_PER_SECOND)
