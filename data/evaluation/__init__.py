# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Reading a corpus and saying honestly how well: what training and `evaluate_hf.py` share.

python -m data.evaluation runs/a/evaluation-test.json     # the page once more, from what was measured
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .breakdown import (
    aligned_words,
    by_confidence,
    edit_kinds,
    oracle_rates,
    speakers,
    word_classes,
    word_positions,
)
from .confusion import confusions, matrix, word_order
from .figures import closing_line, figures, most_frequent, shuffled_partners
from .reading import Reading, blank_video, read_clips
from .reliability import abstention, abstention_line, reliability
from .viseme_errors import viseme_errors
from .word_times import word_times, word_times_line

__all__ = [
    "Reading",
    "abstention_line",
    "blank_video",
    "closing_line",
    "figures",
    "read_clips",
    "report",
    "shuffled_partners",
    "word_times_line",
]


def report(readings: Sequence[Reading], **about: Any) -> dict[str, Any]:
    """All that can be said of how a corpus was read, ready to be written as JSON.

    Args:
        readings: Every clip.
        about: What was read by what, which comes first in the result.

    Returns:
        `figures` (with intervals), `words` (kinds of edits, classes, places in the sentence, confusions and their
        matrix), `visemes`, `speakers`, `confidence`, `word_times`, `reliability` (of words' scores), `abstention`,
        `oracle_wer` by the number of hypotheses, the `most_frequent` hypotheses with the clips' own and with blank
        video, and all `readings`.
    """
    clips = aligned_words(readings)
    return {
        **about,
        "figures": figures(readings, intervals=True),
        "words": {
            "edits": edit_kinds(clips),
            "classes": word_classes(clips),
            "positions": word_positions(clips),
            "confusions": confusions(clips),
            "matrix": matrix(clips, order=word_order),
        },
        "visemes": viseme_errors(clips),
        "speakers": speakers(readings),
        "confidence": by_confidence(readings),
        "word_times": word_times(readings),
        "reliability": reliability(readings),
        "abstention": abstention(readings),
        "oracle_wer": oracle_rates(readings),
        "most_frequent": {
            "hypotheses": most_frequent([reading.hypothesis for reading in readings]),
            "blank_hypotheses": most_frequent([reading.blank_hypothesis for reading in readings]),
        },
        "readings": [reading.as_row() for reading in readings],
    }
