# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Subtitles (SRT, WebVTT) beside videos: one clip a cue; --option language=en for talk.en.vtt beside talk.mp4.

Cues that are not the speech of one speaker are skipped: descriptions of sounds ("[music]", "(laughs)"), songs, two
voices at once, overlapping cues. Descriptions within a cue are removed from its text. WebVTT's ``<v Anna>`` gives the
speaker, and its times within a cue (written by speech recognition) the times of the words.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from webvtt import WebVTT
from webvtt.errors import MalformedCaptionError, MalformedFileError
from webvtt.models import Timestamp

from ..sources.folder import Folder, text_lines
from ..sources.records import Record, Skip, TranscriptError, Word, clean_text, says_something

SUFFIXES = (".srt", ".vtt")
SHORTEST_CUE = 0.05  # seconds, a frame or two: rolling captions write such cues between their lines
_TIME = r"((?:[0-9]{1,3}:)?[0-9]{1,2}:[0-9]{2})[.,]([0-9]{3})"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}((?:\s+[^\s:]+:\S+)*)\s*")  # settings, or SRT's X1:40 Y1:20
_TIME_TAG = re.compile(r"<((?:[0-9]+:)?[0-9]{2}:[0-9]{2}\.[0-9]{3})>")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s([^<>]+)>")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")  # the second kind is SubStation's, which SRT files keep
_DESCRIPTION = re.compile(r"\[[^][]*\]|\([^()]*\)|（[^（）]*）|［[^［］]*］|【[^【】]*】")
_NOTES = "♪♫♩♬🎵🎶"


@dataclass
class Cue:
    """A cue as written: its number in the file from 1, its times in seconds, and its lines with tags."""

    number: int
    start: float
    end: float
    lines: list[str]


def recognise(folder: Folder) -> bool:
    """Returns whether there are ``.srt`` or ``.vtt`` files."""
    return folder.has(*SUFFIXES)


def read(folder: Folder, *, language: str = "") -> Iterator[Record | Skip]:
    """Yields one clip a cue."""
    for pair in folder.pairs(*SUFFIXES, language=language):
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
    rolls = any(_TIME_TAG.search(line) for cue in cues for line in cue.lines)
    said_before: list[str] = []
    latest: Cue | None = None  # of the cues before, the one that ends last
    for place, cue in enumerate(cues):
        where = f"{path} cue {cue.number}"
        lines = [line for line in cue.lines if not (rolls and clean_text(_plain(line)) in said_before)]
        said_before = [clean_text(_plain(line)) for line in cue.lines]
        following = cues[place + 1] if place + 1 < len(cues) else None
        reason = _skip_reason(cue, lines)
        # A rounding error of some hundredths is no overlap.
        for other in () if reason else (latest, following):
            if other and min(cue.end, other.end) - max(cue.start, other.start) > SHORTEST_CUE:
                reason = f"overlaps cue {other.number}: two speak at once, or captions roll"
        if latest is None or cue.end > latest.end:
            latest = cue
        if reason:
            yield folder.skip(where, reason)
            continue
        voice = _VOICE.search(" ".join(lines))
        yield folder.clip(
            video,
            _spoken("\n".join(lines)),
            start=cue.start,
            end=cue.end,
            speaker=clean_text(html.unescape(voice[1])) if voice else None,
            words=_timed_words(cue, "\n".join(lines)),
            place=where,
        )


def _skip_reason(cue: Cue, lines: list[str]) -> str | None:
    """Returns why a cue is not an utterance of one speaker; None if it is."""
    if cue.end <= cue.start:
        return f"its start {cue.start:g} is not before its end {cue.end:g}"
    if cue.end - cue.start < SHORTEST_CUE:
        return f"lasts {cue.end - cue.start:.3f} s, less than a word"
    text = "\n".join(lines)
    if any(note in text for note in _NOTES):
        return "a song"
    if not says_something(_spoken(text)):
        shown = clean_text(_plain(text))[:80]
        return f"no speech ({shown})" if shown else "repeats the cue before it"
    if len({voice.casefold() for voice in _VOICE.findall(text)}) > 1:
        return "two voices in one cue"
    if sum(bool(re.match(r"\s*[-\u2010-\u2015]\s*\w", _plain(line))) for line in lines) > 1:
        return "two speakers in one cue (lines that begin with a dash)"
    return None


def _plain(text: str) -> str:
    """Removes tags and resolves entities."""
    return html.unescape(_TAG.sub("", text))


def _spoken(text: str) -> str:
    """Removes tags, descriptions of sounds, and the dash or arrows that mark a new speaker."""
    text = _DESCRIPTION.sub(" ", _plain(text))
    return clean_text(re.sub(r"(?m)^[ \t]*(?:[-\u2010-\u2015]+|>>+)[ \t]*(?=\S)", "", text))


def _timed_words(cue: Cue, text: str) -> list[Word]:
    """Returns the words between the times inside a cue; none if it has no times, or several words between two."""
    parts = _TIME_TAG.split(text)  # text and times alternate
    if len(parts) == 1:
        return []
    times = [cue.start, *(Timestamp.from_string(time).in_milliseconds() / 1000 for time in parts[1::2]), cue.end]
    words = []
    for said, start, end in zip(parts[::2], times, times[1:], strict=False):
        if spoken := _spoken(said):
            if " " in spoken or not start <= end <= cue.end:
                return []
            words.append(Word(spoken, start, end))
    return words


def parse(text: str, name: str, suffix: str) -> tuple[list[Cue], int]:
    """Returns the cues of a file and the number of those without times; raises `TranscriptError` for other formats."""
    # webvtt-py reads both formats by blocks; pysubs2 mistakes a WebVTT cue's name and comments for text.
    lines = text_lines(text)
    written = sum("-->" in line for line in lines)
    content = "\n".join(_regular(lines, is_srt=suffix == ".srt")).lstrip("\n")
    try:
        captions = WebVTT.from_buffer(io.StringIO(content), format=suffix[1:]).captions
    except (MalformedFileError, MalformedCaptionError) as error:
        raise TranscriptError(f"{name}: no {suffix[1:].upper()} file ({error}); save it again as one") from None
    if not captions:
        raise TranscriptError(f"{name}: holds no cue")
    cues = []
    for number, caption in enumerate(captions, start=1):
        start, end = (time.in_milliseconds() / 1000 for time in (caption.start_time, caption.end_time))
        cues.append(Cue(number, start, end, list(caption.lines)))
    return cues, max(0, written - len(cues))


def _regular(lines: list[str], is_srt: bool) -> list[str]:
    """Returns the lines with times as the standards write them, and with SRT's numbers where they are missing.

    The times may have a comma or a dot, and lack the hours. A line with other times, or with text behind them, is made
    unreadable: webvtt-py would read ``00:00:01,500000`` as 501 s and lose the text.
    """
    regular: list[str] = []
    for line in lines:
        if "-->" not in line:
            regular.append(line)
            continue
        if is_srt and not (regular and regular[-1].strip().isdigit()):
            regular += ["", "1"]
        elif is_srt:
            regular[-1] = regular[-1].strip()
        if match := _TIMING.fullmatch(line):
            start, start_ms, end, end_ms, settings = match.groups()
            start, end = (time if time.count(":") == 2 else f"00:{time}" for time in (start, end))
            mark = "," if is_srt else "."
            line = f"{start}{mark}{start_ms} --> {end}{mark}{end_ms}{settings}"
        regular.append(line if match else "-->")
    return regular
