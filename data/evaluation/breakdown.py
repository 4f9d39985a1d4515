# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Where the errors are: by class of word, place in the sentence and speaker; confusions, visemes and word times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jiwer
import numpy as np

from .metrics import Prediction, bootstrap_interval, edit_counts, error_rate, normalized

DIGITS = frozenset("zero one two three four five six seven eight nine".split())
CLASSES = ("letters", "digits", "other words")
LONGEST_PATTERN = 12  # words of a sentence that is broken down by place
EXAMPLES = 4
MOST_CONFUSIONS = 40
MOST_WORDS = 32  # of the confusion matrix
LEAST_KNOWN = 0.8  # share of the reference words in the dictionary; below it the language is hardly English
MOST_UNKNOWN = 50  # words outside the dictionary that are listed
NOTHING = "_"  # a word that is nothing but punctuation


@dataclass(frozen=True)
class Pair:
    """A unit of the reference and the unit of the hypothesis that is aligned with it.

    Attributes:
        reference: None for an insertion.
        hypothesis: None for a deletion.
        position: Index in the reference; of an insertion the index before which it stands.
    """

    reference: str | None
    hypothesis: str | None
    position: int


def align(references: Iterable[str], hypotheses: Iterable[str]) -> list[list[Pair]]:
    """Aligns space-separated units with the fewest edits; returns a list of pairs for each text."""
    output = jiwer.process_words(list(references), list(hypotheses))
    result = []
    for reference, hypothesis, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
        pairs = []
        for chunk in chunks:
            ours = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            theirs = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
            for step in range(max(len(ours), len(theirs))):
                unit = ours[step] if step < len(ours) else None
                position = chunk.ref_start_idx + min(step, len(ours))
                pairs.append(Pair(unit, theirs[step] if step < len(theirs) else None, position))
        result.append(pairs)
    return result


def aligned_words(predictions: Sequence[Prediction]) -> list[list[Pair]]:
    """Aligns the normalised words of each clip's reference and hypothesis."""
    return align(
        [normalized(prediction.reference) for prediction in predictions],
        [normalized(prediction.hypothesis) for prediction in predictions],
    )


def class_of(word: str) -> str:
    """Returns `letters` (words of one letter), `digits` (zero to nine) or `other words`."""
    if len(word) == 1 and word.isalpha():
        return "letters"
    return "digits" if word in DIGITS or (len(word) == 1 and word.isdecimal()) else "other words"


def edit_kinds(clips: Sequence[Sequence[Pair]]) -> dict[str, int]:
    """Counts reference words, substitutions, deletions and insertions."""
    pairs = [pair for clip in clips for pair in clip]
    return {
        "reference_words": sum(pair.reference is not None for pair in pairs),
        "substitutions": sum(_is_substitution(pair) for pair in pairs),
        "deletions": sum(pair.hypothesis is None for pair in pairs),
        "insertions": sum(pair.reference is None for pair in pairs),
    }


def _is_substitution(pair: Pair) -> bool:
    return None not in (pair.reference, pair.hypothesis) and pair.reference != pair.hypothesis


def word_classes(clips: Sequence[Sequence[Pair]]) -> dict[str, dict[str, Any]]:
    """Returns for each class of reference words how many there are and which share was substituted or deleted."""
    found: dict[str, list[Pair]] = {name: [] for name in CLASSES}
    for pair in (pair for clip in clips for pair in clip if pair.reference is not None):
        found[class_of(pair.reference)].append(pair)
    return {name: _error_row(pairs) for name, pairs in found.items() if pairs}


def word_positions(clips: Sequence[Sequence[Pair]]) -> list[dict[str, Any]]:
    """Returns the same for each place of the sentence, if all sentences have the same length; otherwise nothing."""
    sentences = [[pair for pair in clip if pair.reference is not None] for clip in clips]
    lengths = {len(sentence) for sentence in sentences}
    if len(sentences) < 2 or len(lengths) != 1 or not 2 <= max(lengths) <= LONGEST_PATTERN:
        return []
    return [_error_row(pairs) for pairs in zip(*sentences, strict=True)]


