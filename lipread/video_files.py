# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finds the videos that files, folders and patterns on a command line stand for."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

# Folders are searched for these; a file given by its name may have any suffix.
VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .dv .f4v .flv .m2ts .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpe .mpeg .mpg .mts .mxf .ogv .ts .vob .webm "
    ".wmv".split()
)

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder is hidden, such as the `._clip.mp4` that macOS writes beside `clip.mp4`."""
    return name.startswith(".")


def problem_of(name: str | os.PathLike) -> str | None:
    """Returns why a name given for a video names no file, with the remedy; None if it may be a video."""
    text, path = os.fspath(name), Path(name)
    if _ADDRESS.match(text):
        return f"{text}: is an address, not a file; download the video, or give a stream to lipread live --source"
    if path.is_dir():
        return f"{text}: is a folder; give a video in it"
    if path.is_fifo() or path.is_socket():
        return f"{text}: is a pipe, which cannot be searched for its frames; save the video in a file first"
    if path.is_char_device() or path.is_block_device():
        return f"{text}: is a device, not a file; lipread live --source NUMBER reads a camera"
    return None if path.is_file() else f"{text}: no such file; check the path"


def find_videos(given: Sequence[str]) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Finds videos by paths of files, by folders, searched in depth but for hidden files, and by patterns.

    Returns:
        Each video once, with a relative path without suffix for its output, different from all others; and a message
        for each folder or pattern without a video, and for each name that names no file.
    """
    found: dict[str, tuple[Path, Path]] = {}
    errors = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            inside = [(file, file.relative_to(path)) for file in sorted(path.rglob("*")) if file.is_file()]
            videos = [item for item in inside if item[1].suffix.lower() in VIDEO_SUFFIXES]
            videos = [item for item in videos if not any(map(is_hidden, item[1].parts))]
            errors += [] if videos else [f"{name}: no video in this folder"]
        elif glob.has_magic(name) and not path.exists() and not _ADDRESS.match(name):
            matches = sorted(Path(match) for match in glob.glob(name, recursive=True))
            videos = [(file, Path(file.name)) for file in matches if file.is_file()]
            errors += [] if videos else [f"{name}: no file matches this pattern"]
        else:
            problem = problem_of(name)
            videos = [] if problem else [(path, Path(path.name))]
            errors += [problem] if problem else []
        for file, output in videos:
            found.setdefault(os.path.realpath(file), (file, output))
    return list(zip([file for file, _ in found.values()], _output_names(found), strict=True)), errors


def _output_names(videos: dict[str, tuple[Path, Path]]) -> list[Path]:
    """Returns different names for the outputs of videos by real path: with folders and suffixes only if needed."""
    names = [output.with_suffix("") for _, output in videos.values()]
    if not _differ(names):
        common = os.path.commonpath([os.path.dirname(path) for path in videos])
        whole = [Path(path).relative_to(common) for path in videos]
        names = [name.with_suffix("") for name in whole]
        names = names if _differ(names) else whole
    return names


def _differ(names: list[Path]) -> bool:
    return len({str(name).casefold() for name in names}) == len(names)  # some file systems ignore case
