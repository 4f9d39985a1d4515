# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Which clips make which batch: alike in length, within a budget of frames, or near each other in a stream.

Every sampler here is a function of seed, epoch and process alone. So a run that goes on from a checkpoint passes over
the batches it has had without reading them, and two processes agree without a word.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

logger = logging.getLogger(__name__)

LENGTH_STEP = 8  # frames within which lengths count as equal, so that neighbours in length change from epoch to epoch


class ClipBatchSampler(Sampler[list[int]]):
    """What the samplers of batches share. Every process has the same number of batches, in every epoch.

    Args:
        seed (`int`): Another seed, other batches.
        process_index, num_processes (`int`): This process among those that share the clips.
    """

    def __init__(self, seed: int, process_index: int = 0, num_processes: int = 1):
        self.seed, self.process_index, self.num_processes, self.epoch = seed, process_index, num_processes, 0

    def set_epoch(self, epoch: int) -> None:
        """Every epoch has an order of its own."""
        self.epoch = epoch

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.epoch))


class _LengthGroups:
    """Clips in the order of their lengths, cut into batches. Where they are cut depends on the lengths alone, so every
    epoch has the same number of them."""

    def __init__(self, lengths: Sequence[int], batch_size: int | None, max_frames: int | None):
        if (batch_size is None) == (max_frames is None):
            raise ValueError("give one of batch_size and max_frames")
        self.steps = -(-np.asarray(lengths) // LENGTH_STEP)
        ordered, bounds = np.sort(self.steps) * LENGTH_STEP, [0]
        for position, length in enumerate(ordered.tolist()):  # lengths rise: a batch's longest clip is its last
            clips = position - bounds[-1]
            if clips and (clips == batch_size or (max_frames is not None and length * (clips + 1) > max_frames)):
                bounds.append(position)
        self.bounds = [*bounds, len(ordered)]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def draw(self, generator: np.random.Generator) -> list[np.ndarray]:
        """The batches, shortest clips first; which of equal length are in which is drawn anew."""
        order = np.lexsort((generator.random(len(self.steps)), self.steps))
        return np.split(order, self.bounds[1:-1])


class LengthBatchSampler(ClipBatchSampler):
    """Batches of clips of nearly one length: so many clips, or as many as fit into a budget of frames.

    The Trainer's own grouping draws from the global random state, which no checkpoint in the middle of an epoch can
    bring back, and has no budget. Lengths are counted in steps of `LENGTH_STEP`; what is of one length is mixed anew
    every epoch, and so is the order of the batches. Batches that several processes take at the same step are
    neighbours in length too, so that none waits long for another.

    Args:
        lengths (`Sequence[int]`): Frames of each clip.
        batch_size (`int`, *optional*): Clips in a batch.
        max_frames (`int`, *optional*): Most frames in a batch, its padding included. A longer clip comes alone.
        seed, process_index, num_processes: As for `ClipBatchSampler`.

    Raises:
        ValueError: If not one of `batch_size` and `max_frames` is given.
    """

    def __init__(
        self, lengths: Sequence[int], *, batch_size: int | None = None, max_frames: int | None = None, **process
    ):
        super().__init__(**process)
        self.groups = _LengthGroups(lengths, batch_size, max_frames)

    def __len__(self) -> int:
        return -(-len(self.groups) // self.num_processes)

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._generator()
        batches = [group.tolist() for group in self.groups.draw(generator)]
        missing = len(self) * self.num_processes - len(batches)
        batches += (batches * missing)[:missing]
        for step in generator.permutation(len(self)).tolist():
            yield batches[step * self.num_processes + self.process_index]


class SpeakerBatchSampler(ClipBatchSampler):
    """Batches in which speakers of few clips are seen more often than they would be.

    An epoch is as long as ever. A speaker of `n` clips has a share of it in proportion to `n ** (1 - balance)`, and
    its clips come in turns: none a second time before all have come once.

    Args:
        speakers (`Sequence`): The speaker of each clip.
        balance (`float`): From 0, every clip once, to 1, every speaker equally often.
        batch_size (`int`): Clips in a batch.
        seed, process_index, num_processes: As for `ClipBatchSampler`.
    """

    def __init__(self, speakers: Sequence, *, balance: float, batch_size: int, **process):
        super().__init__(**process)
        self.batch_size, self.num_clips = batch_size, len(speakers)
        numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(speakers))}
        of_clips = np.array([numbers[speaker] for speaker in speakers])
        self.clips = [np.flatnonzero(of_clips == number) for number in range(len(numbers))]
        shares = np.array([len(clips) for clips in self.clips], dtype=float) ** (1 - balance)
        exact = self.num_clips * shares / shares.sum()
        self.quotas = np.floor(exact).astype(int)
        left = self.num_clips - self.quotas.sum()
        self.quotas[np.argsort(self.quotas - exact, kind="stable")[:left]] += 1

    def __len__(self) -> int:
        return -(-self.num_clips // (self.batch_size * self.num_processes))

    def __iter__(self) -> Iterator[list[int]]:
        generator, drawn = self._generator(), []
        for clips, quota in zip(self.clips, self.quotas, strict=True):
            turns = [generator.permutation(clips) for _ in range(-(-quota // len(clips)))]
            drawn.append(np.concatenate([clips[:0], *turns])[:quota])
        order = generator.permutation(np.concatenate(drawn))
        order = np.resize(order, len(self) * self.batch_size * self.num_processes)
        for step in order.reshape(len(self), self.num_processes, self.batch_size):
            yield step[self.process_index].tolist()


def check_speakers(speakers: Sequence[str | None]) -> None:
    """Makes sure that there is something to balance. Clips that name no speaker count as one more.

    Raises:
        ValueError: If clips name fewer than two speakers.
    """
    named = set(speakers) - {None}
    if len(named) < 2:
        who = f"only {named.pop()!r}" if named else "nobody"
        raise ValueError(f"--speaker_balance: the clips name {who} as their speaker; name them, or leave it out")
    if unknown := sum(speaker is None for speaker in speakers):
        logger.warning("--speaker_balance: %d clips name no speaker and count as of one more", unknown)


class StreamBatchSampler(ClipBatchSampler):
    """Batches of clips that lie near each other in files, for reading them as a stream.

    Row groups come in random order. Each process has its stretch of them, as many clips as every other (the last
    begin anew at the front), and mixes the clips of a window of row groups at a time.

    Args:
        blocks (`Sequence[int]`): Clips in each row group, in the order of their indices.
        batch_size (`int`): Clips in a batch.
        window (`int`): Row groups whose clips are mixed; so many are held in memory.
        seed, process_index, num_processes: As for `ClipBatchSampler`.
    """

    def __init__(self, blocks: Sequence[int], *, batch_size: int, window: int = 4, **process):
        super().__init__(**process)
        self.blocks, self.batch_size, self.window = np.asarray(blocks), batch_size, window

    @property
    def clips(self) -> int:
        """Clips that each process has in an epoch."""
        return -(-int(self.blocks.sum()) // self.num_processes)

    def __len__(self) -> int:
        return -(-self.clips // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._generator()
        starts = np.concatenate([[0], np.cumsum(self.blocks)[:-1]])
        order = generator.permutation(len(self.blocks))
        laid_out = np.concatenate([np.arange(starts[block], starts[block] + self.blocks[block]) for block in order])
        owners = np.repeat(np.arange(len(order)), self.blocks[order])
        mine = np.arange(self.process_index * self.clips, (self.process_index + 1) * self.clips) % len(laid_out)
        windows = owners[mine] // self.window
        bounds = [0, *(np.flatnonzero(np.diff(windows)) + 1).tolist(), len(mine)]
        mixed = np.concatenate(
            [generator.permutation(laid_out[mine[a:b]]) for a, b in zip(bounds, bounds[1:], strict=False)]
        ).tolist()
        for start in range(0, len(mixed), self.batch_size):
            yield mixed[start : start + self.batch_size]


class StreamLengthBatchSampler(ClipBatchSampler):
    """Batches of clips of nearly one length, of which each lies in one window of row groups, for reading as a stream.

    Every process must have the same number of batches, in every epoch, and how many a window has depends on the clips
    in it. So the seed decides once which row groups share a window; each epoch has its own order of windows, of the
    batches in each, and of clips of equal length. A process has a stretch of that order.

    Args:
        blocks (`Sequence[int]`): Clips in each row group, in the order of their indices.
        lengths (`Sequence[int]`): Frames of each clip.
        batch_size, max_frames: As for `LengthBatchSampler`. A window's last batch may be smaller.
        window (`int`): Row groups whose clips are mixed; so many are held in memory.
        seed, process_index, num_processes: As for `ClipBatchSampler`.

    Raises:
        ValueError: If not one of `batch_size` and `max_frames` is given.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        lengths: Sequence[int],
        *,
        batch_size: int | None = None,
        max_frames: int | None = None,
        window: int = 4,
        **process,
    ):
        super().__init__(**process)
        lengths, groups = np.asarray(lengths), np.split(np.arange(len(lengths)), np.cumsum(blocks)[:-1])
        order = np.random.default_rng(self.seed).permutation(len(groups)).tolist()
        self.windows = [
            np.concatenate([groups[block] for block in order[start : start + window]])
            for start in range(0, len(order), window)
        ]
        self.groups = [_LengthGroups(lengths[clips], batch_size, max_frames) for clips in self.windows]

    def __len__(self) -> int:
        return -(-sum(map(len, self.groups)) // self.num_processes)

    def __iter__(self) -> Iterator[list[int]]:
        generator, batches = self._generator(), []
        for window in generator.permutation(len(self.windows)).tolist():
            drawn = self.groups[window].draw(generator)
            batches += [self.windows[window][drawn[batch]] for batch in generator.permutation(len(drawn)).tolist()]
        first = self.process_index * len(self)
        for position in range(first, first + len(self)):
            yield batches[position % len(batches)].tolist()
