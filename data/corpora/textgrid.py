# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Praat TextGrid, long or short: a tier of words, of utterances, or both; --option words=NAME, utterances=NAME.

Each interval of a tier of utterances is a clip; with a tier of words alone (the output of forced aligners) the whole
video is one clip. Tiers of phones and of points are ignored.

praatio 6.2 accepts a truncated short file without an error and mistakes labels for tiers, hence a parser of our own.
By Praat's manual only free-standing numbers, texts in double quotes and flags such as ``<exists>`` are significant.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from modeling_lipread.text_normalizer_lipread import join_words

from ..sources.folder import NO_WORDS, Folder
from ..sources.records import Record, Skip, TranscriptError, Word, clean_text, says_something

ALIGNMENT_SUFFIX = ".textgrid"
_WORD_TIERS = frozenset({"word", "words", "wrd", "ort", "ort-mau", "hmm-words"})
_PHONE_TIERS = frozenset(
    "phone phones phoneme phonemes phn hmm-phones mau kan-mau segment segments syllable syllables".split()
)
_TOKEN = re.compile(
    r"""
    "(?P<text>[^"]*(?:""[^"]*)*)"                       # a quote inside is written twice
    | (?<!\S)(?P<number>-?[0-9]{1,12}(?:\.[0-9]{0,18})?(?:[eE][-+]?[0-9]{1,3})?)(?!\S)
    | (?P<flag><[a-z]+>)
    | (?P<comment>![^\r\n]*)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Tier:
    """A tier: intervals `(start, end, label)`, including those with an empty label."""

    name: str
    intervals: list[tuple[float, float, str]]


def read(folder: Folder, *, words: str = "", utterances: str = "") -> Iterator[Record | Skip]:
    """Yields one clip an utterance, or one a video if there are words alone."""
    for pair in folder.pairs(ALIGNMENT_SUFFIX):
        if isinstance(pair, Skip):
            yield pair
            continue
        path = pair.transcripts[ALIGNMENT_SUFFIX]
        try:
            tiers = parse(folder.read_text(path), path)
            word_tier, utterance_tier = choose_tiers(tiers, path, words, utterances)
            spoken = _words(word_tier) if word_tier else []
        except TranscriptError as error:
            yield folder.skip(pair.video, error)
            continue
        if utterance_tier is None:
            yield folder.clip(pair.video, join_words(word.word for word in spoken), words=spoken)
            continue
        # A word belongs to the interval that holds its middle: rounded borders would include neighbours.
        spoken.sort(key=_middle)
        for number, (start, end, label) in enumerate(utterance_tier.intervals, start=1):
            if not clean_text(label) or clean_text(label).casefold() in NO_WORDS:
                continue
            inside = spoken[bisect_left(spoken, start, key=_middle) : bisect_left(spoken, end, key=_middle)]
            place = f"{path} {utterance_tier.name} interval {number}"
            yield folder.clip(pair.video, label, words=inside, start=start, end=end, place=place)


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def choose_tiers(tiers: list[Tier], name: str, words: str, utterances: str) -> tuple[Tier | None, Tier | None]:
    """Returns the tiers of words and of utterances, or None; raises `TranscriptError` if several would fit."""
    said = [tier for tier in tiers if words and tier.name.casefold() == words.casefold()]
    spoken = [tier for tier in tiers if utterances and tier.name.casefold() == utterances.casefold()]
    rest = [tier for tier in tiers if tier not in (*said, *spoken) and _last_name(tier) not in _PHONE_TIERS]
    if not words:
        said = [tier for tier in rest if _last_name(tier) in _WORD_TIERS]
        if not utterances:
            spoken = [tier for tier in rest if tier not in said]
    names = ", ".join(tier.name for tier in tiers) or "none"
    for option, chosen, found in (("words", words, said), ("utterances", utterances, spoken)):
        if len(found) > 1 or (chosen and not found):
            count = f"{len(found)} of its tiers of intervals ({names})"
            raise TranscriptError(f"{name}: {count} may be that of {option}; choose one: --option {option}=NAME")
    if not said and not spoken:
        raise TranscriptError(f"{name}: no tier of words or utterances; its tiers of intervals are {names}")
    return next(iter(said), None), next(iter(spoken), None)


def _last_name(tier: Tier) -> str:
    """Returns ``words`` for the tier ``anna - words``, a name as the Montreal forced aligner writes it."""
    return tier.name.rsplit(" - ", 1)[-1].strip().casefold()


def _words(tier: Tier) -> list[Word]:
    labels = ((clean_text(label), start, end) for start, end, label in tier.intervals)
    return [Word(label, start, end) for label, start, end in labels if label and label.casefold() not in NO_WORDS]


def parse_words(text: str, name: str) -> list[Word]:
    """Returns the words of a TextGrid's tier of words; raises `TranscriptError` if it has none."""
    tier, _ = choose_tiers(parse(text, name), name, "", "")
    words = _words(tier) if tier else []
    if not any(says_something(word.word) for word in words):
        raise TranscriptError(f"{name}: no tier of words that holds any")
    return words


class _Tokens:
    """The tokens of a file in order: texts, numbers and flags."""

    def __init__(self, text: str, name: str):
        self.text, self.name = text, name
        self.tokens = (match for match in _TOKEN.finditer(text) if match.lastgroup != "comment")

    def next(self, kind: str) -> str:
        match = next(self.tokens, None)
        if match is None:
            raise TranscriptError(f"{self.name}: truncated, a {kind} is missing; save it again with Praat")
        if match.lastgroup != kind:
            line = self.text.count("\n", 0, match.start()) + 1
            raise TranscriptError(f"{self.name} line {line}: expected a {kind}, found {match[0][:80]!r}")
        return match[kind]

    def time(self) -> float:
        return float(self.next("number"))

    def count(self) -> int:
        count = self.time()
        if not 0 <= count <= len(self.text) or count != int(count):
            raise TranscriptError(f"{self.name}: {count:g} is no number of tiers or intervals")
        return int(count)


def parse(text: str, name: str) -> list[Tier]:
    """Returns the tiers of intervals of a TextGrid; raises `TranscriptError` if it is none or truncated."""
    tokens = _Tokens(text, name)
    header = [tokens.next("text") for _ in range(2)]
    if not header[0].startswith("ooTextFile") or header[1] != "TextGrid":
        raise TranscriptError(f"{name}: not a TextGrid in text form; save it with Praat's 'Save as text file...'")
    tokens.time(), tokens.time()
    if tokens.next("flag") != "<exists>":
        return []
    tiers = []
    for _ in range(tokens.count()):
        kind, tier = tokens.next("text"), Tier(_unquoted(tokens.next("text")), [])
        tokens.time(), tokens.time()
        if kind not in ("IntervalTier", "TextTier"):
            raise TranscriptError(f"{name}: {kind[:80]!r} is no kind of tier")
        for _ in range(tokens.count()):
            start = tokens.time()
            end = tokens.time() if kind == "IntervalTier" else start
            if end < start:
                raise TranscriptError(f"{name}: an interval of {tier.name!r} from {start:g} to {end:g} runs backwards")
            tier.intervals.append((start, end, _unquoted(tokens.next("text"))))
        if kind == "IntervalTier":
            tiers.append(tier)
    return tiers


def _unquoted(text: str) -> str:
    return text.replace('""', '"')
