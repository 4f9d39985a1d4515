# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Which videos files, folders and patterns stand for, each with a name for what is made of it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

# What folders are searched for; a file given by its name may be called anything.
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .dv .f4v .flv .m2ts .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogv .ts .vob .webm "
    ".wmv".split()
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none to look into: `._clip.mp4` is what macOS notes of `clip.mp4`, and no video."""
    return name.startswith(".")


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not any(is_hidden(part) for part in path.parts)


def find_videos(given: Sequence[str]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The videos that files, folders and patterns stand for.

    Args:
        given: Paths of files, of folders (searched with all that is in them, but for what is hidden), and patterns
            such as `talks/**/*.mp4`.

    Returns:
        Each video once, with a relative path to name its output by, different from all others; and what is wrong with
        those that stand for nothing.
    """
    found: dict[str, tuple[Path, Path]] = {}
    errors = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            videos = sorted(file for file in path.rglob("*") if _is_video(file.relative_to(path)) and file.is_file())
            if not videos:
                errors.append(f"{name}: no video in this folder")
            pairs = [(file, file.relative_to(path)) for file in videos]
        elif glob.has_magic(name) and not path.exists():
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
            pairs = [(file, Path(file.name)) for file in matches if file.is_file()]
            if not pairs:
                errors.append(f"{name}: no file matches this pattern")
        else:
            pairs = [(path, Path(path.name))]  # one that is missing is told of when it is read
        for file, output in pairs:
            found.setdefault(os.path.realpath(file), (file, output))
    return _named_apart(list(found.values())), errors


def _named_apart(videos: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Videos with the names of their outputs; if two are alike all keep their folders, and suffixes if need be."""
    names = [output.with_suffix("") for _, output in videos]
    if _some_alike(names):
        paths = [Path(os.path.realpath(file)) for file, _ in videos]
        common = os.path.commonpath([path.parent for path in paths])
        whole_names = [path.relative_to(common) for path in paths]
        names = [name.with_suffix("") for name in whole_names]
        if _some_alike(names):
            names = whole_names
    return [(file, name) for (file, _), name in zip(videos, names, strict=True)]


def _some_alike(names: list[Path]) -> bool:
    return len({str(name).casefold() for name in names}) < len(names)  # some file systems do not tell case apart
