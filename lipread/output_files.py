# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Output files: checked before the work, and written atomically."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_writable(folder: Path) -> None:
    """Creates a folder and a file in it for a moment; raises OSError if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` that replaces it in the end, or is removed after an error.

    An `OSError` without a file name, such as that of a full disk, gets the name of `path`.
    """
    # A random name: machines that share a file system may have processes with the same id.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes a UTF-8 file that appears only when it is complete. Creates its folder.

    Bytes of a file name that are not UTF-8, which Python represents by surrogates, become `\\udc..` escapes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
