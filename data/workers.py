# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Worker processes that extract chunks, of which a crash takes one clip and no more.

Each worker has a pipe of its own and says through it which clip it is about to read. When it ends, of a fault in
native code, for want of memory or because the clip outlasted its time, the pipe tells the clip in hand; a fresh worker
does the chunk again, and a clip that has ended two workers is skipped by name. One death alone proves nothing: the
kernel that lacks memory kills the largest process, which may be at an innocent clip.

The pools in the standard library, joblib and loky end as a whole when a worker dies; pebble's replaces the worker, but
its workers share one pipe and one lock, time limits are those of a task, and it does not tell the clip in hand.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

import cv2
import torch

from .errors import PrepareError
from .extraction import Chunk, ClipReader, extract_chunk

DEATHS_ALLOWED = 1  # a clip's, before it is skipped
STARTS_ALLOWED = 3  # of workers that die before they read a clip
HOPELESS = 8  # clips lost, and none read: the machine is at fault, not the clips

Progress = tuple[int, int]  # clips done and, among them, clips skipped since the last one; negative after a death


def worker_context() -> BaseContext:
    """How processes that run MediaPipe begin. Its threads do not survive a fork, so none is forked from this process.

    Importing all that a worker needs takes seconds of a processor. On Linux one process does that, in which no
    landmarker ever runs, and the workers are forked from it. Elsewhere each starts afresh: system libraries of macOS
    do not survive a fork either.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # That process finds modules in the folder it starts in and not where this one found them (python/cpython#117378).
    # From another folder it imports nothing, and every worker imports for itself.
    if Path.cwd() == Path(__file__).resolve().parents[1]:
        context.set_forkserver_preload([__name__, "mediapipe"])
    return context


def extract_here(chunks: Iterable[Chunk]) -> Iterator[Progress]:
    """Extract chunks in this process: no start-up, but a crash in native code ends the run."""
    reader = ClipReader()
    try:
        for chunk in chunks:
            report = extract_chunk(chunk, reader)
            yield len(chunk.records), len(report.skipped)
    finally:
        reader.close()


@dataclass
class _Task:
    """A chunk on its way through the workers."""

    chunk: Chunk
    position: int | None = None  # the clip in hand; None before the first, their number after the last
    skipped: int = 0
    deaths: Counter[int | None] = field(default_factory=Counter)
    lost: dict[int, str] = field(default_factory=dict)

    def advance(self, position: int | None, skipped: int) -> Progress:
        step = (position or 0) - (self.position or 0), skipped - self.skipped
        self.position, self.skipped = position, skipped
        return step


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, clip_timeout: float | None):
        context = worker_context()
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, clip_timeout), daemon=True)
        self.process.start()
        far_end.close()  # so that the pipe ends with the process
        self.task: _Task | None = None

    def stop(self) -> int | None:
        """End the process if need be; its exit code."""
        self.connection.close()
        self.process.join(timeout=5 if self.task is None else 0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


class WorkerPool:
    """Worker processes that extract chunks; a context manager that ends them.

    Args:
        num_proc (`int`): How many.
        clip_timeout (`float`, *optional*): Seconds after which a clip's worker is ended, as if it had crashed.
    """

    def __init__(self, num_proc: int, clip_timeout: float | None = None):
        self.num_proc = num_proc
        self.clip_timeout = clip_timeout
        self._workers: list[_Worker] = []
        self._lost = 0
        self._any_read = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end(list(self._workers))

    def extract(self, chunks: Iterable[Chunk]) -> Iterator[Progress]:
        """Extract chunks and write their parts, in any order.

        Raises:
            PrepareError: If no worker gets as far as reading a clip, or every clip ends its worker.
            OSError, ImportError: What a worker raised that is no fault of a clip.
        """
        waiting = deque(map(_Task, chunks))
        try:
            while waiting or any(worker.task for worker in self._workers):
                self._hand_out(waiting)
                pipes = {worker.connection: worker for worker in self._workers}
                for pipe in multiprocessing.connection.wait(list(pipes)):
                    yield self._receive(pipes[pipe], waiting)
        finally:
            self._end(worker for worker in list(self._workers) if worker.task)  # if something was raised

    def _receive(self, worker: _Worker, waiting: deque[_Task]) -> Progress:
        """Take a worker's next word, or notice its end."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            return self._bury(worker, waiting)
        if isinstance(message, BaseException):
            raise message
        if message is None:
            worker.task = None
            return 0, 0
        position, skipped = message
        self._any_read |= position > sum(lost < position for lost in worker.task.lost)
        return worker.task.advance(position, skipped)

    def _end(self, workers: Iterable[_Worker]) -> None:
        for worker in workers:
            worker.stop()
            self._workers.remove(worker)

    def _hand_out(self, waiting: deque[_Task]) -> None:
        while waiting:
            worker = next((worker for worker in self._workers if worker.task is None), None)
            if worker is None:
                if len(self._workers) == self.num_proc:
                    return
                worker = _Worker(self.clip_timeout)
                self._workers.append(worker)
            worker.task = waiting.popleft()
            try:
                worker.connection.send((worker.task.chunk, worker.task.lost))
            except OSError:
                self._bury(worker, waiting)  # nothing to yield: no clip of the chunk was done

    def _bury(self, worker: _Worker, waiting: deque[_Task]) -> Progress:
        """Note what a dead worker had in hand, and put its chunk first in the queue."""
        self._workers.remove(worker)
        task = worker.task
        worker.task = None  # let it finish ending: the exit code tells why it did
        ending = worker.stop()
        if task is None:
            return 0, 0
        clips = len(task.chunk.records)
        at = task.position if task.position is not None and task.position < clips else None
        task.deaths[at] += 1
        step = task.advance(None, 0)
        waiting.appendleft(task)
        if at is None:
            if task.deaths[at] > STARTS_ALLOWED:
                raise PrepareError(
                    f"worker processes die ({_cause(ending)}) without a clip in hand, at last at "
                    f"{task.chunk.records[0].where}; if memory is short, give fewer --num_proc; --num_proc 0 works "
                    "without them and shows what is wrong. Finished clips are kept."
                )
        elif task.deaths[at] > DEATHS_ALLOWED:
            task.lost[at] = _reason(ending, self.clip_timeout)
            self._lost += 1
            if self._lost >= HOPELESS and not self._any_read:
                raise PrepareError(
                    f"each of the first {self._lost} clips ended its worker process ({_cause(ending)}), at last "
                    f"{task.chunk.records[at].where}; MediaPipe or the video decoder does not run on this machine, or "
                    "its memory is too small for one clip"
                )
        return step


