# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Manifests: JSONL files that say which clip carries which text.

A line is one clip, a video or landmarks that another pipeline extracted; paths are relative to the manifest:

    {"video": "talk.mp4", "text": "good morning", "start": 12.0, "end": 14.5, "speaker": "anna", "id": "anna-3"}
    {"kp_path": "landmarks/0001.npy", "text": "good morning"}

`start` and `end` (seconds), `speaker`, `id` and `align` (a GRID word alignment) are optional, and so is `fps`, the
frame rate of a `kp_path` (25 when absent). The files are UTF-8; a byte order mark and CRLF are fine.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar


class ManifestError(ValueError):
    """A manifest that cannot be used at all; the message names it and the remedy."""


class _BadLine(ValueError):
    """Why one line is no clip."""


@dataclass(frozen=True)
class Record:
    """One usable line of a manifest.

    Attributes:
        manifest (`str`): File name of the manifest.
        line (`int`): Line number, from 1.
        id (`str`): The line's `id`, else the media path without suffix (and the segment's times).
        text (`str`): Transcript, never empty.
        source (`str`): Media path as the manifest writes it.
        media (`Path`): The video, or the ``.npy`` of landmarks.
        is_landmarks (`bool`): Whether `media` holds landmarks.
        start, end (`float`, *optional*): The segment in seconds from the start of the media.
        speaker (`str`, *optional*): Who speaks.
        alignment (`Path`, *optional*): The word alignment.
        frame_rate (`float`): Frames a second of landmarks; unused for videos, which carry their own.
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
    frame_rate: float = 25.0

    @property
    def where(self) -> str:
        """The line in words, as errors name it."""
        return f"{self.manifest} line {self.line}"

    @property
    def segment(self) -> tuple[Path, float | None, float | None]:
        """What is read of which file: equal for two lines that hold the same clip."""
        return self.media.resolve(), self.start, self.end


@dataclass(frozen=True)
class Skip:
    """A clip left out, and why."""

    where: str
    id: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.where}{f' ({self.id})' if self.id else ''}: {self.reason}"


def read_manifest(path: str | Path) -> tuple[list[Record], list[Skip]]:
    """Read a manifest; a line that cannot be used is returned as a `Skip`, never dropped.

    Args:
        path (`str` or `Path`): A JSONL file.

    Returns:
        `tuple[list[Record], list[Skip]]`: Usable lines and unusable ones, both in the order of the file.

    Raises:
        ManifestError: If the file cannot be read, is empty, or has no usable line.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot read the manifest ({error.strerror}). Give the path of a JSONL file."
        ) from error
    records: dict[str, Record] = {}
    skips = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry: Any = None
        try:
            entry = _parse(line)
            record = _to_record(entry, path, number)
            if record.id in records:
                raise _BadLine(f"the id already stands in line {records[record.id].line}; give each clip its own id")
        except _BadLine as error:
            name = entry.get("id") if isinstance(entry, dict) else None
            skips.append(Skip(f"{path.name} line {number}", None if name is None else str(name), str(error)))
        else:
            records[record.id] = record
    if not records:
        shown = "".join(f"\n  {skip}" for skip in skips[:5])
        raise ManifestError(
            f"{path}: no usable line ({len(skips)} unusable). A line is "
            f'{{"video": "clip.mp4", "text": "what is said"}} or {{"kp_path": "clip.npy", "text": ...}}.{shown}'
        )
    return list(records.values()), skips


