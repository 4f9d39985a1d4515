# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures encoder, decoding, training and reading against baselines and prints one table.

    python -m benchmarks.run                                          # everything; about ten minutes on two cores
    python -m benchmarks.run --only forward,decoding --device cuda

Baseline and ours have the same weights and are checked to give the same output, within 1e-4 in float32. They alternate
in one process; a figure is the median of `--repeats` runs. Let nothing else run meanwhile.
"""

import argparse
import sys

import torch
import transformers

from .decoding import decoding_rows, training_rows
from .encoding import forward_rows, train_rows
from .measure import report
from .reading import reading_rows

ENCODER_PARTS = {"forward": forward_rows, "train": train_rows, "reading": reading_rows}
LANGUAGE_MODEL_PARTS = {"decoding": decoding_rows, "training": training_rows}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status is 1 if a goal was missed."""
    everything = [*ENCODER_PARTS, *LANGUAGE_MODEL_PARTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(everything), help=f"parts to run, of {', '.join(everything)}")
    parser.add_argument("--model_id", default="HuggingFaceTB/SmolLM2-135M", help="language model to decode with")
    parser.add_argument("--device", default="cpu", type=torch.device, help="torch device (default: cpu)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median counts (default: 5)")
    parser.add_argument("--frames", type=int, default=75, help="frames of a clip (default: 75, 3 s)")
    parser.add_argument("--output", default="benchmark.json", help="JSON file to write (default: benchmark.json)")
    options = parser.parse_args(arguments)
    parts = options.only.split(",")
    if unknown := sorted(set(parts) - set(everything)):
        parser.error(f"--only: unknown {', '.join(unknown)}; the parts are {', '.join(everything)}")
    transformers.utils.logging.disable_progress_bar()
    rows = []
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        if part in ENCODER_PARTS:
            rows += ENCODER_PARTS[part](options.device, options.repeats, options.frames)
        else:
            rows += LANGUAGE_MODEL_PARTS[part](options.model_id, options.device, options.repeats)
    return report(rows, options.device, options.output)


if __name__ == "__main__":
    sys.exit(main())
