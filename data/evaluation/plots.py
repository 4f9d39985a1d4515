# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Plots of an evaluation, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..page import COLORS, styled

CORRECT, WRONG, GREY, INK = COLORS[0], COLORS[1], "#5b6675", "#1d2430"
LEAST_WRITTEN = 0.1  # smallest share of a row whose number is written into its cell
LONGEST_LABEL = 14  # characters


@styled
def confusion_matrix(found: Mapping[str, Any]) -> Figure:
    """Draws `breakdown.confusion_matrix`, in shares of each reference unit: blue is correct, orange wrong."""
    labels = [label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…" for label in found["labels"]]
    size = len(labels)
    cells = np.column_stack([np.array(found["counts"], float), found["others"], found["deletions"]])
    shares = cells / np.maximum(cells.sum(1, keepdims=True), 1)
    colors = np.empty((*cells.shape, 4))
    colors[..., :3], colors[..., 3] = to_rgb(WRONG), np.sqrt(shares)
    colors[range(size), range(size), :3] = to_rgb(CORRECT)
    side = max(3.0, 0.24 * size)
    figure = Figure(figsize=(side + 1.6, side + 1.1), layout="constrained")
    axes = figure.add_subplot()
    axes.pcolormesh(colors, edgecolors="#eceff2", linewidth=0.5)
    for row, column in zip(*np.nonzero(shares >= LEAST_WRITTEN), strict=True):
        color = "white" if shares[row, column] > 0.35 else INK
        text = f"{100 * shares[row, column]:.0f}"
        axes.text(column + 0.5, row + 0.52, text, ha="center", va="center", fontsize=6.5, color=color)
    axes.set_xticks(np.arange(size + 2) + 0.5, [*labels, "(another)", "(deleted)"], rotation=90)
    axes.set_yticks(np.arange(size) + 0.5, labels)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, labelsize=8)
    axes.grid(visible=False)
    axes.set(xlabel="hypothesis", ylabel="reference", ylim=(size, 0), aspect="equal")
    axes.spines[:].set_visible(False)
    return figure


@styled
def reliability(found: Mapping[str, Any]) -> Figure:
    """Draws `calibration.reliability`: the share of correct words by score, with 95% intervals of a calibrated one."""
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for row in found["bins"]:
        margin = 1.96 * np.sqrt(row["score"] * (1 - row["score"]) / row["words"])
        ends = np.clip([row["score"] - margin, row["score"] + margin], 0, 1)
        axes.plot([row["score"]] * 2, ends, color=CORRECT, linewidth=6, alpha=0.25, solid_capstyle="round")
        size = 4 + 6 * np.sqrt(row["words"] / found["words"])
        axes.plot([row["score"]], [row["correct"]], "o", color=CORRECT, markersize=size)
    axes.set(xlabel="score of the words", ylabel="correct words", xlim=(-0.02, 1.03), ylim=(-0.03, 1.04))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure
