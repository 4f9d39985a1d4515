# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Formats of corpora, one module each: its name is the name for ``data.prepare --format``.

A module has two functions, and its docstring's first line is what ``--help`` says of it:

    def recognise(folder: Folder) -> bool:
        '''Whether a folder looks like one of this format.'''

    def read(folder: Folder, *, option: int = 1) -> Iterator[Record | Skip]:
        '''The clips, from `folder.clip`, and what is left out, from `folder.skip`, in the folder's order.'''

Keyword arguments of `read` (int, float or str by their defaults) are what ``--option`` sets.

It may have ``IS_FALLBACK = True``, to be recognised only where no other format is, and, for the ``align`` key of
manifests, ``ALIGNMENT_SUFFIX`` and ``read_words(path) -> list[Word]``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType

from ..sources.records import TranscriptError, Word


def formats() -> dict[str, ModuleType]:
    """The modules of this package by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def read_alignment(path: Path) -> list[Word]:
    """The words of a word alignment, in whichever format its suffix says.

    Raises:
        TranscriptError: If the file cannot be used, or no format reads such files.
    """
    readers = {
        module.ALIGNMENT_SUFFIX: module.read_words
        for module in formats().values()
        if hasattr(module, "ALIGNMENT_SUFFIX")
    }
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in readers:
        raise TranscriptError(f"{path.name}: word alignments end in {', '.join(readers)}")
    return readers[suffix](path)
