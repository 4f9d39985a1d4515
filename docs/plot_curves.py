# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Draws a run's curves: python docs/plot_curves.py runs/grid docs/grid_curves.png"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


def main(run: str, output: str) -> None:
    """Draws losses, error rates and gates over epochs.

    Args:
        run: Folder of a training run, with its `trainer_state.json`.
        output: PNG file to write.
    """
    history = json.loads(Path(run, "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    trained = [entry for entry in history if "loss" in entry]
    evaluated = [entry for entry in history if "eval_wer" in entry]
    figure, (losses, rates, gates) = plt.subplots(1, 3, figsize=(15, 4), constrained_layout=True)
    for key, label in (("lm_loss", "language model"), ("ctc_loss", "CTC"), ("alignment_loss", "alignment")):
        losses.plot(
            [entry["epoch"] for entry in trained], [entry[key] for entry in trained], label=f"{label}, training"
        )
        losses.plot(
            [entry["epoch"] for entry in evaluated],
            [entry[f"eval_{key}"] for entry in evaluated],
            "o-",
            label=f"{label}, validation",
        )
    losses.set(title="loss", xlabel="epoch", ylim=(0, None))
    for key, label in (("wer", "video"), ("blank_wer", "blank video"), ("shuffled_wer", "shuffled video")):
        rates.plot(
            [entry["epoch"] for entry in evaluated], [entry[f"eval_{key}"] for entry in evaluated], "o-", label=label
        )
    rates.set(title="word error rate, validation", xlabel="epoch", ylim=(0, 1.5))
    for key in sorted(key for key in trained[0] if key.startswith("gate/")):
        gates.plot([entry["epoch"] for entry in trained], [entry[key] for entry in trained], label=key)
    gates.set(title="gates", xlabel="epoch")
    for axes in (losses, rates, gates):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
