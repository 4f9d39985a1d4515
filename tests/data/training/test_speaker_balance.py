# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Speakers of few clips are seen more often, as far as was asked for."""

from collections import Counter

import pytest

from data.training.samplers import SpeakerBatchSampler, check_speakers

SPEAKERS = ["a"] * 80 + ["b"] * 10 + [None] * 6


def drawn(epoch=0, **kwargs):
    sampler = SpeakerBatchSampler(SPEAKERS, **{"balance": 1.0, "batch_size": 8, "seed": 3, **kwargs})
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) and {len(batch) for batch in batches} == {8}
    return [clip for batch in batches for clip in batch]


def test_without_balance_every_clip_comes_once():
    assert sorted(drawn(balance=0.0)) == list(range(96))


@pytest.mark.parametrize("balance, shares", [(1.0, (32, 32, 32)), (0.5, (59, 21, 16))])
def test_shares_of_an_epoch(balance, shares):
    clips = drawn(balance=balance)
    speakers = Counter(SPEAKERS[clip] for clip in clips)
    assert (speakers["a"], speakers["b"], speakers[None]) == shares


def test_clips_of_a_speaker_come_in_turns():
    counts = Counter(drawn())
    assert {counts[clip] for clip in range(80, 90)} == {3, 4}  # 32 places for 10 clips
    assert {counts[clip] for clip in range(90, 96)} == {5, 6}
    assert {counts[clip] for clip in range(80)} == {0, 1}


def test_another_epoch_another_draw_and_the_same_seed_the_same():
    assert drawn() == drawn() != drawn(epoch=1)


def test_processes_share_an_epoch():
    shares = [drawn(num_processes=2, process_index=index) for index in range(2)]
    assert Counter(shares[0]) + Counter(shares[1]) == Counter(drawn())


@pytest.mark.parametrize("speakers, who", [([None] * 4, "nobody"), (["a", None, "a"], "only 'a'")])
def test_there_must_be_speakers_to_balance(speakers, who):
    with pytest.raises(ValueError, match=f"the clips name {who}"):
        check_speakers(speakers)


def test_clips_of_unknown_speakers_are_told_of(caplog):
    check_speakers(SPEAKERS)
    assert "6 clips name no speaker" in caplog.text
