# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the project's pages share: one look (`base.html`), templates that escape, and plots as SVG.

A page is one file that loads nothing from anywhere and runs nothing; whatever comes from a corpus is escaped.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas

from ..extraction import replacing

# Dark enough on white, and told apart by the colour-blind; what goes beyond them begins anew.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a6d00", "#4b4bc3")
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "lipread",  # the same names inside the picture on every run
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#889",
    "axes.labelcolor": "#445",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e3e6ea",
    "xtick.color": "#445",
    "ytick.color": "#445",
    "text.parse_math": False,
}


def color_of(number: int) -> str:
    """The colour of the series of that number."""
    return COLORS[number % len(COLORS)]


def style() -> Any:
    """The look of plots, as a context in which they are drawn."""
    return matplotlib.rc_context(_STYLE)


def svg(canvas: Canvas) -> str:
    """A plot as SVG that goes into a page."""
    written = io.StringIO()
    canvas.savefig(
        written, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    picture = written.getvalue()
    return picture[picture.index("<svg") :]  # without the head of a file, which names addresses


def template(path: Path, **filters: Any) -> Template:
    """A page's template.

    Args:
        path (`Path`): Its file, which may extend ``base.html``.
        filters: Filters beside those of Jinja and `svg`, which lets through what the function of that name drew.
    """
    environment = Environment(
        loader=FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"svg": Markup, **filters}
    return environment.get_template(path.name)


def write_page(text: str, output: Path) -> None:
    """Writes a page, with its folder if need be; it appears whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as beside:
        beside.write_text(text, encoding="utf-8", errors="replace")  # JSON can spell what UTF-8 cannot
