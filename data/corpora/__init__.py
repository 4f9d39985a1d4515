# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Formats of corpora, one module each, named as ``data.prepare --format``; CONTRIBUTING.md shows how to add one.

A module has `read(folder, *, option=default)`, whose options `--option` sets. One with ``ALIGNMENT_SUFFIX`` and
``parse_words(text, name)`` serves the key ``align`` of manifests. The first line of its docstring appears in
``--help``.
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
    records: DiskList
    skips: DiskList


def read_source(
    path: str | Path, format: str | None = None, options: Mapping[str, str] | None = None, allow_outside: bool = False
) -> Source:
    """Reads a manifest, or a folder in a format, with the arguments of the command line.

    Raises OSError if a manifest cannot be read, and `SourceError` if there is no such folder, format or option, or no
    usable clip.
    """
    path, options = Path(path), options or {}
    known = ", ".join(formats())
    if format is None:
        if path.is_dir():
            raise SourceError(f"{path}: is a folder; give its format with --format NAME ({known}), or a manifest")
        if options:
            raise SourceError(f"{path}: a manifest has no options ({', '.join(options)})")
        return Source(path.name, path.stem, *read_manifest(path, allow_outside=allow_outside))
    if format not in formats():
        raise SourceError(f"there is no format {format!r}; there are {known}")
    read = formats()[format].read
    accepted = inspect.getfullargspec(read).kwonlydefaults or {}
    if wrong := [name for name in options if name not in accepted]:
        raise SourceError(f"the format {format} has no option {wrong[0]!r}; it has {', '.join(accepted) or 'none'}")
    folder = Folder(path, allow_outside)
    records, skips = collect(read(folder, **options))
    if not records:
        shown = "".join(f"\n  {skip}" for skip in skips[:5])
        raise SourceError(f"{path}: no usable clip in the format {format} ({len(skips)} unusable).{shown}")
    return Source(folder.name, folder.name, records, skips)


def describe_formats() -> str:
    """Returns a line for each format, for ``--help``."""
    lines = {name: inspect.getdoc(module).splitlines()[0] for name, module in formats().items()}
    return "\n".join(f"  {name:<10} {line}" for name, line in lines.items())
