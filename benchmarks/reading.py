# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Benchmark of reading stored clips, as training does, against the fastest format of `datasets`.

    python -m benchmarks.run --only reading

The baseline reads flat float16 lists in the numpy format with `dtype=float16`, which training cannot use because it
rounds `num_frames` and `timestamps` too.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, disable_progress_bars

from data.dataset import open_split
from data.export import export_parquet
from data.schema import encode_row, features, load_split, rows_to_table
from data.training.batching import StreamBatchSampler
from modeling_lipread.landmarks_lipread import LandmarkSequence

from .measure import Row, side_by_side

SLICE = 16


def write_corpus(folder: Path, clips: int) -> None:
    """Writes a prepared corpus of noise with clips as long as those of GRID."""
    generator, rows = np.random.default_rng(0), []
    for clip in range(clips):
        frames = int(generator.integers(70, 81))
        keypoints = generator.normal(200, 50, size=(frames, 478, 3)).astype(np.float32)
        present, timestamps = np.ones(frames, dtype=bool), np.arange(frames) / 25
        sequence = LandmarkSequence(keypoints, present, timestamps, width=360, height=288, frame_rate=25.0)
        rows.append(encode_row(sequence, text="bin blue at f two now", id=str(clip)))
    DatasetDict({"train": Dataset(rows_to_table(rows)).cast(features())}).save_to_disk(folder)


def reading_rows(repeats: int, clips: int = 500) -> Iterator[Row]:
    """Yields clips per second in random order, in slices, and as a stream from Parquet that reads each group once."""
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as temporary:
        corpus, parquet = Path(temporary, "corpus"), Path(temporary, "parquet")
        write_corpus(corpus, clips)
        export_parquet(corpus, parquet, {})
        ours, stream = open_split(corpus, "train"), open_split(parquet, "train", streaming=True)
        flat = load_split(corpus, "train").with_format("numpy", columns=["keypoints", "num_frames"], dtype=np.float16)
        generator = np.random.default_rng(1)
        order = generator.permutation(clips).tolist()
        starts = (generator.permutation(clips // SLICE) * SLICE).tolist()
        batches = list(StreamBatchSampler(stream.blocks, batch_size=SLICE, seed=0))
        cases = {
            "clips in random order": (lambda: [flat[i] for i in order], lambda: [ours[i] for i in order], 0.8),
            f"clips in slices of {SLICE}": (
                lambda: [flat[i : i + SLICE] for i in starts],
                lambda: [ours.__getitems__(range(i, i + SLICE)) for i in starts],
                0.8,
            ),
            "clips mixed from a stream of Parquet": (
                lambda: [flat[i] for i in order],
                lambda: [new.__getitems__(batch) for new in [stream.select(range(clips))] for batch in batches],
                0.5,
            ),
        }
        for name, (baseline, own, goal) in cases.items():
            times = side_by_side(baseline, own, torch.device("cpu"), repeats)
            count = len(starts) * SLICE if "slices" in name else clips
            yield Row(name, *(count / (milliseconds / 1000) for milliseconds in times), "clips/s", goal=goal)