def _parse(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise _BadLine("not UTF-8; save the manifest as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _BadLine(f"not JSON ({error}); write one JSON object a line") from None
    if not isinstance(entry, dict):
        raise _BadLine(f"a JSON {type(entry).__name__} in place of an object; write one JSON object a line")
    try:
        json.dumps(entry, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _BadLine("half a surrogate pair (\\ud800 to \\udfff) stands alone; write the character itself") from None
    return entry


def _to_record(entry: dict[str, Any], manifest: Path, line: int) -> Record:
    text = entry.get("text")
    if not isinstance(text, str) or not text.strip():
        raise _BadLine('"text" is missing or empty; write what is said in the clip')
    start, end = _number(entry, "start"), _number(entry, "end")
    if end is not None and end <= (start or 0.0):
        raise _BadLine(f'"start" {start or 0.0:g} is not before "end" {end:g}; give both in seconds of the media')
    given = [key for key in ("video", "kp_path") if entry.get(key) is not None]
    if len(given) != 1:
        raise _BadLine('needs one of "video" and "kp_path"' + (", not both" if given else ""))
    media = _existing_file(manifest, entry, given[0])
    frame_rate = _number(entry, "fps")
    if frame_rate == 0.0:
        raise _BadLine('"fps" is 0; give the frames a second of the landmarks')
    return Record(
        manifest=manifest.name,
        line=line,
        id=_label(entry, "id") or _default_id(entry[given[0]], start, end),
        text=text.strip(),
        source=entry[given[0]],
        media=media,
        is_landmarks=given[0] == "kp_path",
        start=start,
        end=end,
        speaker=_label(entry, "speaker"),
        alignment=_path(manifest, entry, "align") if entry.get("align") is not None else None,
        frame_rate=25.0 if frame_rate is None else frame_rate,
    )


def _number(entry: dict[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise _BadLine(f'"{key}" is {value!r}; give a number that is not negative, or leave it out')
    try:
        return float(value)
    except OverflowError:
        raise _BadLine(f'"{key}" is beyond any number of seconds') from None


def _label(entry: dict[str, Any], key: str) -> str | None:
    """A name that manifests write as text or as a whole number."""
    value = entry.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _BadLine(f'"{key}" is {value!r}; write it as text, or leave it out')
    return str(value)


def _path(manifest: Path, entry: dict[str, Any], key: str) -> Path:
    value = entry[key]
    if not isinstance(value, str) or not value or "\0" in value:
        raise _BadLine(f'"{key}" is {value!r}; write the path of a file, relative to the manifest')
    return manifest.parent / value


def _existing_file(manifest: Path, entry: dict[str, Any], key: str) -> Path:
    path = _path(manifest, entry, key)
    if not os.path.isfile(path):
        raise _BadLine(f'"{key}" {entry[key]} is no file; paths are relative to the manifest in {manifest.parent}')
    return path


def _default_id(source: str, start: float | None, end: float | None) -> str:
    name = str(PurePosixPath(source).with_suffix(""))
    if start is None and end is None:
        return name
    return f"{name}_{start or 0.0:.3f}-{'end' if end is None else f'{end:.3f}'}"


RecordLike = TypeVar("RecordLike", Record, dict)


def split_records(
    records: Sequence[RecordLike], val_ratio: float = 0.1, seed: int = 42
) -> tuple[list[RecordLike], list[RecordLike]]:
    """Divide clips into train and validation, the same way on every machine.

    Each clip draws a place from a hash of the seed and of what names it (its id; for a plain manifest dictionary
    without one, its whole content), and the first `val_ratio` of them are validation. So neither the order of the
    lines nor the platform matters, and adding a clip moves few others. Speakers and texts may stand on both sides:
    write two manifests where they must not.

    Args:
        records (`Sequence[Record]` or `Sequence[dict]`): The clips.
        val_ratio (`float`): Share of the clips for validation, in [0, 1). When above 0 and there are two clips or
            more, either side gets at least one.
        seed (`int`): Another seed, another division.

    Returns:
        `tuple[list, list]`: Train and validation, each in the order given.

    Raises:
        ValueError: If `val_ratio` is not in [0, 1).
    """
    if not 0.0 <= val_ratio < 1.0:
        raise ValueError(f"val_ratio is {val_ratio}; it must be at least 0 and less than 1")
    count = round(len(records) * val_ratio)
    if val_ratio > 0.0 and len(records) > 1:
        count = min(max(count, 1), len(records) - 1)
    order = sorted(range(len(records)), key=lambda index: (_draw(records[index], seed), index))
    chosen = set(order[:count])
    train = [record for index, record in enumerate(records) if index not in chosen]
    return train, [records[index] for index in sorted(chosen)]


def _draw(record: Record | dict, seed: int) -> bytes:
    if isinstance(record, Record):
        name = record.id
    else:
        name = str(record.get("id") or json.dumps(record, sort_keys=True, default=str))
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
