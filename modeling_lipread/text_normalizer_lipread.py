# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text normalisation for scoring and for the CTC head, in any script.

>>> TextNormalizer()("Don\u2019t, please: 3.5 km \u2014 it's WELL-known!")
"don't please 3.5 km it's well known"
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Typographic variants of the apostrophe, which NFKC does not unify.
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
# Marks that belong to a word if they are between letters: apostrophe, Catalan middle dot, Hebrew geresh and gershayim,
# and the zero-width (non-)joiners of Persian and of the scripts of India.
_INSIDE_WORDS = frozenset("'\u00b7\u05f3\u05f4\u200c\u200d")
_INSIDE_NUMBERS = frozenset(".,")


@dataclass(frozen=True)
class TextNormalizer:
    """Applies Unicode NFKC, folds case, replaces punctuation and symbols by spaces, and collapses white space.

    It keeps letters, combining marks and digits of every script, apostrophes between letters (``don't``), and dots and
    commas between digits (``3.5``). Normalising a result again does not change it. It adds no spaces to scripts
    without spaces, whose texts should be scored by characters.

    Args:
        casefold: Folds the case (``"Straße"`` becomes ``"strasse"``).
        remove_punctuation: Replaces punctuation and symbols by spaces.
    """

    casefold: bool = True
    remove_punctuation: bool = True

    def __call__(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
        if self.casefold:
            # Normalises again, since folding can decompose characters.
            text = unicodedata.normalize("NFKC", text.casefold())
        if self.remove_punctuation:
            # Normalises again, since removing an invisible character can join a letter and its accent.
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
