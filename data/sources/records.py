# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips of manifests and corpora (`Record`), and skipped clips with the reason (`Skip`).

`make_record` checks text, times and paths of every clip of every source.
"""

from __future__ import annotations

import math
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ..files import DiskList

# Controls, soft hyphen, zero-width spaces, byte order marks and direction marks: they are invisible, yet they are
# tokenised and reorder the text around them. Zero-width joiners stay: Persian, Indic scripts and emoji use them.
_INVISIBLE = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,18})?")
_TWO_NUMBERS = re.compile("[0-9.] [0-9]")
_ROWS = re.compile(r"([nw]{3,5}?)\1+")  # the same columns at least twice: n for a number, w for a word
_OTHER_FORMAT = re.compile(r'[0-9]\s?-->\s?[0-9]|File type = "ooTextFile|^Text: ')
_DOCUMENT = re.compile(r'[\[{] ?[{"]|\{\\rtf|<(\?xml|!doctype|html|tt)\b', re.IGNORECASE)


class SourceError(ValueError):
    """Raised for a manifest or corpus that cannot be used at all; the message names it and the remedy."""


class TranscriptError(ValueError):
    """Raised for an unusable transcript, alignment or subtitle file; the message names the place and the remedy."""


class BadClip(ValueError):
    """Raised for one clip of a source that cannot be used; the message is the reason in the report."""


class Word(NamedTuple):
    """A spoken word with its times in seconds from the start of the media."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Skip:
    """A skipped clip: its place in the source, its id if known, and the reason."""

    where: str
    id: str | None
    reason: str
    transient: bool = False  # whether it may be usable on another try, for instance with more memory

    def __str__(self) -> str:
        return f"{self.where}{f' ({self.id})' if self.id else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Record:
    """One usable clip of a manifest or corpus."""

    where: str  # place of the clip in its source, for messages: ``videos.jsonl line 3``, ``talks/talk.srt cue 3``
    line: int  # line of the manifest, or number of the clip in the folder, from 1
    id: str  # unique in its source; by default the media path without suffix, and the times
    text: str  # cleaned by `clean_text`
    source: str  # media path as the manifest writes it, or relative to the folder
    media: Path  # the video, or the ``.npy`` of landmarks
    is_landmarks: bool
    start: float | None = None  # seconds from the start of the media, as is `end`
    end: float | None = None
    speaker: str | None = None
    alignment: Path | None = None  # file of a word alignment, read when the clip is extracted
    words: tuple[Word, ...] = ()
    frame_rate: float = 25.0  # frames a second of landmarks; videos have their own
    split: str | None = None  # split of the clip by the corpus' own lists
    notes: tuple[str, ...] = ()  # warnings about the clip for the report

    @property
    def segment(self) -> tuple[str, float | None, float | None]:
        """The real path and the times; equal for two records of the same clip."""
        return os.path.realpath(self.media), self.start, self.end


def collect(found: Iterable[Record | Skip]) -> tuple[DiskList, DiskList]:
    """Separates records from skips, both in the order of the source; a clip with a repeated id becomes a skip."""
    records, hashes = DiskList(), array("q")
    skips, places = DiskList(), array("q")  # places: the number of records before each skip
    for item in found:
        if isinstance(item, Skip):
            skips.append(item)
            places.append(len(records))
        else:
            hashes.append(hash(item.id))
            records.append(item)
    first: dict[str, str] = {}
    kept = np.ones(len(records), dtype=bool)
    for position in repeated(hashes).tolist():
        record = records[position]
        if record.id not in first:
            first[record.id] = record.where
        else:
            reason = f"the id already stands in {first[record.id]}; give each clip its own id"
            skips.append(Skip(record.where, record.id, reason))
            places.append(position)
            kept[position] = False
    return records.select(kept), skips.select(np.argsort(places, kind="stable"))


def repeated(values: Sequence[int]) -> np.ndarray:
    """Returns the positions of the integers that occur more than once, in ascending order."""
    values = np.array(values, np.int64)
    unique, counts = np.unique(values, return_counts=True)
    return np.flatnonzero(np.isin(values, unique[counts > 1]))


def clean_text(text: str) -> str:
    """Returns a transcript on one line: white space becomes single spaces, `_INVISIBLE` characters are removed.

    >>> clean_text("  \\u202bשלום\\u202c\\tעולם\\x00 ")
    'שלום עולם'
    """
    if text.isprintable() and "  " not in text:
        return text.strip(" ")  # covers nearly every text, in a tenth of the time
    return _SPACES.sub(" ", _INVISIBLE.sub("", _SPACES.sub(" ", text))).strip()


def says_something(text: str) -> bool:
    """Returns whether a text has a letter or a digit of any script."""
    return any(map(str.isalnum, text))


