# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How fast stored clips are read: the format that training reads in, beside `datasets` at its fastest for landmarks.

    python -m benchmarks.run --only reading

The baseline reads flat float16 lists in the numpy format with `dtype=float16`. By itself that is the fastest, but it
rounds `num_frames` and `timestamps` to float16 too, so it cannot be what training reads.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, disable_progress_bars

from data.dataset import ClipTable, open_split
from data.export import export_parquet
from data.preparation.dataset_card import CardOptions
from data.schema import encode_row, features, load_split, rows_to_table
from data.training.batching import StreamBatchSampler
from modeling_lipread.landmarks_lipread import LandmarkSequence

from .measure import Row, side_by_side

CLIPS, SHORTEST, LONGEST, SLICE = 500, 70, 80, 16
LEAST = 0.8  # of the baseline's speed


def write_corpus(folder: Path, clips: int = CLIPS) -> Path:
    """A prepared corpus of noise, as long as GRID's clips."""
    generator = np.random.default_rng(0)
    rows = []
    for clip in range(clips):
        frames = int(generator.integers(SHORTEST, LONGEST + 1))
        sequence = LandmarkSequence(
            keypoints=generator.normal(200, 50, size=(frames, 478, 3)).astype(np.float32),
            present=np.ones(frames, dtype=bool),
            timestamps=np.arange(frames) / 25,
            width=360,
            height=288,
            frame_rate=25.0,
        )
        rows.append(encode_row(sequence, text="bin blue at f two now", id=str(clip)))
    DatasetDict({"train": Dataset(rows_to_table(rows)).cast(features())}).save_to_disk(folder)
    return folder


def _one_by_one(clips: Dataset | ClipTable, order: list[int]) -> None:
    for index in order:
        clips[index]


def _in_slices(clips: Dataset | ClipTable, starts: list[int]) -> None:
    for start in starts:
        if isinstance(clips, ClipTable):
            clips.__getitems__(range(start, start + SLICE))
        else:
            clips[start : start + SLICE]


def reading_rows(device: torch.device, repeats: int, frames: int, clips: int = CLIPS) -> Iterator[Row]:
    """Clips a second in random order, in slices of 16, and as a stream of mixed clips from Parquet."""
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as temporary:
        corpus = write_corpus(Path(temporary, "corpus"), clips)
        ours = open_split(corpus, "train")
        flat = load_split(corpus, "train").with_format("numpy", columns=["keypoints", "num_frames"], dtype=np.float16)
        generator = np.random.default_rng(1)
        order = generator.permutation(clips).tolist()
        starts = (generator.permutation(clips // SLICE) * SLICE).tolist()
        cpu = torch.device("cpu")
        for name, read, count in (
            ("clips in random order", partial(_one_by_one, order=order), clips),
            (f"clips in slices of {SLICE}", partial(_in_slices, starts=starts), len(starts) * SLICE),
        ):
            times = side_by_side(partial(read, flat), partial(read, ours), cpu, repeats)
            yield Row(name, *(count / (milliseconds / 1000) for milliseconds in times), "clips/s", goal=LEAST)

        export_parquet(corpus, Path(temporary, "parquet"), CardOptions())
        stream = open_split(Path(temporary, "parquet"), "train", streaming=True)
        batches = list(StreamBatchSampler(stream.blocks, batch_size=SLICE, seed=0))

        def read_stream() -> None:
            for batch in batches:
                stream.__getitems__(batch)

        times = side_by_side(partial(_one_by_one, flat, order), read_stream, cpu, repeats)
        yield Row("clips mixed from a stream of Parquet", *(clips / (each / 1000) for each in times), "clips/s")
