# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Two ways to the same result, timed side by side, and the rows of the table that come of it."""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass
class Row:
    """A line of the table.

    Args:
        name: What was measured.
        baseline: The baseline's figure.
        ours: Ours.
        unit: Of both; what ends in `/s` is better large, everything else small.
        goal: What the ratio should come to; `None` if it is only reported.
        at_most: Whether the ratio says how many times the baseline's cost ours is, and the goal is its limit. If not,
            it says how many times better ours is, and the goal is the least.
    """

    name: str
    baseline: float
    ours: float
    unit: str = "ms"
    goal: float | None = None
    at_most: bool = False

    @property
    def ratio(self) -> float:
        upside_down = self.at_most or self.unit.endswith("/s")
        return self.ours / self.baseline if upside_down else self.baseline / self.ours

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def as_dict(self) -> dict:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long one call takes, the device's queue emptied before and after."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def side_by_side(
    baseline: Callable[[], object], ours: Callable[[], object], device: torch.device, repeats: int
) -> tuple[float, float]:
    """Median milliseconds of both, called in turns after a warm-up of each, so that a busy moment strikes both."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        # The one that goes first changes: caches are warm for the second.
        for which in ((0, 1), (1, 0))[repeat % 2]:
            taken = seconds((baseline, ours)[which], device)
            if repeat:
                times[which].append(taken * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def peak_mebibytes(run: Callable[[], object], device: torch.device) -> float:
    """Memory that a call takes at most beyond what was in use before, in MiB. On a processor once a process only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    before = _most_memory()
    run()
    return (_most_memory() - before) / 2**10


def _most_memory() -> int:
    """The most memory this process has held so far, in KiB."""
    try:  # what getrusage gives on Linux starts from the parent's
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_fresh_process(module: str, *arguments: str) -> float:
    """The number that a module prints last, run in a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return float(result.stdout.split()[-1])
