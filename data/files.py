# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Atomic writes, JSON files, lists on disk, and the error of a full disk."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pickle
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock

from lipread.output_files import replacing


class PrepareError(ValueError):
    """Raised for a corpus that cannot be prepared or exported; the message names the remedy."""


class DiskList(Sequence[Any]):
    """Values in a temporary file of this process, read on demand.

    Only the byte offset of each value is in memory: 8 MB for a million values. Slices share the file; a pickle has all
    values. Raises PrepareError if the file cannot be written.
    """

    def __init__(self, values: Iterable[Any] = ()):
        self._file, self._offsets, self._size = tempfile.TemporaryFile(), array("q"), 0
        self.extend(values)

    def append(self, value: Any) -> None:
        """Adds a value at the end."""
        self._seek(self._size)
        self._offsets.append(self._size)
        self._size += self._file.write(pickle.dumps(value))

    def _seek(self, place: int) -> None:
        try:
            self._file.flush()
            self._file.seek(place)
        except OSError as error:
            raise PrepareError(
                f"{tempfile.gettempdir()}: cannot hold the list of clips ({error.strerror}); set TMPDIR to a "
                "folder with more room"
            ) from error

    def extend(self, values: Iterable[Any]) -> None:
        """Adds values at the end."""
        for value in values:
            self.append(value)

    def select(self, positions: np.ndarray | slice) -> Self:
        """Returns the values at these positions, in this order."""
        selected = object.__new__(type(self))
        vars(selected).update(vars(self), _offsets=np.asarray(self._offsets)[positions])
        return selected

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.select(index)
        self._seek(int(self._offsets[index]))
        return pickle.load(self._file)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __reduce__(self):
        return tuple, (tuple(self),)


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
            if not folder.exists() or not exchange(beside / "new", folder):
                if folder.exists():
                    os.replace(folder, beside / "old")
                os.replace(beside / "new", folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two folders in one step; returns False if this system or file system cannot."""
    at_here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, TypeError):  # not Linux
        return False
    return rename(at_here, os.fsencode(first), at_here, os.fsencode(second), swap) == 0


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file; an empty one if there is no file, or a crash truncated it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object atomically; the items of a `DiskList` in it are written one by one, a line each."""
    with replacing(path) as beside, open(beside, "w", encoding="utf-8") as file:
        file.write("{")
        for place, (name, value) in enumerate(content.items()):
            file.write(("," if place else "") + f"\n  {json.dumps(name)}: ")
            if isinstance(value, DiskList):
                for number, item in enumerate(value):
                    file.write(("," if number else "[") + f"\n    {json.dumps(item, ensure_ascii=False)}")
                file.write("\n  ]" if len(value) else "[]")
            else:
                file.write(json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n  "))
        file.write("\n}\n")


def disk_full(error: OSError, folder: Path, needed: int) -> PrepareError | None:
    """Returns the error to raise if `error` means that the disk has no room for the `needed` bytes; otherwise None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return None
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    more = f"about {needed / 1e6:,.1f} MB more are needed and " if needed else ""
    return PrepareError(
        f"{folder}: {error.strerror}; {more}{free / 1e6:,.1f} MB are free. "
        "Make room there and run the same command again. Finished clips are kept, nothing half-written is."
    )
