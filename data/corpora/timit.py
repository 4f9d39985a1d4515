# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""TIMIT and corpora like it with video (TCD-TIMIT): .txt and .wrd in samples; --option sample_rate=16000.

``.txt`` holds the first and last sample and the sentence (or the sentence alone), ``.wrd`` a line ``start end word``
for each word. Phones (``.phn``) are not kept: rows of a corpus have no column for them.

Source: Garofolo and others, "DARPA TIMIT acoustic-phonetic continuous speech corpus", 1993; Harte and Gillen,
"TCD-TIMIT: an audio-visual corpus of continuous speech", 2015.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from modeling_lipread.text_normalizer_lipread import join_words

from ..sources.folder import Folder, Pair, parse_timed_words
from ..sources.records import Record, Skip, SourceError, TranscriptError, Word, clean_text

ALIGNMENT_SUFFIX = ".wrd"
SAMPLE_RATE = 16_000
_SAMPLES_AND_TEXT = re.compile(r"\A\s*[0-9]+\s+[0-9]+\s+(?=\S)")
# faks0 of TIMIT, 01M of TCD-TIMIT's volunteers, Lipspkr1 of its lipspeakers.
_SPEAKER = re.compile(r"[fm][a-z]{3}[0-9]|[0-9]{2}[fm]|lipspkr[0-9]+", re.IGNORECASE)
_NO_SPEAKERS = frozenset({"clips", "straightcam", "30degcam"})


def recognise(folder: Folder) -> bool:
    """Returns whether ``.wrd`` or ``.phn`` lie beside videos, or most ``.txt`` begin with two sample numbers."""
    return bool(folder.examples(".wrd") or folder.examples(".phn")) or folder.mostly(".txt", _SAMPLES_AND_TEXT)


def read(folder: Folder, *, sample_rate: int = SAMPLE_RATE) -> Iterator[Record | Skip]:
    """Yields one clip a video. Top-level folders ``train`` and ``test``, as in TIMIT, are its splits."""
    if sample_rate < 1:
        raise SourceError(f"sample_rate is {sample_rate}; it must be at least 1")
    for pair in folder.pairs(".txt", ".wrd", ".phn"):
        if isinstance(pair, Skip):
            yield pair
            continue
        words, notes = [], []
        try:
            if path := pair.transcripts.get(".wrd"):
                words = parse_words(folder.read_text(path), path, sample_rate)
        except TranscriptError as error:
            notes = [f"no word times: {error}"]
        try:
            text = _text(folder, pair, words)
        except TranscriptError as error:
            yield folder.skip(pair.video, error)
            continue
        directory = posixpath.dirname(pair.video)
        top = directory.split("/")[0].lower()
        split = top if top in ("train", "test") else None
        speaker = _speaker(folder, directory)
        yield folder.clip(pair.video, text, speaker=speaker, words=words, notes=notes, split=split)


def _text(folder: Folder, pair: Pair, words: list[Word]) -> str:
    if ".txt" in pair.transcripts:
        return parse_text(folder.read_text(pair.transcripts[".txt"]))
    if not words:
        raise TranscriptError("neither a .txt nor a .wrd of that name that holds words")
    return join_words(word.word for word in words)


def _speaker(folder: Folder, directory: str) -> str:
    """Returns the innermost folder named like a speaker, else the innermost not named for a camera."""
    names = folder.names_above(directory)
    named = [name for name in names if _SPEAKER.fullmatch(name)]
    return (named or [name for name in names if name.lower() not in _NO_SPEAKERS] or names)[0]


def parse_text(text: str) -> str:
    """Returns the sentence of a ``.txt`` without the first and last sample before it.

    >>> parse_text("0 46797 The tide comes in.\\n")
    'The tide comes in.'
    """
    return clean_text(_SAMPLES_AND_TEXT.sub("", text, count=1))


def parse_words(text: str, name: str, sample_rate: int = SAMPLE_RATE) -> list[Word]:
    """Returns the words of a ``.wrd``; see `data.sources.folder.parse_timed_words`. Some words of TIMIT overlap."""
    return parse_timed_words(text, name, sample_rate, overlap=True)
