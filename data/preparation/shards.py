# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""One corpus made by several runs that know nothing of each other, as in an array of cluster jobs:

    python -m data.prepare videos.jsonl --output parts/ --shard 3/16      # one of 16, in any order, on any machine
    python -m data.prepare merge parts/ --output corpus/

Every run lays out the whole corpus and extracts each 16th chunk of it into a folder of its own,
``parts/shard-03-of-16``. Merging checks that the shards are all there and of one corpus, and writes what a single run
would have written, byte for byte.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import PrepareError
from ..sources.records import Skip
from .extraction import read_part_report
from .write import CORPUS_MARK, LOCK, RUN, Layout, build, claimed, read_json, refuse_others, write_json

SHARD = "shard.json"


def parse_shard(value: str) -> tuple[int, int]:
    """``3/16`` as `(3, 16)`; shards are counted from 1."""
    try:
        index, count = map(int, value.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is no shard; write 3/16 for the third of 16") from None
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"there is no shard {value}; they are 1/{count} to {count}/{count}")
    return index, count


def shard_folder(output: Path, shard: tuple[int, int]) -> Path:
    """The folder of a shard."""
    index, count = shard
    return output / f"shard-{index:0{len(str(count))}}-of-{count}"


def share_of(items: list[Any], shard: tuple[int, int]) -> list[Any]:
    """What of a corpus falls to a shard: every n-th, so that long and short manifests are spread evenly."""
    index, count = shard
    return items[index - 1 :: count]


def build_shard(
    layout: Layout, output: Path, shard: tuple[int, int], overwrite: bool, extract: Callable[[], None]
) -> dict[str, Any]:
    """Make a shard in its folder below `output`.

    Args:
        layout (`Layout`): The whole corpus.
        output (`Path`): The folder of all shards.
        shard (`tuple[int, int]`): The i-th of n.
        overwrite (`bool`): Replace what was made from other manifests or settings.
        extract (`Callable`): Makes the parts that are missing.

    Returns:
        `dict`: What ``shard.json`` holds: the shard's figures, and the layout by which it is merged.

    Raises:
        PrepareError: If the folder holds something else, or the disk is full.
    """
    folder = shard_folder(output, shard)
    for path in (output, folder):
        if path.exists() and not path.is_dir():
            raise PrepareError(f"{path}: is a file; choose a folder")
    if (output / CORPUS_MARK).is_file():
        raise PrepareError(f"{output}: holds a corpus; give shards a folder of their own")
    holds = read_json(folder / RUN)
    if not holds and folder.exists() and {path.name for path in folder.iterdir()} - {LOCK}:
        raise PrepareError(f"{folder}: holds files that data.prepare did not write; choose another folder")
    refuse_others(folder, holds, layout, overwrite)
    names = share_of(list(itertools.chain.from_iterable(layout.parts.values())), shard)
    with claimed(folder, layout, set(names)):
        # The mark of a finished shard, which an older one may have left.
        (folder / SHARD).unlink(missing_ok=True)
        extract()
        reports = [read_part_report(folder / name) for name in names]
        index, count = shard
        content = {
            "shard": index,
            "of": count,
            "clips": sum(report.clips for report in reports),
            "skipped": [asdict(skip) for report in reports for skip in report.skipped],
            "layout": asdict(layout),
        }
        write_json(folder / SHARD, content)
    return content


def describe_shard(content: dict[str, Any], output: str | Path, most: int = 20) -> str:
    """The closing words of a shard's run."""
    skipped = [str(Skip(**skip)) for skip in content["skipped"]]
    lines = [f"shard {content['shard']}/{content['of']}: {content['clips']:,} clips", f"skipped: {len(skipped)}"]
    lines += [f"  {skip}" for skip in skipped[:most]]
    if len(skipped) > most:
        lines.append(f"  ... and {len(skipped) - most} more")
    return "\n".join([*lines, f"next, once all are made: python -m data.prepare merge {output} --output CORPUS"])


@dataclass
class _Shard:
    folder: Path
    index: int
    count: int
    layout: Layout


def merge(folders: Sequence[str | Path], output: str | Path, overwrite: bool = False) -> dict[str, Any]:
    """Join shards to a corpus. The shards stay; they may be deleted afterwards.

    Args:
        folders (`Sequence[str | Path]`): Folders of shards, or folders that hold them.
        output (`str` or `Path`): Folder of the corpus; made if need be.
        overwrite (`bool`): Replace a corpus made from something else.

    Returns:
        `dict`: The report, as written to ``report.json``.

    Raises:
        PrepareError: If shards are missing, unfinished, given twice, or of another corpus; the message names each. Or
            if the output folder holds something else, every clip was skipped, or the disk is full.
    """
    shards = _read_shards([Path(folder) for folder in folders])
    layout, count = shards[0].layout, shards[0].count
    folder_of = {shard.index: shard.folder for shard in shards}
    names = itertools.chain.from_iterable(layout.parts.values())
    parts = {name: folder_of[place % count + 1] / name for place, name in enumerate(names)}
    absent = [str(path) for path in parts.values() if not path.is_file()]
    if absent:
        raise PrepareError(f"parts are missing: {_listed(absent)}; run the command of their shards again")
    return build(layout, Path(output), overwrite, find_part=parts.__getitem__)


def _read_shards(folders: Sequence[Path]) -> list[_Shard]:
    """The shards of one corpus in order, all of them.

    Raises:
        PrepareError: See `merge`.
    """
    complaints, shards = [], []
    for folder in folders:
        found = [folder] if (folder / RUN).is_file() else sorted(path.parent for path in folder.glob(f"*/{RUN}"))
        if not found:
            complaints.append(f"{folder}: holds no shard; give what --output was when the shards were made")
        for path in found:
            content = read_json(path / SHARD)
            if content:
                layout = content["layout"]
                layout["skipped"] = [Skip(**skip) for skip in layout["skipped"]]
                shards.append(_Shard(path, content["shard"], content["of"], Layout(**layout)))
            else:
                complaints.append(f"{path}: is not finished; run its command again, it continues")
    if shards:
        first = shards[0]
        for shard in shards[1:]:
            if shard.layout != first.layout:
                complaints.append(
                    f"{shard.folder}: was made from other manifests, clips or settings than {first.folder}"
                )
            elif shard.count != first.count:
                complaints.append(
                    f"{shard.folder}: is one of {shard.count} shards, {first.folder} one of {first.count}"
                )
        folder_of: dict[int, Path] = {}
        for shard in shards:
            if shard.index in folder_of:
                complaints.append(f"shard {shard.index} is given twice: {folder_of[shard.index]} and {shard.folder}")
            folder_of.setdefault(shard.index, shard.folder)
        missing = [str(index) for index in range(1, first.count + 1) if index not in folder_of]
        if missing:
            complaints.append(f"of {first.count} shards there is no finished {_listed(missing)}")
    if complaints:
        raise PrepareError("these shards do not make a corpus:" + "".join(f"\n  {each}" for each in complaints))
    return sorted(shards, key=lambda shard: shard.index)


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
