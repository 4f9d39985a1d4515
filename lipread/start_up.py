# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What every command does before it loads the libraries: threads that yield to other programs, and faster imports."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

MAX_THREADS = 8  # more gain nothing on matrices of a reader's size
# Rounds in which a thread without work waits actively, a few microseconds. By default OpenMP's threads wait so for
# milliseconds, and as soon as another program needs a core, they take it from the threads that they are waiting for.
SPIN_COUNT = 1000


def usable_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(most: int = MAX_THREADS) -> None:
    """Sets the number of OpenMP threads, at most `most`, and how they wait, unless the user's environment does.

    OpenMP reads these variables once, when PyTorch is loaded, so this must be called before. Processes that this one
    starts inherit them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(most, usable_cores()))))
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)  # of GNU's OpenMP, more exact than the policy


@contextmanager
def quick_imports() -> Iterator[None]:
    """Imports libraries without garbage collection, which would search their lasting objects again and again.

    It takes a fifth of the time that PyTorch and transformers need. Later collections leave these objects out.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
