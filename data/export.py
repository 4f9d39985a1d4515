# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Exports a prepared corpus: to a dataset that others can load, or back to a manifest of landmarks:

    python -m data.export corpus/ --parquet dataset/ --license cc-by-4.0 --source_name GRID --attribution "M. Cooke"
    python -m data.export corpus/ --push_to_hub you/name --private --license cc-by-4.0 --source_name GRID
    python -m data.export corpus/ --npy landmarks/

--parquet writes sharded Parquet in the Hub's layout with a dataset card, --push_to_hub uploads the same in one commit;
`load_dataset` and `train_hf.py --dataset` read both. --npy writes one JSONL manifest a split and one ``.npy`` a clip,
float32 `(frames, 478, 3)`, which `data.prepare` reads again. Landmarks are personal data: share them only if the
people in the videos and the source's licence allow it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from lipread.options import positive_int

from .console import exit_on_error, make_parser

CARD_OPTIONS = ("source_name", "license", "attribution", "language")  # facts that a corpus does not contain


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = make_parser("python -m data.export", __doc__)
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--parquet", type=Path, metavar="FOLDER", help="write sharded Parquet with a card")
    parser.add_argument("--npy", type=Path, metavar="FOLDER", help="write manifests and .npy files")
    parser.add_argument("--push_to_hub", metavar="YOU/NAME", help="upload the Parquet dataset to the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository on the Hub private")
    parser.add_argument("--source_name", help="name of the corpus from which the landmarks come")
    parser.add_argument("--license", help="licence of that corpus, as the Hub spells it: cc-by-4.0")
    parser.add_argument("--attribution", help="attribution that the licence asks for")
    parser.add_argument("--language", nargs="+", help="codes of the languages spoken: en")
    shard_help = "largest file (default: 500,000,000)"
    parser.add_argument("--max_shard_size", type=positive_int, metavar="BYTES", help=shard_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    options = parser.parse_args(arguments)
    if not (options.parquet or options.npy or options.push_to_hub):
        parser.error("give --parquet FOLDER, --npy FOLDER or --push_to_hub YOU/NAME")
    targets = {name: ("parquet", "push_to_hub") for name in (*CARD_OPTIONS, "max_shard_size")}
    for name, needed in (targets | {"private": ("push_to_hub",), "overwrite": ("parquet", "npy")}).items():
        if getattr(options, name) and not any(getattr(options, target) for target in needed):
            parser.error(f"--{name} needs {' or '.join(f'--{target}' for target in needed)}")

    from .preparation.export import export_npy

    with exit_on_error():
        if options.npy:
            counts, uneven = export_npy(options.corpus, options.npy, overwrite=options.overwrite)
            print(f"{options.npy}: " + ", ".join(f"{split} {count:,} clips" for split, count in counts.items()))
            if uneven:
                print(f"{uneven:,} clips have frames at uneven intervals; their manifest has the average frame rate")
        if options.parquet or options.push_to_hub:
            _export_dataset(options)


def _export_dataset(options: argparse.Namespace) -> None:
    from .preparation.export import SHARD_BYTES, export_parquet, push
    from .schema import duration

    card = {name: getattr(options, name) for name in CARD_OPTIONS}
    settings = {"shard_bytes": options.max_shard_size or SHARD_BYTES, "overwrite": options.overwrite}
    with nullcontext() if options.parquet else tempfile.TemporaryDirectory() as temporary:
        folder = options.parquet or Path(temporary, "dataset")
        sizes = export_parquet(options.corpus, folder, card, options.push_to_hub, **settings)
        for split, size in sizes.items():
            print(f"{split}: {size.clips:,} clips, {duration(size.seconds)}, {size.frames:,} frames")
        if options.parquet:
            print(f"dataset: {folder} (read its README.md before you share it)")
        if options.push_to_hub:
            print(f"pushed: {push(folder, options.push_to_hub, options.private).commit_url}")


if __name__ == "__main__":
    main()
