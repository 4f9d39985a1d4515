# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""TIMIT and corpora like it with video (TCD-TIMIT): .txt and .wrd in samples of 16 kHz.

``.txt`` holds the first and last sample and the sentence, the sentence alone, or a line ``start end word`` for each
word; ``.wrd`` always the last. Source: Garofolo and others, "DARPA TIMIT acoustic-phonetic continuous speech corpus",
1993; Harte and Gillen, "TCD-TIMIT: an audio-visual corpus of continuous speech", 2015.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from modeling_lipread.text_normalizer_lipread import join_words

from ..sources.folder import Folder, parse_timed_words, text_lines
from ..sources.records import Record, Skip, TranscriptError, Word, clean_text

ALIGNMENT_SUFFIX = ".wrd"
SAMPLE_RATE = 16_000
_SAMPLES_AND_TEXT = re.compile(r"\s*([0-9]{1,15})\s+([0-9]{1,15})\s+(?=\S)")
_TWO_NUMBERS = re.compile(r"\s*[0-9]+(\.[0-9]*)?\s+[0-9]+(\.[0-9]*)?\s")
# faks0 of TIMIT, 01M of TCD-TIMIT's volunteers, Lipspkr1 of its lipspeakers.
_SPEAKER = re.compile(r"([fm][a-z]{3}[0-9]|[0-9]{2}[fm]|lipspkr[0-9]+)", re.IGNORECASE)
_NO_SPEAKERS = frozenset({"clips", "straightcam", "30degcam"})


def read(folder: Folder) -> Iterator[Record | Skip]:
    """Yields one clip a video. Top-level folders ``train`` and ``test``, as in TIMIT, are its splits."""
    for pair in folder.pairs(".txt", ".wrd", ".phn"):
        if isinstance(pair, Skip):
            yield pair
            continue
        words, notes = [], []
        try:
            if path := pair.transcripts.get(".wrd"):
                words = parse_words(folder.read_text(path), path)
        except TranscriptError as error:
            notes = [f"no word times: {error}"]
        try:
            if path := pair.transcripts.get(".txt"):
                text, timed = parse_text(folder.read_text(path), path)
            elif words:
                text, timed = join_words(word.word for word in words), words
            else:
                raise TranscriptError("neither a .txt nor a .wrd of that name that holds words")
        except TranscriptError as error:
            yield folder.skip(pair.video, error)
            continue
        directory = posixpath.dirname(pair.video)
        top = directory.split("/")[0].lower()
        split = top if top in ("train", "test") else None
        speaker = folder.speaker(directory, _SPEAKER, _NO_SPEAKERS)
        yield folder.clip(pair.video, text, speaker=speaker, words=words or timed, notes=notes, split=split)


def parse_text(text: str, name: str) -> tuple[str, list[Word]]:
    """Returns the sentence of a ``.txt`` without samples, and the words if it has a line for each.

    Raises `TranscriptError` if numbers would become words: for a line that is no ``start end word`` among such lines,
    and for times that are no whole samples or do not rise.

    >>> parse_text("0 46797 The tide comes in.\\n", "sx1.txt")
    ('The tide comes in.', [])
    >>> parse_text("0 8000 the\\n8000 16000 tide\\n", "sx1.txt")[0]
    'the tide'
    """
    lines = [line for line in text_lines(text) if line.strip()]
    if sum(bool(_TWO_NUMBERS.match(line)) for line in lines) > 1:
        words = parse_words(text, name)
        return join_words(word.word for word in words), words
    samples = _SAMPLES_AND_TEXT.match(text)
    if samples and int(samples[1]) < int(samples[2]):
        return clean_text(text[samples.end() :]), []
    if _TWO_NUMBERS.match(text):
        raise TranscriptError(f"{name}: expected the first and last sample and the sentence, found {text[:80]!r}")
    return clean_text(text), []


def parse_words(text: str, name: str) -> list[Word]:
    """Returns the words of a ``.wrd``; see `data.sources.folder.parse_timed_words`. Some words of TIMIT overlap."""
    return parse_timed_words(text, name, SAMPLE_RATE, overlap=True)
