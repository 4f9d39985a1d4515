# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Transcripts as plain text, SRT, WebVTT, JSON and TSV."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import webvtt
from icu4py.breakers import LineBreaker

from .settings import CueSettings
from .transcript import Transcript, Utterance, Word, text_of, text_width

# What professional subtitles keep to: five sixths of a second, and 17 characters a second.
MIN_CUE_SECONDS = 0.83
MAX_CHARACTERS_PER_SECOND = 17
LINE_BREAKING = "und-u-lb-strict"  # no line begins with a small kana or a sound mark


@dataclass(frozen=True)
class Cue:
    """A subtitle from `start` to `end` seconds. The `speaker` is None if only one person speaks."""

    start: float
    end: float
    lines: list[str]
    speaker: str | None = None


def format_transcript(transcript: Transcript, kind: str, cues: CueSettings | None = None) -> str:
    """Returns a transcript in one of `FORMATS` as a file's content, empty or with a line break at its end.

    TSV is whisper's: start and end in milliseconds, and text, a line an utterance.
    """
    spoken = [utterance for utterance in transcript.utterances if utterance.words]
    named = transcript.has_several_people
    texts = [f"[{said.speaker}] {said.text}" if named else said.text for said in spoken]
    if kind == "txt":
        return "".join(f"{text}\n" for text in texts)
    if kind == "json":
        return json.dumps(transcript_dict(transcript), ensure_ascii=False, indent=1) + "\n"
    if kind == "tsv":
        rows = [
            (round(1000 * said.start), round(1000 * said.end), text) for said, text in zip(spoken, texts, strict=True)
        ]
        return "".join("\t".join(map(str, row)) + "\n" for row in [("start", "end", "text"), *rows])
    return format_subtitles(make_cues(transcript, cues), kind)


def format_line(transcript: Transcript, kind: str) -> str:
    """Returns one of several transcripts that share a stream as one line of `txt` or `json`."""
    if kind == "json":
        return json.dumps(transcript_dict(transcript), ensure_ascii=False) + "\n"
    return f"{transcript.file}\t{transcript.text}\n"


def transcript_dict(transcript: Transcript) -> dict[str, Any]:
    """Returns a transcript in the form of both transformers' speech recognition pipeline and whisper.

    `text` and `chunks` are those of the pipeline. `segments`, an utterance each, are those of whisper, with `words`
    whose texts begin with the space before them. Words without times have none in `chunks`; in `segments` they divide
    the utterance.
    """
    chunks, segments = [], []
    for utterance in transcript.utterances:
        speaker = {"speaker": utterance.speaker} if utterance.speaker else {}
        words = []
        for word in utterance.words:
            timestamp = [word.start, word.end] if word.timed else [None, None]
            chunks.append({"text": word.text, "timestamp": timestamp, "score": word.score, **speaker})
            spelled = word.text if word.joined or not words else f" {word.text}"
            times = {"start": round(word.start, 3), "end": round(word.end, 3)}
            words.append({"word": spelled, **times, "probability": word.score})
        times = {"start": round(utterance.start, 3), "end": round(utterance.end, 3)}
        segments.append({"id": len(segments), **times, "text": utterance.text, **speaker, "words": words})
    spans = ((round(span.start, 3), round(span.end, 3), span.reason) for span in transcript.unread)
    unread = [{"start": start, "end": end, "reason": reason} for start, end, reason in spans]
    return {
        "file": transcript.file,
        "seconds": round(transcript.seconds, 3),
        "text": transcript.text,
        "chunks": chunks,
        "segments": segments,
        "unread": unread,
    }


