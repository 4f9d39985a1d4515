# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Parts to a corpus: splits and report are written beside the old ones and then take their place.

Everything here may be killed at any moment, or find the disk full, and be run again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, DatasetInfo, NamedSplit
from filelock import FileLock, Timeout

from ..errors import PrepareError, disk_full
from ..quality import summarize
from ..schema import features
from ..sources.records import Skip
from .extraction import PartReport, read_part, replacing

REPORT, CORPUS_MARK = "report.json", "dataset_dict.json"
PARTS, RUN, BUILDING, LOCK = ".parts", "run.json", "building", "lock"


@dataclass(frozen=True)
class Layout:
    """What a corpus consists of.

    Attributes:
        manifests (`list[str]`): File names of the manifests.
        parts (`dict[str, list[str]]`): File names of each split's parts, in order.
        skipped (`list[Skip]`): Clips that the manifests rule out.
        warnings (`list[str]`): What the manifests give cause to say.
    """

    manifests: list[str]
    parts: dict[str, list[str]]
    skipped: list[Skip]
    warnings: list[str]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all that decides the content: part names are hashes of theirs."""
        return hashlib.sha256(json.dumps([self.manifests, self.parts]).encode()).hexdigest()


def build(
    layout: Layout,
    output: Path,
    overwrite: bool,
    extract: Callable[[], None] = lambda: None,
    find_part: Callable[[str], Path] | None = None,
) -> dict[str, Any]:
    """Make the corpus in its folder, unless it is there already.

    Args:
        layout (`Layout`): What it consists of.
        output (`Path`): Its folder.
        overwrite (`bool`): Make it anew even if the folder holds one, of whatever manifests and settings.
        extract (`Callable`): Makes the parts that are missing.
        find_part (`Callable`, *optional*): Where a part lies; in `output`'s own parts folder by default.

    Returns:
        `dict`: The report, as written to ``report.json``.

    Raises:
        PrepareError: If the folder holds something else, every clip was skipped, or the disk is full.
    """
    _check_output(output, layout, overwrite)
    parts = output / PARTS
    find_part = find_part or parts.joinpath
    with claimed(parts, layout):
        finished = (output / CORPUS_MARK).is_file()
        report = read_json(output / REPORT)
        if overwrite or not finished or report.get("fingerprint") != layout.fingerprint:
            extract()
            report = _assemble(layout, output, find_part)
        shutil.rmtree(parts)
    return report


def _check_output(output: Path, layout: Layout, overwrite: bool) -> None:
    """Refuse a folder that holds anything but this corpus or an unfinished run of it."""
    if output.exists() and not output.is_dir():
        raise PrepareError(f"{output}: is a file; choose a folder")
    report = read_json(output / REPORT)
    ours = (output / PARTS).is_dir() or "fingerprint" in report
    if not ours and output.exists() and any(output.iterdir()):
        raise PrepareError(f"{output}: holds files that data.prepare did not write; choose another folder")
    # A run that was begun but not finished counts before the corpus it may be replacing.
    refuse_others(output, read_json(output / PARTS / RUN) or report, layout, overwrite)


def refuse_others(folder: Path, holds: dict[str, Any], layout: Layout, overwrite: bool) -> None:
    """Refuse a folder that was made from something else.

    Raises:
        PrepareError: If `holds`, what the folder says of itself, is not `layout`, and must not be replaced.
    """
    if holds and holds["fingerprint"] != layout.fingerprint and not overwrite:
        raise PrepareError(
            f"{folder}: was made from other manifests, clips or settings ({', '.join(holds['manifests'])}); choose "
            "another folder, or give --overwrite to replace it"
        )


@contextmanager
def claimed(parts: Path, layout: Layout, share: set[str] | None = None) -> Iterator[None]:
    """Hold a folder of parts: write down whose they are, and of an earlier run's keep those that still fit.

    Args:
        parts (`Path`): The folder; made if need be. The folder above it is the one that messages name.
        layout (`Layout`): What the parts are for.
        share (`set[str]`, *optional*): Names of those that belong here; all by default.

    Raises:
        PrepareError: If another run holds the folder, or the disk is full.
    """
    output = parts.parent if parts.name == PARTS else parts
    wanted = {name for names in layout.parts.values() for name in names} if share is None else share
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with FileLock(parts / LOCK, timeout=0):
            write_json(parts / RUN, {"fingerprint": layout.fingerprint, "manifests": layout.manifests})
            _remove(path for path in parts.glob("*.arrow*") if path.name not in wanted)
            try:
                yield
            finally:
                _remove(parts.glob("*.tmp"))  # of workers that were ended
    except Timeout:
        raise PrepareError(f"{output}: another data.prepare is at work in this folder; wait until it ends") from None
    except OSError as error:
        # A corpus needs the room twice: for the parts and for the splits made of them.
        if message := disk_full(error, output, _bytes_missing(parts, len(wanted) * (2 if parts.name == PARTS else 1))):
            raise message from error
        raise


def _bytes_missing(parts: Path, wanted: int) -> int:
    """The size of the parts yet to come, guessed from those that are there; 0 if there are none."""
    sizes = [path.stat().st_size for path in parts.glob("*.arrow")]
    return (wanted - len(sizes)) * sum(sizes) // len(sizes) if sizes else 0


def _remove(paths: Iterator[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _assemble(layout: Layout, output: Path, find_part: Callable[[str], Path]) -> dict[str, Any]:
    """Write splits and report from the parts, beside the old ones, and move them into place."""
    skipped, warnings, summary, dataset = list(layout.skipped), list(layout.warnings), {}, DatasetDict()
    size = 0
    for split, names in layout.parts.items():
        paths = [find_part(name) for name in names]
        size += sum(path.stat().st_size for path in paths)
        tables, reports = zip(*map(_read_part, paths), strict=True)
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
            fingerprint=hashlib.sha256(f"{layout.fingerprint}/{split}".encode()).hexdigest()[:16],
        )
    report = {
        "fingerprint": layout.fingerprint,
        "manifests": layout.manifests,
        "splits": summary,
        "skipped": [asdict(skip) for skip in skipped],
        "warnings": warnings,
    }
    building = output / PARTS / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        write_json(building / REPORT, report)
        if dataset:
            dataset.save_to_disk(building)
            _settle(building)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        if message := disk_full(error, output, size):
            raise message from error
        raise
    if not dataset:
        os.replace(building / REPORT, output / REPORT)
        raise PrepareError(
            f"every clip was skipped, so there is no corpus; {output / REPORT} says why. The first: {skipped[0]}"
        )
    _move_into_place(building, output, list(dataset))
    return report


def _read_part(path: Path) -> tuple[pa.Table, PartReport]:
    try:
        return read_part(path)
    except (OSError, TypeError, KeyError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # the disk's fault; Arrow's own complaint of a file that is cut off is an OSError without a number
        raise PrepareError(f"{path}: not a whole part ({error}); delete it and run the same command again") from error


def _settle(folder: Path) -> None:
    """Have the disk hold what was written before the parts, from which it could be made again, are removed."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _move_into_place(building: Path, output: Path, splits: list[str]) -> None:
    """Swap the finished corpus in. Its mark goes first and comes last, so half a corpus never loads."""
    mark = output / CORPUS_MARK
    older = read_json(output / REPORT).get("splits", {})
    mark.unlink(missing_ok=True)
    for split in {*older, *splits}:
        shutil.rmtree(output / split, ignore_errors=True)
    for split in splits:
        os.replace(building / split, output / split)
    os.replace(building / REPORT, output / REPORT)
    os.replace(building / CORPUS_MARK, mark)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none, or if it was cut off by a crash."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file that appears whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
