# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the readers of manifests and corpora hand on: clips that can be used, and clips left out with the reason.

All of them go through `make_record`, so text, times and paths are checked alike whatever the source.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, overload

import numpy as np

LONG_TEXT = 10_000  # characters; more is no utterance, and a warning says so
# Controls, soft hyphen, zero-width spaces, byte order marks and marks of direction. They show nothing, yet tokenise,
# and turn the order of what is printed around them. The zero-width joiners stay: Persian and the scripts of India
# spell with them, and emoji join by them.
_INVISIBLE = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_SPACES = re.compile(r"\s+")


class SourceError(ValueError):
    """A manifest or corpus that cannot be used at all; the message names it and the remedy."""


class TranscriptError(ValueError):
    """A transcript, alignment or subtitle file that cannot be used; the message names the place and the remedy."""


class BadClip(ValueError):
    """Why one clip of a source cannot be used."""


class Word(NamedTuple):
    """A spoken word and when it is spoken, in seconds from the start of the media."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Skip:
    """A clip left out, and why."""

    where: str
    id: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.where}{f' ({self.id})' if self.id else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Record:
    """One usable clip of a manifest or corpus.

    Attributes:
        manifest (`str`): Name of the manifest's file or of the corpus' folder.
        line (`int`): Line of the manifest, or number of the clip in the folder, from 1.
        id (`str`): The clip's name, unique in its source: as given, else the media path without suffix (and the
            segment's times).
        text (`str`): Transcript: `clean_text` of what the source says.
        source (`str`): Media path as the manifest writes it, or relative to the folder.
        media (`Path`): The video, or the ``.npy`` of landmarks.
        is_landmarks (`bool`): Whether `media` holds landmarks.
        start, end (`float`, *optional*): The segment in seconds from the start of the media.
        speaker (`str`, *optional*): Who speaks.
        alignment (`Path`, *optional*): A word alignment, read when the clip is extracted.
        words (`tuple[Word, ...]`): The word alignment where it was read already.
        frame_rate (`float`): Frames a second of landmarks; unused for videos, which carry their own.
        place (`str`, *optional*): Where in the folder the clip is written down, ``talk.srt cue 3``.
        split (`str`, *optional*): The split that the corpus' own lists put it in.
        notes (`tuple[str, ...]`): What the report should warn about, of a clip that is used nonetheless.
    """

    manifest: str
    line: int
    id: str
    text: str
    source: str
    media: Path
    is_landmarks: bool
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    alignment: Path | None = None
    words: tuple[Word, ...] = ()
    frame_rate: float = 25.0
    place: str | None = None
    split: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The place in words, as errors name it."""
        return f"{self.manifest} line {self.line}" if self.place is None else f"{self.manifest}/{self.place}"

    @property
    def where_inside(self) -> str:
        """The same, without the name of the manifest or folder."""
        return f"line {self.line}" if self.place is None else self.place

    @property
    def segment(self) -> tuple[str, float | None, float | None]:
        """What is read of which file: equal for two records that hold the same clip."""
        return real_path(os.fspath(self.media)), self.start, self.end


# The fields that a `RecordFile` stores; `media` is its root and `source` together.
_STORED = tuple(field.name for field in fields(Record) if field.name != "media")


class RecordFile(Sequence[Record]):
    """Records in a temporary file, a JSON line each, read on demand.

    Memory holds only the byte offset of each line, 8 MB for a million records. Slices and selections share the file;
    pickling one stores the records themselves.

    Args:
        root (`Path`): The folder that the records' `source` is relative to.
        records (`Iterable[Record]`): What to store, in order.

    Raises:
        SourceError: If the temporary file cannot be written.
    """

    def __init__(self, root: Path, records: Iterable[Record]):
        self._root = root
        self._file = tempfile.TemporaryFile()
        offsets, size = array("q"), 0
        for record in records:
            values = [getattr(record, name) for name in _STORED]
            line = json.dumps(values, default=os.fspath).encode() + b"\n"
            try:
                self._file.write(line)
            except OSError as error:
                raise SourceError(
                    f"{tempfile.gettempdir()}: cannot hold the list of clips ({error.strerror}); set TMPDIR to a "
                    "folder with more room"
                ) from error
            offsets.append(size)
            size += len(line)
        self._offsets = np.array(offsets, np.int64)

    def select(self, positions: np.ndarray | slice) -> RecordFile:
        """Returns the records at these positions, in this order."""
        selected = RecordFile.__new__(RecordFile)
        selected._root, selected._file, selected._offsets = self._root, self._file, self._offsets[positions]
        return selected

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordFile: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.select(index)
        self._file.seek(int(self._offsets[index]))
        values = dict(zip(_STORED, json.loads(self._file.readline()), strict=True))
        values["words"] = tuple(Word(*word) for word in values["words"])
        values["notes"] = tuple(values["notes"])
        if values["alignment"] is not None:
            values["alignment"] = Path(values["alignment"])
        return Record(media=self._root / values["source"], **values)

    def __reduce__(self):
        return tuple, (tuple(self),)


