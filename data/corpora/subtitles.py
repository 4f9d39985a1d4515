# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Subtitles (SRT, WebVTT) beside videos, such as talk.srt or talk.en.vtt beside talk.mp4: one clip a cue.

Cues that are not the speech of one speaker are skipped: descriptions of sounds ("[music]", "(laughs)"), songs, two
voices at once, overlapping cues. Descriptions within a cue are removed from its text. WebVTT's ``<v Anna>`` gives the
speaker. Files with times within cues are skipped: speech recognition wrote them, and repeats each line in two cues.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..sources.folder import Folder, text_lines
from ..sources.records import Record, Skip, TranscriptError, clean_text, says_something

SUFFIXES = (".srt", ".vtt")
SHORTEST_CUE = 0.05  # seconds, a frame or two: rolling captions write such cues between their lines
_TIME = r"(?:([0-9]{1,3}):)?([0-9]{1,2}):([0-9]{2})[.,]([0-9]{3})"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s+[^\s:]+:\S+)*\s*")  # settings, or SRT's X1:40 Y1:20
_TIME_TAG = re.compile(r"<(?:[0-9]+:)?[0-9]{2}:[0-9]{2}\.[0-9]{3}>")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]+)>")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")  # the second kind is SubStation's, which SRT files keep
_DESCRIPTION = re.compile(r"\[[^][]*\]|\([^()]*\)|（[^（）]*）|［[^［］]*］|【[^【】]*】")
_NOTES = "♪♫♩♬🎵🎶"


@dataclass
class Cue:
    """A cue as written: its number in the file from 1, its times in seconds, and its text with tags."""

    number: int
    start: float
    end: float
    text: str


def read(folder: Folder) -> Iterator[Record | Skip]:
    """Yields one clip a cue."""
    for pair in folder.pairs(*SUFFIXES):
        if isinstance(pair, Skip):
            yield pair
            continue
        (suffix, path), *others = pair.transcripts.items()
        if others:
            yield folder.skip(path, f"stands beside {others[0][1]}; keep one of them")
            continue
        try:
            cues, malformed = parse(folder.read_text(path), path, suffix)
        except TranscriptError as error:
            yield folder.skip(path, error)
            continue
        if malformed:
            yield folder.skip(path, f"{malformed} of its cues have no times that can be read, or no text")
        yield from _clips(folder, pair.video, path, cues)


def _clips(folder: Folder, video: str, path: str, cues: list[Cue]) -> Iterator[Record | Skip]:
    cues.sort(key=lambda cue: (cue.start, cue.end))
    latest: Cue | None = None  # of the cues before, the one that ends last
    for place, cue in enumerate(cues):
        following = cues[place + 1] if place + 1 < len(cues) else None
        reason = _skip_reason(cue)
        # A rounding error of some hundredths is no overlap.
        for other in () if reason else (latest, following):
            if other and min(cue.end, other.end) - max(cue.start, other.start) > SHORTEST_CUE:
                reason = f"overlaps cue {other.number}: two speak at once"
        if latest is None or cue.end > latest.end:
            latest = cue
        where = f"{path} cue {cue.number}"
        if reason:
            yield folder.skip(where, reason)
            continue
        voice = _VOICE.search(cue.text)
        speaker = clean_text(html.unescape(voice[1])) if voice else None
        yield folder.clip(video, _spoken(cue.text), start=cue.start, end=cue.end, speaker=speaker, place=where)


def _skip_reason(cue: Cue) -> str | None:
    """Returns why a cue is not an utterance of one speaker; None if it is."""
    if cue.end <= cue.start:
        return f"its start {cue.start:g} is not before its end {cue.end:g}"
    if cue.end - cue.start < SHORTEST_CUE:
        return f"lasts {cue.end - cue.start:.3f} s, less than a word"
    if any(note in cue.text for note in _NOTES):
        return "a song"
    if not says_something(_spoken(cue.text)):
        return f"no speech ({clean_text(_plain(cue.text))[:80]})"
    if len({voice.casefold() for voice in _VOICE.findall(cue.text)}) > 1:
        return "two voices in one cue"
    if sum(bool(re.match(r"\s*[-\u2010-\u2015]\s*\w", _plain(line))) for line in cue.text.splitlines()) > 1:
        return "two speakers in one cue (lines that begin with a dash)"
    return None


def _plain(text: str) -> str:
    """Removes tags and resolves entities."""
    return html.unescape(_TAG.sub("", text))


def _spoken(text: str) -> str:
    """Removes tags, descriptions of sounds, and the dash or arrows that mark a new speaker."""
    text = _DESCRIPTION.sub(" ", _plain(text))
    return clean_text(re.sub(r"(?m)^[ \t]*(?:[-\u2010-\u2015]+|>>+)[ \t]*(?=\S)", "", text))


def parse(text: str, name: str, suffix: str) -> tuple[list[Cue], int]:
    """Returns the cues of a file and the number of those without times or text.

    Times may have a comma or a dot, and lack the hours. Raises `TranscriptError` for a file without cues or of another
    format. pysubs2 mistakes a WebVTT cue's name and comments for text; webvtt-py reads ``00:00:01,500000`` as
    501 s, and loses what stands behind the times.
    """
    lines = text_lines(text)
    if suffix == ".vtt" and not lines[0].startswith("WEBVTT"):
        raise TranscriptError(f"{name}: no WebVTT file, which begins with WEBVTT; save it again as one")
    found: list[Cue] = []
    written, cue = 0, None
    for line in lines:
        if "-->" in line:
            written += 1
            if cue and suffix == ".srt":  # without a blank line, the text ends with the number of this cue
                cue.text = re.sub(r"(?m)^\s*[0-9]+\s*\Z", "", cue.text)
            match, cue = _TIMING.fullmatch(line), None
            if match:
                cue = Cue(written, _seconds(*match.groups()[:4]), _seconds(*match.groups()[4:]), "")
                found.append(cue)
        elif not line.strip():
            cue = None
        elif cue:
            cue.text += line + "\n"
    cues = [cue for cue in found if cue.text]
    if not cues:
        raise TranscriptError(f"{name}: holds no cue")
    if _TIME_TAG.search(text):
        raise TranscriptError(
            f"{name}: has times within cues, so speech recognition wrote it; give the words as spoken"
        )
    return cues, written - len(cues)


def _seconds(hours: str | None, minutes: str, seconds: str, milliseconds: str) -> float:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return (whole * 1000 + int(milliseconds)) / 1000
