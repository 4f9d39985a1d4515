# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The plot of an evaluation, as a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..page import COLORS, styled

CORRECT, GREY = COLORS[0], "#5b6675"


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