def _error_row(pairs: Sequence[Pair]) -> dict[str, Any]:
    found = Counter(pair.reference for pair in pairs)
    return {
        "words": len(pairs),
        "error_rate": sum(pair.reference != pair.hypothesis for pair in pairs) / len(pairs),
        # Of the majority baseline, which always answers with the most frequent word.
        "baseline_error_rate": 1 - max(found.values()) / len(pairs),
        "distinct": len(found),
        "examples": [word for word, _ in found.most_common(EXAMPLES)],
    }


def speaker_rates(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Returns a row for each speaker, the highest word error rate first; nothing if no clip names its speaker."""
    if all(prediction.speaker is None for prediction in predictions):
        return []
    references = [prediction.reference for prediction in predictions]
    hypotheses = [prediction.hypothesis for prediction in predictions]
    counts = {
        "wer": edit_counts(hypotheses, references),
        "cer": edit_counts(hypotheses, references, "cer"),
        "blank_wer": edit_counts([prediction.blank_hypothesis for prediction in predictions], references),
    }
    clips: dict[str | None, list[int]] = {}
    for index, prediction in enumerate(predictions):
        clips.setdefault(prediction.speaker, []).append(index)
    rows = []
    for speaker, indices in clips.items():
        chosen = {rate: (edits[indices], lengths[indices]) for rate, (edits, lengths) in counts.items()}
        row: dict[str, Any] = {"speaker": speaker, "clips": len(indices), "words": int(chosen["wer"][1].sum())}
        row |= {rate: error_rate(*found) for rate, found in chosen.items()}
        row["wer_interval"] = bootstrap_interval(*chosen["wer"])
        row["empty"] = sum(not hypotheses[index] for index in indices)
        rows.append(row)
    return sorted(rows, key=lambda row: (-np.nan_to_num(row["wer"], nan=-1.0), str(row["speaker"])))


def confusions(clips: Sequence[Sequence[Pair]]) -> list[dict[str, Any]]:
    """Returns the most frequent errors: `reference` (None for an insertion), `hypothesis` (None for a deletion),
    `count`, and `reference_count`, how often the reference word occurs in all."""
    pairs = Counter((pair.reference, pair.hypothesis) for clip in clips for pair in clip)
    occurrences = Counter(pair.reference for clip in clips for pair in clip)
    errors = [(pair, count) for pair, count in pairs.items() if pair[0] != pair[1]]
    return [
        {"reference": a, "hypothesis": b, "count": count, "reference_count": occurrences[a] if a else None}
        for (a, b), count in sorted(errors, key=lambda item: (-item[1], str(item[0])))[:MOST_CONFUSIONS]
    ]


def confusion_matrix(
    clips: Sequence[Sequence[Pair]], order: Callable[[str], Any], most: int | None = MOST_WORDS
) -> dict[str, Any]:
    """Counts what was recognised as what, for the units with the most errors.

    Args:
        clips: Pairs of each clip.
        order: Key by which the units are sorted.
        most: How many units with errors at most; None for all units.

    Returns:
        `labels`; `counts`, a row for each reference unit and a column for each hypothesis unit; and for each label how
        often a unit outside the labels was recognised (`others`), and its `deletions` and `insertions`.
    """
    pairs = Counter((pair.reference, pair.hypothesis) for clip in clips for pair in clip)
    wrong: Counter[str] = Counter()
    for (reference, hypothesis), count in pairs.items():
        for unit in {reference, hypothesis} - {None}:
            wrong[unit] += count if reference != hypothesis else 0
    chosen = list(wrong) if most is None else sorted(+wrong, key=lambda unit: (-wrong[unit], unit))[:most]
    labels = sorted(chosen, key=order)
    outside = {None, *labels}
    others = Counter()
    for (reference, hypothesis), count in pairs.items():
        others[reference] += count if hypothesis not in outside else 0
    return {
        "labels": labels,
        "counts": [[pairs[reference, hypothesis] for hypothesis in labels] for reference in labels],
        "others": [others[reference] for reference in labels],
        "deletions": [pairs[reference, None] for reference in labels],
        "insertions": [pairs[None, hypothesis] for hypothesis in labels],
    }


def word_order(word: str) -> tuple[int, str]:
    """Returns a key that sorts letters, digits and other words each together."""
    return CLASSES.index(class_of(word)), word


def viseme_errors(clips: Sequence[Sequence[Pair]]) -> dict[str, Any]:
    """Scores the visemes of the words: what their phonemes look like on the lips.

    "pat", "bat" and "mat" look alike, so the viseme error rate does not count it when one is read for another.
    Pronunciations are the first ones of the CMU dictionary, so this is for English; words outside it are spelled out
    by rules.

    Args:
        clips: Aligned words of each clip.

    Returns:
        `error_rate` and its `interval`, the `matrix` of visemes, `alike` (the share of substituted words that look the
        same as the reference), and the words `outside_dictionary` (at most 50, `outside_count` in all). Or `left_out`,
        the reason why visemes were not scored.
    """
    try:
        from ..talker import visemes
    except ImportError as error:
        return {"left_out": f"visemes need the pronouncing dictionary ({error.name}): pip install {error.name}"}
    words = [pair for clip in clips for pair in clip]
    spoken = Counter(pair.reference for pair in words if pair.reference is not None)
    known = sum(count for word, count in spoken.items() if visemes.is_known(word))
    if known < LEAST_KNOWN * spoken.total():
        share = known / max(spoken.total(), 1)
        return {
            "left_out": f"the English pronouncing dictionary holds {share:.0%} of the words, wanted {LEAST_KNOWN:.0%}"
        }
    references = [_join_visemes(pair.reference for pair in clip) for clip in clips]
    hypotheses = [_join_visemes(pair.hypothesis for pair in clip) for clip in clips]
    edits, lengths = edit_counts(hypotheses, references)
    substituted = [pair for pair in words if _is_substitution(pair)]
    alike = sum(visemes_of_word(pair.reference) == visemes_of_word(pair.hypothesis) for pair in substituted)
    both = Counter(word for pair in words for word in (pair.reference, pair.hypothesis) if word)
    outside = [word for word, _ in both.most_common() if not visemes.is_known(word)]
    order = {viseme: place for place, viseme in enumerate(visemes.VISEMES)}
    return {
        "error_rate": error_rate(edits, lengths),
        "interval": bootstrap_interval(edits, lengths),
        "alike": alike / len(substituted) if substituted else None,
        "outside_dictionary": outside[:MOST_UNKNOWN],
        "outside_count": len(outside),
        "matrix": confusion_matrix(
            align(references, hypotheses), lambda viseme: (order.get(viseme, len(order)), viseme), most=None
        ),
    }


@lru_cache(maxsize=65536)
def visemes_of_word(word: str) -> tuple[str, ...]:
    """Returns the visemes of a word; the word itself where English cannot pronounce it."""
    from ..talker import visemes

    try:
        phonemes = visemes.pronounce(word)
    except ValueError:
        return (word,)
    return tuple(viseme for phoneme in phonemes for viseme, _ in visemes.visemes_of(phoneme))


def _join_visemes(words: Iterable[str | None]) -> str:
    return " ".join(viseme for word in words if word is not None for viseme in visemes_of_word(word))


def match_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[int | None]:
    """Returns for each word of the hypothesis the index of the reference word that it is; None for a wrong word."""
    if not len(reference) or not len(hypothesis):
        return [None] * len(hypothesis)
    texts = [
        " ".join(NOTHING.join(normalized(word).split()) or NOTHING for word in words)
        for words in (reference, hypothesis)
    ]
    found, place = [], 0
    for pair in align(texts[:1], texts[1:])[0]:
        if pair.hypothesis is not None:
            found.append(place if pair.hypothesis == pair.reference != NOTHING else None)
        place += pair.reference is not None
    return found


def word_times(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Measures how far the starts and ends of correct words are from those of the corpus.

    Returns:
        `words`, how many were compared, and over their starts and ends together the `median_ms`, `p90_ms` (90th
        percentile) and `mean_ms` of the absolute error in milliseconds; empty where no clip has both times.
    """
    errors = []
    for prediction in predictions:
        timed = [word for word in prediction.words if word["start"] is not None]
        reference = [word["word"] for word in prediction.reference_words]
        for word, place in zip(timed, match_words(reference, [word["word"] for word in timed]), strict=True):
            if place is not None:
                errors.append([word[end] - prediction.reference_words[place][end] for end in ("start", "end")])
    if not errors:
        return {}
    apart = 1000 * np.abs(errors)
    return {
        "words": len(errors),
        "median_ms": float(np.median(apart)),
        "p90_ms": float(np.percentile(apart, 90)),
        "mean_ms": float(apart.mean()),
    }
