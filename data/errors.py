# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What ends `data.prepare`: every message names the remedy."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

# The disk, a quota, and the longest file that the file system or `ulimit -f` allows.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PrepareError(ValueError):
    """A corpus that cannot be prepared; the message names the remedy."""


def disk_full(error: OSError, folder: Path, needed: int) -> PrepareError | None:
    """The message for a disk that has no more room; None if `error` says something else.

    Args:
        error (`OSError`): What a write raised.
        folder (`Path`): The folder of the corpus or of the shard.
        needed (`int`): Bytes that are still to be written there, as far as known.
    """
    if error.errno not in _NO_ROOM:
        return None
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    room = f"about {_in_words(needed)} more are needed and {_in_words(free)} are free" if needed else "no room is left"
    if error.errno == errno.ENOSPC:
        cause = f"the disk is full ({room}); free space there"
    elif error.errno == errno.EDQUOT:
        cause = "your quota is used up; free space there, or have it raised"
    else:
        cause = "a file became longer than the file system or `ulimit -f` allows; raise the limit"
    return PrepareError(
        f"{folder}: {cause} and run the same command again. Finished clips are kept, nothing half-written is."
    )


def _in_words(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
