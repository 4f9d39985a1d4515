# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text as it is scored and spelled by the CTC head: one form a word, in any script.

>>> TextNormalizer()("Don\u2019t, please: 3.5 km \u2014 it's WELL-known!")
"don't please 3.5 km it's well known"
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Typographic variants of one apostrophe; NFKC leaves them apart.
_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'"})
# Marks that belong to a word when a letter stands on both sides: apostrophe, Catalan middle dot, Hebrew geresh and
# gershayim, and the zero-width (non-)joiners that Persian and the scripts of India spell with.
_INSIDE_WORDS = frozenset("'\u00b7\u05f3\u05f4\u200c\u200d")
_INSIDE_NUMBERS = frozenset(".,")


@dataclass(frozen=True)
class TextNormalizer:
    """Unicode NFKC, case folded, punctuation and symbols turned into spaces, white space collapsed.

    Letters, combining marks (the vowels of many scripts) and digits of every script stay. An apostrophe stays between
    letters (``don't``), a dot or comma between digits (``3.5``). The result is a fixed point: normalising it again
    changes nothing. Scripts written without spaces come out without spaces, so score them by characters.

    Args:
        casefold (`bool`): Fold the case (``"Straße"`` becomes ``"strasse"``).
        remove_punctuation (`bool`): Turn punctuation and symbols into spaces; False only folds the rest.
    """

    casefold: bool = True
    remove_punctuation: bool = True

    def __call__(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
        if self.casefold:
            # Folding can leave text decomposed, hence the second pass.
            text = unicodedata.normalize("NFKC", text.casefold())
        if self.remove_punctuation:
            # Dropping an invisible character can bring a letter and its accent together, hence the last pass.
            text = unicodedata.normalize("NFKC", "".join(_keep(text, index) for index in range(len(text))))
        return re.sub(r"\s+", " ", text).strip()


def _keep(text: str, index: int) -> str:
    """The character at `index`, or what stands for it once punctuation is gone."""
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
    # Invisible characters (soft hyphen, byte order mark, direction marks) join what they stand in; the rest separates.
    return "" if category in ("Cf", "Cc", "Cn", "Co") else " "