def wrong_text(text: str) -> str | None:
    """Returns why a text on one line is no transcript but a file of another format; None if it may be one."""
    if _OTHER_FORMAT.search(text):
        return "the transcript is a file of subtitles, of LRS or a TextGrid; give the format that it is in"
    if _DOCUMENT.match(text):
        return f"the transcript is a file of JSON, XML or RTF ({_start(text)!r}); write the words alone"
    if _holds_timed_rows(text):
        return (
            f"the transcript holds rows of times and words ({_start(text)!r}), so numbers would become words; write "
            "the words alone, or give the format of the alignment"
        )
    return None


def _start(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _holds_timed_rows(text: str) -> bool:
    """Returns whether most of a text repeats the same columns, among them a start and an end that rise."""
    if not _TWO_NUMBERS.search(text):
        return False
    tokens = text.split(" ")
    kinds = "".join("n" if _NUMBER.fullmatch(token) else "w" for token in tokens)
    covered = 0
    for run in _ROWS.finditer(kinds):
        columns = run[1].count("n")
        if 2 <= columns < len(run[1]):
            numbers = [float(token) for token in tokens[run.start() : run.end()] if _NUMBER.fullmatch(token)]
            starts, ends = numbers[::columns], numbers[1::columns]
            rising = starts == sorted(starts) and all(map(float.__le__, starts, ends))
            covered += rising * len(run[0])
    return covered * 2 > len(tokens)


def may_hold_times(text: str) -> bool:
    """Returns whether half of the words or most characters are numbers, or the text begins with two that rise."""
    digits, tokens = sum(map(str.isdigit, text)), text.split(" ")
    if not digits:
        return False
    numbers = [token[0].isdigit() and not any(map(str.isalpha, token)) for token in tokens]
    first = [float(token) for token in tokens[:2] if _NUMBER.fullmatch(token)]
    begins = len(first) == 2 and first[0] < first[1]
    return begins or sum(numbers) * 2 >= len(tokens) > 2 or digits > sum(map(str.isalpha, text))


class Root:
    """A folder of media, to which paths are relative."""

    def __init__(self, folder: Path, allow_outside: bool = False):
        self.folder, self.allow_outside = folder, allow_outside
        self._real = os.path.realpath(folder)

    def allows(self, path: str) -> bool:
        """Returns whether a path leads into the folder after symbolic links, or files outside are allowed."""
        real = os.path.realpath(self.folder / path)
        return self.allow_outside or real == self._real or real.startswith(os.path.join(self._real, ""))


def make_record(
    root: Root,
    source: str,
    text: str,
    *,
    id: str | None = None,
    start: float | None = None,
    end: float | None = None,
    words: Iterable[Word] = (),
    alignment: str | None = None,
    notes: Iterable[str] = (),
    **more: Any,
) -> Record:
    """Makes a record, whose paths are relative to `root`; raises `BadClip` for wrong texts, times or paths."""
    if "\0" in source:
        raise BadClip(f"the path {source!r} holds a NUL character; write the path of a file")
    text = clean_text(text)
    if not says_something(text):
        raise BadClip("the transcript is empty, or holds neither letter nor digit; write what is said in the clip")
    if reason := wrong_text(text):
        raise BadClip(reason)
    for value in (start, end):
        if value is not None and not 0 <= value < math.inf:
            raise BadClip(f"the time {value!r} is no number of seconds that is not negative")
    if end is not None and end <= (start or 0.0):
        raise BadClip(f'"start" {start or 0.0:g} is not before "end" {end:g}; give both in seconds of the media')
    for path in (source,) if alignment is None else (source, alignment):
        if not root.allows(path):
            raise BadClip(
                f"{path} lies outside the folder {root.folder} (a symbolic link counts by where it leads); move it "
                "there, or give --allow_outside"
            )
    media = root.folder / source
    if not os.path.isfile(media):
        raise BadClip(f"{source} is no file; paths are relative to {root.folder}")
    words = tuple(Word(clean_text(word), start, end) for word, start, end in words)
    if reason := wrong_times(words):
        words, notes = (), (*notes, f"no word times: {reason}")
    if may_hold_times(text):
        notes = (*notes, f"the transcript may hold times ({_start(text)!r}); check that its numbers are spoken")
    more |= {
        "words": words,
        "alignment": None if alignment is None else root.folder / alignment,
        "notes": tuple(notes),
    }
    name = str(PurePosixPath(source).with_suffix(""))
    if start is not None or end is not None:
        name += f"_{start or 0.0:.3f}-{'end' if end is None else f'{end:.3f}'}"
    id = clean_text(id or "") or name
    return Record(id=id, text=text, source=source, media=media, start=start, end=end, **more)


def wrong_times(words: Sequence[Word]) -> str | None:
    """Returns what is wrong with the times of an alignment; None if nothing is."""
    previous = 0.0
    for word, start, end in words:
        if not (0.0 <= start <= end < math.inf):
            return f"{word!r} from {start!r} to {end!r} is no span of time"
        if start < previous:
            return f"times run backwards at {word!r}, {start:g} s"
        previous = start
    return None
