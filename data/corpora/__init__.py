# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Formats of corpora, one module each, named as ``data.prepare --format``; CONTRIBUTING.md shows how to add one.

A module has `recognise(folder)` and `read(folder, *, option=default)`, whose options `--option` sets. A module with
``IS_FALLBACK = True`` is recognised only if no other is. One with ``ALIGNMENT_SUFFIX`` and ``parse_words(text, name)``
serves the key ``align`` of manifests. The first line of its docstring appears in ``--help``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..files import DiskList
from ..sources.folder import Folder, read_text
from ..sources.manifest import read_manifest
from ..sources.records import SourceError, TranscriptError, Word, collect

MANIFEST = "manifest"


def formats() -> dict[str, ModuleType]:
    """Returns the modules of this package by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def read_alignment(path: Path) -> list[Word]:
    """Returns the words of an alignment file, whose suffix names the format; raises `TranscriptError`."""
    modules = [module for module in formats().values() if hasattr(module, "ALIGNMENT_SUFFIX")]
    parsers = {module.ALIGNMENT_SUFFIX: module.parse_words for module in modules}
    suffix = path.suffix.lower()
    if suffix not in parsers:
        raise TranscriptError(f"{path.name}: word alignments end in {', '.join(parsers)}")
    return parsers[suffix](read_text(path, path.name), path.name)


@dataclass
class Source:
    """The clips of a manifest or corpus; `records` and `skips` are in the order of the source."""

    name: str  # of the file or folder
    split: str
    format: str  # "manifest" or a module of `data.corpora`
    recognised: bool  # whether the format was recognised, not given
    records: DiskList
    skips: DiskList


def read_source(
    path: str | Path, format: str | None = None, options: Mapping[str, str] | None = None, allow_outside: bool = False
) -> Source:
    """Reads a manifest or a folder, with the arguments of the command line.

    Raises `SourceError` if the source cannot be read, its format is unknown or ambiguous, it has no usable clip, or
    the format has no such option.
    """
    path, options = Path(path), options or {}
    recognised = format is None
    format = recognise(path) if format is None else format
    if format == MANIFEST:
        if options:
            raise SourceError(f"{path}: a manifest has no options ({', '.join(options)})")
        records, skips = read_manifest(path, allow_outside=allow_outside)
        return Source(path.name, path.stem, format, recognised, records, skips)
    if format not in formats():
        raise SourceError(f"there is no format {format!r}; there are {MANIFEST}, {', '.join(formats())}")
    module = formats()[format]
    folder = Folder(path, allow_outside)
    records, skips = collect(module.read(folder, **_check_options(module, format, options)))
    if not records:
        shown = "".join(f"\n  {skip}" for skip in skips[:5])
        raise SourceError(f"{path}: no usable clip in the format {format} ({len(skips)} unusable).{shown}")
    return Source(folder.name, folder.name, format, recognised, records, skips)


def recognise(path: Path) -> str:
    """Returns the format of a source by its content; raises `SourceError` if none fits a folder, or several do."""
    if not path.is_dir():
        return MANIFEST
    folder = Folder(path)
    matching = [name for name, module in formats().items() if module.recognise(folder)]
    certain = [name for name in matching if not getattr(formats()[name], "IS_FALLBACK", False)]
    if len(certain or matching) == 1:
        return (certain or matching)[0]
    if matching:
        raise SourceError(f"{path}: could be {' or '.join(certain or matching)}; say which with --format NAME")
    raise SourceError(
        f"{path}: no format recognised; say which with --format NAME ({', '.join(formats())}), or give a manifest"
    )


def _check_options(module: ModuleType, format: str, options: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the options; raises SourceError for one that is no keyword argument of the format's `read`."""
    known = inspect.getfullargspec(module.read).kwonlydefaults or {}
    if unknown := [name for name in options if name not in known]:
        raise SourceError(f"the format {format} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    return options


def describe_formats() -> str:
    """Returns a line for each format, for ``--help``."""
    lines = {MANIFEST: "JSONL manifests (see data/sources/manifest.py)."}
    lines |= {name: inspect.getdoc(module).splitlines()[0] for name, module in formats().items()}
    return "\n".join(f"  {name:<10} {line}" for name, line in lines.items())
