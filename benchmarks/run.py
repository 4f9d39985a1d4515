# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures the reader against the obvious implementation and prints one table.

    python -m benchmarks.run                                        # everything; about ten minutes on two cores
    python -m benchmarks.run --only forward,decoding --model_id runs/smollm2
    python -m benchmarks.run --device cuda --output benchmark.json

Both sides have the same weights and are checked to give the same output, within 1e-4 in float32. They run in turns in
one process; a figure is the median of `--repeats` runs. Let nothing else run meanwhile.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

from .ctc_decoding import ctc_decoding_rows
from .decoding import decoding_rows
from .encoding import compile_rows, computes_bfloat16, forward_rows, lips_rows, precision_rows, train_rows
from .measure import Row
from .reading import reading_rows
from .training import training_rows

ENCODER_PARTS = {
    "forward": forward_rows,
    "train": train_rows,
    "lips": lips_rows,
    "bf16": precision_rows,
    "compile": compile_rows,
    "reading": reading_rows,
}
LANGUAGE_MODEL_PARTS = {"decoding": decoding_rows, "ctc_decoding": ctc_decoding_rows, "training": training_rows}


def machine(device: torch.device) -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "bfloat16": computes_bfloat16(device),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(parts: list[str], model_id: str, device: torch.device, repeats: int, frames: int) -> Iterator[Row]:
    """Runs the parts one after the other."""
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        if part in ENCODER_PARTS:
            yield from ENCODER_PARTS[part](device, repeats, frames)
        else:
            yield from LANGUAGE_MODEL_PARTS[part](model_id, device, repeats)


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | baseline | ours | ratio | goal |", "|---|---:|---:|---:|---|"]
    for row in rows:
        goal = "reported" if row.goal is None else f"{'<=' if row.at_most else '>='} {row.goal:g}"
        goal += {None: "", True: ", met", False: ", **missed**"}[row.met]
        figures = [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in (row.baseline, row.ours)]
        lines.append(f"| {row.name} | {figures[0]} {row.unit} | {figures[1]} {row.unit} | {row.ratio:.2f} | {goal} |")
    return "\n".join(lines)


def write(path: str | os.PathLike, result: dict) -> None:
    """Writes JSON; the file is whole or not there."""
    unfinished = Path(f"{path}.{os.getpid()}.tmp")
    unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 if a goal was missed."""
    everything = [*ENCODER_PARTS, *LANGUAGE_MODEL_PARTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(everything), help=f"parts to run, of {', '.join(everything)}")
    parser.add_argument("--model_id", default="HuggingFaceTB/SmolLM2-135M", help="language model to decode with")
    parser.add_argument("--device", default="cpu", type=torch.device, help="torch device (default: cpu)")
    parser.add_argument("--threads", type=int, help="threads of a processor (default: torch's choice)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median counts (default: 5)")
    parser.add_argument("--frames", type=int, default=75, help="frames of a clip (default: 75, 3 s)")
    parser.add_argument("--output", default="benchmark.json", help="JSON file to write (default: benchmark.json)")
    options = parser.parse_args(arguments)
    parts = options.only.split(",")
    if unknown := sorted(set(parts) - set(everything)):
        parser.error(f"--only: unknown {', '.join(unknown)}; there are {', '.join(everything)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    found = machine(options.device)
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n", flush=True)
    rows = list(measure(parts, options.model_id, options.device, options.repeats, options.frames))
    print(table(rows))
    write(options.output, {"machine": found, "rows": [row.as_dict() for row in rows]})
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
