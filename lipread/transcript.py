# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The result of reading a video: words with times, grouped into utterances by person.

In scripts without spaces a word is a single character (`modeling_lipread.text_normalizer_lipread.split_units`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from modeling_lipread.text_normalizer_lipread import split_units


@dataclass(frozen=True)
class Word:
    """A word from `start` to `end` seconds of the file."""

    text: str
    start: float
    end: float
    score: float | None = None  # probability that the word is right, 0 to 1; None if the model gives none
    timed: bool = True  # whether the times come from the alignment; otherwise they divide the segment evenly
    joined: bool = False  # whether it follows the word before without a space

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def split(self) -> list[Word]:
        """Returns the word, or its units if it has several, which divide its time evenly."""
        units = split_units(self.text)
        if len(units) < 2:
            return [self]
        step = (self.end - self.start) / len(units)
        starts = [self.start + step * index for index in range(len(units))]
        return [
            replace(self, text=unit.text, start=start, end=end, timed=False, joined=unit.joined)
            for unit, start, end in zip(units, starts, [*starts[1:], self.end], strict=True)
        ]


def text_of(words: Iterable[Word]) -> str:
    """Returns words as one text, with spaces where they belong."""
    return "".join(word.text if word.joined else f" {word.text}" for word in words).strip()


def text_width(text: str) -> int:
    """Returns the width of a text in columns: full-width characters take two, all others one."""
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


@dataclass
class Utterance:
    """Words that one person says without a long pause, from `start` to `end` seconds of the file."""

    start: float
    end: float
    words: list[Word]
    person: int = 0  # number of the person, from 1; 0 if only one face was followed
    continues: bool = False  # whether the person's next utterance follows without a pause

    @property
    def text(self) -> str:
        """The words as one text."""
        return text_of(self.words)

    @property
    def speaker(self) -> str | None:
        """The label of the person in files; None if only one face was followed."""
        return f"person {self.person}" if self.person else None


@dataclass
class UnreadSpan:
    """A part of a video without a transcript: `start` and `end` in seconds of the file, and the `reason`."""

    start: float
    end: float
    reason: str


@dataclass
class Transcript:
    """The transcript of `seconds` of the video `file`."""

    file: str
    seconds: float
    utterances: list[Utterance]  # ordered by start
    unread: list[UnreadSpan] = field(default_factory=list)  # ordered by start

    @property
    def text(self) -> str:
        """All words as one text."""
        return text_of(word for utterance in self.utterances for word in utterance.words)

    def words(self, origin: float = 0.0) -> list[Word]:
        """Returns every word, with times relative to `origin` seconds, and of several people their labels as words."""
        words, speaker = [], None
        for utterance in self.utterances:
            if self.has_several_people and utterance.speaker != speaker:
                speaker = utterance.speaker
                words.append(Word(f"[{speaker}]", utterance.words[0].start, utterance.words[0].start))
            words += utterance.words
        return [replace(word, start=word.start - origin, end=word.end - origin) for word in words]

    @property
    def unread_reasons(self) -> str:
        """The distinct reasons of `unread` in order of time, for a transcript without words."""
        return "; ".join(dict.fromkeys(span.reason for span in self.unread))

    @property
    def has_several_people(self) -> bool:
        return len({utterance.person for utterance in self.utterances}) > 1
