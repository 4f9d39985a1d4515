# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video and transcript to a corpus of landmarks:

    python -m data.prepare train.jsonl validation.jsonl test.jsonl --output corpus/ --num_proc 8
    python -m data.prepare videos.jsonl --output corpus/ --val_ratio 0.1
    python -m data.prepare lectures/ --format subtitles --output corpus/ --split_by video

A source is a JSONL manifest (see `data.manifest`) or a folder in one of the formats of `data.corpora` (see
docs/corpora.md). Every source becomes the split named after its file or folder; a corpus with splits of its own has
those; a single source that is not called train, validation or test is divided into train and validation. `corpus/` is
then a `datasets.DatasetDict` on disk, with a `report.json` of what was kept, what was skipped and why.

Killed at any moment and run again it continues: clips are extracted in chunks (16 lines of the manifest), each written
whole to `corpus/.parts`, and the splits appear together once all are done.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, DatasetInfo, NamedSplit
from filelock import FileLock, Timeout
from tqdm import tqdm

from modeling_lipread.landmarks_lipread import landmarker_path

from .extraction import Chunk, ClipReader, extract_chunk, read_part, start_worker, work
from .plan import Plan, make_plan
from .quality import summarize
from .records import Skip, SourceError
from .schema import features
from .settings import ExtractionSettings, add_arguments, share
from .sources import MANIFEST, describe_formats, read_source
from .splits import GROUPS

REPORT, CORPUS_MARK = "report.json", "dataset_dict.json"
PARTS, RUN, BUILDING = ".parts", "run.json", "building"


class PrepareError(ValueError):
    """A corpus that cannot be prepared; the message names the remedy."""


