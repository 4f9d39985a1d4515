# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Where the errors are: by class of word and speaker; confusions, visemes and word times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any, NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from modeling_lipread.text_normalizer_lipread import is_unspaced, normalize_text, split_units

from .metrics import Prediction, bootstrap_interval, error_rate, own_and_blank_counts, scored_units

DIGITS = frozenset("zero one two three four five six seven eight nine".split())
CLASSES = ("letters", "digits", "other words")
EXAMPLES = 4
MOST_CONFUSIONS = 40
LEAST_KNOWN = 0.8  # share of the reference words in the dictionary; below it the language is hardly English
MOST_UNKNOWN = 50  # words outside the dictionary that are listed


class Pair(NamedTuple):
    """A unit of the reference (None for an insertion) and the aligned unit of the hypothesis (None for a deletion)."""

    reference: str | None
    hypothesis: str | None

    @property
    def is_substitution(self) -> bool:
        """Whether a unit was recognised as another unit."""
        return None not in self and self.reference != self.hypothesis


def align(references: Iterable[Sequence[str]], hypotheses: Iterable[Sequence[str]]) -> list[list[Pair]]:
    """Aligns the units of each text with the fewest edits; returns a list of pairs for each."""
    result = []
    for said, written in zip(references, hypotheses, strict=True):
        pairs: list[Pair] = []
        for part in Levenshtein.opcodes(said, written):
            spans = said[part.src_start : part.src_end], written[part.dest_start : part.dest_end]
            pairs += map(Pair._make, zip_longest(*spans))
        result.append(pairs)
    return result


def aligned_words(predictions: Sequence[Prediction]) -> list[list[Pair]]:
    """Aligns the normalised words of each clip's reference and hypothesis."""
    return align(
        (scored_units(prediction.reference) for prediction in predictions),
        (scored_units(prediction.hypothesis) for prediction in predictions),
    )


def class_of(word: str) -> str:
    """Returns `letters` (words of one letter of a script with spaces), `digits` (zero to nine) or `other words`."""
    if len(word) == 1 and word.isalpha() and not is_unspaced(word):
        return "letters"
    return "digits" if word in DIGITS or (len(word) == 1 and word.isdecimal()) else "other words"


def edit_kinds(clips: Iterable[Sequence[Pair]]) -> dict[str, int]:
    """Counts reference words, substitutions, deletions and insertions."""
    pairs = list(chain.from_iterable(clips))
    return {
        "reference_words": sum(pair.reference is not None for pair in pairs),
        "substitutions": sum(pair.is_substitution for pair in pairs),
        "deletions": sum(pair.hypothesis is None for pair in pairs),
        "insertions": sum(pair.reference is None for pair in pairs),
    }


def word_classes(clips: Iterable[Sequence[Pair]]) -> dict[str, dict[str, Any]]:
    """Returns the number and the error rate of the reference words of each class."""
    classes: dict[str, list[Pair]] = {name: [] for name in CLASSES}
    for pair in chain.from_iterable(clips):
        if pair.reference is not None:
            classes[class_of(pair.reference)].append(pair)
    return {name: _error_row(pairs) for name, pairs in classes.items() if pairs}


def _error_row(pairs: Sequence[Pair]) -> dict[str, Any]:
    words = Counter(pair.reference for pair in pairs)
    return {
        "words": len(pairs),
        "error_rate": sum(pair.reference != pair.hypothesis for pair in pairs) / len(pairs),
        # Of the majority baseline, which always answers with the most frequent word.
        "baseline_error_rate": 1 - max(words.values()) / len(pairs),
        "distinct": len(words),
        "examples": [word for word, _ in words.most_common(EXAMPLES)],
    }


