# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts as text, SRT, WebVTT, JSON and tables, and the files they are written to."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .subtitles_lipread import CueSettings, make_cues, write_subtitles
from .transcript_lipread import Transcript, Utterance
from .video_lipread import VIDEO_SUFFIXES

FORMATS = ("txt", "srt", "vtt", "json", "tsv")
TABLE_HEAD = ("file", "start", "end", "speaker", "word", "score")


def format_transcript(transcript: Transcript, kind: str, cues: CueSettings | None = None) -> str:
    """A transcript as the text of a file.

    Args:
        transcript: What was read.
        kind: `txt` (a line an utterance), `srt`, `vtt`, `json`, or `tsv` (a line a word, under a head line).
        cues: How subtitles are cut.

    Returns:
        The text, which ends with a line break unless it is empty.
    """
    if kind == "txt":
        lines = [_line(utterance, transcript) for utterance in transcript.utterances if utterance.words]
        return "".join(f"{line}\n" for line in lines)
    if kind == "json":
        return json.dumps(as_dictionary(transcript), ensure_ascii=False, indent=1) + "\n"
    if kind == "tsv":
        return table([TABLE_HEAD]) + table(table_rows(transcript))
    return write_subtitles(make_cues(transcript, cues), kind)


def _line(utterance: Utterance, transcript: Transcript) -> str:
    return f"[{utterance.speaker}] {utterance.text}" if transcript.several_people else utterance.text


def as_dictionary(transcript: Transcript) -> dict[str, Any]:
    """A transcript in the form of speech recognition pipelines, `text` and `chunks`, with utterances beside them."""
    said = transcript.utterances
    return {
        "file": transcript.file,
        "seconds": round(transcript.seconds, 3),
        "text": transcript.text,
        "chunks": [_chunk(utterance, word) for utterance in said for word in utterance.words],
        "utterances": [_utterance(utterance) for utterance in said],
        "unread": [
            {"start": round(stretch.start, 3), "end": round(stretch.end, 3), "reason": stretch.reason}
            for stretch in transcript.unread
        ],
    }


def _chunk(utterance: Utterance, word: Any) -> dict[str, Any]:
    timestamp = [word.start, word.end] if word.timed else [None, None]
    chunk = {"text": word.text, "timestamp": timestamp, "score": word.score}
    return chunk | ({"speaker": utterance.speaker} if utterance.speaker else {})


def _utterance(utterance: Utterance) -> dict[str, Any]:
    entry = {"start": round(utterance.start, 3), "end": round(utterance.end, 3), "text": utterance.text}
    if utterance.speaker:
        entry["speaker"] = utterance.speaker
    if utterance.alternatives:
        entry["alternatives"] = utterance.alternatives
    return entry


def table_rows(transcript: Transcript) -> list[Sequence[Any]]:
    """A row for each word, of the columns `TABLE_HEAD`."""
    return [
        (
            transcript.file,
            f"{word.start:.3f}" if word.timed else "",
            f"{word.end:.3f}" if word.timed else "",
            utterance.speaker or "",
            word.text,
            "" if word.score is None else f"{word.score:.4f}",
        )
        for utterance in transcript.utterances
        for word in utterance.words
    ]


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Rows separated by tabs; what holds a tab, a quote or a line break is quoted."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()


def find_videos(given: Sequence[str]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The videos that files, folders and patterns stand for.

    Args:
        given: Paths of files, of folders (searched with all that is in them), and patterns such as `talks/**/*.mp4`.

    Returns:
        Each video once, with a relative path to name its output by, different from all others; and what is wrong with
        those that stand for nothing.
    """
    found: dict[str, tuple[Path, Path]] = {}
    errors = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
            if not videos:
                errors.append(f"{name}: no video in this folder")
            pairs = [(file, file.relative_to(path)) for file in videos]
        elif glob.has_magic(name) and not path.exists():
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
            pairs = [(file, Path(file.name)) for file in matches if file.is_file()]
            if not pairs:
                errors.append(f"{name}: no file matches this pattern")
        else:
            pairs = [(path, Path(path.name))]  # one that is missing is told of when it is read
        for file, output in pairs:
            found.setdefault(os.path.realpath(file), (file, output))
    return _named_apart(list(found.values())), errors


def _named_apart(videos: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Videos with the names of their outputs; if two are alike all keep their folders, and suffixes if need be."""
    names = [output.with_suffix("") for _, output in videos]
    if _some_alike(names):
        paths = [Path(os.path.realpath(file)) for file, _ in videos]
        common = os.path.commonpath([path.parent for path in paths])
        whole_names = [path.relative_to(common) for path in paths]
        names = [name.with_suffix("") for name in whole_names]
        if _some_alike(names):
            names = whole_names
    return [(file, name) for (file, _), name in zip(videos, names, strict=True)]


def _some_alike(names: list[Path]) -> bool:
    return len({str(name).casefold() for name in names}) < len(names)  # some file systems do not tell case apart


def write_whole(path: Path, text: str) -> None:
    """Writes a file that appears only when it is complete.

    Args:
        path: Where; its folder is made if need be.
        text: What, in UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
