# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` on streams and on batches of a budget or of like lengths: who sees which clips, what is logged."""

import itertools
import json

import pytest

from data.evaluation.evaluate import evaluate
from data.training.arguments import parse_arguments
from modeling_lipread import LipReadConfig
from tests.helpers.training import BUDGET, STREAMED, TORCHRUN, command, history, run_python, train
from train_hf import build_trainer

# The loaders of a run as they are, in each of two processes: what they hand to the collator, for two epochs.
WATCH = """
import json, sys
from data.training.arguments import parse_arguments
from train_hf import build_trainer
arguments = parse_arguments(sys.argv[2:])
trainer = build_trainer(arguments)
collate, seen = trainer.data_collator, []
def watch(rows):
    seen[-1].append([str(row["id"]) for row in rows])
    return collate(rows)
trainer.data_collator = watch
loader = trainer.get_train_dataloader()
for epoch in range(2):
    seen.append([])
    loader.set_epoch(epoch)
    assert sum(1 for _ in loader) == len(loader)
with open(f"{sys.argv[1]}-{arguments.training.process_index}.json", "w") as file:
    json.dump(seen, file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("settings", [STREAMED, BUDGET], ids=["streamed", "budget"])
def test_two_processes_see_disjoint_clips_and_all_of_them(corpus, exported, lm_config, tmp_path, settings):
    dataset = exported if "streaming" in settings else corpus
    line = command(dataset=dataset, lm_config=lm_config, output_dir=tmp_path / "run", **settings)
    (tmp_path / "watch.py").write_text(WATCH)
    run_python(*TORCHRUN, tmp_path / "watch.py", tmp_path / "seen", *line[2:])
    seen = [json.loads((tmp_path / f"seen-{process}.json").read_text()) for process in range(2)]
    for epoch in range(2):
        first, second = (process[epoch] for process in seen)
        assert len(first) == len(second)
        one, two = (list(itertools.chain.from_iterable(batches)) for batches in (first, second))
        assert {*one, *two} == {f"train{index}" for index in range(24)}
        if settings is STREAMED:  # a budget's batches may be of an odd number: the last is filled up
            assert len(one) + len(two) == 24
    assert seen[0][0] != seen[0][1]


def test_a_stream_in_batches_of_a_budget_is_trained_on_and_evaluated(exported, lm_config, tmp_path):
    train(dataset=exported, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=1, **STREAMED, **BUDGET)
    logged = [entry for entry in history(tmp_path) if "loss" in entry]
    assert all(0 <= entry["data/padding"] < 1 and 0 < entry["data/wait"] < 1 for entry in logged)
    assert any(entry["data/padding"] > 0 for entry in logged)
    trained = json.loads((tmp_path / "training_data.json").read_text())
    assert trained["clips"] == 24 and trained["seconds"] == pytest.approx(8 * (20 + 12 + 25) / 25)
    assert LipReadConfig.from_pretrained(tmp_path).clip_seconds == pytest.approx(25 / 25)
    figures = evaluate(str(tmp_path), str(exported), split="validation")
    assert figures["metrics"]["clips"] == 4 and figures["split"] == "validation"


def test_features_are_cached_once(corpus, lm_config, tmp_path):
    settings = {"feature_cache_gib": 0.5, "dataloader_num_workers": 2}
    line = command(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, **settings)
    trainer = build_trainer(parse_arguments(line[2:]))
    assert trainer.data_collator.cache.max_bytes == 2**28  # in each of two workers
    evaluating = [trainer.get_eval_dataloader().collate_fn, trainer.eval_collator]
    assert [collator.cache.max_bytes for collator in evaluating] == [0, 0]


def test_clips_grouped_by_length_are_trained_on_and_evaluated(corpus, lm_config, tmp_path):
    grouped = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 1}
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, **grouped)
    padded = [entry["data/padding"] for entry in history(tmp_path) if "loss" in entry]
    # 8 clips of each of three lengths in batches of 4; in random order it is a fifth.
    assert sum(padded) / len(padded) < 0.05
    assert json.loads((tmp_path / "eval_results.json").read_text())["eval_clips"] == 4
