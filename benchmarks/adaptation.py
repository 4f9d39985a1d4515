# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures how a reader reads people it does not know, before and after training on a few clips of each.

    python -m benchmarks.adaptation modeling_lipread/grid_reader corpora/grid/unseen_speakers

The clips of each speaker are divided in two halves. `train_hf.py --init_from READER` trains on one half, and the other
half is read; then the halves change places. Options after `--` replace `OPTIONS`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from datasets import DatasetDict, load_from_disk
from transformers import AutoModel, AutoProcessor

import train_hf
from data.collator import LipReadCollator
from data.dataset import ClipTable
from data.evaluation.generation import predict
from data.evaluation.metrics import Prediction, edit_counts, error_rate

OPTIONS = (
    "--freeze adapters language_model --max_steps 120 --learning_rate 5e-4 --per_device_train_batch_size 8 "
    "--word_splicing 0.5 --config_overrides "
    "rotation=8,scale=0.1,warp=0.1,motion=0.2,mirror=0.5,shift=0.01,noise=0.001,speed=0.1,time_masks=1 "
    "--seq_len 40 --save_strategy no --load_best_model_at_end false --report_to none"
).split()


def read(reader: Path | str, clips: ClipTable) -> list[Prediction]:
    """Returns the hypotheses of a reader for clips."""
    model, processor = AutoModel.from_pretrained(reader), AutoProcessor.from_pretrained(reader)
    collator = LipReadCollator(processor, seq_len=64, start_ids=model.config.start_ids, train=False)
    return predict(model, processor, clips, collator, progress=False)


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


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", help="folder or Hub id of a trained reader")
    parser.add_argument("split", type=Path, help="folder of a prepared split whose clips name their speakers")
    parser.add_argument("options", nargs="*", help="options of train_hf.py, after --")
    given = parser.parse_args(arguments)
    split, before, after = load_from_disk(given.split), defaultdict(list), defaultdict(list)
    started = time.perf_counter()
    for speaker in sorted(set(split["speaker"])):
        own = [index for index, each in enumerate(split["speaker"]) if each == speaker]
        for first in (0, 1):
            taught, tested = split.select(own[first::2]), ClipTable(split.select(own[1 - first :: 2]))
            with tempfile.TemporaryDirectory() as folder:
                DatasetDict({"train": taught}).save_to_disk(f"{folder}/corpus")
                place = ["--init_from", given.reader, "--dataset", f"{folder}/corpus", "--output_dir", f"{folder}/run"]
                train_hf.main([*place, *(given.options or OPTIONS)])
                after[speaker] += read(f"{folder}/run", tested)
            before[speaker] += read(given.reader, tested)
        print(f"{speaker}: {rates(before[speaker])} | adapted: {rates(after[speaker])}", flush=True)
    everyone = [sum(found.values(), []) for found in (before, after)]
    minutes = (time.perf_counter() - started) / 60
    print(f"all: {rates(everyone[0])} | adapted: {rates(everyone[1])} | {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
