# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""HTML pages of sections and cards: one template (`page.html`), one look, plots as SVG.

A page is one file without scripts that loads nothing. All text is escaped; plots are matplotlib figures.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from lipread.output_files import replacing

# Colours of series: dark enough on white, and distinguishable for the colour-blind.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#8a6d00", "#4b4bc3")

# Decorator of the functions that draw plots.
styled = matplotlib.rc_context(
    {"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "lipread"}  # text; the same ids on every run
    | {"font.size": 9, "axes.labelcolor": "#445", "xtick.color": "#445", "ytick.color": "#445"}
    | {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#889"}
    | {"axes.axisbelow": True, "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#e3e6ea"}
)


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a clip: data URL of a square JPEG, lines of text below it, and text under the pointer."""

    picture: str
    caption: Sequence[str]
    tooltip: str = ""


@dataclass(frozen=True)
class Card:
    """A box of a page: title, text, plot, table, pictures, lists and note, in this order."""

    title: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    text: str = ""
    plot: Figure | None = None
    text_columns: Collection[int] = (0,)  # all others hold numbers, aligned right
    galleries: Sequence[tuple[str, Sequence[Thumbnail]]] = ()  # labels and pictures
    details: Sequence[tuple[str, Sequence[str]]] = ()  # lists to open: summaries and items
    note: str = ""
    wide: bool = False  # the whole width of the page
    mood: str = ""  # "good" or "bad" for a coloured edge


@dataclass(frozen=True)
class Section:
    """A heading of a page, a note in small print, and its cards."""

    title: str
    cards: Sequence[Card]
    note: str = ""


@styled
def _svg(figure: Figure) -> Markup:
    written, metadata = io.StringIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    return Markup(written.getvalue()[written.getvalue().index("<svg") :])  # without the XML header, which has URLs


def write_page(output: Path, title: str, subtitle: str, sections: Sequence[Section], footer: str) -> Path:
    """Writes a page atomically, creating its folder if missing; returns its path."""
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), **options)
    environment.filters["svg"] = _svg
    template = environment.get_template("page.html")
    text = template.render(title=title, subtitle=subtitle, sections=sections, footer=footer)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as beside:
        beside.write_text(text, encoding="utf-8", errors="replace")  # JSON may hold surrogates, UTF-8 cannot
    return output


def plural(count: int, one: str) -> str:
    """Returns a number with its noun: "1 clip", "2,000 clips"."""
    return f"{count:,} {one if count == 1 else one + 's'}"
