# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes an HTML page about a prepared corpus: its splits, the quality of the tracking, skipped clips and warnings.

    python -m data.report corpus/
    python -m data.report corpus/ --videos clips/ --output report.html

The page is one file and loads nothing. It shows the distribution of every metric of `data.quality` with the clips at
its ends, and a sample of clips with their landmarks. Landmarks are drawn on white; with --videos (the folder to which
the sources are relative, or a manifest in it) on a frame of their video. The page then shows people: treat it as you
treat their videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..console import exit_on_error, make_parser
from ..preparation.settings import count


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = make_parser("python -m data.report", __doc__)
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="path of the page (default: CORPUS/report.html)")
    videos = "folders to which the sources are relative, or manifests in them; the page shows frames of the videos"
    parser.add_argument("--videos", type=Path, nargs="+", default=[], metavar="FOLDER", help=videos)
    parser.add_argument("--allow_outside", action="store_true", help="allow videos outside those folders")
    parser.add_argument("--sample", type=count, default=12, help="clips shown of each split (12)")
    options = vars(parser.parse_args(arguments))
    if options["allow_outside"] and not options["videos"]:
        parser.error("--allow_outside needs --videos")

    from .write import write_report

    with exit_on_error():
        page = write_report(options.pop("corpus"), **options)
    print(f"report: {page} (open it in a browser)")


if __name__ == "__main__":
    main()