def collect(root: Path, found: Iterable[Record | Skip]) -> tuple[RecordFile, list[Skip]]:
    """Divides what a reader of a source found into records and skips; a clip whose id is taken becomes a skip.

    Args:
        root (`Path`): The folder that the records' `source` is relative to.
        found (`Iterable[Record | Skip]`): Clips in the order of the source.

    Returns:
        `tuple[RecordFile, list[Skip]]`: Both in the order of the source.
    """
    hashes = array("q")
    skips: list[tuple[int, Skip]] = []  # with the number of records before it

    def usable() -> Iterator[Record]:
        for item in found:
            if isinstance(item, Skip):
                skips.append((len(hashes), item))
            else:
                hashes.append(hash(item.id))
                yield item

    records = RecordFile(root, usable())
    first: dict[str, str] = {}
    kept = np.ones(len(records), dtype=bool)
    for position in repeated(hashes).tolist():
        record = records[position]
        if record.id not in first:
            first[record.id] = record.where_inside
        else:
            reason = f"the id already stands in {first[record.id]}; give each clip its own id"
            skips.append((position, Skip(record.where, record.id, reason)))
            kept[position] = False
    skips.sort(key=lambda skip: skip[0])
    return records.select(kept), [skip for _, skip in skips]


def repeated(values: Sequence[int]) -> np.ndarray:
    """Returns the positions, rising, of the integers that occur more than once."""
    values = np.array(values, np.int64)
    unique, counts = np.unique(values, return_counts=True)
    return np.flatnonzero(np.isin(values, unique[counts > 1]))


def clean_text(text: str) -> str:
    """A transcript on one line: white space runs are one space, and characters that show nothing are gone.

    Gone are the C0 and C1 controls, zero-width spaces, soft hyphens, byte order marks and the marks of direction;
    their letters stay, in any script.

    >>> clean_text("  \\u202bשלום\\u202c\\tעולם\\x00 ")
    'שלום עולם'
    """
    if text.isprintable() and "  " not in text:
        return text.strip(" ")  # nearly every text, in a tenth of the time
    return _SPACES.sub(" ", _INVISIBLE.sub("", _SPACES.sub(" ", text))).strip()


def says_something(text: str) -> bool:
    """Whether a transcript holds a letter or a digit of any script."""
    return any(map(str.isalnum, text))


def make_record(
    root: Path,
    source: str,
    text: str,
    *,
    manifest: str,
    line: int,
    id: str | None = None,
    start: float | None = None,
    end: float | None = None,
    words: Iterable[Word] = (),
    alignment: str | None = None,
    notes: Iterable[str] = (),
    allow_outside: bool = False,
    **more: Any,
) -> Record:
    """A record, if all about it holds.

    Args:
        root (`Path`): Folder that `source` and `alignment` are relative to, and must not lead out of.
        source, text, manifest, line, id, start, end, words, alignment, notes: See `Record`; texts are cleaned here,
            times are checked.
        allow_outside (`bool`): Take files outside `root` too.
        more: Further fields of `Record`.

    Raises:
        BadClip: If the text says nothing, the times are no segment, or a path is no file inside `root`.
    """
    if "\0" in source:
        raise BadClip(f"the path {source!r} holds a NUL character; write the path of a file")
    text = clean_text(text)
    if not says_something(text):
        raise BadClip("the transcript is empty, or holds neither letter nor digit; write what is said in the clip")
    for value in (start, end):
        if value is not None and not 0 <= value < math.inf:
            raise BadClip(f"the time {value!r} is no number of seconds that is not negative")
    if end is not None and end <= (start or 0.0):
        raise BadClip(f'"start" {start or 0.0:g} is not before "end" {end:g}; give both in seconds of the media')
    for path in (source,) if alignment is None else (source, alignment):
        if not allow_outside and not is_inside(root, path):
            raise BadClip(
                f"{path} lies outside the folder {root} (a symbolic link counts by where it leads); move it there, or "
                "give --allow_outside"
            )
    media = root / source
    if not os.path.isfile(media):
        raise BadClip(f"{source} is no file; paths are relative to {root}")
    words = tuple(Word(clean_text(word), start, end) for word, start, end in words)
    if reason := wrong_times(words):
        words, notes = (), (*notes, f"no word times: {reason}")
    if len(text) > LONG_TEXT:
        notes = (*notes, f"the transcript is {len(text):,} characters long; cut the clip into utterances")
    return Record(
        manifest=manifest,
        line=line,
        id=clean_text(id or "") or default_id(source, start, end),
        text=text,
        source=source,
        media=media,
        start=start,
        end=end,
        words=words,
        alignment=None if alignment is None else root / alignment,
        notes=tuple(notes),
        **more,
    )


def wrong_times(words: Sequence[Word]) -> str | None:
    """What is wrong with the times of an alignment, if anything."""
    previous = 0.0
    for word, start, end in words:
        if not (0.0 <= start <= end < math.inf):
            return f"{word!r} from {start!r} to {end!r} is no span of time"
        if start < previous:
            return f"times run backwards at {word!r}, {start:g} s"
        previous = start
    return None


def default_id(source: str, start: float | None, end: float | None) -> str:
    """The media path without suffix, and the segment's times."""
    name = str(PurePosixPath(source).with_suffix(""))
    if start is None and end is None:
        return name
    return f"{name}_{start or 0.0:.3f}-{'end' if end is None else f'{end:.3f}'}"


@functools.lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def forget_folders() -> None:
    """Ask anew where folders lie; called when the reading of a source begins."""
    _real_folder.cache_clear()


def real_path(path: str) -> str:
    """`os.path.realpath`, which a folder of many files asks only once."""
    if not os.path.isabs(path):
        path = os.path.join(os.getcwd(), path)
    folder, name = os.path.split(path)
    if name in ("", ".", "..") or os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(_real_folder(folder), name)


def is_inside(root: Path, path: str) -> bool:
    """Whether a path, relative to `root` or absolute, leads to `root` or into it, symbolic links followed."""
    real_root = _real_folder(os.path.join(os.getcwd(), root))
    real = real_path(os.path.join(root, path))
    return real == real_root or real.startswith(os.path.join(real_root, ""))
