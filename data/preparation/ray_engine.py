# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Extracts on a Ray cluster: `python -m data.prepare MANIFEST.jsonl --output corpus/ --engine ray`.

Each actor extracts one chunk at a time; the chunk of a lost actor goes to another. An actor has one worker process
(see `data.preparation.workers`), so a crash costs one clip here too. Actors write their parts to the corpus' folder,
which all machines must see, like the clips, at the same path. The output is the same, byte for byte, as without Ray.
The code is sent with the job.

Ray Data's actor pool would be less code, but it restarts actors forever and keeps their blocks waiting: if a lost
machine is not replaced, the run never ends.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import PrepareError
from .extraction import Chunk
from .workers import Progress, WorkerPool

CHECKOUT = Path(__file__).resolve().parents[2]
LOSSES_ALLOWED = 4  # actors lost with the same chunk, or while they start
PATIENCE = 60.0  # seconds without an actor before a message


class ChunkExtractor:
    """Extracts chunks in an actor, by one worker process."""

    def __init__(self, clip_timeout: float):
        self.pool = WorkerPool(1, clip_timeout)

    def start(self) -> None:
        """Does nothing; returns as soon as the actor runs."""

    def extract(self, chunk: Chunk) -> Progress:
        steps = list(self.pool.extract([chunk]))
        return len(steps), sum(skipped for _, skipped in steps)


def extract_on_ray(chunks: list[Chunk], num_proc: int, clip_timeout: float) -> Iterator[Progress]:
    """Extracts chunks on the cluster of RAY_ADDRESS, else on one that runs here, else on this machine alone.

    `num_proc` actors have one processor each; 0 means one on each processor of the cluster. Raises ImportError without
    Ray, the errors of an actor, and PrepareError if actors are lost repeatedly.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"--engine ray needs Ray ({error}): pip install -c constraints.txt -e '.[ray]'") from error
    started = not ray.is_initialized()
    if started:
        packages = [str(CHECKOUT / name) for name in ("data", "lipread", "modeling_lipread")]
        ray.init(runtime_env={"py_modules": packages}, log_to_driver=False, logging_level=logging.ERROR)
    actors = _Actors(ray, clip_timeout)
    try:
        count = min(num_proc or int(ray.cluster_resources().get("CPU", 1)), len(chunks))
        yield from actors.extract(chunks, max(count, 1))
    finally:
        for actor, _ in actors.busy.values():
            ray.kill(actor)
        if started:
            ray.shutdown()


class _Actors:
    """Actors with at most one chunk each; a lost one is replaced as soon as the cluster has room."""

    def __init__(self, ray: Any, clip_timeout: float):
        self.ray = ray
        self.kind = ray.remote(num_cpus=1, max_restarts=0)(ChunkExtractor)
        self.clip_timeout = clip_timeout
        self.busy: dict[Any, tuple[Any, Chunk | None]] = {}  # by future; None while an actor starts
        self.losses: Counter[Path | None] = Counter()

    def extract(self, chunks: list[Chunk], count: int) -> Iterator[Progress]:
        waiting = deque(chunks)
        for _ in range(count):
            self._start()
        while waiting or any(chunk for _, chunk in self.busy.values()):
            returned, _ = self.ray.wait(list(self.busy), timeout=PATIENCE)
            if not returned and not any(chunk for _, chunk in self.busy.values()):
                print("waiting for the Ray cluster to have a processor free; `ray status` tells more", file=sys.stderr)
            for future in returned:
                actor, chunk = self.busy.pop(future)
                try:
                    progress = self.ray.get(future)
                except self.ray.exceptions.RayTaskError as error:
                    raise error.cause from None  # its own message is a traceback
                except self.ray.exceptions.RayError as error:
                    self._replace(chunk, waiting, error)
                    continue
                if chunk is not None:
                    yield progress
                if waiting:
                    chunk = waiting.popleft()
                    self.busy[actor.extract.remote(chunk)] = actor, chunk

    def _start(self) -> None:
        actor = self.kind.remote(self.clip_timeout)
        # An actor that waits for room must not hold a chunk.
        self.busy[actor.start.remote()] = actor, None

    def _replace(self, chunk: Chunk | None, waiting: deque[Chunk], error: Exception) -> None:
        part = None if chunk is None else chunk.part
        self.losses[part] += 1
        if self.losses[part] > LOSSES_ALLOWED:
            doing = "while they start" if chunk is None else f"at the clips from {chunk.records[0].where} on"
            raise PrepareError(
                f"actors on the Ray cluster are lost again and again, {self.losses[part]} of them {doing}. The last "
                f"time: {' '.join(str(error).split())[:500]}. Finished clips are kept."
            )
        if chunk is not None:
            waiting.appendleft(chunk)
        self._start()
