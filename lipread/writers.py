# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts as plain text, SRT, WebVTT, JSON and TSV, and the files they are written to."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeling_lipread.video_lipread import require

from .transcript import Transcript, Utterance, Word

FORMATS = ("txt", "srt", "vtt", "json", "tsv")
TSV_HEADER = ("file", "start", "end", "speaker", "word", "score")
MIN_CUE_SECONDS = 0.7  # a cue shown for less cannot be read; it stays this long unless another one follows


@dataclass(frozen=True)
class CueSettings:
    """How utterances are split into subtitle cues."""

    line_length: int = 42  # most characters a line; a longer word gets a line of its own
    lines: int = 2  # most lines a cue
    seconds: float = 6.0  # longest duration of a cue
    cue_pause_seconds: float = 1.0  # pause between two words that ends a cue
    by_word: bool = False  # whether every word is a cue of its own


@dataclass(frozen=True)
class Cue:
    """A subtitle from `start` to `end` seconds. The `speaker` is None if only one person speaks."""

    start: float
    end: float
    lines: list[str]
    speaker: str | None = None


def format_transcript(transcript: Transcript, kind: str, cues: CueSettings | None = None) -> str:
    """Returns a transcript in one of `FORMATS` as a file's content, empty or with a line break at its end."""
    if kind == "txt":
        spoken = [utterance for utterance in transcript.utterances if utterance.words]
        named = transcript.has_several_people
        return "".join(f"[{said.speaker}] {said.text}\n" if named else f"{said.text}\n" for said in spoken)
    if kind == "json":
        return json.dumps(transcript_dict(transcript), ensure_ascii=False, indent=1) + "\n"
    if kind == "tsv":
        return format_tsv([TSV_HEADER, *tsv_rows(transcript)])
    return format_subtitles(make_cues(transcript, cues), kind)


def transcript_dict(transcript: Transcript) -> dict[str, Any]:
    """Returns a transcript in the form of transformers' speech recognition pipeline, with utterances added."""
    chunks, utterances = [], []
    for utterance in transcript.utterances:
        speaker = {"speaker": utterance.speaker} if utterance.speaker else {}
        for word in utterance.words:
            timestamp = [word.start, word.end] if word.timed else [None, None]
            chunks.append({"text": word.text, "timestamp": timestamp, "score": word.score, **speaker})
        entry = {"start": round(utterance.start, 3), "end": round(utterance.end, 3), "text": utterance.text, **speaker}
        if utterance.alternatives:
            entry["alternatives"] = utterance.alternatives
        utterances.append(entry)
    spans = ((round(span.start, 3), round(span.end, 3), span.reason) for span in transcript.unread)
    unread = [{"start": start, "end": end, "reason": reason} for start, end, reason in spans]
    return {
        "file": transcript.file,
        "seconds": round(transcript.seconds, 3),
        "text": transcript.text,
        "chunks": chunks,
        "utterances": utterances,
        "unread": unread,
    }


def tsv_rows(transcript: Transcript) -> list[Sequence[Any]]:
    """Returns a row with the columns of `TSV_HEADER` for each word."""
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


def format_tsv(rows: Sequence[Sequence[Any]]) -> str:
    """Returns rows as tab-separated lines; quotes cells that hold a tab, a quote or a line break."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(rows)
    return text.getvalue()


def make_cues(transcript: Transcript, settings: CueSettings | None = None) -> list[Cue]:
    """Returns the subtitle cues of a transcript, ordered by time. Those of one person do not overlap."""
    settings = settings or CueSettings()
    cues = []
    for person in sorted({utterance.person for utterance in transcript.utterances}):
        own = [utterance for utterance in transcript.utterances if utterance.person == person]
        speaker = own[0].speaker if transcript.has_several_people else None
        room = settings.line_length - (len(f"[{speaker}] ") if speaker else 0)
        phrases = [phrase for words in _continuous_words(own) for phrase in _split(words, settings, room)]
        for index, phrase in enumerate(phrases):
            start, end = phrase[0].start, max(word.end for word in phrase)
            following = phrases[index + 1][0].start if index + 1 < len(phrases) else float("inf")
            end = min(max(end, start + MIN_CUE_SECONDS), following)
            if end - start >= 1e-3:  # subtitle formats count milliseconds
                cues.append(Cue(start, end, _wrap(phrase, room), speaker))
            elif index + 1 < len(phrases):  # phrases that start at the same time share a cue
                phrases[index + 1] = [*phrase, *phrases[index + 1]]
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def _continuous_words(utterances: Sequence[Utterance]) -> Iterator[list[Word]]:
    """Yields the words of each utterance, together with those of utterances that continue it; lists may be empty."""
    words: list[Word] = []
    for utterance in utterances:
        words = words + utterance.words
        if not utterance.continues:
            yield words
            words = []
    yield words


def _split(words: Sequence[Word], settings: CueSettings, room: int) -> Iterator[list[Word]]:
    """Splits words at pauses, and where a cue would have too many lines or last too long."""
    phrase: list[Word] = []
    for word in words:
        if phrase and (
            settings.by_word
            or word.start - phrase[-1].end >= settings.cue_pause_seconds
            or word.end - phrase[0].start > settings.seconds
            or len(_wrap([*phrase, word], room)) > settings.lines
        ):
            yield phrase
            phrase = []
        phrase = [*phrase, word]
    if phrase:
        yield phrase


def _wrap(words: Sequence[Word], room: int) -> list[str]:
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, max(room, 1), break_long_words=False, break_on_hyphens=False)


def format_subtitles(cues: Iterable[Cue], kind: str) -> str:
    """Returns the content of an `srt` or `vtt` file.

    WebVTT names speakers by voice tags (`<v person 1>`). SRT has no such tags and gets brackets (`[person 1]`).
    """
    webvtt = require("webvtt", "webvtt-py", "Writing subtitles")
    captions = []
    for cue in cues:
        text = "\n".join(cue.lines)
        if kind == "vtt":
            text = html.escape(text, quote=False)
        else:  # players take text between angle brackets for a tag and hide it, and "-->" would end the cue
            text = text.replace("<", "‹").replace(">", "›")
        if cue.speaker is not None:
            text = f"<v {cue.speaker}>{text}" if kind == "vtt" else f"[{cue.speaker}] {text}"
        start, end = (str(webvtt.models.Timestamp.from_seconds(float(seconds))) for seconds in (cue.start, cue.end))
        captions.append(webvtt.Caption(start, end, text))
    file = io.StringIO()
    webvtt.WebVTT(captions=captions).write(file, format=kind)
    text = file.getvalue().strip("\n")
    return f"{text}\n" if text else ""


def write_atomically(path: Path, text: str) -> None:
    """Writes a UTF-8 file that appears only when it is complete. Creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class OutputFolder:
    """A folder with a file for each video. `.lipread.jsonl` in it records the video of each file."""

    def __init__(self, folder: Path):
        self.folder, self._index = folder, folder / ".lipread.jsonl"

    def sources(self) -> dict[Path, str]:
        """Returns the real path of the video of each recorded file."""
        found = {}
        if self._index.is_file():
            for line in self._index.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # a line that a full disk truncated
                    entry = json.loads(line)
                    found[self.folder / entry["file"]] = entry["video"]
        return found

    def write(self, path: Path, text: str, video: Path) -> None:
        """Writes a file of the folder atomically and records its video."""
        write_atomically(path, text)
        entry = {"file": path.relative_to(self.folder).as_posix(), "video": os.path.realpath(video)}
        with open(self._index, "a", encoding="utf-8") as index:
            index.write(json.dumps(entry) + "\n")
