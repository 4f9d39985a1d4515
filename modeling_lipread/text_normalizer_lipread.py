# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text normalisation for scoring and for the CTC head, and the units of text, in any script.

>>> normalize_text("Don\u2019t, please: 3.5 km \u2014 it's WELL-known!")
"don't please 3.5 km it's well known"
>>> [unit.text for unit in split_units("bin blue \u6211\u7528iPhone\u3002")]
['bin', 'blue', '\u6211', '\u7528', 'iPhone\u3002']
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

import regex

# Typographic variants of the apostrophe, which NFKC does not unify.
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
# Marks that belong to a word if they are between letters: apostrophe, Catalan middle dot, Hebrew geresh and gershayim,
# and the zero-width (non-)joiners of Persian and of the scripts of India.
_INSIDE_WORDS = frozenset("'\u00b7\u05f3\u05f4\u200c\u200d")
_INSIDE_NUMBERS = frozenset(".,")
# Letters of scripts that put no spaces between words. Line break class SA has those of Southeast Asia: Thai, Lao,
# Khmer, Burmese and others. Script extensions include the marks that Japanese kana share.
_UNSPACED = (
    r"[[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Bopomofo}\p{Yi}\p{Balinese}\p{Javanese}\p{Line_Break=SA}]"
    r"&&[\p{L}\p{M}\p{N}]]"
)
_OPENING = r"[\p{Ps}\p{Pi}]"
_HAS_UNSPACED = regex.compile(rf"(?V1){_UNSPACED}")
_BETWEEN_UNSPACED = regex.compile(rf"(?V1)(?<={_UNSPACED})\s+(?={_UNSPACED})")
_UNIT = regex.compile(
    # A grapheme of such a script with the punctuation and the invisible characters around it,
    rf"(?V1){_OPENING}*(?={_UNSPACED})\X(?:(?!{_UNSPACED}|{_OPENING})[\p{{P}}\p{{S}}\p{{Cf}}])*"
    # else what stands between spaces, or in Tibetan between tshegs,
    rf"|(?:(?!{_UNSPACED})[^\s\u0f0b])+\u0f0b*(?<!{_OPENING})"
    # else punctuation alone.
    r"|\S"
)


class TextUnit(NamedTuple):
    """A word of a text, or a grapheme of a script without spaces, with its punctuation."""

    text: str  # without spaces
    joined: bool  # whether it follows the unit before, or at the start of a text another text, without a space


def split_units(text: str) -> list[TextUnit]:
    """Splits a text into what is counted, timed and wrapped: words, and graphemes of scripts without spaces."""
    if text.isascii() or not (is_unspaced(text) or "\u0f0b" in text):
        return [TextUnit(word, False) for word in text.split()]
    units, end = [], 0
    for match in _UNIT.finditer(text):
        joined = match.start() == end if units else is_unspaced(match[0])
        units.append(TextUnit(match[0], joined))
        end = match.end()
    return units


def same_units(text: str, other: str) -> bool:
    """Returns whether two texts hold the same units; spaces in scripts without them make no difference."""
    return [unit.text for unit in split_units(text)] == [unit.text for unit in split_units(other)]


def split_graphemes(text: str) -> list[str]:
    """Splits a text into graphemes, the characters that readers see, without spaces inside of unspaced scripts."""
    return regex.findall(r"\X", _BETWEEN_UNSPACED.sub("", text))


def is_unspaced(text: str) -> bool:
    """Returns whether a text has a letter of a script that puts no spaces between words."""
    return _HAS_UNSPACED.search(text) is not None


def join_words(words: Iterable[str]) -> str:
    """Joins words with spaces, but without one between two words of scripts without spaces."""
    text, before = "", False
    for word in words:
        unspaced = is_unspaced(word)
        text += ("" if not text or (before and unspaced) else " ") + word
        before = unspaced
    return text


def choose_text_unit(texts: Iterable[str]) -> Literal["word", "character"]:
    """Returns the unit of `LipReadConfig.text_unit`: characters if most units of the texts are of unspaced scripts."""
    units = [is_unspaced(unit.text) for text in texts for unit in split_units(text)]
    return "character" if 2 * sum(units) > len(units) else "word"


@lru_cache(maxsize=2**16)
def normalize_text(text: str) -> str:
    """Applies Unicode NFKC, folds case, replaces punctuation and symbols by spaces, and collapses white space.

    It keeps letters, combining marks and digits of every script, apostrophes between letters (``don't``), and dots
    and commas between digits (``3.5``). Normalising a result again does not change it. It adds no spaces to scripts
    without spaces.
    """
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    # Normalises again, since folding can decompose characters.
    text = unicodedata.normalize("NFKC", text.casefold())
    # And again, since removing an invisible character can join a letter and its accent.
    text = unicodedata.normalize("NFKC", "".join(_keep(text, index) for index in range(len(text))))
    return re.sub(r"\s+", " ", text).strip()


def _keep(text: str, index: int) -> str:
    """Returns the character at `index`, or its replacement if it is punctuation."""
    character = text[index]
    category = unicodedata.category(character)
    if category[0] in "LMN" or character.isspace():
        return character
    around = text[index - 1 : index] + text[index + 1 : index + 2]
    if len(around) == 2:
        if character in _INSIDE_WORDS and all(unicodedata.category(neighbour)[0] in "LM" for neighbour in around):
            return character
        if character in _INSIDE_NUMBERS and around.isdecimal():
            return character
    # Removes invisible characters (soft hyphen, byte order mark, direction marks); other characters become spaces.
    return "" if category in ("Cf", "Cc", "Cn", "Co") else " "
