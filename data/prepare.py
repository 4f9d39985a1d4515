# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Prepares a corpus of landmarks from videos with transcripts:

    python -m data.prepare train.jsonl validation.jsonl test.jsonl --output corpus/ --num_proc 8
    python -m data.prepare videos.jsonl --output corpus/ --val_ratio 0.1
    python -m data.prepare lectures/ --format subtitles --output corpus/ --split_by video

A source is a JSONL manifest (see `data.sources.manifest`) or a folder in one of the formats of `data.corpora` (see
docs/corpora.md). Each source becomes a split named after its file or folder, unless the corpus has its own splits; a
single source not named train, validation or test is split into train and validation. `corpus/` is a
`datasets.DatasetDict` on disk, with totals, skipped clips and the reasons in `report.json`.

After a kill at any moment the same command continues: clips are extracted in chunks (16 lines of the manifest), each
written atomically to `corpus/.parts`, and the splits appear together at the end. A clip that crashes its worker is
skipped.

On a cluster with a shared file system:

    python -m data.prepare videos.jsonl --output corpus/ --engine ray
    python -m data.prepare videos.jsonl --output parts/ --shard 3/16
    python -m data.prepare merge parts/ --output corpus/
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lipread.settings import FACES
from modeling_lipread.landmarker_lipread import landmarker_path

from .console import exit_on_error, make_parser
from .corpora import describe_formats, read_source
from .preparation.settings import GROUPS, ExtractionSettings, count, not_negative, parse_shard, share
from .sources.records import Skip

if TYPE_CHECKING:
    from .preparation.extraction import Chunk

CLIP_TIMEOUT = 3600.0  # seconds
TRAINING_SPLITS = ("train", "trainval", "pretrain")  # the first that a corpus has is trained on
MOSTLY_CAPITALS = 0.9  # share of the transcripts
WHY_LOWER = "which language models predict worse; prepare again with --case lower --overwrite"


