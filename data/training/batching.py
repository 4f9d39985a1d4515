# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Batch samplers and the training DataLoader.

Each sampler depends on seed, epoch and process index alone. A resumed run therefore skips the batches it has already
used without reading them, and processes need no communication to share the clips.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Sampler
from transformers import TrainingArguments
from transformers.trainer_utils import seed_worker

from ..dataset import Clips, ClipStream


class ClipBatchSampler(Sampler[list[int]]):
    """Base class: yields lists of clip indices, equally many for every process and in every epoch."""

    def __init__(self, seed: int, process_index: int = 0, num_processes: int = 1):
        self.seed, self.process_index, self.num_processes, self.epoch = seed, process_index, num_processes, 0

    def set_epoch(self, epoch: int) -> None:
        """Selects the order of an epoch."""
        self.epoch = epoch

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.epoch))


class SpeakerBatchSampler(ClipBatchSampler):
    """Batches in which speakers with few clips are sampled more often; an epoch keeps its length.

    A speaker of `n` clips gets a share in proportion to `n ** (1 - balance)`. No clip is repeated before all clips of
    its speaker have been used. So `balance` 0 uses each clip once, and 1 each speaker equally often. Clips that name
    no speaker count as one more speaker.
    """

    def __init__(self, speakers: Sequence, *, balance: float, batch_size: int, **process):
        super().__init__(**process)
        self.batch_size, self.num_clips = batch_size, len(speakers)
        clips = defaultdict(list)
        for index, speaker in enumerate(speakers):
            clips[speaker].append(index)
        self.clips = [np.array(indices) for indices in clips.values()]
        shares = np.array([len(clips) for clips in self.clips], dtype=float) ** (1 - balance)
        exact = self.num_clips * shares / shares.sum()
        self.quotas = np.floor(exact).astype(int)
        self.quotas[np.argsort(self.quotas - exact, kind="stable")[: self.num_clips - self.quotas.sum()]] += 1

    def __len__(self) -> int:
        return -(-self.num_clips // (self.batch_size * self.num_processes))

    def __iter__(self) -> Iterator[list[int]]:
        generator, drawn = self._generator(), []
        for clips, quota in zip(self.clips, self.quotas, strict=True):
            rounds = [generator.permutation(clips) for _ in range(-(-quota // len(clips)))]
            drawn.append(np.concatenate([clips[:0], *rounds])[:quota])
        order = generator.permutation(np.concatenate(drawn))
        for step in np.resize(order, (len(self), self.num_processes, self.batch_size)):
            yield step[self.process_index].tolist()


class StreamBatchSampler(ClipBatchSampler):
    """Batches of clips from one window of row groups each, for streaming.

    The number of batches must be the same in every epoch, so the seed assigns row groups, of `blocks` clips each, to
    windows once. Each epoch shuffles the windows and the clips in a window. Each process reads a contiguous part of
    that order. A window's last batch may be smaller.
    """

    def __init__(self, blocks: Sequence[int], *, batch_size: int, window: int = 4, **process):
        super().__init__(**process)
        groups = np.split(np.arange(np.sum(blocks)), np.cumsum(blocks)[:-1])
        self.batch_size = batch_size
        order = np.random.default_rng(self.seed).permutation(len(groups)).tolist()
        parts = [order[start : start + window] for start in range(0, len(order), window)]
        self.windows = [np.concatenate([groups[block] for block in part]) for part in parts]

    def __len__(self) -> int:
        return -(-sum(-(-len(clips) // self.batch_size) for clips in self.windows) // self.num_processes)

    def __iter__(self) -> Iterator[list[int]]:
        generator, batches = self._generator(), []
        for window in generator.permutation(len(self.windows)).tolist():
            clips = self.windows[window]
            order = np.argsort(generator.random(len(clips)))
            drawn = np.split(clips[order], range(self.batch_size, len(order), self.batch_size))
            batches += [drawn[batch] for batch in generator.permutation(len(drawn)).tolist()]
        first = self.process_index * len(self)
        for position in range(first, first + len(self)):
            yield batches[position % len(batches)].tolist()


def batch_sampler(clips: Clips, args: TrainingArguments) -> ClipBatchSampler | None:
    """Returns the sampler that the arguments select; `None` for the Trainer's own random order."""
    seed = args.seed if args.data_seed is None else args.data_seed
    process = {"seed": seed, "process_index": args.process_index, "num_processes": args.world_size}
    process["batch_size"] = args.train_batch_size
    if isinstance(clips, ClipStream):
        return StreamBatchSampler(clips.blocks, window=args.stream_window, **process)
    if args.speaker_balance:
        return SpeakerBatchSampler(clips.column("speaker"), balance=args.speaker_balance, **process)
    return None


def train_loader(clips: Clips, sampler: ClipBatchSampler, collator: Callable, args: TrainingArguments) -> DataLoader:
    """Returns the loader of this process's batches, which moves them to its device."""
    loader = DataLoader(
        clips,
        batch_sampler=sampler,
        collate_fn=collator,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
    )
    # The sampler yields this process's batches already: with num_processes=1 accelerate does not divide them again.
    return prepare_data_loader(
        loader, args.device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
    )
