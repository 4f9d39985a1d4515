# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Distributions as SVG that goes into a page. Nothing that a corpus holds is written in them but numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ..page import color_of, style, svg
from .figures import AXES, Figure, SplitFigures

MOST_BARS = 40


def histogram(splits: Sequence[SplitFigures], figure: Figure) -> tuple[str, int]:
    """How a figure is distributed, each split by itself.

    Args:
        splits (`Sequence[SplitFigures]`): The corpus.
        figure (`Figure`): What is shown.

    Returns:
        `tuple[str, int]`: The SVG, empty if no clip has the figure, and how many clips lie beyond the outermost bars
        and were counted in them.
    """
    found = [split.values[figure.name] for split in splits]
    known = [values[~np.isnan(values)] for values in found]
    everything = np.concatenate(known)
    if not len(everything):
        return "", 0
    low, high = _range(everything)
    edges = _edges(low, high, len(everything), figure.whole)
    with style():
        canvas = Canvas(figsize=(5.4, 1.9), layout="constrained")
        axes = canvas.add_subplot()
        for number, values in enumerate(known):
            if not len(values):
                continue
            share = 100 * np.histogram(np.clip(values, low, high), edges)[0] / len(values)
            axes.stairs(share, edges, fill=True, color=color_of(number), alpha=0.22, linewidth=0)
            axes.stairs(share, edges, color=color_of(number), linewidth=1.4)
        axes.set_ylabel("clips")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if low == high:
            axes.set_xticks([low], [figure.write(low)])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(7, integer=figure.whole))
            if figure.form.endswith("%}"):
                axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.margins(x=0.01)
        return svg(canvas), int(((everything < low) | (everything > high)).sum())


def _range(values: np.ndarray) -> tuple[float, float]:
    """Where the axis begins and ends: at the extremes, unless a few stray clips would squeeze all others together."""
    lower, upper = np.percentile(values, (0.5, 99.5))
    room = upper - lower
    low, high = float(values.min()), float(values.max())
    return (max(low, lower - room), min(high, upper + room)) if room > 0 else (low, high)


def _edges(low: float, high: float, count: int, whole: bool) -> np.ndarray:
    if whole:
        step = max(1, int(np.ceil((np.floor(high) - np.floor(low) + 1) / MOST_BARS)))
        return np.arange(np.floor(low) - 0.5, np.floor(high) + 0.5 + step, step)
    if high <= low:
        return low + np.array([-1.5, -0.5, 0.5, 1.5]) * (abs(low) or 1.0)
    return np.linspace(low, high, min(MOST_BARS, max(8, round(2 * np.sqrt(count)))) + 1)


def turns(splits: Sequence[SplitFigures]) -> str:
    """For each axis and angle the share of the clips in whose range it lies, as one SVG."""
    ends = [split.values[f"{axis}_{end}"] for split in splits for axis in AXES for end in ("low", "high")]
    farthest = max(5.0, 5 * np.ceil(max(np.abs(values).max() for values in ends) / 5))
    angles = np.linspace(-farthest, farthest, 361)
    directions = (("left", "right"), ("down", "up"), ("clockwise", "counter-clockwise"))
    with style():
        canvas = Canvas(figsize=(11, 2.3), layout="constrained")
        panels = canvas.subplots(1, 3, sharey=True)
        for axes, axis, (lower, upper) in zip(panels, AXES, directions, strict=True):
            for number, split in enumerate(splits):
                share = 100 * share_within(split.values[f"{axis}_low"], split.values[f"{axis}_high"], angles)
                axes.fill_between(angles, share, color=color_of(number), alpha=0.15, linewidth=0)
                axes.plot(angles, share, color=color_of(number), linewidth=1.4)
            axes.axvline(0, color="#889", linewidth=0.8)
            axes.set_title(axis, fontsize=10)
            axes.set_xlabel(f"← {lower}\u2003\u2003{upper} →")  # spaces that SVG keeps
            axes.xaxis.set_major_locator(MaxNLocator(7))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}°"))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
            axes.margins(x=0)
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel("clips")
        return svg(canvas)


def share_within(lows: np.ndarray, highs: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The share of ranges `[low, high]` that each point lies in."""
    begun = np.searchsorted(np.sort(lows), points, side="right")
    ended = np.searchsorted(np.sort(highs), points, side="left")
    return (begun - ended) / len(lows)
