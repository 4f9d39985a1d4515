# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Text to mouth movements: pronunciation, timing and coarticulation of visemes.

A viseme is a class of phonemes that look alike. Phonemes that differ only inside the mouth share one (p, b and m; f
and v; t, d, n, s and z; ...) and its duration, so homophenes such as "pat", "bat" and "mat" have the same movements.
Each viseme is a target for a few articulatory parameters. Overlapping dominance functions blend the targets, after
Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993: the lips round for the vowel of "two"
already during its "t", while they close fully for a "p" whatever its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipread.pronunciation import pronounce, visemes_of_phoneme

FRAME_RATE = 25
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

_STRESS = {"1": 1.15, "2": 1.0, "0": 0.8}


@dataclass(frozen=True)
class Segment:
    """A viseme (a key of `VISEMES`) with its start and end in seconds."""

    viseme: str
    start: float
    end: float


def visemes_of(phoneme: str) -> list[tuple[str, float]]:
    """Returns the visemes of a phoneme with their durations in seconds at a normal speaking rate."""
    stress, visemes = _STRESS.get(phoneme[-1], 1.0), visemes_of_phoneme(phoneme)
    seconds = (0.11, 0.08) if len(visemes) == 2 else (VISEMES[visemes[0]][2],)
    return [(viseme, stress * length) for viseme, length in zip(visemes, seconds, strict=True)]


def schedule(text: str, rate: float = 1.0) -> tuple[list[Segment], list[dict]]:
    """Returns the timed visemes of a sentence, at rest before and after it, and a `{"word", "start", "end"}` a word.

    Times are in seconds; a rate of 1.25 is a quarter faster. Raises ValueError if the text is empty or a word cannot
    be pronounced.
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


def articulate(segments: list[Segment]) -> np.ndarray:
    """Blends the targets of consecutive visemes; returns `PARAMETERS` at `FRAME_RATE`, float32 `(frames, 7)`."""
    frames = max(1, round(segments[-1].end * FRAME_RATE))
    times = np.arange(frames)[:, None] / FRAME_RATE
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
