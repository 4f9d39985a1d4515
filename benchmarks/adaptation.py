# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures how a reader reads people it does not know, before and after training on a few clips of each.

    python -m benchmarks.adaptation modeling_lipread/grid_reader corpora/grid/unseen_speakers

The clips of each speaker are divided in two halves. `train_hf.py --init_from READER` trains the encoder on one half,
and the other half is read; then the halves change places. With `--clips 5 10 20 40`, the same half is always read, and
the reader is trained on so many clips of the other: its encoder, encoder and adapters, and everything. Options after
`--` replace `OPTIONS`.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk
from transformers import AutoModel, AutoProcessor

import train_hf
from data.dataset import ClipTable
from data.evaluation.generation import predict
from data.evaluation.metrics import Prediction, edit_counts, error_rate

from .measure import make_parser

OPTIONS = (
    "--max_steps 120 --learning_rate 5e-4 --per_device_train_batch_size 8 "
    "--word_splicing 0.5 --config_overrides "
    "rotation=8,scale=0.1,warp=0.1,motion=0.2,mirror=0.5,shift=0.01,noise=0.001,speed=0.1,time_masks=1 "
    "--seq_len 40 --save_strategy no --load_best_model_at_end false --report_to none"
).split()
FROZEN = {"encoder": ["adapters", "language_model"], "encoder and adapters": ["language_model"], "everything": []}


def adapt(reader: str, taught: Dataset, frozen: list[str], options: list[str], tested: ClipTable) -> list[Prediction]:
    """Trains a reader on clips without the `frozen` parts and returns its hypotheses for other clips."""
    with tempfile.TemporaryDirectory() as folder:
        DatasetDict({"train": taught}).save_to_disk(f"{folder}/corpus")
        place = ["--init_from", reader, "--dataset", f"{folder}/corpus", "--output_dir", f"{folder}/run"]
        train_hf.main([*place, *(["--freeze", *frozen] if frozen else []), *(options or OPTIONS)])
        return read(f"{folder}/run", tested)


def read(reader: Path | str, clips: ClipTable) -> list[Prediction]:
    """Returns the hypotheses of a reader for clips."""
    model, processor = AutoModel.from_pretrained(reader), AutoProcessor.from_pretrained(reader)
    return predict(model, processor, clips, progress=False)


def rates(predictions: list[Prediction]) -> str:
    """Returns the word error rate and the share of the references' letters that are not in the hypothesis's place."""
    counts = edit_counts([each.hypothesis for each in predictions], [each.reference for each in predictions])
    letters = [
        (word, [*each.hypothesis.split(), *[""] * 99][place])
        for each in predictions
        for place, word in enumerate(each.reference.split())
        if len(word) == 1
    ]
    wrong = sum(said != read for said, read in letters) / max(1, len(letters))
    return f"WER {error_rate(*counts):.3f}, letters wrong {wrong:.2f}, {len(predictions)} clips"


def read_halves(reader: str, split: Dataset, people: dict[str, list[int]], options: list[str]) -> None:
    """Prints the rates of each person's clips, each half before and after training on the other."""
    before, after, started = defaultdict(list), defaultdict(list), time.perf_counter()
    for speaker, own in people.items():
        for first in (0, 1):
            taught, tested = split.select(own[first::2]), ClipTable(split.select(own[1 - first :: 2]))
            after[speaker] += adapt(reader, taught, FROZEN["encoder"], options, tested)
            before[speaker] += read(reader, tested)
        print(f"{speaker}: {rates(before[speaker])} | adapted: {rates(after[speaker])}", flush=True)
    everyone = [sum(found.values(), []) for found in (before, after)]
    minutes = (time.perf_counter() - started) / 60
    print(f"all: {rates(everyone[0])} | adapted: {rates(everyone[1])} | {minutes:.1f} minutes")


def read_after(
    reader: str, split: Dataset, people: dict[str, list[int]], options: list[str], numbers: list[int]
) -> None:
    """Prints the rates of half of each person's clips, after training on `numbers` of the others."""
    for speaker, own in people.items():
        own = np.random.default_rng(0).permutation(own).tolist()
        tested = ClipTable(split.select(own[1::2]))
        print(f"{speaker}: {rates(read(reader, tested))}", flush=True)
        for number, (trained, frozen) in itertools.product(numbers, FROZEN.items()):
            began, taught = time.process_time(), split.select(own[::2][:number])
            found = rates(adapt(reader, taught, frozen, options, tested))
            minutes = (time.process_time() - began) / 60
            print(f"{speaker}, {len(taught)} clips, {trained}: {found} | {minutes:.1f} CPU minutes", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("reader", help="folder or Hub id of a trained reader")
    parser.add_argument("split", type=Path, help="folder of a prepared split whose clips name their speakers")
    parser.add_argument("--clips", type=int, nargs="+", help="clips to train on, in place of each half in turn")
    parser.add_argument("options", nargs="*", help="options of train_hf.py, after --")
    given = parser.parse_args(arguments)
    split = load_from_disk(given.split)
    speakers = np.array(split["speaker"])
    people = {str(speaker): np.flatnonzero(speakers == speaker).tolist() for speaker in np.unique(speakers)}
    if given.clips:
        read_after(given.reader, split, people, given.options, given.clips)
    else:
        read_halves(given.reader, split, people, given.options)


if __name__ == "__main__":
    main()