def speaker_rates(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Returns a row for each speaker, the highest word error rate first; empty if no clip names its speaker."""
    speakers = [prediction.speaker for prediction in predictions]
    if not set(speakers) - {None}:
        return []
    counts = own_and_blank_counts(predictions)
    rows = []
    for speaker in dict.fromkeys(speakers):
        own = [index for index, name in enumerate(speakers) if name == speaker]
        chosen = {rate: (edits[own], lengths[own]) for rate, (edits, lengths) in counts.items()}
        row: dict[str, Any] = {"speaker": speaker, "clips": len(own), "words": int(chosen["wer"][1].sum())}
        row |= {rate: error_rate(*count) for rate, count in chosen.items()}
        row["wer_interval"] = bootstrap_interval(*chosen["wer"])
        row["empty"] = sum(not predictions[index].hypothesis for index in own)
        rows.append(row)
    return sorted(rows, key=lambda row: (-np.nan_to_num(row["wer"], nan=-1.0), str(row["speaker"])))


def confusions(clips: Iterable[Sequence[Pair]]) -> list[dict[str, Any]]:
    """Returns the most frequent errors with their `count`, and the `reference_count` of the reference word."""
    pairs = Counter(chain.from_iterable(clips))
    occurrences: Counter[str | None] = Counter()
    for pair, count in pairs.items():
        occurrences[pair.reference] += count
    errors = [(pair, count) for pair, count in pairs.items() if pair.reference != pair.hypothesis]
    return [
        {"reference": a, "hypothesis": b, "count": count, "reference_count": occurrences[a] if a else None}
        for (a, b), count in sorted(errors, key=lambda item: (-item[1], str(tuple(item[0]))))[:MOST_CONFUSIONS]
    ]


def viseme_errors(clips: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    """Scores the visemes of the words, the classes of phonemes that look alike on the lips, as in "pat" and "bat".

    Pronunciations are the first ones of the English CMU dictionary; words outside it are pronounced by spelling rules.

    Returns `error_rate` and its `interval`, `alike` (the share of substituted words that have the visemes of the
    reference), and the words `outside_dictionary` (at most 50, `outside_count` in all); or `left_out`, the reason why
    visemes were not scored.
    """
    try:
        from lipread.pronunciation import is_known
    except ImportError as error:
        return {"left_out": f"visemes need the pronouncing dictionary ({error.name}): pip install {error.name}"}
    pairs = list(chain.from_iterable(clips))
    spoken = [pair.reference for pair in pairs if pair.reference is not None]
    known = sum(map(is_known, spoken)) / max(len(spoken), 1)
    if known < LEAST_KNOWN:
        reason = f"the English pronouncing dictionary holds {known:.0%} of the words, wanted {LEAST_KNOWN:.0%}"
        return {"left_out": reason}
    said, written = (
        [[viseme for pair in clip if pair[side] for viseme in visemes_of_word(pair[side])] for clip in clips]
        for side in (0, 1)
    )
    units = align(said, written)
    edits = np.array([sum(pair.reference != pair.hypothesis for pair in clip) for clip in units])
    lengths = np.array([len(clip) for clip in said])
    substituted = [pair for pair in pairs if pair.is_substitution]
    alike = sum(visemes_of_word(pair.reference) == visemes_of_word(pair.hypothesis) for pair in substituted)
    words = Counter(word for pair in pairs for word in pair if word)
    outside = [word for word, _ in words.most_common() if not is_known(word)]
    return {
        "error_rate": error_rate(edits, lengths),
        "interval": bootstrap_interval(edits, lengths),
        "alike": alike / len(substituted) if substituted else None,
        "outside_dictionary": outside[:MOST_UNKNOWN],
        "outside_count": len(outside),
    }


@lru_cache(maxsize=65536)
def visemes_of_word(word: str) -> tuple[str, ...]:
    """Returns the visemes of a word; the word itself if it has no English pronunciation."""
    from lipread.pronunciation import pronounce, visemes_of_phoneme

    try:
        return tuple(viseme for phoneme in pronounce(word) for viseme in visemes_of_phoneme(phoneme))
    except ValueError:
        return (word,)


def match_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[int | None]:
    """Returns for each hypothesis word the index of the reference word that it matches; None for a wrong word."""
    said, written = ([normalize_text(word) for word in side] for side in (reference, hypothesis))
    matches, index = [], 0
    for pair in align([said], [written])[0]:
        if pair.hypothesis is not None:
            matches.append(index if pair.hypothesis == pair.reference != "" else None)
        index += pair.reference is not None
    return matches


def word_times(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Returns the number of correct `words` with times and the error of their starts and ends; empty without any.

    `median_ms`, `p90_ms` (90th percentile) and `mean_ms` are those of the absolute error in milliseconds.
    """
    errors, words = [], 0
    for prediction in predictions:
        timed = [word for word in prediction.words if word["start"] is not None]
        reference = [unit for word in prediction.reference_words for unit in _timed_units(word)]
        matches = match_words([unit["word"] for unit in reference], [word["word"] for word in timed])
        for word, index in zip(timed, matches, strict=True):
            if index is not None:
                words += 1
                known = (end for end in ("start", "end") if reference[index][end] is not None)
                errors += [word[end] - reference[index][end] for end in known]
    if not errors:
        return {}
    milliseconds = 1000 * np.abs(errors)
    return {
        "words": words,
        "median_ms": float(np.median(milliseconds)),
        "p90_ms": float(np.percentile(milliseconds, 90)),
        "mean_ms": float(milliseconds.mean()),
    }


def _timed_units(word: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the units of a timed word; the first has its start, the last its end, and other times are None."""
    units = split_units(word["word"])
    return [
        {
            "word": unit.text,
            "start": word["start"] if index == 0 else None,
            "end": word["end"] if index == len(units) - 1 else None,
        }
        for index, unit in enumerate(units)
    ]
