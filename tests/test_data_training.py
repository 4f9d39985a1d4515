# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` on streams and on batches of a budget: who sees which clips, killed and resumed, what is logged."""

import itertools
import json
import signal
import subprocess
import sys
import time

import pytest
from training import REPOSITORY, TORCHRUN, command, environment, losses, make_corpus, run

from data.checkpoints import last_complete_checkpoint
from data.export import main as export
from evaluate_hf import evaluate
from modeling_lipread import LipReadConfig
from train_hf import main

LENGTHS = (20, 12, 25, 40)
STREAMED = {"streaming": True, "stream_window": 2}
BUDGET = {"max_frames_per_batch": 100}
BOTH = {**STREAMED, **BUDGET}
GROUPED = {"train_sampling_strategy": "group_by_length"}

# The loaders of a run as they are, in each of two processes: what they hand to the collator, for two epochs.
WATCH = """
import json, sys
from data.arguments import parse_arguments
from train_hf import build_trainer
*settings, args = parse_arguments(sys.argv[2:])
trainer = build_trainer(*settings, args)
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
with open(f"{sys.argv[1]}-{args.process_index}.json", "w") as file:
    json.dump(seen, file)
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", lengths=LENGTHS)


@pytest.fixture(scope="module")
def parquet(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "dataset"
    export([str(corpus), "--parquet", str(folder), "--max_shard_size", "500KB"])
    return folder


def arguments(settings):
    """Settings as `command` takes them, a switch without its value."""
    return [f"--{name}" for name, value in settings.items() if value is True], {
        name: value for name, value in settings.items() if value is not True
    }


@pytest.mark.parametrize("settings", [STREAMED, BUDGET, BOTH], ids=["streamed", "budget", "both"])
def test_two_processes_see_disjoint_clips_and_all_of_them(corpus, parquet, lm_config, tmp_path, settings):
    switches, options = arguments(settings)
    dataset = parquet if "streaming" in settings else corpus
    line = command(*switches, dataset=dataset, lm_config=lm_config, output_dir=tmp_path / "run", **options)
    (tmp_path / "watch.py").write_text(WATCH)
    done = subprocess.run(
        [sys.executable, *TORCHRUN, str(tmp_path / "watch.py"), str(tmp_path / "seen"), *line[2:]],
        cwd=REPOSITORY,
        env={**environment(), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seen = [json.loads((tmp_path / f"seen-{process}.json").read_text()) for process in range(2)]
    for epoch in range(2):
        first, second = (process[epoch] for process in seen)
        assert len(first) == len(second)
        one, two = (list(itertools.chain.from_iterable(batches)) for batches in (first, second))
        assert {*one, *two} == {f"train{index}" for index in range(24)}
        if settings is STREAMED:  # the budgets' batches are of an odd number here: the last is filled up
            assert len(one) + len(two) == 24
    assert seen[0][0] != seen[0][1]


@pytest.mark.parametrize("settings", [STREAMED, BUDGET, BOTH], ids=["streamed", "budget", "both"])
def test_killed_and_resumed_in_an_epoch_gives_the_same_losses(corpus, parquet, lm_config, tmp_path, settings):
    dataset = parquet if "streaming" in settings else corpus
    switches, options = arguments(settings)
    options |= {"dataset": dataset, "lm_config": lm_config, "num_train_epochs": 2}
    run(*switches, output_dir=tmp_path / "undisturbed", **options)
    options |= {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no", "load_best_model_at_end": False}
    options |= {"output_dir": tmp_path / "killed"}
    process = subprocess.Popen(
        command(*switches, **options), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while last_complete_checkpoint(tmp_path / "killed") is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = run(*switches, **options)
    assert "Going on from" in resumed.stderr
    assert losses(tmp_path / "killed") == losses(tmp_path / "undisturbed")
    steps = 12 if settings is STREAMED else len(losses(tmp_path / "undisturbed"))
    assert len(losses(tmp_path / "killed")) == steps > 8

    state = json.loads((tmp_path / "undisturbed" / "trainer_state.json").read_text())
    logged = [entry for entry in state["log_history"] if "loss" in entry]
    assert all(0 <= entry["data/padding"] < 1 and 0 < entry["data/wait"] < 1 for entry in logged)
    assert any(entry["data/padding"] > 0 for entry in logged)
    trained = json.loads((tmp_path / "undisturbed" / "training_data.json").read_text())
    assert trained["clips"] == 24 and trained["seconds"] == pytest.approx(6 * sum(LENGTHS) / 25)
    assert LipReadConfig.from_pretrained(tmp_path / "undisturbed").clip_seconds == pytest.approx(max(LENGTHS) / 25)
    figures = evaluate(str(tmp_path / "undisturbed"), str(parquet), split="validation")
    assert figures["metrics"]["clips"] == 4 and figures["split"] == "validation"


def test_clips_grouped_by_length_are_trained_on_and_evaluated(corpus, lm_config, tmp_path):
    run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=1, **GROUPED)
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    padded = [entry["data/padding"] for entry in state["log_history"] if "loss" in entry]
    # 6 clips of each length in batches of 4, so two lengths meet in some; in random order it is a third.
    assert sum(padded) / len(padded) < 0.15
    assert json.loads((tmp_path / "eval_results.json").read_text())["eval_clips"] == 4


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (["--streaming"], "data.export --parquet"),
        (["--config_overrides", "trim_silence=0.5", "--alignment_weight", "0"], "word times"),
    ],
)
def test_what_does_not_go_together_is_refused(corpus, lm_config, tmp_path, given, remedy):
    line = ["--dataset", str(corpus), "--lm_config", str(lm_config), "--output_dir", str(tmp_path), "--use_cpu"]
    with pytest.raises(SystemExit, match=remedy):
        main([*line, *given])
