# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Where the errors are: by class of word, by place in the sentence, by speaker, and by how sure the reader was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np

from ..metrics import edit_counts, normalized
from .figures import interval_of, oracle_counts, rate_of
from .reading import Reading

DIGITS = frozenset("zero one two three four five six seven eight nine".split())
CLASSES = ("letters", "digits", "other words")
LONGEST_PATTERN = 12  # words of a sentence that is looked at place by place
EXAMPLES = 4
FIFTHS = 5


@dataclass(frozen=True)
class Pair:
    """A unit of the reference beside what was read in its place.

    Attributes:
        said: None where something was read that nobody said.
        read: None where nothing was read.
        position: Place in the reference, from 0; of an insertion the place before which it stands.
    """

    said: str | None
    read: str | None
    position: int


def aligned(references: Iterable[str], hypotheses: Iterable[str]) -> list[list[Pair]]:
    """Units that spaces divide, by the alignment with the fewest edits; a list of pairs for each text."""
    output = jiwer.process_words(list(references), list(hypotheses))
    result = []
    for said, read, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
        pairs = []
        for chunk in chunks:
            ours = said[chunk.ref_start_idx : chunk.ref_end_idx]
            theirs = read[chunk.hyp_start_idx : chunk.hyp_end_idx]
            for step in range(max(len(ours), len(theirs))):
                unit = ours[step] if step < len(ours) else None
                position = chunk.ref_start_idx + min(step, len(ours))
                pairs.append(Pair(unit, theirs[step] if step < len(theirs) else None, position))
        result.append(pairs)
    return result


def aligned_words(readings: Sequence[Reading]) -> list[list[Pair]]:
    """Each clip's words, normalised as they are scored, beside those that were read."""
    return aligned(
        [normalized(reading.reference) for reading in readings],
        [normalized(reading.hypothesis) for reading in readings],
    )


def class_of(word: str) -> str:
    """`letters` (words of one letter, English "a" and "i" among them), `digits` (zero to nine) or `other words`."""
    if len(word) == 1 and word.isalpha():
        return "letters"
    return "digits" if word in DIGITS or (len(word) == 1 and word.isdecimal()) else "other words"


def edit_kinds(clips: Sequence[Sequence[Pair]]) -> dict[str, int]:
    """How many words were said, substituted, deleted and inserted."""
    pairs = [pair for clip in clips for pair in clip]
    return {
        "said": sum(pair.said is not None for pair in pairs),
        "substituted": sum(None not in (pair.said, pair.read) and pair.said != pair.read for pair in pairs),
        "deleted": sum(pair.read is None for pair in pairs),
        "inserted": sum(pair.said is None for pair in pairs),
    }


def word_classes(clips: Sequence[Sequence[Pair]]) -> dict[str, dict[str, Any]]:
    """For each class of words that was said: how many, which share was misread or left out, and of how many words."""
    said: dict[str, list[Pair]] = {name: [] for name in CLASSES}
    for clip in clips:
        for pair in clip:
            if pair.said is not None:
                said[class_of(pair.said)].append(pair)
    return {name: _misread(pairs) for name, pairs in said.items() if pairs}


def word_positions(clips: Sequence[Sequence[Pair]]) -> list[dict[str, Any]]:
    """The same for each place of the sentence, where all sentences are of one length; empty where they are not."""
    sentences = [[pair for pair in clip if pair.said is not None] for clip in clips]
    lengths = {len(sentence) for sentence in sentences}
    if len(sentences) < 2 or len(lengths) != 1 or not 2 <= max(lengths) <= LONGEST_PATTERN:
        return []
    return [_misread(pairs) for pairs in zip(*sentences, strict=True)]


def _misread(pairs: Sequence[Pair]) -> dict[str, Any]:
    found = Counter(pair.said for pair in pairs)
    return {
        "words": len(pairs),
        "error_rate": sum(pair.said != pair.read for pair in pairs) / len(pairs),
        # Of whoever always says the word that comes most often.
        "guess_error_rate": 1 - max(found.values()) / len(pairs),
        "distinct": len(found),
        "examples": [word for word, _ in found.most_common(EXAMPLES)],
    }


def speakers(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """A row for each speaker, the worst read first; empty where no clip names one."""
    if all(reading.speaker is None for reading in readings):
        return []
    references = [reading.reference for reading in readings]
    hypotheses = [reading.hypothesis for reading in readings]
    counts = {
        "wer": edit_counts(hypotheses, references),
        "cer": edit_counts(hypotheses, references, "cer"),
        "blank_wer": edit_counts([reading.blank_hypothesis for reading in readings], references),
    }
    clips: dict[str | None, list[int]] = {}
    for index, reading in enumerate(readings):
        clips.setdefault(reading.speaker, []).append(index)
    rows = []
    for speaker, indices in clips.items():
        chosen = {rate: (edits[indices], lengths[indices]) for rate, (edits, lengths) in counts.items()}
        row: dict[str, Any] = {"speaker": speaker, "clips": len(indices), "words": int(chosen["wer"][1].sum())}
        row |= {rate: rate_of(*found) for rate, found in chosen.items()}
        row["wer_interval"] = interval_of(*chosen["wer"])
        row["empty"] = sum(not hypotheses[index] for index in indices)
        rows.append(row)
    return sorted(rows, key=lambda row: (-np.nan_to_num(row["wer"], nan=-1.0), str(row["speaker"])))


def by_confidence(readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """The word error rate of the clips in five groups of one size, the least sure first; empty without confidences.

    A reader that knows when it does not know misreads the first group most and the last one least.
    """
    sure = [reading for reading in readings if reading.confidence is not None]
    if len(sure) < FIFTHS:
        return []
    sure.sort(key=lambda reading: reading.confidence)
    edits, lengths = edit_counts([reading.hypothesis for reading in sure], [reading.reference for reading in sure])
    groups = []
    for indices in np.array_split(np.arange(len(sure)), FIFTHS):
        group = [sure[index] for index in indices]
        groups.append(
            {
                "clips": len(group),
                "least": group[0].confidence,
                "mean": float(np.mean([reading.confidence for reading in group])),
                "most": group[-1].confidence,
                "wer": rate_of(edits[indices], lengths[indices]),
            }
        )
    return groups


def oracle_rates(readings: Sequence[Reading]) -> list[float]:
    """The word error rate of the best among the first 1, 2, ... hypotheses; empty where only one was asked for."""
    most = max(len(reading.nbest) for reading in readings)
    return [rate_of(*oracle_counts(readings, best)) for best in range(1, most + 1)]
