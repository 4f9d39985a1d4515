# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Evaluation of a model on a corpus, for training and for `evaluate_hf.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from . import breakdown
from .calibration import abstention, reliability
from .generation import predict
from .metrics import RATE_OF_UNIT, Prediction, closing_line, compute_metrics

MOST_FREQUENT = 5

__all__ = ["RATE_OF_UNIT", "Prediction", "closing_line", "compute_metrics", "predict", "report"]


def report(predictions: Sequence[Prediction], **about: Any) -> dict[str, Any]:
    """Returns the result of an evaluation for its JSON file (docs/evaluation.md), after `about` (checkpoint, ...)."""
    clips = breakdown.aligned_words(predictions)
    return {
        **about,
        "metrics": compute_metrics(predictions, intervals=True),
        "words": {
            "edits": breakdown.edit_kinds(clips),
            "classes": breakdown.word_classes(clips),
            "confusions": breakdown.confusions(clips),
        },
        "visemes": breakdown.viseme_errors(clips),
        "speakers": breakdown.speaker_rates(predictions),
        "word_times": breakdown.word_times(predictions),
        "reliability": reliability(predictions),
        "abstention": abstention(predictions),
        "most_frequent": {
            name: [
                {"text": text, "clips": count}
                for text, count in Counter(getattr(each, name) for each in predictions).most_common(MOST_FREQUENT)
            ]
            for name in ("hypothesis", "blank_hypothesis")
        },
        "predictions": [prediction.as_row() for prediction in predictions],
    }
