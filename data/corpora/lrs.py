# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""LRS2 and LRS3: .txt with "Text:" and optionally the table WORD START END ASDSCORE.

The splits are the lists of `_SPLITS` at the top (LRS2), otherwise the folders of these names (LRS3). Source: Afouras,
Chung, Senior, Vinyals and Zisserman, "Deep audio-visual speech recognition", 2018, and "LRS3-TED", 2018.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..sources.folder import Folder, text_lines
from ..sources.records import Record, Skip, TranscriptError, Word

ALIGNMENT_SUFFIX = ".txt"
_SPLITS = {"pretrain": "pretrain", "train": "train", "trainval": "trainval", "val": "validation", "test": "test"}
_LISTS = {f"{name}.txt": split for name, split in _SPLITS.items()}
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?")
_NOISE = re.compile(r"\{(?:LG|NS)\}")  # laughter and noise; of other braces only the signs are removed


def read(folder: Folder) -> Iterator[Record | Skip]:
    """Yields one clip a video. A folder of LRS3 is a talk, hence a speaker; one of LRS2 is a broadcast of several."""
    lists = {name: split for name, split in _LISTS.items() if os.path.isfile(folder.root / name)}
    listed = {}
    for name, split in lists.items():
        try:
            listed |= dict.fromkeys(_listed(folder.read_text(name), split), split)
        except TranscriptError as error:
            yield folder.skip(name, error)
    unseen = dict(listed)
    for pair in folder.pairs(".txt", ignore=lists):
        if isinstance(pair, Skip):
            yield pair
            continue
        parts = pair.video.split("/")
        split = _SPLITS.get(parts[0].lower()) if len(parts) > 1 else None
        if lists:
            key = "pretrain" if "pretrain" in parts[:-1] else "", "/".join(parts[-2:])[: -len(Path(pair.video).suffix)]
            split = listed.get(key)
            unseen.pop(key, None)
            if split is None:
                yield folder.skip(pair.video, f"in none of the lists {', '.join(lists)}")
                continue
        try:
            text, words, is_lrs3 = parse(folder.read_text(pair.transcripts[".txt"]), pair.transcripts[".txt"])
        except TranscriptError as error:
            yield folder.skip(pair.video, error)
            continue
        speaker = parts[-2] if is_lrs3 and len(parts) > 1 else None
        yield folder.clip(pair.video, text, words=words, speaker=speaker, split=split)
    for name, split in lists.items():
        lost = [path for (_, path), other in unseen.items() if other == split]
        if lost:
            yield folder.skip(name, f"{len(lost):,} of its clips are not in the folder, the first is {lost[0]}")


def _listed(text: str, split: str) -> Iterator[tuple[str, str]]:
    """Yields the clips of a list, with the part of the corpus: clips of the two parts may have the same name."""
    for line in text_lines(text):
        if entry := line.split():  # test.txt has a second column
            yield "pretrain" if split == "pretrain" else "", "/".join(entry[0].split("/")[-2:])


def parse_words(text: str, name: str) -> list[Word]:
    """Returns the words of a ``.txt``; see `parse`."""
    return parse(text, name)[1]


def parse(text: str, name: str) -> tuple[str, list[Word], bool]:
    """Returns text and words of a clip's ``.txt``, and whether it is LRS3's, with face boxes or the video's name.

    Raises `TranscriptError` without a line ``Text:``, or for a bad row of the table.
    """
    fields: dict[str, str] = {}
    words: list[Word] = []
    table, width, has_boxes = "", 0, False
    for number, line in enumerate(text_lines(text), start=1):
        columns = line.split()
        if columns[:3] in (["WORD", "START", "END"], ["FRAME", "X", "Y"]):
            table, width = columns[0], len(columns)
            has_boxes |= table == "FRAME"
        elif table == "WORD" and columns:
            words += _word(columns, width, f"{name} line {number}")
        elif not table and ":" in line:
            key, value = line.split(":", 1)
            fields.setdefault(key.strip(), value)
    if "Text" not in fields:
        raise TranscriptError(f"{name}: no line 'Text: ...'; is it LRS2 or LRS3?")
    return _without_noise(fields["Text"]), words, "Ref" in fields or has_boxes


def _word(columns: list[str], width: int, where: str) -> list[Word]:
    """Parses a row of the table; one of another `width` than the heading lacks the word or a time."""
    numbers = columns[1:3]
    if len(columns) != width or not all(map(_SECONDS.fullmatch, numbers)):
        raise TranscriptError(f"{where}: expected 'WORD START END ASDSCORE', found {' '.join(columns)[:80]!r}")
    start, end = map(float, numbers)
    if end < start:
        raise TranscriptError(f"{where}: {columns[0][:80]!r} ends before it starts")
    word = _without_noise(columns[0])
    return [Word(word, start, end)] if word else []


def _without_noise(text: str) -> str:
    return _NOISE.sub(" ", text).translate(str.maketrans("", "", "{}")).strip()