def prepare(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    allow_outside: bool = False,
    num_proc: int = 1,
    val_ratio: float = 0.1,
    split_by: str = "clip",
    seed: int = 42,
    overwrite: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Extract landmarks and write a corpus.

    Args:
        sources (`Sequence[str | Path]`): JSONL manifests of videos or of landmarks, or corpora.
        output (`str` or `Path`): Folder of the corpus; made if need be.
        format (`str`, *optional*): The sources' format; recognised by default.
        options (`Mapping[str, str]`, *optional*): Settings of the format.
        allow_outside (`bool`): Take files that lie outside a source's folder too.
        num_proc (`int`): Worker processes; 1 works in this process.
        val_ratio (`float`): Share for validation where a single source is divided.
        split_by (`str`): What that division keeps on one side: see `data.splits.split_records`.
        seed (`int`): Seed of that division.
        overwrite (`bool`): Make the corpus anew even if the folder holds one, of whatever manifests and settings. The
            older one stays readable until the new one takes its place.
        **settings: Those of `data.settings.ExtractionSettings`: which face is followed, and which clips are skipped.

    Returns:
        `dict`: The report, as written to ``report.json``.

    Raises:
        FileNotFoundError, ValueError: If MediaPipe's face model is missing or another one.
        SourceError: If a source cannot be used.
        PrepareError: If the output folder holds something else or every clip was skipped.
    """
    output = Path(output)
    landmarker_path()
    read = [read_source(path, format, options, allow_outside) for path in sources]
    for source in read:
        if source.recognised and source.format != MANIFEST:
            print(f"{source.name}: recognised as {source.format}, {len(source.records):,} clips", file=sys.stderr)
    plan = make_plan(read, output / PARTS, val_ratio, seed, ExtractionSettings(**settings), split_by)
    _check_output(output, plan, overwrite)
    (output / PARTS).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / PARTS / "lock", timeout=0):
            _claim_parts(output / PARTS, plan)
            if _is_made_from(output, plan) and not overwrite:
                report = _read_json(output / REPORT)
            else:
                _extract(list(itertools.chain.from_iterable(plan.chunks.values())), num_proc)
                report = _assemble(plan, output)
            shutil.rmtree(output / PARTS)
    except Timeout:
        raise PrepareError(f"{output}: another data.prepare is at work in this folder; wait until it ends") from None
    return report


def _check_output(output: Path, plan: Plan, overwrite: bool) -> None:
    """Refuse a folder that holds anything but this corpus or an unfinished run of it."""
    if output.exists() and not output.is_dir():
        raise PrepareError(f"{output}: is a file; choose a folder")
    report = _read_json(output / REPORT)
    ours = (output / PARTS).is_dir() or "fingerprint" in report
    if not ours and output.exists() and any(output.iterdir()):
        raise PrepareError(f"{output}: holds files that data.prepare did not write; choose another folder")
    # A run that was begun but not finished counts before the corpus it may be replacing.
    holds = _read_json(output / PARTS / RUN) or report
    if holds and holds["fingerprint"] != plan.fingerprint and not overwrite:
        raise PrepareError(
            f"{output}: was made from other manifests, clips or settings ({', '.join(holds['manifests'])}); choose "
            "another folder, or give --overwrite to replace it"
        )


def _claim_parts(parts: Path, plan: Plan) -> None:
    """Write down whose parts these are; of an earlier run's keep those that still fit."""
    write_json(parts / RUN, {"fingerprint": plan.fingerprint, "manifests": plan.manifests})
    wanted = {chunk.part.name for chunks in plan.chunks.values() for chunk in chunks}
    for path in parts.glob("*.arrow*"):
        if path.name not in wanted:
            path.unlink()


def _is_made_from(output: Path, plan: Plan) -> bool:
    finished = (output / CORPUS_MARK).is_file()
    return finished and _read_json(output / REPORT).get("fingerprint") == plan.fingerprint


def _extract(chunks: list[Chunk], num_proc: int) -> None:
    """Extract the chunks whose part is not there yet."""
    todo = [chunk for chunk in chunks if not chunk.part.is_file()]
    total, left = (sum(len(chunk.records) for chunk in some) for some in (chunks, todo))
    with tqdm(total=total, initial=total - left, unit="clip", desc="Extracting landmarks") as progress:
        if num_proc == 1:
            _extract_here(todo, progress)
        elif todo:
            _extract_in_workers(todo, min(num_proc, len(todo)), progress)


def _extract_here(chunks: list[Chunk], progress: tqdm) -> None:
    reader = ClipReader()
    try:
        for chunk in chunks:
            extract_chunk(chunk, reader)
            progress.update(len(chunk.records))
    finally:
        reader.close()


def _extract_in_workers(chunks: list[Chunk], num_proc: int, progress: tqdm) -> None:
    # MediaPipe's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(num_proc, mp_context=context, initializer=start_worker)
    try:
        for future in as_completed([executor.submit(work, chunk) for chunk in chunks]):
            progress.update(len(future.result().records))
    except BrokenProcessPool:
        lost = [chunk.records[0].where for chunk in chunks if not chunk.part.is_file()][: 2 * num_proc]
        raise PrepareError(
            f"a worker process died (out of memory, or a crash in native code) near {', '.join(lost)}. Finished clips "
            "are kept: run the same command again, with fewer --num_proc if memory is short; if it dies again, take "
            "the clip that kills it out of the manifest."
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _assemble(plan: Plan, output: Path) -> dict[str, Any]:
    """Write splits and report from the parts, beside the old ones, and move them into place."""
    skipped, warnings, summary, dataset = list(plan.skipped), list(plan.warnings), {}, DatasetDict()
    for split, chunks in plan.chunks.items():
        tables, reports = zip(*(read_part(chunk.part) for chunk in chunks), strict=True)
        skipped += [skip for report in reports for skip in report.skipped]
        warnings += [warning for report in reports for warning in report.warnings]
        counts = ("clips", "seconds", "frames", "frames_with_face")
        totals = {name: sum(getattr(report, name) for report in reports) for name in counts}
        if not totals["clips"]:
            warnings.append(f"split {split}: every clip was skipped, so the corpus has no such split")
            continue
        summary[split] = totals | {"face_coverage": totals["frames_with_face"] / totals["frames"]}
        summary[split]["quality"] = summarize(row for table in tables for row in table["quality"].to_pylist())
        dataset[split] = Dataset(
            pa.concat_tables(tables),
            info=DatasetInfo(features=features()),
            split=NamedSplit(split),
            fingerprint=hashlib.sha256(f"{plan.fingerprint}/{split}".encode()).hexdigest()[:16],
        )
    report = {
        "fingerprint": plan.fingerprint,
        "manifests": plan.manifests,
        "splits": summary,
        "skipped": [asdict(skip) for skip in skipped],
        "warnings": warnings,
    }
    if not dataset:
        write_json(output / REPORT, report)
        raise PrepareError(
            f"every clip was skipped, so there is no corpus; {output / REPORT} says why. The first: {skipped[0]}"
        )
    building = output / PARTS / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    dataset.save_to_disk(building)
    _move_into_place(building, output, list(dataset), report)
    return report


def _move_into_place(building: Path, output: Path, splits: list[str], report: dict[str, Any]) -> None:
    """Swap the finished corpus in. Its mark goes first and comes last, so half a corpus never loads."""
    mark = output / CORPUS_MARK
    older = _read_json(output / REPORT).get("splits", {})
    mark.unlink(missing_ok=True)
    for split in {*older, *splits}:
        shutil.rmtree(output / split, ignore_errors=True)
    for split in splits:
        os.replace(building / split, output / split)
    write_json(output / REPORT, report)
    os.replace(building / CORPUS_MARK, mark)


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none, or if it was cut off by a crash."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file that appears whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


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
    parser = argparse.ArgumentParser(
        prog="python -m data.prepare",
        description=__doc__,
        epilog=f"formats:\n{describe_formats()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="JSONL manifest, or folder of a corpus")
    parser.add_argument("--output", required=True, help="folder of the corpus")
    parser.add_argument("--format", metavar="NAME", help="the sources' format (default: recognised, see below)")
    parser.add_argument(
        "--option", action="append", default=[], type=_setting, metavar="NAME=VALUE", help="a setting of the format"
    )
    parser.add_argument(
        "--allow_outside", action="store_true", help="take files that lie outside a source's folder too"
    )
    parser.add_argument("--num_proc", type=_positive, default=1, help="worker processes (default: 1)")
    parser.add_argument("--val_ratio", type=share, default=0.1, help="validation's share of a single source (0.1)")
    parser.add_argument(
        "--split_by", choices=GROUPS, default="clip", help="what that division keeps on one side (clip)"
    )
    parser.add_argument("--seed", type=int, default=42, help="seed of that division (42)")
    parser.add_argument("--overwrite", action="store_true", help="replace a corpus made from something else")
    add_arguments(parser)
    options = vars(parser.parse_args(arguments))
    output = options["output"]
    try:
        report = prepare(options.pop("sources"), options=dict(options.pop("option")), **options)
    except (SourceError, PrepareError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; finished clips are kept, run the same command again to continue", file=sys.stderr)
        sys.exit(130)
    print(format_summary(report))
    print(f"corpus: {output} (details in {Path(output) / REPORT})")


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return number


def _setting(value: str) -> tuple[str, str]:
    name, equals, content = value.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{value!r} is not NAME=VALUE")
    return name, content


if __name__ == "__main__":
    main()
