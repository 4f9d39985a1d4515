# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video and transcript to a corpus of landmarks:

    python -m data.prepare train.jsonl validation.jsonl test.jsonl --output corpus/ --num_proc 8
    python -m data.prepare videos.jsonl --output corpus/ --val_ratio 0.1
    python -m data.prepare lectures/ --format subtitles --output corpus/ --split_by video

A source is a JSONL manifest (see `data.sources.manifest`) or a folder in one of the formats of `data.corpora` (see
docs/corpora.md). Every source becomes the split named after its file or folder; a corpus with splits of its own has
those; a single source that is not called train, validation or test is divided into train and validation. `corpus/` is
then a `datasets.DatasetDict` on disk, with a `report.json` of what was kept, what was skipped and why.

Killed at any moment and run again it continues: clips are extracted in chunks (16 lines of the manifest), each written
whole to `corpus/.parts`, and the splits appear together once all are done. A clip that crashes the process that reads
it is skipped like any other that cannot be used.

Beyond one machine, on a cluster that shares its files:

    python -m data.prepare videos.jsonl --output corpus/ --engine ray
    python -m data.prepare videos.jsonl --output parts/ --shard 3/16
    python -m data.prepare merge parts/ --output corpus/
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from modeling_lipread.landmarker_lipread import landmarker_path

from .errors import PrepareError
from .preparation.extraction import Chunk, read_part_report
from .preparation.plan import make_plan
from .preparation.settings import ExtractionSettings, add_arguments, count, not_negative, share
from .preparation.shards import build_shard, describe_shard, merge, parse_shard, shard_folder, share_of
from .preparation.sources import MANIFEST, describe_formats, read_source
from .preparation.splits import GROUPS
from .preparation.workers import Progress, WorkerPool, extract_here
from .preparation.write import PARTS, REPORT, build
from .sources.records import Skip, SourceError

CLIP_TIMEOUT = 3600.0  # seconds


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
    """Extract landmarks and write a corpus.

    Args:
        sources (`Sequence[str | Path]`): JSONL manifests of videos or of landmarks, or corpora.
        output (`str` or `Path`): Folder of the corpus; made if need be.
        format (`str`, *optional*): The sources' format; recognised by default.
        options (`Mapping[str, str]`, *optional*): Settings of the format.
        allow_outside (`bool`): Take files that lie outside a source's folder too.
        num_proc (`int`): Worker processes. 0 works in this process, which saves their start, but a clip that crashes
            native code then ends the run; with ray 0 means one for each processor of the cluster.
        val_ratio (`float`): Share for validation where a single source is divided.
        split_by (`str`): What that division keeps on one side: see `data.preparation.splits.split_records`.
        seed (`int`): Seed of that division.
        overwrite (`bool`): Make the corpus anew even if the folder holds one, of whatever manifests and settings. The
            older one stays readable until the new one takes its place.
        engine (`str`): ``local``, or ``ray`` for a cluster whose machines share the files (see
        `data.preparation.ray_engine`).
        clip_timeout (`float`): Seconds that worker processes may take for one clip; longer ones are skipped. 0 waits
            for ever.
        shard (`tuple[int, int]`, *optional*): Make only the i-th of n shards, for `data.preparation.shards.merge`.
        **settings: Those of `data.preparation.settings.ExtractionSettings`: which face is followed, and which clips
        are skipped.

    Returns:
        `dict`: The report, as written to ``report.json``; of a shard what ``shard.json`` says.

    Raises:
        FileNotFoundError, ValueError: If MediaPipe's face model is missing or another one.
        SourceError: If a source cannot be used.
        PrepareError: If the output folder holds something else, every clip was skipped, the disk is full, or worker
            processes die whatever clip they are given.
    """
    output = Path(output)
    if engine == "ray":  # paths have to mean the same on all machines
        sources, output = [Path(source).absolute() for source in sources], output.absolute()
    landmarker_path()
    parts = output / PARTS if shard is None else shard_folder(output, shard)
    read = [read_source(path, format, options, allow_outside) for path in sources]
    for source in read:
        if source.recognised and source.format != MANIFEST:
            print(f"{source.name}: recognised as {source.format}, {len(source.records):,} clips", file=sys.stderr)
    layout, chunks = make_plan(read, parts, val_ratio, seed, ExtractionSettings(**settings), split_by)
    if shard is not None:
        chunks = share_of(chunks, shard)

    def extract() -> None:
        todo = [chunk for chunk in chunks if not chunk.part.is_file()]
        with contextlib.closing(_run(todo, num_proc, engine, clip_timeout)) as progress:
            _show(progress, chunks, len(layout.skipped))

    if shard is not None:
        return build_shard(layout, output, shard, overwrite, extract)
    return build(layout, output, overwrite, extract)


