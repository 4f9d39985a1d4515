# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Extracts chunks in this process, or in worker processes where a crash costs one clip only.

A worker has one clip at a time and its own pipe. If it dies (a fault in native code, lack of memory, or the clip
exceeded its time limit), a new worker extracts the clip again; after a second death the clip is skipped. One death is
no proof: out of memory, the kernel kills the largest process, whatever clip it has.

The pools of the standard library, joblib and loky end as a whole when a worker dies. So does pebble's if the worker is
killed before it has acknowledged a task, since its workers share one pipe and its locks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor

from ..files import PrepareError
from ..sources.records import Record
from .extraction import Chunk, ClipResult, extract_clip, write_part

DEATHS_ALLOWED = 1  # of workers with the same clip, before it is skipped
STARTS_ALLOWED = 3  # of workers in a row that die before they are ready
HOPELESS = 8  # clips lost without a single one extracted: the machine is at fault, not the clips


def worker_context() -> BaseContext:
    """Returns the context in which processes that extract landmarks start.

    Threads do not survive a fork, so workers are not forked from this process. On Linux they are forked
    from a server process that has imported everything, which takes seconds, and never runs a landmarker. Elsewhere
    each starts afresh: system libraries of macOS do not survive a fork either.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # The server imports from its working directory only (python/cpython#117378); elsewhere each worker imports.
    if Path.cwd() == Path(__file__).resolve().parents[2]:
        context.set_forkserver_preload([__name__, "ai_edge_litert.interpreter", "av", "cv2"])
    return context


@dataclass
class _Task:
    """A clip to extract, by its index in the chunk. The tasks of a chunk share `results`."""

    chunk: Chunk
    index: int
    record: Record
    results: list[ClipResult | None]
    deaths: int = 0

    def finish(self, result: ClipResult) -> None:
        """Stores the result, and writes the part after the chunk's last clip."""
        self.results[self.index] = result
        if None not in self.results:
            write_part(self.chunk, self.results)


def _tasks(chunks: Iterable[Chunk]) -> Iterator[_Task]:
    for chunk in chunks:
        results: list[ClipResult | None] = [None] * len(chunk.records)
        yield from (_Task(chunk, index, record, results) for index, record in enumerate(chunk.records))


def extract_here(chunks: Sequence[Chunk]) -> Iterator[int]:
    """Extracts chunks in this process, and yields 1 for each clip. A crash in native code ends the run."""
    with contextlib.closing(Face3DKeypointExtractor()) as extractor:
        for task in _tasks(chunks):
            task.finish(extract_clip(task.record, task.chunk.settings, extractor))
            yield 1


