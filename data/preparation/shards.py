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
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..files import DiskList, PrepareError, read_json, write_json
from .extraction import read_part
from .write import CORPUS_MARK, LOCK, RUN, Layout, build, check_output, claimed

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
    if (output / CORPUS_MARK).is_file():
        raise PrepareError(f"{output}: holds a corpus; give shards a folder of their own")
    content = read_json(folder / RUN)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    # A run that is killed while it writes run.json leaves a temporary file.
    ours = bool(content) or all(name == LOCK or name.endswith(".tmp") for name in found)
    check_output(folder, ours, content, layout, overwrite)
    names = share_of(list(itertools.chain.from_iterable(layout.parts.values())), shard)
    with claimed(folder, layout, set(names)):
        (folder / SHARD).unlink(missing_ok=True)  # marks a finished shard, here an older one
        extract()
        content = {"shard": index, "of": count, "clips": 0, "skipped": DiskList()}
        content |= {f"layout_{item.name}": getattr(layout, item.name) for item in fields(layout)}
        for name in names:
            table, report = read_part(folder / name)
            content["clips"] += len(table)
            content["skipped"].extend(report["skipped"])
        write_json(folder / SHARD, content)
    return content


def merge(folders: Sequence[str | Path], output: str | Path, overwrite: bool = False) -> dict[str, Any]:
    """Merges shards to a corpus; returns its report. The shards stay; they may be deleted afterwards.

    `folders` are those of shards, or hold them. `overwrite` replaces another corpus. Raises PrepareError if a shard is
    missing, unfinished, given twice, or of another corpus, and for the reasons of `build`.
    """
    shards: dict[int, Path] = {}
    first: dict[str, Any] = {}
    for folder in map(Path, folders):
        found = [folder] if (folder / RUN).is_file() else sorted(path.parent for path in folder.glob(f"*/{RUN}"))
        if not found:
            raise PrepareError(f"{folder}: holds no shard; give the --output of the commands that made the shards")
        for path in found:
            content = read_json(path / SHARD)
            if not content:
                raise PrepareError(f"{path}: is not finished; run its command again, it continues")
            corpus = {name: value for name, value in content.items() if name == "of" or name.startswith("layout_")}
            first = first or corpus
            if corpus != first:
                others = f"{next(iter(shards.values()))}, or is not one of {first['of']} shards"
                raise PrepareError(f"{path}: was made from other manifests, clips or settings than {others}")
            if shards.setdefault(content["shard"], path) != path:
                raise PrepareError(f"shard {content['shard']} is given twice: {shards[content['shard']]} and {path}")
    count = first["of"]
    if missing := [str(index) for index in range(1, count + 1) if index not in shards]:
        raise PrepareError(f"of {count} shards there is no finished {', '.join(missing)}")
    layout = Layout(**{item.name: first[f"layout_{item.name}"] for item in fields(Layout)})
    names = itertools.chain.from_iterable(layout.parts.values())
    parts = {name: shards[place % count + 1] / name for place, name in enumerate(names)}
    return build(layout, Path(output), overwrite, find_part=parts.__getitem__)
