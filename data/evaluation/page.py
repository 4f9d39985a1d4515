# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""An evaluation on one page, made from what its JSON file holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics import edit_counts
from ..page import template, write_page
from . import plots
from .breakdown import Pair, aligned_words
from .reading import Reading
from .remarks import remarks

WORST = 12  # clips shown
SAMPLE = 12
MOST_SPEAKERS = 60
MOST_SKIPPED = 100
RATES = {
    "wer": "words (WER)",
    "oracle_wer": "words, best of n-best",
    "cer": "characters (CER)",
    "visemes": "visemes",
    "ctc_wer": "words, CTC head alone",
    "shuffled_wer": "words, shuffled video",
    "blank_wer": "words, blank video",
}


@dataclass(frozen=True)
class ShownClip:
    """A clip as the page shows it: its reading, its words beside those read, and its word error rate."""

    reading: Reading
    pairs: list[Pair]
    wer: float


def write_evaluation(result: Mapping[str, Any], output: str | Path) -> Path:
    """Writes the page of an evaluation; it appears whole or not at all.

    Args:
        result: What `data.evaluation.report` made.
        output: The page.

    Raises:
        KeyError, TypeError: If the result is of another form.
        OSError: If the page cannot be written.
    """
    readings = [Reading(**row) for row in result["readings"]]
    references, hypotheses = [r.reference for r in readings], [r.hypothesis for r in readings]
    edits, lengths = edit_counts(hypotheses, references)
    # A clip without a reference has no rate; whatever was read from it is wrong.
    rates = np.where(lengths > 0, edits / np.maximum(lengths, 1), np.minimum(edits, 1))

    def shown(indices: Sequence[int]) -> list[ShownClip]:
        chosen = [readings[index] for index in indices]
        pairs = aligned_words(chosen) if chosen else []
        return [ShownClip(*clip) for clip in zip(chosen, pairs, rates[list(indices)].tolist(), strict=True)]

    worst = [int(index) for index in np.argsort(-rates, kind="stable")[:WORST] if rates[index] > 0]
    sample = np.linspace(0, len(readings) - 1, min(SAMPLE, len(readings))).astype(int).tolist()
    visemes = result["visemes"]
    text = template(Path(__file__).parent / "page.html", rate=_rate, interval=_interval).render(
        result=result,
        figures=result["figures"],
        name=_name(result),
        remarks=remarks(result),
        rates=plots.rates(_rows(result)),
        histogram=plots.histogram(rates),
        exact=float((rates == 0).mean()),
        word_matrix=plots.matrix(result["words"]["matrix"]) if result["words"]["matrix"]["labels"] else "",
        viseme_matrix=plots.matrix(visemes["matrix"]) if visemes.get("matrix", {}).get("labels") else "",
        reliability=plots.reliability(result["reliability"]) if result["reliability"] else "",
        shown_speakers=result["speakers"][:MOST_SPEAKERS],
        shown_skips=result.get("skipped", [])[:MOST_SKIPPED],
        clips=[("Worst read", shown(worst)), ("From all over the split", shown(sample))],
    )
    write_page(text, Path(output))
    return Path(output)


def _name(result: Mapping[str, Any]) -> str:
    parts = [result.get("corpus"), result.get("split")]
    return " / ".join(str(part) for part in parts if part) or str(result.get("source", "evaluation"))


def _rows(result: Mapping[str, Any]) -> list[tuple[str, float, list[float] | None]]:
    figures, visemes = result["figures"], result["visemes"]
    known = {name: (rate, figures.get(f"{name}_interval")) for name, rate in figures.items() if name in RATES}
    if "error_rate" in visemes:
        known["visemes"] = visemes["error_rate"], visemes["interval"]
    return [(title, *known[name]) for name, title in RATES.items() if name in known and math.isfinite(known[name][0])]


def _rate(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1%}"


def _interval(ends: Sequence[float] | None) -> str:
    if not ends or not all(map(math.isfinite, ends)):
        return "–"
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}%"
