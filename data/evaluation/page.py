# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The HTML page of an evaluation, made from its JSON file by the template `data/page/evaluation.html`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..page import plural, write_page
from ..sources.records import Skip
from .breakdown import aligned_words
from .metrics import Prediction, edit_counts

SHOWN_CLIPS = 12
SHOWN_SKIPS = 100
RATES = {
    "wer": "words (WER)",
    "cer": "characters (CER)",
    "visemes": "visemes",
    "ctc_wer": "words, CTC head alone",
    "shuffled_wer": "words, shuffled video",
    "shuffled_cer": "characters, shuffled video",
    "blank_wer": "words, blank video",
    "blank_cer": "characters, blank video",
}


def write_evaluation(result: Mapping[str, Any], output: str | Path) -> Path:
    """Writes the page of a result of `data.evaluation.report` atomically; returns its path."""
    known = {name: (rate, result["metrics"].get(f"{name}_interval")) for name, rate in result["metrics"].items()}
    if "error_rate" in result["visemes"]:
        known["visemes"] = result["visemes"]["error_rate"], result["visemes"]["interval"]
    search = "greedy search" if result["num_beams"] == 1 else f"{result['num_beams']} beams"
    if weight := result.get("ctc_decoding_weight"):
        search += f", CTC head with a weight of {weight:g}"
    return write_page(
        Path(output),
        "evaluation.html",
        title=" / ".join(str(part) for key in ("corpus", "split") if (part := result.get(key))) or result["source"],
        subtitle=f"{plural(result['metrics']['clips'], 'clip')} read by {result['checkpoint']}, {search}",
        footer=f"Written by evaluate_hf.py from {result['source']}. sha256 of the weights: {result['weights']}.",
        result=result,
        findings=findings(result),
        rates=[
            (title, *known[name]) for name, title in RATES.items() if name in known and math.isfinite(known[name][0])
        ],
        groups=_clips([Prediction(**row) for row in result["predictions"]]),
        skipped=[Skip(skip["where"], skip.get("id"), skip["reason"]) for skip in result["skipped"][:SHOWN_SKIPS]],
    )


def findings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns whether the model reads from the face, as moods ("good" or "bad") and sentences."""
    metrics = result["metrics"]
    low, high = (100 * end for end in metrics["blank_gain_interval"])
    gain, reads = f"{100 * metrics['blank_gain']:.1f} points", low > 0
    own = f"with the clips' own video its word error rate is{' not significantly' * (not reads)} lower than with a "
    own += f"motionless face (by {gain}, 95% interval {low:.1f} to {high:.1f})."
    found = [("good", f"It reads from the face: {own}")]
    if not reads:
        language = "It may know the correct words from the language alone."
        found = [("bad", f"Nothing here shows that it reads from the face: {own} {language}")]
    # The shuffled rate is NaN, and so not lower, where all clips have one text.
    elif metrics["shuffled_wer"] <= metrics["wer_interval"][1]:
        text = "The video of another clip does as well as the clip's own: see the most frequent hypotheses."
        found.append(("bad", text))
    return found


def _clips(predictions: Sequence[Prediction]) -> dict[str, list[dict[str, Any]]]:
    """Returns clips to show, each with its error rate and its aligned words, by the title of their table."""
    edits, lengths = edit_counts([each.hypothesis for each in predictions], [each.reference for each in predictions])
    # A clip with an empty reference has no rate; any word is wrong.
    rates = np.where(lengths > 0, edits / np.maximum(lengths, 1), np.minimum(edits, 1))
    worst = [index for index in np.argsort(-rates, kind="stable")[:SHOWN_CLIPS] if rates[index] > 0]
    sample = np.linspace(0, len(predictions) - 1, min(SHOWN_CLIPS, len(predictions))).astype(int)
    titles = f"Worst ({(rates == 0).mean():.1%} of the clips have no error)", "From all over the split"
    return {
        title: [
            {"about": predictions[i], "rate": rates[i], "pairs": aligned_words([predictions[i]])[0]} for i in chosen
        ]
        for title, chosen in zip(titles, (worst, sample), strict=True)
    }