def make_cues(transcript: Transcript, settings: CueSettings | None = None) -> list[Cue]:
    """Returns the subtitle cues of a transcript, ordered by time. Those of one person do not overlap.

    A cue stays until it can be read, at least `MIN_CUE_SECONDS` and a second for `MAX_CHARACTERS_PER_SECOND`, unless
    the person's next cue begins before.
    """
    settings = settings or CueSettings()
    cues = []
    for person in sorted({utterance.person for utterance in transcript.utterances}):
        own = [utterance for utterance in transcript.utterances if utterance.person == person]
        speaker = own[0].speaker if transcript.has_several_people else None
        label = len(f"[{speaker}] ") if speaker else 0
        phrases = [phrase for words in _continuous_words(own) for phrase in _split(words, settings, label)]
        for index, phrase in enumerate(phrases):
            start, end = phrase[0].start, max(word.end for word in phrase)
            following = phrases[index + 1][0].start if index + 1 < len(phrases) else float("inf")
            lines = _wrap(phrase, settings.max_line_width - label)
            end = min(max(end, start + _reading_seconds(lines, label)), following)
            if end - start >= 1e-3:  # subtitle formats count milliseconds
                cues.append(Cue(start, end, lines, speaker))
            elif index + 1 < len(phrases):  # phrases that start at the same time share a cue
                phrases[index + 1] = [*phrase, *phrases[index + 1]]
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def _continuous_words(utterances: Sequence[Utterance]) -> Iterator[list[Word]]:
    """Yields the words of each utterance, together with those of utterances that continue it; lists may be empty."""
    words: list[Word] = []
    for utterance in utterances:
        words = words + [unit for word in utterance.words for unit in word.split()]
        if not utterance.continues:
            yield words
            words = []
    yield words


def _split(words: Sequence[Word], settings: CueSettings, label: int) -> Iterator[list[Word]]:
    """Splits words at pauses, where a cue would be too long, and with `by_word` where the cue so far can be read.

    `label` is the width of the speaker's label.
    """
    room = settings.max_line_width - label
    phrase: list[Word] = []
    for piece in _pieces(words, settings, room):
        if phrase:
            readable = _reading_seconds(_wrap(phrase, room), label)
            if (
                (settings.by_word and piece[0].start - phrase[0].start >= readable)
                or piece[0].start - phrase[-1].end >= settings.cue_pause_seconds
                or piece[-1].end - phrase[0].start > settings.seconds
                or len(_wrap([*phrase, *piece], room)) > settings.max_line_count
            ):
                yield phrase
                phrase = []
        phrase = [*phrase, *piece]
    if phrase:
        yield phrase


def _pieces(words: Sequence[Word], settings: CueSettings, room: int) -> Iterator[list[Word]]:
    """Yields words that lines and cues keep together: in scripts without spaces those of a word in the dictionary."""
    for piece in _unbroken(words):
        long = piece[-1].end - piece[0].start > settings.seconds or text_width(text_of(piece)) > room
        yield from ([word] for word in piece) if long else [piece]


def _unbroken(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Yields words without a place to break a line between them, by the Unicode line breaking algorithm (UAX 14)."""
    text = text_of(words)
    breaks, position, piece = {start for start, _ in LineBreaker(text, LINE_BREAKING).segments()}, 0, []
    for word in words:
        position = text.index(word.text, position)
        if piece and (not word.joined or position in breaks):
            yield piece
            piece = []
        piece = [*piece, word]
        position += len(word.text)
    if piece:
        yield piece


def wrap(words: Sequence[Word], fits: Callable[[str], bool]) -> list[list[Word]]:
    """Returns words in lines, each as long as fits."""
    lines: list[list[Word]] = []
    for piece in _unbroken(words):
        for part in [piece] if fits(text_of(piece)) else [[word] for word in piece]:
            if lines and fits(text_of([*lines[-1], *part])):
                lines[-1] += part
            else:
                lines.append(list(part))
    return lines


def _wrap(words: Sequence[Word], room: int) -> list[str]:
    return [text_of(line) for line in wrap(words, lambda text: text_width(text) <= room)]


def _reading_seconds(lines: Sequence[str], label: int) -> float:
    width = label + sum(text_width(line) + 1 for line in lines) - 1
    return max(MIN_CUE_SECONDS, width / MAX_CHARACTERS_PER_SECOND)


def format_subtitles(cues: Iterable[Cue], kind: str) -> str:
    """Returns the content of an `srt` or `vtt` file.

    WebVTT names speakers by voice tags (`<v person 1>`). SRT has no such tags and gets brackets (`[person 1]`).
    """
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
