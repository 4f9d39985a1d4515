# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Batches: all clips once, the same number for every process, and nothing but seed, epoch and process decides them."""

import itertools
from collections import Counter
from functools import partial

import numpy as np
import pytest

from data.training.batching import SpeakerBatchSampler, StreamBatchSampler

BLOCKS = [16] * 7 + [5, 16, 9]
stream = partial(StreamBatchSampler, BLOCKS, seed=3, batch_size=8, window=2)


def test_one_process_takes_every_clip_once_and_another_order_each_epoch():
    sampler, epochs = stream(), []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
        assert sorted(itertools.chain.from_iterable(epochs[-1])) == list(range(sum(BLOCKS)))
        assert len(epochs[-1]) == len(sampler)
    assert epochs[0] != epochs[1] != epochs[2]
    assert {tuple(sorted(batch)) for batch in epochs[0]} != {tuple(sorted(batch)) for batch in epochs[1]}
    again = stream()
    again.set_epoch(2)
    assert list(again) == epochs[2] and list(stream(seed=4)) != epochs[0]


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_processes_share_the_clips_in_equally_many_batches(processes):
    shares = [list(stream(process_index=index, num_processes=processes)) for index in range(processes)]
    assert {len(share) for share in shares} == {len(stream(num_processes=processes))}
    taken = list(itertools.chain.from_iterable(itertools.chain.from_iterable(shares)))
    assert set(taken) == set(range(sum(BLOCKS)))
    # Disjoint, but for what fills the last of the batches up.
    most = max(len(batch) for share in shares for batch in share) * (processes - 1)
    assert 0 <= len(taken) - sum(BLOCKS) <= most
    even = [StreamBatchSampler([10] * 6, batch_size=4, seed=0, process_index=i, num_processes=3) for i in range(3)]
    assert sorted(clip for share in even for batch in share for clip in batch) == list(range(60))


def test_a_stream_never_has_more_open_than_its_window():
    owners, read = np.repeat(np.arange(len(BLOCKS)), BLOCKS), 0
    for process in range(2):
        held = []  # what the loader keeps: the window's row groups and two more
        for batch in stream(process_index=process, num_processes=2):
            groups = set(owners[batch])
            assert len(groups) <= 2
            read += len(groups - set(held))
            held = [*(group for group in held if group not in groups), *groups][-4:]
    # None is read again once it was left; but two processes share a window, and the last fills up from the front.
    assert read <= len(BLOCKS) + 4


SPEAKERS = ["a"] * 80 + ["b"] * 10 + [None] * 6


def drawn(epoch=0, **kwargs):
    sampler = SpeakerBatchSampler(SPEAKERS, **{"balance": 1.0, "batch_size": 8, "seed": 3, **kwargs})
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) and {len(batch) for batch in batches} == {8}
    return [clip for batch in batches for clip in batch]


def test_speakers_of_few_clips_are_seen_more_often_and_their_clips_in_turns():
    assert sorted(drawn(balance=0.0)) == list(range(96)), "without balance every clip comes once"
    for balance, shares in ((1.0, (32, 32, 32)), (0.5, (59, 21, 16))):
        speakers = Counter(SPEAKERS[clip] for clip in drawn(balance=balance))
        assert (speakers["a"], speakers["b"], speakers[None]) == shares
    counts = Counter(drawn())
    for some, times in ((range(80), {0, 1}), (range(80, 90), {3, 4}), (range(90, 96), {5, 6})):
        assert {counts[clip] for clip in some} == times
    assert drawn() == drawn() != drawn(epoch=1)
    one = SpeakerBatchSampler(["a"] * 16, balance=1.0, batch_size=8, seed=3)
    assert sorted(clip for batch in one for clip in batch) == list(range(16)), "a single speaker"
    shares = [drawn(num_processes=2, process_index=index) for index in range(2)]
    assert Counter(shares[0]) + Counter(shares[1]) == counts
