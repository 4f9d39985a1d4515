# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Dividing clips into train and validation: the same on every machine, by clips or by what must stay together."""

from pathlib import Path

import pytest

from data.preparation.plan import split_records
from data.sources.records import Record, RecordFile, SourceError


def test_split_is_deterministic_and_ignores_the_order():
    records = make_records(["anna"] * 100)
    train, validation = split_records(records, 0.1, seed=1)
    assert (len(train), len(validation)) == (90, 10)
    assert sorted([*ids(train), *ids(validation)]) == sorted(ids(records))
    assert ids(train) == [id for id in ids(records) if id not in ids(validation)]
    backwards = split_records(records[::-1], 0.1, seed=1)
    assert list(map(ids, backwards)) == [ids(train)[::-1], ids(validation)[::-1]]
    assert ids(split_records(records, 0.1, seed=2)[1]) != ids(validation)
    # Frozen: the same clips on every machine and in every version, or figures could not be compared.
    assert ids(validation)[:3] == ["27", "29", "30"]


def test_split_sizes_and_what_cannot_be_divided():
    sizes = {(2, 0.1): (1, 1), (1, 0.5): (1, 0), (10, 0.0): (10, 0), (3, 0.99): (1, 2), (0, 0.1): (0, 0)}
    for (count, ratio), expected in sizes.items():
        assert tuple(map(len, split_records(make_records(["anna"] * count), ratio))) == expected
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="val_ratio"):
            split_records(make_records(["anna"]), ratio)
    # Where all speakers are too large, the smallest is validation.
    train, validation = split_records(make_records(["anna"] * 50 + ["ben"] * 40 + ["carl"] * 45), 0.1, by="speaker")
    assert {record.speaker for record in validation} == {"ben"} and len(train) == 95
    with pytest.raises(SourceError, match="all clips are of one speaker, 'anna'"):
        split_records(make_records(["anna"] * 3), 0.1, by="speaker")
    with pytest.raises(SourceError, match="corpus line 3 .2. names no speaker"):
        split_records(make_records(["anna", "ben", None]), 0.1, by="speaker")
    assert tuple(map(len, split_records(make_records([None] * 3), 0.0, by="speaker"))) == (3, 0)


def ids(records):
    return [record.id for record in records]


def make_records(speakers):
    """Clips of these speakers, in folders and videos of their own."""
    records = []
    for index, speaker in enumerate(speakers):
        source = f"{speaker}/{index % 3}.mp4"
        media = Path("corpus", source)
        records.append(Record("corpus", index + 1, str(index), "x", source, media, False, speaker=speaker))
    return RecordFile(Path("corpus"), records)


@pytest.mark.parametrize("by", ["speaker", "folder", "video"])
def test_what_must_stay_together_does(by):
    records = make_records([f"s{index * index % 7}" for index in range(200)])
    group = {"speaker": lambda r: r.speaker, "folder": lambda r: r.speaker, "video": lambda r: r.source}[by]
    train, validation = split_records(records, 0.3, seed=1, by=by)
    assert not {group(record) for record in train} & {group(record) for record in validation}
    assert len(train) + len(validation) == 200 and 0 < len(validation) <= 60
    assert split_records(records, 0.3, seed=1, by=by)[1][0] == validation[0]
    sides = {tuple(sorted({group(r) for r in split_records(records, 0.3, seed=s, by=by)[1]})) for s in range(8)}
    assert len(sides) > 1, "another seed, another division"
