# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures training, reading and live reading on an idle and on a busy machine.

    python -m benchmarks.contention            # about four minutes on two cores, of which nothing else may use any

The busy machine has one busy process for every core. There the threads that `lipread.start_up` chooses are compared
with a single thread, on the idle machine with OpenMP's own choice: a thread a core, which waits actively.
"""

import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch

from lipread.options import BUNDLED_MODEL, load_pipeline
from lipread.start_up import usable_cores

from .decoding import FRAMES, TRAINING_CLIPS
from .live import real_time_factor
from .measure import Row, in_fresh_process, make_parser, report

CLIP = Path(__file__).resolve().parents[1] / "examples" / "clip.mp4"
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SINGLE = {"OMP_NUM_THREADS": "1"}
ACTIVE = {"OMP_NUM_THREADS": str(usable_cores()), "GOMP_SPINCOUNT": "300000"}  # what OpenMP chooses by itself
WORK = {"train": "training step, 16 clips of 3 s", "read": "a clip of 3 s", "live": "a second of live video"}


def milliseconds(work: str, seconds: float) -> float:
    """Returns the median milliseconds of one piece of work with the reader in the package, over some seconds."""
    if work == "live":  # a core is left to the landmarks, as by `lipread live`
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    pipeline = load_pipeline(BUNDLED_MODEL, "cpu")
    if work == "train":
        torch.manual_seed(0)
        model, config = pipeline.model.train(), pipeline.model.config
        keypoints = torch.randn(TRAINING_CLIPS, FRAMES, config.encoder_config.num_landmarks, 3)
        labels = torch.randint(config.get_text_config().vocab_size, (TRAINING_CLIPS, 12))
        optimizer = torch.optim.AdamW(parameter for parameter in model.parameters() if parameter.requires_grad)
        run = partial(_train, optimizer, model, input_ids=labels, labels=labels, keypoints=keypoints)
    elif work == "read":
        run = partial(pipeline, CLIP)
    else:
        run = partial(real_time_factor, pipeline, [CLIP])
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        result = run()
        times.append(result[0] if work == "live" else time.perf_counter() - begun)
    return 1000 * statistics.median(times)


def _train(optimizer: torch.optim.Optimizer, model: torch.nn.Module, **inputs: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(**inputs).loss.backward()
    optimizer.step()


def measure(work: str, seconds: float, variables: dict[str, str]) -> float:
    """Returns `milliseconds` of a process whose threads are set by these environment variables alone."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(variables)
    return in_fresh_process(milliseconds, work, seconds)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status is 1 if a goal was missed."""
    parser = make_parser(__doc__, "benchmark-contention.json")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each figure is measured (default: 6)")
    options = parser.parse_args(arguments)
    rows = []
    for load, others, variables, goal in (("idle", 0, ACTIVE, 1.2), ("busy", usable_cores(), SINGLE, 1.3)):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
        try:
            for work, name in WORK.items():
                times = [measure(work, options.seconds, chosen) for chosen in (variables, {})]
                rows.append(Row(f"{load}: {name}", *times, goal=goal, at_most=True))
        finally:
            for process in busy:
                process.kill()
    return report(rows, torch.device("cpu"), options.output, baseline="idle: OpenMP's own; busy: one thread")


if __name__ == "__main__":
    sys.exit(main())
