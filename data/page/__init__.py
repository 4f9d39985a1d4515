# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""HTML pages: templates on `base.html` with the macros of `parts.html`.

A page is one file without scripts that loads nothing. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lipread.output_files import replacing


def percent(value: float) -> str:
    """Returns ``12.3%``; a dash for NaN."""
    return f"{value:.1%}" if math.isfinite(value) else "–"


def interval(ends: Sequence[float]) -> str:
    """Returns ``1.2 to 3.4%``; a dash for NaN."""
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}%" if all(map(math.isfinite, ends)) else "–"


def plural(count: int, one: str) -> str:
    """Returns a number with its noun: "1 clip", "2,000 clips"."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def write_page(output: Path, template: str, **content: Any) -> Path:
    """Writes a page atomically, creating its folder if missing; returns its path."""
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), **options)
    environment.filters |= {"percent": percent, "interval": interval, "plural": plural}
    text = environment.get_template(template).render(content)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as beside:
        beside.write_text(text, encoding="utf-8", errors="replace")  # JSON may hold surrogates, UTF-8 cannot
    return output
