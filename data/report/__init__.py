# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A prepared corpus on one page: what is in it, how well its faces were tracked, and what was left out:

    python -m data.report corpus/
    python -m data.report corpus/ --videos clips/ --output report.html

The page is one file and loads nothing from anywhere. It shows the splits, the distribution of every figure of
`data.quality`, the clips at the ends of each, a sample of clips with their landmarks drawn, and what `report.json`
says was skipped and why. Landmarks are drawn on white; with --videos, the folder that the sources are relative to (or
a manifest in it), on a frame of their video. The page then shows people: treat it as you treat their videos.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..assembly import REPORT, read_json
from ..dataset_card import duration
from ..export import split_names
from ..page import color_of, template, write_page
from ..schema import CorpusError
from ..settings import count
from . import plots
from .figures import AXES, FIGURES, STATISTICS, Figure, SplitFigures, extreme_clips, read_split
from .reasons import LISTED, skip_reasons, warning_reasons
from .thumbnails import Thumbnails

PAGE = "report.html"
SAMPLE = 12  # clips shown of a split
EXTREMES = 6  # clips shown at an end of a distribution


def write_report(
    corpus: str | Path,
    output: str | Path | None = None,
    videos: Sequence[str | Path] = (),
    *,
    sample: int = SAMPLE,
    allow_outside: bool = False,
) -> Path:
    """Writes the page of a corpus; it appears whole or not at all.

    Args:
        corpus (`str` or `Path`): Folder that `data.prepare` wrote.
        output (`str` or `Path`, *optional*): The page. Default: ``report.html`` in the corpus' folder.
        videos (`Sequence[str | Path]`): Folders that the clips' sources are relative to, or manifests in them.
        sample (`int`): How many clips of each split are shown, from all over it.
        allow_outside (`bool`): Take videos that lie outside those folders too.

    Returns:
        `Path`: The page.

    Raises:
        CorpusError: If the folder is no finished corpus, or of another version.
        FileNotFoundError: If a folder of videos is none.
        OSError: If the page cannot be written.
    """
    corpus = Path(corpus)
    output = corpus / PAGE if output is None else Path(output)
    videos = [Path(path) for path in videos]
    for path in videos:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such folder of videos; give the one that the sources are relative to")
    splits = [read_split(corpus, split) for split in split_names(corpus)]
    thumbnails = Thumbnails(corpus, videos, allow_outside)
    ranked = [
        (figure, label, extreme_clips(splits, figure, highest, EXTREMES))
        for figure in FIGURES
        for label, highest in figure.extremes
    ]
    sampled = {split.name: np.linspace(0, split.clips - 1, min(sample, split.clips)).astype(int) for split in splits}
    shown = {clip: None for _, _, clips in ranked for clip in clips}
    shown |= {(split, index): None for split, indices in sampled.items() for index in indices.tolist()}
    for split, index in tqdm(shown, unit="clip", desc="Drawing clips"):
        thumbnails.clip(split, index)

    values = {split.name: split.values for split in splits}

    def extremes(figure: Figure) -> list[tuple[str, list[tuple[Any, float]]]]:
        return [
            (label, [(thumbnails.clip(*clip), values[clip[0]][figure.name][clip[1]]) for clip in clips])
            for other, label, clips in ranked
            if other is figure
        ]

    report = read_json(corpus / REPORT)
    page = template(Path(__file__).parent / "page.html", duration=duration, degrees=_degrees).render(
        name=corpus.resolve().name,
        sources=report.get("manifests", []),
        splits=splits,
        total=_total(splits),
        colors={split.name: color_of(number) for number, split in enumerate(splits)},
        statistics=list(STATISTICS),
        figures=[(figure, *plots.histogram(splits, figure), extremes(figure)) for figure in FIGURES],
        turns=plots.turns(splits),
        axes=AXES,
        sample=[
            (name, [thumbnails.clip(name, index) for index in indices.tolist()]) for name, indices in sampled.items()
        ],
        thumbnails=thumbnails,
        has_report=bool(report),
        skips=skip_reasons(report.get("skipped", [])),
        warnings=warning_reasons(report.get("warnings", [])),
        listed=LISTED,
    )
    write_page(page, output)
    return output


def _total(splits: Sequence[SplitFigures]) -> dict[str, Any]:
    totals = {name: sum(getattr(split, name) for split in splits) for name in ("clips", "seconds", "words", "frames")}
    faces = sum(split.frames_with_face for split in splits)
    return totals | {"coverage": faces / totals["frames"], "speakers": set().union(*(s.speakers for s in splits))}


def _degrees(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}°".replace("-", "−")  # and never a minus zero


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--output", type=Path, metavar="PAGE", help=f"where the page goes (default: CORPUS/{PAGE})")
    parser.add_argument(
        "--videos",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders that the sources are relative to, or manifests in them; frames of the videos go into the page",
    )
    parser.add_argument("--allow_outside", action="store_true", help="take videos outside those folders too")
    parser.add_argument("--sample", type=count, default=SAMPLE, help=f"clips shown of each split ({SAMPLE})")
    options = vars(parser.parse_args(arguments))
    try:
        page = write_report(options.pop("corpus"), **options)
    except (CorpusError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"report: {page} (open it in a browser)")
