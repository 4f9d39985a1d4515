# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""GRID: videos and .align files (start end word, 25,000 units a second), or the text from names such as bbaf2n.

Videos and alignments may lie in trees of their own (``video/s1/bbaf2n.mpg``, ``align/s1/bbaf2n.align``): speaker and
name bring them together.

Source: Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", 2006.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..sources.folder import VIDEO_SUFFIXES, Folder, read_text, text_lines
from ..sources.records import Record, Skip, TranscriptError, Word

ALIGNMENT_SUFFIX = ".align"
UNITS_PER_SECOND = 25_000
SILENCES = frozenset({"sil", "sp"})
# What the characters of a name stand for, one word each. There is no letter w.
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
    """``.align`` files; without them, videos whose names are all GRID sentences and that have no other transcripts."""
    names = [Path(path).stem for path in folder.examples("video")]
    named = bool(names) and all(map(sentence, names)) and not folder.examples(".txt")
    return folder.has(ALIGNMENT_SUFFIX) or named


def read(folder: Folder) -> Iterator[Record | Skip]:
    """One clip a video, its text and word times from the alignment, or its text from its name."""
    alignments: dict[tuple[str, str], list[str]] = {}
    videos: dict[tuple[str, str], list[str]] = {}
    for directory, names in folder.walk():
        for name in names:
            stem, suffix = os.path.splitext(name)
            found = alignments if suffix.lower() == ALIGNMENT_SUFFIX else videos
            if found is alignments or suffix.lower() in VIDEO_SUFFIXES:
                key = _speaker(folder, directory), stem.casefold()
                found.setdefault(key, []).append(f"{directory}/{name}" if directory else name)
    for key, paths in videos.items():
        aligned = alignments.pop(key, [])
        if len(paths) > 1 or len(aligned) > 1:
            several = paths if len(paths) > 1 else aligned
            yield folder.skip(several[0], f"stands beside {', '.join(several[1:])}; keep one of them")
        elif aligned or not folder.is_single:
            yield _clip(folder, paths[0], aligned, speaker=key[0])
    for paths in alignments.values():
        yield from (folder.skip(path, "no video of that speaker and name") for path in paths)


def _clip(folder: Folder, video: str, aligned: list[str], speaker: str) -> Record | Skip:
    text, words, notes = sentence(Path(video).stem), [], []
    try:
        if aligned:
            words = parse(folder.read_text(aligned[0]), aligned[0])
            text = " ".join(word.word for word in words)
        elif text is None:
            return folder.skip(video, f"no {ALIGNMENT_SUFFIX} of that speaker and name, and the name is no sentence")
    except TranscriptError as error:
        if text is None:
            return folder.skip(video, error)
        notes = [f"no word times: {error}"]
    return folder.clip(video, text, speaker=speaker, words=words, notes=notes)


def _speaker(folder: Folder, directory: str) -> str:
    """The innermost folder called like one of GRID's speakers, else the innermost that is not about the media."""
    names = [os.path.basename(os.path.abspath(folder.root)), *filter(None, directory.split("/"))][::-1]
    for name in names:
        if match := _SPEAKER.fullmatch(name):
            return match[1].lower()
    return next((name for name in names if name.lower() not in _NO_SPEAKERS), names[-1])


def sentence(name: str) -> str | None:
    """The sentence that a clip's name spells, if it is such a name.

    >>> sentence("bbaf2n")
    'bin blue at f two now'
    """
    if len(name) != len(_SENTENCE):
        return None
    words = [meaning.get(character) for character, meaning in zip(name.lower(), _SENTENCE, strict=False)]
    return None if None in words else " ".join(words)


def read_words(path: Path) -> list[Word]:
    """Words of a GRID ``.align`` file with their times; see `parse`."""
    return parse(read_text(path, path.name), path.name)


def parse(text: str, name: str) -> list[Word]:
    """Words of an alignment in speaking order, without the silences.

    Args:
        text (`str`): The file's text.
        name (`str`): What errors call it.

    Raises:
        TranscriptError: If a line is not ``start end word``, times run backwards, or there is no word.
    """
    words, previous_end = [], 0.0
    for number, line in enumerate(text_lines(text), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*([0-9]{1,15})\s+([0-9]{1,15})\s+(\S+)\s*", line)
        if not match:
            raise TranscriptError(f"{name} line {number}: expected 'start end word', found {line[:80]!r}")
        start, end = int(match[1]) / UNITS_PER_SECOND, int(match[2]) / UNITS_PER_SECOND
        if not previous_end <= start <= end:
            raise TranscriptError(f"{name} line {number}: times run backwards in {line[:80]!r}")
        previous_end = end
        if match[3] not in SILENCES:
            words.append(Word(match[3], start, end))
    if not words:
        raise TranscriptError(f"{name}: the alignment holds no word")
    return words
