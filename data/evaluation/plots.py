# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What an evaluation's page shows as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter, ScalarFormatter

from ..page import COLORS, style, svg

RIGHT, WRONG = COLORS[0], COLORS[1]
LEAST_WRITTEN = 0.1  # share of a row that is written into its cell
LONGEST_LABEL = 14  # characters
MOST_BARS = 30
_INK = "#1d2430"


def rates(rows: Sequence[tuple[str, float, Sequence[float] | None]]) -> str:
    """Error rates one below the other, each with its interval.

    Args:
        rows: Name, rate, and the interval's ends if there is one.
    """
    with style():
        canvas = Canvas(figsize=(7.2, 0.55 + 0.34 * len(rows)), layout="constrained")
        axes = canvas.add_subplot()
        for place, (_, rate, interval) in enumerate(rows):
            color = RIGHT if place == 0 else "#5b6675"
            if interval:
                axes.plot(interval, [place, place], color=color, linewidth=5, alpha=0.35, solid_capstyle="round")
            axes.plot([rate], [place], "o", color=color, markersize=5.5)
            axes.annotate(
                f"{rate:.1%}", (rate, place), (0, 6), textcoords="offset points", ha="center", color=_INK, fontsize=8
            )
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.75)
        farthest = max([rate for _, rate, _ in rows] + [interval[1] for *_, interval in rows if interval])
        axes.set_xlim(0, max(1.02, 1.05 * farthest))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        return svg(canvas)


def histogram(values: np.ndarray) -> str:
    """How many clips have which word error rate; those above 200% count in the last bar."""
    with style():
        canvas = Canvas(figsize=(5.4, 2.0), layout="constrained")
        axes = canvas.add_subplot()
        shown = np.minimum(values, 2.0)
        top = max(1.0, float(shown.max()))
        axes.hist(shown, bins=np.linspace(0, top, MOST_BARS + 1), color=RIGHT, alpha=0.75)
        axes.set_xlabel("word error rate of a clip")
        axes.set_ylabel("clips")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.margins(x=0.01)
        return svg(canvas)


def matrix(found: Mapping[str, Any]) -> str:
    """A confusion matrix of `confusion.matrix`: a row is what was said, and its colours are shares of that row.

    What is right stands on the diagonal in blue, what is wrong in orange.
    """
    labels = [_short(label) for label in found["labels"]]
    size = len(labels)
    last = [("another", "others"), ("nothing", "missed")]
    cells = np.zeros((size, size + len(last)))
    cells[:, :size] = found["counts"]
    for place, (_, key) in enumerate(last):
        cells[:, size + place] = found[key]
    shares = cells / np.maximum(cells.sum(1, keepdims=True), 1)
    with style():
        side = max(3.4, 0.235 * size)
        canvas = Canvas(figsize=(side + 1.6, side + 1.1), layout="constrained")
        axes = canvas.add_subplot()
        for row, column in zip(*np.nonzero(cells), strict=True):
            share, right = shares[row, column], row == column
            place = column + (0.5 if column >= size else 0.0)
            axes.add_patch(
                Rectangle(
                    (place, row), 1, 1, facecolor=RIGHT if right else WRONG, alpha=float(np.sqrt(share)), linewidth=0
                )
            )
            if share >= LEAST_WRITTEN:
                color = "white" if share > 0.35 else _INK
                middle = place + 0.5, row + 0.52
                axes.text(*middle, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=color)
        columns = [*(np.arange(size) + 0.5), *(np.arange(len(last)) + size + 1.0)]
        axes.set_xticks(columns, [*labels, *(name for name, _ in last)], rotation=90)
        axes.set_yticks(np.arange(size) + 0.5, labels)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("read")
        axes.set_ylabel("said")
        axes.tick_params(length=0, labelsize=8)
        axes.grid(visible=False)
        for edge in range(size + 1):
            axes.plot([0, size], [edge, edge], color="#eceff2", linewidth=0.5, zorder=0)
            axes.plot([edge, edge], [0, size], color="#eceff2", linewidth=0.5, zorder=0)
        axes.set_xlim(0, size + len(last) + 0.5)
        axes.set_ylim(size, 0)
        axes.set_aspect("equal")
        for spine in axes.spines.values():
            spine.set_visible(False)
        return svg(canvas)


def reliability(found: Mapping[str, Any]) -> str:
    """How often words are right, by their score, of what `reliability.reliability` made."""
    with style():
        return svg(reliability_canvas(found))


def reliability_canvas(found: Mapping[str, Any]) -> Canvas:
    """The same, to be saved in any format: on the diagonal words are as often right as their score says."""
    with style():
        canvas = Canvas(figsize=(4.6, 4.2), layout="constrained")
        axes, counts = canvas.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color="#5b6675", linewidth=1, linestyle="--")
        bins = found["bins"]
        scores, right = [row["score"] for row in bins], [row["right"] for row in bins]
        # 95% by the normal approximation about the score: where chance alone would put a bin of so many words.
        for row in bins:
            reach = 1.96 * np.sqrt(row["score"] * (1 - row["score"]) / row["words"])
            ends = np.clip([row["score"] - reach, row["score"] + reach], 0, 1)
            axes.plot([row["score"]] * 2, ends, color=RIGHT, linewidth=6, alpha=0.25, solid_capstyle="round")
        axes.plot(scores, right, "o", color=RIGHT, markersize=6)
        axes.set_ylabel("words that are right")
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        counts.bar(scores, [row["words"] for row in bins], width=0.03, color=RIGHT, alpha=0.75)
        counts.set_yscale("log")
        counts.yaxis.set_major_formatter(ScalarFormatter())
        counts.yaxis.set_minor_locator(NullLocator())
        counts.set_ylabel("words")
        counts.set_xlabel("score")
        counts.set_xlim(-0.02, 1.03)
        counts.xaxis.set_major_formatter(PercentFormatter(1.0))
        return canvas


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
