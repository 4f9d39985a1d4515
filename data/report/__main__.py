# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes an HTML page about a prepared corpus: its splits, the quality of the tracking, skipped clips and warnings.

    python -m data.report corpus/ --output report.html

The page is one file and loads nothing. It shows the distribution of every metric of `data.quality` with the clips at
its ends, and a sample of clips, all drawn by their landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..console import exit_on_error, make_parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = make_parser("python -m data.report", __doc__)
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="path of the page (default: CORPUS/report.html)")
    options = parser.parse_args(arguments)

    from .write import write_report

    with exit_on_error():
        page = write_report(options.corpus, options.output)
    print(f"report: {page} (open it in a browser)")


if __name__ == "__main__":
    main()
