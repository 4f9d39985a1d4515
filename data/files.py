# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Atomic writes, JSON files, and the error of a full disk."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

_DISK_FULL = {
    errno.ENOSPC: "the disk is full ({room}); free space there",
    errno.EDQUOT: "your quota is used up; free space there, or have it raised",
    errno.EFBIG: "a file became longer than the file system or `ulimit -f` allows; raise the limit",
}


class PrepareError(ValueError):
    """Raised for a corpus that cannot be prepared; the message names the remedy."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that replaces it in the end, or is removed after an error."""
    # A random name: machines that share a file system may have processes with the same id.
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `folder` in the end, or is removed after an error, or by the next process.

    Raises `filelock.Timeout` while another process makes the same folder.
    """
    beside = folder.with_name(f".{folder.name}.building")
    beside.mkdir(parents=True, exist_ok=True)
    with FileLock(beside / "lock", timeout=0):
        shutil.rmtree(beside / "new", ignore_errors=True)
        (beside / "new").mkdir()
        try:
            yield beside / "new"
            exchange(beside / "new", folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def exchange(new: Path, folder: Path) -> None:
    """Moves a folder into the place of another, which takes its place; in one step where the system has a call."""
    if not folder.exists():
        os.replace(new, folder)
        return
    with contextlib.suppress(AttributeError):  # not Linux
        at_here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fs.h
        if not ctypes.CDLL(None).renameat2(at_here, os.fsencode(new), at_here, os.fsencode(folder), swap):
            return
    old = new.with_name(f"{new.name}.old")  # elsewhere, and on file systems that cannot: nothing is there for a moment
    os.replace(folder, old)
    os.replace(new, folder)
    os.replace(old, new)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; an empty one if there is no file, or a crash truncated it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def disk_full(error: OSError, folder: Path, needed: int) -> PrepareError | None:
    """Returns the error to raise if `error` means that the disk has no room for the `needed` bytes; otherwise None."""
    if error.errno not in _DISK_FULL:
        return None
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed_text, free = (
        f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
        for size in (needed, shutil.disk_usage(existing).free)
    )
    room = f"about {needed_text} more are needed and {free} are free" if needed else "no room is left"
    again = f"{_DISK_FULL[error.errno].format(room=room)} and run the same command again"
    return PrepareError(f"{folder}: {again}. Finished clips are kept, nothing half-written is.")
