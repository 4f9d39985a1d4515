# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures decoding, training and reading against baselines and prints one table.

    python -m benchmarks.run                                          # everything; about ten minutes on two cores
    python -m benchmarks.run --only decoding training --device cuda

Baseline and ours alternate in one process; a figure is the median of `--repeats` runs. Let nothing else run meanwhile.
"""

import sys

import torch
import transformers

from .decoding import decoding_rows, training_rows
from .measure import make_parser, report
from .reading import reading_rows

PARTS = ("decoding", "training", "reading")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status is 1 if a goal was missed."""
    parser = make_parser(__doc__, "benchmark.json")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run (default: all)")
    parser.add_argument("--model_id", default="HuggingFaceTB/SmolLM2-135M", help="language model to decode with")
    parser.add_argument("--device", default="cpu", type=torch.device, help="torch device (default: cpu)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median counts (default: 5)")
    options = parser.parse_args(arguments)
    transformers.utils.logging.disable_progress_bar()
    rows = []
    for part in options.only:
        print(f"{part} ...", file=sys.stderr, flush=True)
        if part == "reading":
            rows += reading_rows(options.repeats)
        else:
            measure = decoding_rows if part == "decoding" else training_rows
            rows += measure(options.model_id, options.device, options.repeats)
    return report(rows, options.device, options.output)


if __name__ == "__main__":
    sys.exit(main())
