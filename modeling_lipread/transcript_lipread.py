# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What was read in a video: words with their times, in utterances, by person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .stitching_lipread import Word


@dataclass
class Utterance:
    """Words that one person says without a rest.

    Attributes:
        start: Seconds from the start of the file.
        end: Seconds from the start of the file.
        words: What is said.
        person: Number of the person, from 1; 0 if only one face was followed.
        goes_on: Whether the utterance after it, of the same person, goes on without a rest.
        alternatives: Readings of its segment, `{"text", "score"}`, in the order of the search: the first is the one
            taken. Empty unless asked for. A score is the chance that all words are right, None without words.
    """

    start: float
    end: float
    words: list[Word]
    person: int = 0
    goes_on: bool = False
    alternatives: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its words between spaces."""
        return " ".join(word.text for word in self.words)

    @property
    def speaker(self) -> str | None:
        """The person's name in what is written; None if only one face was followed."""
        return f"person {self.person}" if self.person else None


@dataclass
class Unread:
    """A stretch of a video that was not read.

    Attributes:
        start: Seconds from the start of the file.
        end: Seconds from the start of the file.
        reason: Why.
    """

    start: float
    end: float
    reason: str


@dataclass
class Transcript:
    """What was read in a video.

    Attributes:
        file: Its path as given.
        seconds: How much of it was looked at.
        utterances: What is said, in order of time.
        unread: What of it was not read although somebody's lips moved, or because no face was found.
    """

    file: str
    seconds: float
    utterances: list[Utterance]
    unread: list[Unread] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Everything that is said."""
        return " ".join(utterance.text for utterance in self.utterances if utterance.words)

    def words(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Every word, `{"word", "start", "end", "score"}`, times counted from the second given."""
        return [
            {"word": word.text, "start": word.start - since, "end": word.end - since, "score": word.score}
            for utterance in self.utterances
            for word in utterance.words
        ]

    @property
    def why_nothing(self) -> str:
        """Why there is no word in it, if there is none: the reasons in order of time, each once."""
        reasons = dict.fromkeys(stretch.reason for stretch in self.unread)
        return "; ".join(reasons) or "the lips do not move"

    @property
    def several_people(self) -> bool:
        """Whether more than one person says something."""
        return len({utterance.person for utterance in self.utterances}) > 1