def _run(chunks: list[Chunk], num_proc: int, engine: str, clip_timeout: float) -> Iterator[Progress]:
    if not chunks:
        return
    if engine == "ray":
        from .preparation.ray_engine import extract_on_ray

        yield from extract_on_ray(chunks, num_proc, clip_timeout)
    elif num_proc == 0:
        yield from extract_here(chunks)
    else:
        with WorkerPool(num_proc, clip_timeout) as pool:
            yield from pool.extract(chunks)


def _show(progress: Iterator[Progress], chunks: list[Chunk], skipped: int) -> None:
    """One bar over all clips, with those that are done already, and the number skipped beside it."""
    done = [chunk for chunk in chunks if chunk.part.is_file()]
    skipped += sum(len(read_part_report(chunk.part).skipped) for chunk in done)
    total, initial = (sum(len(chunk.records) for chunk in some) for some in (chunks, done))
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file keeps every state of the bar
    with tqdm(total=total, initial=initial, unit="clip", desc="Extracting landmarks", mininterval=interval) as bar:
        bar.set_postfix(skipped=skipped)
        for clips, skips in progress:
            skipped += skips
            bar.set_postfix(skipped=skipped, refresh=False)
            bar.update(clips)


def format_summary(report: dict[str, Any], most: int = 20) -> str:
    """The closing words: what was kept, and what was not and why (at most `most` of each kind)."""
    lines = []
    for split, totals in report["splits"].items():
        minutes, seconds = divmod(totals["seconds"], 60)
        lines.append(
            f"{split}: {totals['clips']:,} clips, {minutes:.0f} min {seconds:04.1f} s, {totals['frames']:,} frames, "
            f"a face in {totals['face_coverage']:.2%} of them"
        )
    skipped = [str(Skip(**skip)) for skip in report["skipped"]]
    for name, entries in (("skipped", skipped), ("warnings", report["warnings"])):
        lines.append(f"{name}: {len(entries)}")
        lines += [f"  {entry}" for entry in entries[:most]]
        if len(entries) > most:
            lines.append(f"  ... and {len(entries) - most} more in {REPORT}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    merging = arguments[:1] == ["merge"]
    parser = argparse.ArgumentParser(
        prog="python -m data.prepare" + (" merge" if merging else ""),
        description=__doc__,
        epilog=None if merging else f"formats:\n{describe_formats()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", required=True, help="folder of the corpus")
    parser.add_argument("--overwrite", action="store_true", help="replace a corpus made from something else")
    if merging:
        parser.add_argument("shards", nargs="+", metavar="SHARD", help="folder of a shard, or one that holds shards")
    else:
        _add_arguments(parser)
    options = vars(parser.parse_args(arguments[1:] if merging else arguments))
    output = options.pop("output")
    try:
        if merging:
            report = merge(options.pop("shards"), output, **options)
        else:
            if options["num_proc"] is None:
                options["num_proc"] = 1 if options["engine"] == "local" else 0
            report = prepare(options.pop("sources"), output, options=dict(options.pop("option")), **options)
    except (SourceError, PrepareError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; finished clips are kept, run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    if options.get("shard"):
        print(describe_shard(report, output))
        return
    print(format_summary(report))
    print(f"corpus: {output} (details in {Path(output) / REPORT})")
    if "train" in report["splits"]:
        settings = f"--dataset {output} --model_id HuggingFaceTB/SmolLM2-135M --output_dir runs/a"
        print(f"next: accelerate launch train_hf.py {settings}")
    else:
        print(f"next: python evaluate_hf.py CHECKPOINT {Path(output) / next(iter(report['splits']))}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="JSONL manifest, or folder of a corpus")
    parser.add_argument("--format", metavar="NAME", help="the sources' format (default: recognised, see below)")
    parser.add_argument(
        "--option", action="append", default=[], type=_setting, metavar="NAME=VALUE", help="a setting of the format"
    )
    parser.add_argument(
        "--allow_outside", action="store_true", help="take files that lie outside a source's folder too"
    )
    parser.add_argument(
        "--num_proc",
        type=count,
        help="worker processes (default: 1; with ray one for each processor of the cluster); 0 works in this process, "
        "where a clip that crashes native code ends the run",
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where they run (local)")
    parser.add_argument("--shard", type=parse_shard, metavar="I/N", help="make the I-th of N shards, to be merged")
    parser.add_argument(
        "--clip_timeout",
        type=not_negative,
        default=CLIP_TIMEOUT,
        metavar="SECONDS",
        help=f"a clip that takes longer is skipped; 0 waits for ever ({CLIP_TIMEOUT:g})",
    )
    parser.add_argument("--val_ratio", type=share, default=0.1, help="validation's share of a single source (0.1)")
    parser.add_argument(
        "--split_by", choices=GROUPS, default="clip", help="what that division keeps on one side (clip)"
    )
    parser.add_argument("--seed", type=int, default=42, help="seed of that division (42)")
    add_arguments(parser)


def _setting(value: str) -> tuple[str, str]:
    name, equals, content = value.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=VALUE")
    return name, content


if __name__ == "__main__":
    main()
