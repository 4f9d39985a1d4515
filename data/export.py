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
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from .console import set_up_console

CARD_OPTIONS = ("source_name", "license", "attribution", "language")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    set_up_console()
    parser = argparse.ArgumentParser(
        prog="python -m data.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--parquet", metavar="FOLDER", help="write sharded Parquet with a card")
    parser.add_argument("--npy", metavar="FOLDER", help="write manifests and .npy files")
    parser.add_argument("--push_to_hub", metavar="YOU/NAME", help="upload the Parquet dataset to the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository on the Hub private")
    parser.add_argument("--source_name", help="name of the corpus from which the landmarks come")
    parser.add_argument("--license", help="licence of that corpus, as the Hub spells it: cc-by-4.0")
    parser.add_argument("--attribution", help="attribution that the licence asks for")
    parser.add_argument("--language", nargs="+", help="codes of the languages spoken: en")
    parser.add_argument("--max_shard_size", type=_bytes, help="largest file (default: 500MB)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    options = parser.parse_args(arguments)
    if not (options.parquet or options.npy or options.push_to_hub):
        parser.error("give --parquet FOLDER, --npy FOLDER or --push_to_hub YOU/NAME")
    targets = {name: ("parquet", "push_to_hub") for name in ("max_shard_size", *CARD_OPTIONS)}
    for name, needed in (targets | {"private": ("push_to_hub",), "overwrite": ("parquet", "npy")}).items():
        if getattr(options, name) and not any(getattr(options, target) for target in needed):
            parser.error(f"--{name} needs {' or '.join(f'--{target}' for target in needed)}")

    from huggingface_hub.errors import HFValidationError

    from .preparation.export import ExportError, export_npy
    from .schema import CorpusError

    try:
        if options.npy:
            counts, uneven = export_npy(options.corpus, options.npy, overwrite=options.overwrite)
            print(f"{options.npy}: " + ", ".join(f"{split} {count:,} clips" for split, count in counts.items()))
            if uneven:
                print(f"{uneven:,} clips have frames at uneven intervals; their manifest has the average frame rate")
        if options.parquet or options.push_to_hub:
            _export_dataset(options)
    except HFValidationError as error:
        sys.exit(f"error: --push_to_hub {options.push_to_hub}: {error}")
    except (CorpusError, ExportError, OSError) as error:
        sys.exit(f"error: {error}")


def _export_dataset(options: argparse.Namespace) -> None:
    from .preparation.export import SHARD_BYTES, CardOptions, export_parquet, push
    from .schema import duration

    about = {name: getattr(options, name) for name in CARD_OPTIONS}
    with nullcontext() if options.parquet else tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.parquet or Path(temporary, "dataset"))
        settings = {"shard_bytes": options.max_shard_size or SHARD_BYTES, "overwrite": options.overwrite}
        sizes = export_parquet(options.corpus, folder, CardOptions(options.push_to_hub, **about), **settings)
        for split, size in sizes.items():
            print(f"{split}: {size.clips:,} clips, {duration(size.seconds)}, {size.frames:,} frames")
        if options.parquet:
            print(f"dataset: {folder} (read its README.md before you share it)")
        if options.push_to_hub:
            print(f"pushed: {push(folder, options.push_to_hub, private=options.private).commit_url}")


def _bytes(value: str) -> int:
    number = re.fullmatch(r"([1-9]\d*)\s*([KMG]?)B?", value.strip(), re.IGNORECASE)
    if number is None:
        raise argparse.ArgumentTypeError(f"{value!r} is no size such as 500MB")
    return int(number[1]) * 1000 ** " KMG".index(number[2].upper() or " ")


if __name__ == "__main__":
    main()
