# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""TIMIT and its likes with video (TCD-TIMIT): .txt and .wrd in samples; --option sample_rate=16000.

``.txt`` holds first and last sample and the sentence (or the sentence alone), ``.wrd`` a line ``start end word`` for
each word. Phones (``.phn``) are not kept: rows of a corpus have no place for them.

Source: Garofolo and others, "DARPA TIMIT acoustic-phonetic continuous speech corpus", 1993; Harte and Gillen,
"TCD-TIMIT: an audio-visual corpus of continuous speech", 2015.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..sources.folder import Folder, Pair, read_text, text_lines
from ..sources.records import Record, Skip, SourceError, TranscriptError, Word, clean_text

ALIGNMENT_SUFFIX = ".wrd"
SAMPLE_RATE = 16_000
_SAMPLES_AND_TEXT = re.compile(r"\A\s*[0-9]+\s+[0-9]+\s+(?=\S)")
# faks0 of TIMIT, 01M of TCD-TIMIT's volunteers, Lipspkr1 of its lipspeakers.
_SPEAKER = re.compile(r"[fm][a-z]{3}[0-9]|[0-9]{2}[fm]|lipspkr[0-9]+", re.IGNORECASE)
_NO_SPEAKERS = frozenset({"clips", "straightcam", "30degcam"})
_SPLITS = {"train": "train", "test": "test"}


def recognise(folder: Folder) -> bool:
    """``.wrd`` or ``.phn`` beside videos, or ``.txt`` that mostly begin with two numbers of samples."""
    if folder.examples(".wrd") or folder.examples(".phn"):
        return True
    return folder.mostly(".txt", _SAMPLES_AND_TEXT)


def read(folder: Folder, *, sample_rate: int = SAMPLE_RATE) -> Iterator[Record | Skip]:
    """One clip a video. Folders called ``train`` and ``test`` at the top, as TIMIT has them, are its splits."""
    if sample_rate < 1:
        raise SourceError(f"sample_rate is {sample_rate}; it must be at least 1")
    for pair in folder.pairs(".txt", ".wrd", ".phn"):
        words, notes = [], []
        try:
            if ".wrd" in pair.transcripts:
                words = parse_words(folder.read_text(pair.transcripts[".wrd"]), pair.transcripts[".wrd"], sample_rate)
        except TranscriptError as error:
            notes = [f"no word times: {error}"]
        try:
            text = _text(folder, pair, words)
        except TranscriptError as error:
            yield folder.skip(pair.video, error)
            continue
        parts = pair.video.split("/")[:-1]
        split = _SPLITS.get(parts[0].lower()) if parts else None
        yield folder.clip(pair.video, text, speaker=_speaker(folder, parts), words=words, notes=notes, split=split)


def _text(folder: Folder, pair: Pair, words: list[Word]) -> str:
    if ".txt" in pair.transcripts:
        return parse_text(folder.read_text(pair.transcripts[".txt"]))
    if not words:
        raise TranscriptError("neither a .txt nor a .wrd of that name that holds words")
    return " ".join(word.word for word in words)


def _speaker(folder: Folder, parts: list[str]) -> str:
    """The innermost folder called like a speaker of these corpora, else the innermost that is not about the camera."""
    names = [os.path.basename(os.path.abspath(folder.root)), *parts][::-1]
    named = [name for name in names if _SPEAKER.fullmatch(name)]
    return (named or [name for name in names if name.lower() not in _NO_SPEAKERS] or names)[0]


def parse_text(text: str) -> str:
    """The sentence of a ``.txt``, without the first and last sample before it.

    >>> parse_text("0 46797 The tide comes in.\\n")
    'The tide comes in.'
    """
    return clean_text(_SAMPLES_AND_TEXT.sub("", text, count=1))


def read_words(path: Path) -> list[Word]:
    """Words of a ``.wrd`` at 16 kHz; see `parse_words`."""
    return parse_words(read_text(path, path.name), path.name)


def parse_words(text: str, name: str, sample_rate: int = SAMPLE_RATE) -> list[Word]:
    """Words of a ``.wrd`` with their times; neighbours may overlap, as some of TIMIT's do.

    Args:
        text (`str`): The file's text.
        name (`str`): What errors call it.
        sample_rate (`int`): Samples a second.

    Raises:
        TranscriptError: If a line is not ``start end word``, times run backwards, or there is no word.
    """
    words: list[Word] = []
    for number, line in enumerate(text_lines(text), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*([0-9]{1,15})\s+([0-9]{1,15})\s+(\S+)\s*", line)
        if not match:
            raise TranscriptError(f"{name} line {number}: expected 'start end word' in samples, found {line[:80]!r}")
        start, end = int(match[1]) / sample_rate, int(match[2]) / sample_rate
        if end < start or (words and start < words[-1].start):
            raise TranscriptError(f"{name} line {number}: times run backwards in {line[:80]!r}")
        words.append(Word(match[3], start, end))
    if not words:
        raise TranscriptError(f"{name}: the alignment holds no word")
    return words
