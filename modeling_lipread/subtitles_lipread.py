# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Subtitles: utterances cut into cues that can be read, written as SRT or WebVTT by webvtt-py."""

from __future__ import annotations

import html
import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .stitching_lipread import Word
from .transcript_lipread import Transcript, Utterance
from .video_lipread import require

SHORTEST_SECONDS = 0.7  # a cue shown for less cannot be read; it stays longer where no other one follows


@dataclass(frozen=True)
class CueSettings:
    """How utterances are cut into cues.

    Args:
        line_length: Characters a line; a longer word has a line of its own.
        lines: Lines a cue.
        seconds: The longest cue.
        pause_seconds: A gap between two words that ends a cue.
        by_word: Whether every word is a cue of its own.
    """

    line_length: int = 42
    lines: int = 2
    seconds: float = 6.0
    pause_seconds: float = 1.0
    by_word: bool = False


@dataclass(frozen=True)
class Cue:
    """What is shown at a time.

    Attributes:
        start: Seconds.
        end: Seconds.
        lines: Its text.
        speaker: Who says it; None if that goes without saying.
    """

    start: float
    end: float
    lines: list[str]
    speaker: str | None = None


def make_cues(transcript: Transcript, settings: CueSettings | None = None) -> list[Cue]:
    """The cues of a transcript.

    Args:
        transcript: What was read.
        settings: How it is cut.

    Returns:
        Cues in order of time. Those of one person do not overlap; the person is named if there are several.
    """
    settings = settings or CueSettings()
    cues = []
    for person in sorted({utterance.person for utterance in transcript.utterances}):
        own = [utterance for utterance in transcript.utterances if utterance.person == person]
        speaker = own[0].speaker if transcript.several_people else None
        room = settings.line_length - (len(f"[{speaker}] ") if speaker else 0)
        phrases = [phrase for said in _unbroken(own) for phrase in _phrases(said, settings, room)]
        for index, phrase in enumerate(phrases):
            start, end = phrase[0].start, max(word.end for word in phrase)
            following = phrases[index + 1][0].start if index + 1 < len(phrases) else float("inf")
            end = min(max(end, start + SHORTEST_SECONDS), following)
            if end - start >= 1e-3:  # formats count milliseconds
                cues.append(Cue(start, end, _wrap([word.text for word in phrase], room), speaker))
            elif index + 1 < len(phrases):  # two words at one moment are shown together
                phrases[index + 1] = [*phrase, *phrases[index + 1]]
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def _unbroken(utterances: Sequence[Utterance]) -> Iterator[list[Word]]:
    """The words of utterances, those that go on without a rest together."""
    words: list[Word] = []
    for utterance in utterances:
        words = words + utterance.words
        if not utterance.goes_on and words:
            yield words
            words = []
    if words:
        yield words


def _phrases(words: Sequence[Word], settings: CueSettings, room: int) -> Iterator[list[Word]]:
    """Words cut at pauses, and where a cue would be too long in lines or in time."""
    phrase: list[Word] = []
    for word in words:
        longer = [*phrase, word]
        if phrase and (
            settings.by_word
            or word.start - phrase[-1].end >= settings.pause_seconds
            or word.end - phrase[0].start > settings.seconds
            or len(_wrap([word.text for word in longer], room)) > settings.lines
        ):
            yield phrase
            longer = [word]
        phrase = longer
    if phrase:
        yield phrase


def _wrap(words: Sequence[str], room: int) -> list[str]:
    return textwrap.wrap(" ".join(words), max(room, 1), break_long_words=False, break_on_hyphens=False)


def write_subtitles(cues: Iterable[Cue], kind: str) -> str:
    """A subtitle file's text.

    WebVTT names people by voice tags (`<v person 1>`), SRT, which has none, in brackets (`[person 1]`).

    Args:
        cues: Cues in order of time.
        kind: `srt` or `vtt`.

    Returns:
        The text, which ends with a line break unless it is empty.

    Raises:
        ImportError: webvtt-py is not installed.
    """
    webvtt = require("webvtt", "webvtt-py", "Writing subtitles")
    captions = []
    for cue in cues:
        text = "\n".join(cue.lines)
        if kind == "vtt":
            text = html.escape(text, quote=False)
        else:
            # What stands between them is taken for a tag and left out, and "-->" would end the cue.
            text = text.replace("<", "‹").replace(">", "›")
        if cue.speaker is not None:
            text = f"<v {cue.speaker}>{text}" if kind == "vtt" else f"[{cue.speaker}] {text}"
        start, end = (_clock(seconds) for seconds in (cue.start, cue.end))
        captions.append(webvtt.Caption(start, end, text))
    file = io.StringIO()
    webvtt.WebVTT(captions=captions).write(file, format=kind)
    text = file.getvalue().strip("\n")
    return f"{text}\n" if text else ""


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"
