# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Builds a corpus from parts; killed at any moment, or out of disk space, the same command continues."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, DatasetInfo, NamedSplit
from filelock import FileLock, Timeout

from ..files import DiskList, PrepareError, disk_full, exchange, read_json, write_json
from ..schema import features, split_size
from ..sources.records import Skip
from .extraction import read_part

REPORT, CORPUS_MARK = "report.json", "dataset_dict.json"
PARTS, RUN, BUILDING, LOCK = ".parts", "run.json", "building", "lock"


@dataclass(frozen=True)
class Layout:
    """Contents of a corpus."""

    manifests: list[str]  # file names
    parts: dict[str, list[str]]  # file names of each split's parts, in order
    skipped: Sequence[dict[str, Any]]  # while the sources were read, each a `Skip` as a dictionary
    warnings: Sequence[str]  # about the sources

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the content: the names of parts are hashes of theirs."""
        return hashlib.sha256(json.dumps([self.manifests, self.parts]).encode()).hexdigest()


def build(
    layout: Layout,
    output: Path,
    overwrite: bool,
    extract: Callable[[], None] | None = None,
    find_part: Callable[[str], Path] | None = None,
) -> dict[str, Any]:
    """Builds the corpus in its folder, unless it is already there; returns the content of ``report.json``.

    `extract` writes the missing parts, `find_part` returns the path of a part (default: in `output`'s own parts). The
    parts are deleted, unless clips were skipped for a transient reason, which the next run tries again. Raises
    PrepareError if the folder holds something else, every clip was skipped, or the disk is full.
    """
    parts, report = output / PARTS, read_json(output / REPORT)
    # An unfinished run takes precedence over the corpus that it replaces.
    content = read_json(parts / RUN) or report
    check_output(output, parts.is_dir() or "fingerprint" in report, content, layout, overwrite)
    find_part = find_part or parts.joinpath
    with claimed(parts, layout):
        _retire(_beside(output), output)  # left by a killed run
        finished = (output / CORPUS_MARK).is_file()
        report = read_json(output / REPORT)
        if overwrite or not finished or report.get("fingerprint") != layout.fingerprint or _is_transient(report):
            if extract:
                extract()
            report = _assemble(layout, output, find_part)
        if not extract or not _is_transient(report):
            shutil.rmtree(parts)
    return report


def _is_transient(report: dict[str, Any]) -> bool:
    return any(skip["transient"] for skip in report["skipped"])


def check_output(folder: Path, ours: bool, content: dict[str, Any], layout: Layout, overwrite: bool) -> None:
    """Raises `PrepareError` if a folder holds anything but this corpus or shard, or an unfinished run of it.

    `ours` says whether data.prepare wrote into it, and `content` is its JSON file, which names the layout.
    """
    if folder.exists() and not folder.is_dir():
        raise PrepareError(f"{folder}: is a file; choose a folder")
    if not ours and folder.exists() and any(folder.iterdir()):
        raise PrepareError(f"{folder}: holds files that data.prepare did not write; choose another folder")
    if content and content["fingerprint"] != layout.fingerprint and not overwrite:
        raise PrepareError(
            f"{folder}: was made from other manifests, clips or settings ({', '.join(content['manifests'])}); choose "
            "another folder, or give --overwrite to replace it"
        )


@contextmanager
def claimed(parts: Path, layout: Layout, share: set[str] | None = None) -> Iterator[None]:
    """Locks a folder of parts, marks it with the layout, and deletes parts that are not of it (or a shard's `share`).

    Raises PrepareError if another run has locked the folder, or the disk is full.
    """
    output = parts.parent if parts.name == PARTS else parts
    wanted = {name for names in layout.parts.values() for name in names} if share is None else share
    try:
        parts.mkdir(parents=True, exist_ok=True)
        with FileLock(parts / LOCK, timeout=0):
            write_json(parts / RUN, {"fingerprint": layout.fingerprint, "manifests": layout.manifests})
            for path in parts.glob("*.arrow*"):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
            try:
                yield
            finally:
                for path in parts.glob("*.tmp"):  # left by killed workers
                    path.unlink(missing_ok=True)
    except Timeout:
        raise PrepareError(f"{output}: another data.prepare is at work in this folder; wait until it ends") from None
    except OSError as error:
        # Missing parts have the average size of the others. A corpus needs twice the room: for parts and for splits.
        sizes = [path.stat().st_size for path in parts.glob("*.arrow")]
        missing = len(wanted) * (2 if parts.name == PARTS else 1) - len(sizes)
        if message := disk_full(error, output, missing * sum(sizes) // len(sizes) if sizes else 0):
            raise message from error
        raise


def _assemble(layout: Layout, output: Path, find_part: Callable[[str], Path]) -> dict[str, Any]:
    """Writes splits and report from the parts and moves them into place; returns the report."""
    skipped, warnings, summary, dataset = DiskList(layout.skipped), DiskList(layout.warnings), {}, DatasetDict()
    for split, names in layout.parts.items():
        tables = []
        for name in names:
            table, part = read_part(find_part(name))
            tables.append(table)
            skipped.extend(part["skipped"])
            warnings.extend(part["warnings"])
        about = {"info": DatasetInfo(features=features()), "split": NamedSplit(split)}
        about["fingerprint"] = hashlib.sha256(f"{layout.fingerprint}/{split}".encode()).hexdigest()[:16]
        rows = Dataset(pa.concat_tables(tables), **about)
        if not len(rows):
            warnings.append(f"split {split}: every clip was skipped, so the corpus has no such split")
            continue
        total = split_size(rows)
        summary[split] = asdict(total) | {"face_coverage": total.frames_with_face / total.frames}
        summary[split]["capitals"] = pc.mean(pc.utf8_is_upper(rows.data["text"])).as_py()
        dataset[split] = rows
    report = {"fingerprint": layout.fingerprint, "manifests": layout.manifests, "splits": summary}
    report |= {"skipped": skipped, "warnings": warnings}
    building = output / PARTS / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        write_json(building / REPORT, report)
        if dataset:
            dataset.save_to_disk(building)
        for path in filter(Path.is_file, building.rglob("*")):
            with open(path, "rb") as file:
                os.fsync(file.fileno())  # the parts from which it could be built again are deleted next
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        size = sum(find_part(name).stat().st_size for names in layout.parts.values() for name in names)
        if message := disk_full(error, output, size):
            raise message from error
        raise
    if not dataset:
        os.replace(building / REPORT, output / REPORT)
        reason = f"{output / REPORT} says why. The first: {Skip(**skipped[0])}"
        raise PrepareError(f"every clip was skipped, so there is no corpus; {reason}")
    _move_into_place(building, output, list(dataset))
    return report


def _move_into_place(building: Path, output: Path, splits: list[str]) -> None:
    """Replaces the old corpus, if there is one in a single step; other files in its folder stay."""
    mark, beside = output / CORPUS_MARK, _beside(output)
    if mark.is_file():
        try:
            os.replace(building, beside)
        except OSError:  # the folder is a mount point, or the one above it may not be written
            pass
        else:
            if exchange(beside, output):
                return _retire(beside, output)
            os.replace(beside, building)
    # Where folders cannot be exchanged, the mark is deleted first and written last, so half a corpus never loads.
    older = read_json(output / REPORT).get("splits", {})
    mark.unlink(missing_ok=True)
    for split in {*older, *splits}:
        shutil.rmtree(output / split, ignore_errors=True)
    for split in splits:
        os.replace(building / split, output / split)
    os.replace(building / REPORT, output / REPORT)
    os.replace(building / CORPUS_MARK, mark)


def _beside(output: Path) -> Path:
    return output.with_name(f".{output.name}.replaced")


def _retire(old: Path, output: Path) -> None:
    """Deletes a corpus that was replaced, after moving the other files of its folder to the new one."""
    if old.is_dir():
        corpus = {REPORT, CORPUS_MARK, *read_json(old / REPORT).get("splits", {})}
        for path in old.iterdir():
            if path.name not in corpus and not (output / path.name).exists():
                os.replace(path, output / path.name)
        # Killed from here on, the next run deletes the rest.
        shutil.rmtree(output / PARTS / BUILDING, ignore_errors=True)
        os.replace(old, output / PARTS / BUILDING)
        shutil.rmtree(output / PARTS / BUILDING)
