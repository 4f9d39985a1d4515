# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Sources of clips: JSONL manifests and the formats of `data.corpora`, chosen by name or recognised."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..corpora import formats
from ..sources.folder import Folder
from ..sources.manifest import read_manifest
from ..sources.records import Record, RecordFile, Skip, SourceError, collect

MANIFEST = "manifest"
_MANIFEST_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass
class Source:
    """The clips of a manifest or corpus.

    Attributes:
        name (`str`): Name of the file or folder.
        split (`str`): What a split made of it is called.
        format (`str`): ``"manifest"`` or a format of `data.corpora`.
        recognised (`bool`): Whether the format was recognised, not given.
        records (`RecordFile`): Usable clips.
        skips (`list[Skip]`): What was left out, and why; both in the order of the source.
    """

    name: str
    split: str
    format: str
    recognised: bool
    records: RecordFile
    skips: list[Skip]


def read_source(
    path: str | Path,
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    allow_outside: bool = False,
) -> Source:
    """Read a manifest or a corpus.

    Args:
        path (`str` or `Path`): A JSONL manifest, a folder, or a transcript that lies beside its video.
        format (`str`, *optional*): ``"manifest"`` or a module of `data.corpora`; recognised by default.
        options (`Mapping[str, str]`, *optional*): Settings of the format, as the command line has them.
        allow_outside (`bool`): Take files that lie outside the source's folder too.

    Raises:
        SourceError: If the source cannot be read, its format is not plain, it has no usable clip, or an option is
            none of the format's.
    """
    path = Path(path)
    recognised = format is None
    format = recognise(path) if format is None else format
    if format == MANIFEST:
        if options:
            raise SourceError(f"{path}: a manifest has no options ({', '.join(options)})")
        records, skips = read_manifest(path, allow_outside=allow_outside)
        return Source(path.name, path.stem, format, recognised, records, skips)
    module = _module(format)
    settings = _settings(module, format, options or {})
    folder = Folder(path, allow_outside)
    records, skips = collect(folder.root, _read(module, folder, settings))
    if not records:
        shown = "".join(f"\n  {skip}" for skip in skips[:5])
        raise SourceError(f"{path}: no usable clip in the format {format} ({len(skips)} unusable).{shown}")
    split = path.stem if folder.is_single else folder.name
    return Source(folder.name, split, format, recognised, records, skips)


def _read(module: ModuleType, folder: Folder, settings: dict[str, Any]) -> Iterator[Record | Skip]:
    for found in module.read(folder, **settings):
        yield from _taken(folder.skipped)
        yield found
    yield from _taken(folder.skipped)


def _taken(skips: list[Skip]) -> list[Skip]:
    taken = skips[:]
    skips.clear()
    return taken


def recognise(path: Path) -> str:
    """The format of a source, by what lies in it.

    Raises:
        SourceError: If no format fits a folder, or several do.
    """
    if path.suffix.lower() in _MANIFEST_SUFFIXES and not path.is_dir() or not path.exists():
        return MANIFEST
    folder = Folder(path)
    matching = [name for name, module in formats().items() if module.recognise(folder)]
    certain = [name for name in matching if not getattr(formats()[name], "IS_FALLBACK", False)]
    if len(certain or matching) == 1:
        return (certain or matching)[0]
    if matching:
        raise SourceError(f"{path}: could be {' or '.join(certain or matching)}; say which with --format NAME")
    if not folder.is_single:
        raise SourceError(
            f"{path}: no format recognised; say which with --format NAME ({', '.join(formats())}), or give a manifest"
        )
    return MANIFEST


def _module(format: str) -> ModuleType:
    if format not in formats():
        raise SourceError(f"there is no format {format!r}; there are {MANIFEST}, {', '.join(formats())}")
    return formats()[format]


def _settings(module: ModuleType, format: str, options: Mapping[str, str]) -> dict[str, Any]:
    """The options in the types of the reader's keyword arguments."""
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(module.read).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    settings = {}
    for name, value in options.items():
        if name not in known:
            raise SourceError(f"the format {format} has no option {name!r}; it has {', '.join(known) or 'none'}")
        try:
            settings[name] = type(known[name])(value)
        except ValueError:
            raise SourceError(
                f"the option {name} of the format {format} is {value!r}; give it like its default, {known[name]!r}"
            ) from None
    return settings


def describe_formats() -> str:
    """A line for each format, for ``--help``."""
    lines = {MANIFEST: "JSONL manifests (see data/sources/manifest.py)."}
    lines |= {name: inspect.getdoc(module).splitlines()[0] for name, module in formats().items()}
    return "\n".join(f"  {name:<10} {line}" for name, line in lines.items())
