# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts as text, SRT, WebVTT, JSON and tables, and the files they are written to."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .subtitles_lipread import CueSettings, make_cues, write_subtitles
from .transcript_lipread import Transcript, Utterance

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


class OutputFolder:
    """A folder with a file for each video, which remembers what each was read from.

    Args:
        folder: Where; it need not be there yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._record = folder / ".lipread.jsonl"

    def sources(self) -> dict[Path, str]:
        """The real path of the video that each file was read from, as far as it was written down."""
        found = {}
        if self._record.is_file():
            for line in self._record.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # cut off, when the disk was full
                    entry = json.loads(line)
                    found[self.folder / entry["file"]] = entry["video"]
        return found

    def write(self, path: Path, text: str, video: Path) -> None:
        """Writes a file of the folder whole, and what it was read from.

        Args:
            path: Where in the folder.
            text: What, in UTF-8.
            video: The video.
        """
        write_whole(path, text)
        entry = {"file": path.relative_to(self.folder).as_posix(), "video": os.path.realpath(video)}
        with open(self._record, "a", encoding="utf-8") as record:
            record.write(json.dumps(entry) + "\n")
