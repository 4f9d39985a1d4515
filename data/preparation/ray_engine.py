# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Extracts on a Ray cluster: `python -m data.prepare MANIFEST.jsonl --output corpus/ --engine ray`.

A task extracts one chunk by a worker process of its own (`data.preparation.workers`), so a crash costs one clip here
too, and Ray repeats the task of a lost machine on another. Tasks write their parts to the corpus' folder, which all
machines must see, like the clips, at the same path. The output is the same, byte for byte, as without Ray. The code is
sent with the job.
"""

from __future__ import annotations

import functools
import itertools
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from ..files import PrepareError
from .extraction import Chunk
from .workers import WorkerPool

CHECKOUT = Path(__file__).resolve().parents[2]
LOSSES_ALLOWED = 4  # of processes or machines with the same chunk
PATIENCE = 60.0  # seconds without a finished chunk before a message


@functools.cache
def _pool(clip_timeout: float) -> WorkerPool:
    """Returns the pool of this process, which Ray keeps for further chunks."""
    return WorkerPool(1, clip_timeout)


def extract_chunk(chunk: Chunk, clip_timeout: float) -> int:
    """Extracts a chunk in a task, and returns the number of its clips."""
    return sum(_pool(clip_timeout).extract([chunk]))


def extract_on_ray(chunks: list[Chunk], num_proc: int, clip_timeout: float) -> Iterator[int]:
    """Extracts chunks on the cluster of RAY_ADDRESS, else on one that runs here, else on this machine alone.

    `num_proc` tasks run at a time, each on one processor; 0 means one on each processor of the cluster. Raises
    ImportError without Ray, the errors of a task, and PrepareError if a task is lost repeatedly.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray ({error}): pip install -c constraints.txt -e '.[ray]'") from error
    started = not ray.is_initialized()
    if started:
        packages = [str(CHECKOUT / name) for name in ("data", "lipread", "modeling_lipread")]
        ray.init(runtime_env={"py_modules": packages}, log_to_driver=False, logging_level=logging.ERROR)
    task = ray.remote(num_cpus=1, max_retries=LOSSES_ALLOWED)(extract_chunk)
    count = num_proc or max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(chunks)
    running = {task.remote(chunk, clip_timeout): chunk for chunk in itertools.islice(waiting, count)}
    try:
        while running:
            finished, _ = ray.wait(list(running), timeout=PATIENCE)
            if not finished:
                print("waiting for clips or for a free processor; `ray status` tells more", file=sys.stderr)
            for future in finished:
                chunk = running.pop(future)
                try:
                    progress = ray.get(future)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None  # its own message is a traceback
                except ray.exceptions.RayError as error:
                    raise PrepareError(
                        f"processes on the Ray cluster are lost again and again at the clips from "
                        f"{chunk.records[0].where} on. The last time: {' '.join(str(error).split())[:500]}. Finished "
                        "clips are kept."
                    ) from error
                running |= {task.remote(chunk, clip_timeout): chunk for chunk in itertools.islice(waiting, 1)}
                yield progress
    finally:
        for future in running:
            ray.cancel(future, force=True)
        if started:
            ray.shutdown()
