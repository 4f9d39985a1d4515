# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Timing of a baseline beside ours, and the table and JSON file of the results."""

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import transformers

CPU_INFO = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""


def make_parser(description: str, output: str | None = None) -> argparse.ArgumentParser:
    """Returns a parser that shows a module's description as it is written; `output` is the JSON file to write."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if output is not None:
        parser.add_argument("--output", default=output, help=f"JSON file to write (default: {output})")
    return parser


@dataclass
class Row:
    """A row of the table: two figures, their ratio, and its goal (`None` if it is only reported).

    Units that end in `/s` are better large, all others small. The ratio is how many times better ours is, and the goal
    its lower limit; with `at_most` it is our cost over the baseline's, and the goal its upper limit.
    """

    name: str
    baseline: float
    ours: float
    unit: str = "ms"
    goal: float | None = None
    at_most: bool = False

    @property
    def ratio(self) -> float:
        ours_first = self.at_most or self.unit.endswith("/s")
        return self.ours / self.baseline if ours_first else self.baseline / self.ours

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def as_markdown(self) -> str:
        goal = "reported" if self.goal is None else f"{'<=' if self.at_most else '>='} {self.goal:g}"
        goal += {None: "", True: ", met", False: ", **missed**"}[self.met]
        both = [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in (self.baseline, self.ours)]
        return f"| {self.name} | {both[0]} {self.unit} | {both[1]} {self.unit} | {self.ratio:.2f} | {goal} |"


def computes_bfloat16(device: torch.device) -> bool:
    """Returns whether the device has instructions for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cpu" or "avx512_bf16" in CPU_INFO or "amx_bf16" in CPU_INFO


def report(rows: Sequence[Row], device: torch.device, output: str | os.PathLike, baseline="baseline", **facts) -> int:
    """Prints machine, `facts` and rows, writes them as JSON, and returns the exit status, 1 if a goal was missed."""
    known = re.search(r"model name\s*: (.*)", CPU_INFO)
    cpu = known[1] if known else platform.processor() or platform.machine()
    machine = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "threads": torch.get_num_threads(),
        "bfloat16": computes_bfloat16(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        **facts,
    }
    print(", ".join(f"{key} {value}" for key, value in machine.items()), end="\n\n")
    print("\n".join([f"| | {baseline} | ours | ratio | goal |", "|---|---:|---:|---:|---|"]))
    print("\n".join(row.as_markdown() for row in rows))
    result = {"machine": machine, "rows": [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows]}
    Path(output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(any(row.met is False for row in rows))


def side_by_side(
    baseline: Callable[[], object], ours: Callable[[], object], device: torch.device, repeats: int
) -> tuple[float, float]:
    """Returns the median milliseconds of both, which alternate after a warm-up, so that other load slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for which in ((0, 1), (1, 0))[repeat % 2]:  # the order alternates: caches are warm for the second
            start = _now(device)
            (baseline, ours)[which]()
            times[which].append((_now(device) - start) * 1000)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_mebibytes() -> float:
    """Returns the peak memory of this process, on Linux, where getrusage includes the peak of the parent process."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) / 2**10


def in_fresh_process(function: Callable, *arguments: object) -> Any:
    """Returns what a function of a module returns in a process of its own, which imports everything anew."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()
