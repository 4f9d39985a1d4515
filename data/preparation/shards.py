# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Makes one corpus by independent runs, for instance an array of cluster jobs:

    python -m data.prepare videos.jsonl --output parts/ --shard 3/16      # one of 16, in any order, on any machine
    python -m data.prepare merge parts/ --output corpus/

Every run plans the whole corpus and extracts each 16th chunk of it into its own folder, ``parts/shard-03-of-16``.
Merging checks that all shards are there and of one corpus, and writes what a single run would write, byte for byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..files import DiskList, PrepareError, read_json, write_json
from .extraction import read_part
from .write import CORPUS_MARK, LOCK, RUN, Layout, build, check_same, claimed

SHARD = "shard.json"


def shard_folder(output: Path, shard: tuple[int, int]) -> Path:
    index, count = shard
    return output / f"shard-{index:0{len(str(count))}}-of-{count}"


def share_of(items: Sequence[Any], shard: tuple[int, int]) -> list[Any]:
    """Returns every n-th item: long and short manifests are spread evenly over the shards."""
    index, count = shard
    return list(items[index - 1 :: count])


def build_shard(
    layout: Layout, output: Path, shard: tuple[int, int], overwrite: bool, extract: Callable[[], None]
) -> dict[str, Any]:
    """Builds a shard of the layout in its folder below `output`, as `build` does; returns its ``shard.json``."""
    folder, (index, count) = shard_folder(output, shard), shard
    for path in (output, folder):
        if path.exists() and not path.is_dir():
            raise PrepareError(f"{path}: is a file; choose a folder")
    if (output / CORPUS_MARK).is_file():
        raise PrepareError(f"{output}: holds a corpus; give shards a folder of their own")
    content = read_json(folder / RUN)
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    # A run that is killed while it writes run.json leaves a temporary file.
    if not content and any(name != LOCK and not name.endswith(".tmp") for name in found):
        raise PrepareError(f"{folder}: holds files that data.prepare did not write; choose another folder")
    check_same(folder, content, layout, overwrite)
    names = share_of(list(itertools.chain.from_iterable(layout.parts.values())), shard)
    with claimed(folder, layout, set(names)):
        (folder / SHARD).unlink(missing_ok=True)  # marks a finished shard, here an older one
        extract()
        content = {"shard": index, "of": count, "clips": 0, "skipped": DiskList()}
        content |= {f"layout_{item.name}": getattr(layout, item.name) for item in fields(layout)}
        for name in names:
            table, report = read_part(folder / name)
            content["clips"] += len(table)
            content["skipped"].extend(map(asdict, report.skipped))
        write_json(folder / SHARD, content)
    return content


def merge(folders: Sequence[str | Path], output: str | Path, overwrite: bool = False) -> dict[str, Any]:
    """Merges shards to a corpus; returns its report. The shards stay; they may be deleted afterwards.

    `folders` are those of shards, or hold them. `overwrite` replaces another corpus. Raises PrepareError if shards are
    missing, unfinished, given twice, or of another corpus (the message names each), and for the reasons of `build`.
    """
    layout, shards = _read_shards([Path(folder) for folder in folders])
    names = itertools.chain.from_iterable(layout.parts.values())
    parts = {name: shards[place % len(shards) + 1] / name for place, name in enumerate(names)}
    if absent := [str(path) for path in parts.values() if not path.is_file()]:
        raise PrepareError(f"parts are missing: {_listed(absent)}; run the command of their shards again")
    return build(layout, Path(output), overwrite, find_part=parts.__getitem__)


def _read_shards(folders: Sequence[Path]) -> tuple[Layout, dict[int, Path]]:
    """Returns the layout of a corpus and the folder of each of its shards; raises PrepareError, see `merge`."""
    complaints: list[str] = []
    shards: dict[int, Path] = {}
    first: dict[str, Any] = {}
    for folder in folders:
        found = [folder] if (folder / RUN).is_file() else sorted(path.parent for path in folder.glob(f"*/{RUN}"))
        if not found:
            complaints.append(f"{folder}: holds no shard; give the --output of the commands that made the shards")
        for path in found:
            content = read_json(path / SHARD)
            if not content:
                complaints.append(f"{path}: is not finished; run its command again, it continues")
                continue
            content["layout"] = Layout(**{item.name: content.pop(f"layout_{item.name}") for item in fields(Layout)})
            first = first or content | {"folder": path}
            if content["layout"] != first["layout"]:
                complaints.append(f"{path}: was made from other manifests, clips or settings than {first['folder']}")
            elif content["of"] != first["of"]:
                complaints.append(f"{path}: is one of {content['of']} shards, {first['folder']} one of {first['of']}")
            elif shards.setdefault(content["shard"], path) != path:
                complaints.append(f"shard {content['shard']} is given twice: {shards[content['shard']]} and {path}")
    missing = [str(index) for index in range(1, first.get("of", 0) + 1) if index not in shards]
    if missing:
        complaints.append(f"of {first['of']} shards there is no finished {_listed(missing)}")
    if complaints:
        raise PrepareError("these shards do not make a corpus:" + "".join(f"\n  {each}" for each in complaints))
    return first["layout"], shards


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
