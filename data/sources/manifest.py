# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Manifests: JSONL files of clips with their transcripts.

A line is one clip, a video or landmarks of another pipeline; paths are relative to the manifest:

    {"video": "talk.mp4", "text": "good morning", "start": 12.0, "end": 14.5, "speaker": "anna", "id": "anna-3"}
    {"kp_path": "landmarks/0001.npy", "text": "good morning"}

Optional keys: `start` and `end` (seconds), `speaker`, `id`, `words` (a list of {"word", "start", "end"} in seconds of
the media) or `align` (path of a word alignment: GRID's ``.align``, TIMIT's ``.wrd``, a ``.TextGrid``, LRS' ``.txt``),
and `fps` (frame rate of a `kp_path`, 25 by default). The encoding is UTF-8; a byte order mark and CRLF are allowed.
Paths that lead out of the manifest's folder, also by symbolic links, are refused unless allowed.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import DiskList
from .records import BadClip, Record, Root, Skip, SourceError, Word, clean_text, collect, make_record

LONGEST_LINE = 16 * 2**20  # bytes
MOST = 1e9  # seconds, or frames a second


def read_manifest(path: str | Path, allow_outside: bool = False) -> tuple[DiskList, DiskList]:
    """Returns the usable and the unusable lines of a manifest, both in the order of the file.

    Raises OSError if the file cannot be read, `SourceError` if it is in UTF-16, is empty, or has no usable line.
    """
    path = Path(path)
    records, skips = collect(_read_lines(path, Root(path.parent, allow_outside)))
    if not records:
        shown = "".join(f"\n  {skip}" for skip in skips[:5])
        raise SourceError(
            f"{path}: no usable line ({len(skips)} unusable). A line is "
            f'{{"video": "clip.mp4", "text": "what is said"}} or {{"kp_path": "clip.npy", "text": ...}}.{shown}'
        )
    return records, skips


def _read_lines(path: Path, root: Root) -> Iterator[Record | Skip]:
    for number, line in _lines(path):
        where, entry = f"{path.name} line {number}", None
        try:
            entry = _parse(line)
            yield _to_record(entry, root, where=where, line=number)
        except BadClip as error:
            name = entry.get("id") if isinstance(entry, dict) else None
            yield Skip(where, None if name is None else str(name), str(error))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields lines that are not blank with their numbers; a line is cut after `LONGEST_LINE` bytes."""
    with open(path, "rb") as file:
        start = file.read(3)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise SourceError(f"{path}: the manifest is in UTF-16; save it as UTF-8")
        if start != codecs.BOM_UTF8:
            file.seek(0)
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if line.strip():
                yield number, line
            while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                line = file.readline(LONGEST_LINE)


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) == LONGEST_LINE:
        raise BadClip(f"longer than {LONGEST_LINE >> 20} MiB; write one JSON object a line")
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadClip("not UTF-8; save the manifest as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise BadClip(f"not JSON ({error}); write one JSON object a line") from None
    if not isinstance(entry, dict):
        raise BadClip(f"a JSON {type(entry).__name__} in place of an object; write one JSON object a line")
    try:
        if b"\\u" in line:  # only an escape can encode one
            json.dumps(entry, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise BadClip("half a surrogate pair (\\ud800 to \\udfff) stands alone; write the character itself") from None
    return entry


def _to_record(entry: dict[str, Any], root: Root, **place: Any) -> Record:
    text = entry.get("text")
    if not isinstance(text, str):
        raise BadClip('"text" is missing or no text; write what is said in the clip')
    given = [key for key in ("video", "kp_path") if entry.get(key) is not None]
    if len(given) != 1:
        raise BadClip('needs one of "video" and "kp_path"' + (", not both" if given else ""))
    frame_rate = _number(entry, "fps")
    if frame_rate == 0.0:
        raise BadClip('"fps" is 0; give the frames a second of the landmarks')
    words, notes = _words(entry)
    return make_record(
        root,
        _path(entry, given[0]),
        text,
        is_landmarks=given[0] == "kp_path",
        alignment=None if words or entry.get("align") is None else _path(entry, "align"),
        words=words,
        notes=notes,
        frame_rate=25.0 if frame_rate is None else frame_rate,
        **place,
        **{key: _label(entry, key) for key in ("id", "speaker")},
        **{key: _number(entry, key) for key in ("start", "end")},
    )


def _number(entry: dict[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < MOST:
        raise BadClip(f'"{key}" is {value!r}; give a number from 0 to below {MOST:g}, or leave it out')
    return float(value)


def _label(entry: dict[str, Any], key: str) -> str | None:
    """Returns a name, which may be text or a whole number."""
    value = entry.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadClip(f'"{key}" is {value!r}; write it as text, or leave it out')
    return clean_text(str(value)) or None


def _path(entry: dict[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadClip(f'"{key}" is {value!r}; write the path of a file, relative to the manifest')
    return value


def _words(entry: dict[str, Any]) -> tuple[list[Word], list[str]]:
    """Returns the words of a line; wrong words become a note for the report, since the clip is useful without them."""
    given = entry.get("words")
    if given is None:
        return [], []
    try:
        words = [Word(_label(word, "word"), _number(word, "start"), _number(word, "end")) for word in given]
        if any(None in word for word in words):
            raise BadClip('"words" is no list of {"word", "start", "end"}')
    except (TypeError, AttributeError, BadClip) as error:
        return [], [f"no word times: {error}"]
    return words, []