def prepare(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    num_proc: int = 0,
    val_ratio: float = 0.1,
    split_by: str = "clip",
    seed: int = 42,
    overwrite: bool = False,
    engine: str = "local",
    clip_timeout: float = CLIP_TIMEOUT,
    shard: tuple[int, int] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Extracts landmarks and writes a corpus; returns the content of ``report.json``, or of a shard's ``shard.json``.

    The arguments are those of the command line, `options` those of the format and `settings` fields of
    `ExtractionSettings`. Raises SourceError if a source cannot be used; PrepareError if the output folder holds
    something else, every clip was skipped, worker processes die with every clip, or the disk is full;
    FileNotFoundError or ValueError if MediaPipe's face model is missing or another one.
    """
    from .preparation.plan import make_plan
    from .preparation.shards import build_shard, shard_folder, share_of
    from .preparation.write import PARTS, build

    output = Path(output)
    if engine == "ray":  # paths must be the same on all machines
        sources, output = [Path(source).absolute() for source in sources], output.absolute()
    landmarker_path()
    parts = output / PARTS if shard is None else shard_folder(output, shard)
    read = [read_source(path, format, options, allow_outside) for path in sources]
    layout, chunks = make_plan(read, parts, val_ratio, seed, ExtractionSettings(**settings), split_by)
    chunks = chunks if shard is None else share_of(chunks, shard)
    extract = functools.partial(_extract, chunks, num_proc, engine, clip_timeout)
    if shard is not None:
        return build_shard(layout, output, shard, overwrite, extract)
    return build(layout, output, overwrite, extract)


def _extract(chunks: list[Chunk], num_proc: int, engine: str, clip_timeout: float) -> None:
    """Extracts the chunks without a finished part, and shows the progress."""
    from .preparation.extraction import is_finished
    from .preparation.workers import WorkerPool, extract_here

    todo = [chunk for chunk in chunks if not is_finished(chunk.part)]
    if not todo:
        return
    total, left = (sum(len(chunk.records) for chunk in some) for some in (chunks, todo))
    with contextlib.ExitStack() as stack:
        if engine == "ray":
            from .preparation.ray_engine import extract_on_ray

            progress = extract_on_ray(todo, num_proc, clip_timeout)
        elif num_proc == 0:
            progress = extract_here(todo)
        else:
            progress = stack.enter_context(WorkerPool(num_proc, clip_timeout)).extract(todo)
        stack.enter_context(contextlib.closing(progress))
        bar = tqdm(total=total, initial=total - left, unit="clip", desc="Extracting landmarks", disable=None)
        for clips in progress:
            bar.update(clips)
        bar.close()


def format_summary(report: dict[str, Any], most: int = 20) -> str:
    """Returns a ``report.json`` or ``shard.json`` as text, with at most `most` skipped clips and warnings."""
    if "shard" in report:
        lines = [f"shard {report['shard']}/{report['of']}: {report['clips']:,} clips"]
    else:
        lines = [
            f"{split}: {totals['clips']:,} clips, {totals['seconds'] // 60:.0f} min {totals['seconds'] % 60:04.1f} s, "
            f"{totals['frames']:,} frames, a face in {totals['face_coverage']:.2%} of them"
            for split, totals in report["splits"].items()
        ]
    for name in (name for name in ("skipped", "warnings") if name in report):
        lines.append(f"{name}: {len(report[name])}")
        lines += [f"  {entry if name == 'warnings' else Skip(**entry)}" for entry in report[name][:most]]
        if len(report[name]) > most:
            lines.append(
                f"  ... and {len(report[name]) - most} more in {'shard' if 'shard' in report else 'report'}.json"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    merging = arguments[:1] == ["merge"]
    epilog = None if merging else f"formats:\n{describe_formats()}"
    parser = make_parser("python -m data.prepare" + " merge" * merging, __doc__, epilog=epilog)
    parser.add_argument("--output", required=True, help="folder of the corpus")
    parser.add_argument("--overwrite", action="store_true", help="replace a corpus made from something else")
    if merging:
        parser.add_argument("shards", nargs="+", metavar="SHARD", help="folder of a shard, or one that holds shards")
    else:
        _add_arguments(parser)
    options = vars(parser.parse_args(arguments[1:] if merging else arguments))
    output = options.pop("output")
    try:
        with exit_on_error():
            if merging:
                from .preparation.shards import merge

                report = merge(options.pop("shards"), output, **options)
            else:
                if options["num_proc"] is None:
                    options["num_proc"] = 1 if options["engine"] == "local" else 0
                report = prepare(options.pop("sources"), output, options=dict(options.pop("option")), **options)
    except KeyboardInterrupt:
        print("interrupted; finished clips are kept, run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    print(format_summary(report))
    if options.get("shard"):
        print(f"next, once all are made: python -m data.prepare merge {output} --output CORPUS")
        return
    print(f"corpus: {output} (details in {Path(output) / 'report.json'})")
    splits = report["splits"]
    capitals = [split for split, totals in splits.items() if totals["capitals"] > MOSTLY_CAPITALS]
    if capitals:
        print(f"nearly all transcripts of {', '.join(capitals)} are in capitals, {WHY_LOWER}")
    if train := next((split for split in TRAINING_SPLITS if split in splits), None):
        settings = f"--dataset {output} --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/a"
        settings += "" if train == "train" else f" --train_split {train}"
        print(f"next: accelerate launch train_hf.py {settings}")
    else:
        print(f"next: python evaluate_hf.py CHECKPOINT {Path(output) / next(iter(report['splits']))}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="JSONL manifest, or folder of a corpus")
    add("--format", metavar="NAME", help="format of the sources, if they are folders (see below)")
    add("--option", action="append", default=[], type=_option, metavar="NAME=VALUE", help="an option of the format")
    add("--allow_outside", action="store_true", help="allow files outside a source's folder")
    workers = "worker processes (default: 1; with ray one a processor); 0: none, a crash in native code ends the run"
    add("--num_proc", type=count, help=workers)
    add("--engine", choices=("local", "ray"), default="local", help="where the workers run (local)")
    add("--shard", type=parse_shard, metavar="I/N", help="make the I-th of N shards, for data.prepare merge")
    limit = f"skip a clip that takes longer; 0 for no limit ({CLIP_TIMEOUT:g})"
    add("--clip_timeout", type=not_negative, default=CLIP_TIMEOUT, metavar="SECONDS", help=limit)
    add("--val_ratio", type=share, default=0.1, help="validation's share of a single source (0.1)")
    add("--split_by", choices=GROUPS, default="clip", help="what stays within one split of a single source (clip)")
    add("--seed", type=int, default=42, help="seed of that split (42)")
    kept = ExtractionSettings
    text = "letters of transcripts and of words with times (default: keep)"
    add("--case", choices=("keep", "lower"), default=kept.case, help=text)
    add("--face", choices=FACES, default=kept.face, help="face to follow if there are several (default: largest)")
    text = "longest clip, in seconds; 0 for no limit (default: 300)"
    add("--max_seconds", type=not_negative, default=kept.max_seconds, help=text)
    text = "least share of frames with a face (default: 0.5)"
    add("--min_coverage", type=share, default=kept.min_coverage, help=text)


def _option(value: str) -> tuple[str, str]:
    name, equals, content = value.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=VALUE")
    return name, content


if __name__ == "__main__":
    main()