class _Worker:
    """One process and the pipe to it; raises `PrepareError` if the process cannot be started."""

    def __init__(self, clip_timeout: float):
        context = worker_context()
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, clip_timeout), daemon=True)
        try:
            self.process.start()
        except (EOFError, ConnectionError) as error:
            raise PrepareError(
                "the process that starts the worker processes was killed, most likely for want of memory; give fewer "
                "--num_proc and run the same command again. Finished clips are kept."
            ) from error
        far_end.close()  # so that the pipe ends with the process
        self.ready = False
        self.task: _Task | None = None

    def give(self, task: _Task) -> None:
        self.task = task
        with contextlib.suppress(OSError):  # the worker is dead: the next `recv` raises
            self.connection.send((task.record, task.chunk.settings))

    def stop(self) -> None:
        """Kills the process, which writes no files, and closes the pipe."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class WorkerPool:
    """Context manager of worker processes, each killed after `clip_timeout` seconds with one clip; 0: no limit."""

    def __init__(self, num_proc: int, clip_timeout: float = 0.0):
        self.num_proc, self.clip_timeout = num_proc, clip_timeout
        self._workers: list[_Worker] = []
        self._failed_starts = 0  # in a row
        self._lost, self._any_extracted = 0, False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._workers:
            self._workers.pop().stop()

    def extract(self, chunks: Sequence[Chunk]) -> Iterator[int]:
        """Extracts chunks and writes their parts, in any order, and yields 1 for each clip.

        Raises PrepareError if no worker becomes ready, or every clip ends its worker; OSError if a part cannot be
        written; ImportError if a package is missing.
        """
        tasks, again = _tasks(chunks), deque()
        remaining = sum(len(chunk.records) for chunk in chunks)
        while remaining:
            while len(self._workers) < min(self.num_proc, remaining):
                self._workers.append(_Worker(self.clip_timeout))
            for worker in self._workers:
                if worker.ready and worker.task is None and (task := again.popleft() if again else next(tasks, None)):
                    worker.give(task)
            workers = {worker.connection: worker for worker in self._workers}
            for connection in multiprocessing.connection.wait(list(workers)):
                worker = workers[connection]
                task, result = worker.task, self._receive(worker)
                if result is not None:
                    remaining -= 1
                    task.finish(result)
                    yield 1
                elif task is not None:
                    again.append(task)

    def _receive(self, worker: _Worker) -> ClipResult | None:
        """Returns the result of the worker's task; None if it has no task, or the task must be repeated."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._workers.remove(worker)
            worker.process.join(5)  # the pipe closes a moment before the process ends
            worker.stop()
            return self._after_death(worker, worker.process.exitcode)
        if isinstance(message, Exception):
            raise message
        if message is None:
            worker.ready, self._failed_starts = True, 0
        else:
            worker.task, self._any_extracted = None, True
        return message

    def _after_death(self, worker: _Worker, code: int) -> ClipResult | None:
        """Returns the result of the dead worker's task if it is not repeated."""
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > STARTS_ALLOWED:
                raise PrepareError(
                    f"worker processes die while they start ({_cause(code)}); if memory is short, give fewer "
                    "--num_proc; --num_proc 0 works without them and shows what is wrong. Finished clips are kept."
                )
        if worker.task is None:
            return None
        worker.task.deaths += 1
        if worker.task.deaths <= DEATHS_ALLOWED:
            return None
        self._lost += 1
        if self._lost >= HOPELESS and not self._any_extracted:
            raise PrepareError(
                f"each of the first {self._lost} clips ended its worker process ({_cause(code)}), the last of them "
                f"{worker.task.record.where}; LiteRT or the video decoder does not run on this machine, or its "
                "memory is too small for one clip"
            )
        return ClipResult(reason=_reason(code, self.clip_timeout), transient=-code in (signal.SIGALRM, signal.SIGKILL))


def _cause(exitcode: int) -> str:
    """Returns how a process ended, in words."""
    if exitcode >= 0:
        return f"exit status {exitcode}"
    return next((known.name for known in signal.Signals if known == -exitcode), f"signal {-exitcode}")


def _reason(exitcode: int, clip_timeout: float) -> str:
    """Returns why a clip whose workers ended is skipped."""
    cut = "cut it into shorter clips with start and end, or"
    if exitcode == -signal.SIGALRM:
        return f"not read within {clip_timeout:g} seconds, twice; {cut} raise --clip_timeout and run the command again"
    if exitcode == -signal.SIGKILL:
        died = "its worker process was killed (SIGKILL) twice, most likely for want of memory"
        return f"{died}; {cut} give fewer --num_proc and run the command again"
    died = f"its worker process died ({_cause(exitcode)}) twice, of a fault in native code"
    return f"{died}; encode the clip anew, for instance with ffmpeg, or take it out"


def _serve(connection: Connection, clip_timeout: float) -> None:
    """Runs a worker: sends None when it is ready, then a `ClipResult` or an exception for each clip."""
    import cv2  # here, since a process that plans a corpus need not load it

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    # The kernel ends the process when the time limit is over, also within native code.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    extractor = Face3DKeypointExtractor()
    connection.send(None)
    while True:
        try:
            record, settings = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, clip_timeout)
        try:
            answer = extract_clip(record, settings, extractor)
        except Exception as error:
            answer = error
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        connection.send(answer)


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed; otherwise it would wait for clips forever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