def _cause(ending: int | None) -> str:
    """How a process ended, by its exit code."""
    if ending is None or ending >= 0:
        return f"exit status {ending}"
    try:
        return signal.Signals(-ending).name
    except ValueError:
        return f"signal {-ending}"


def _reason(ending: int | None, clip_timeout: float | None) -> str:
    """Why a clip is skipped that ended its worker."""
    if ending == -signal.SIGALRM and clip_timeout is not None:
        return (
            f"not read within {clip_timeout:g} seconds, twice; cut it into shorter clips with start and end, or raise "
            "--clip_timeout"
        )
    if ending == -signal.SIGKILL:
        return (
            "its worker process was killed (SIGKILL) twice, most likely for want of memory; cut it into shorter clips "
            "with start and end, or give fewer --num_proc"
        )
    return (
        f"its worker process died ({_cause(ending)}) twice, of a fault in native code; encode the clip anew, for "
        "instance with ffmpeg, or take it out"
    )


def _serve(connection: Connection, clip_timeout: float | None) -> None:
    """A worker's life: one thread, one extractor, and an end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    # The kernel ends the process when the clip's time is up, whatever native code it is in.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    reader = ClipReader()

    while True:
        try:
            chunk, lost = connection.recv()
        except EOFError:
            return

        def starting(position: int, skipped: int, clips: int = len(chunk.records)) -> None:
            signal.setitimer(signal.ITIMER_REAL, (clip_timeout or 0.0) if position < clips else 0.0)
            connection.send((position, skipped))

        try:
            extract_chunk(chunk, reader, lost, starting)
        except Exception as error:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            connection.send(error)
        else:
            connection.send(None)


def _end_with_parent() -> None:
    """A worker whose parent was killed would go on, or wait for work for ever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
