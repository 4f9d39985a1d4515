# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Draws the pictures of the documents.

python -m docs.plot curves runs/grid docs/grid_curves.png
python -m docs.plot reliability runs/grid/evaluation-test.json docs/reliability.png
lipread overlay examples/clip.mp4 --output overlay.mp4 && python -m docs.plot moving overlay.mp4 docs/overlay.webp
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from data.evaluation import plots
from modeling_lipread.video_lipread import read_frames

LOSSES = {"lm_loss": "language model", "ctc_loss": "CTC", "alignment_loss": "alignment"}
RATES = {"wer": "video", "blank_wer": "blank video", "shuffled_wer": "shuffled video"}


def curves(run: str) -> Figure:
    """Plots losses, error rates and gates over the epochs of a run, the folder with its `trainer_state.json`."""
    history = json.loads(Path(run, "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    training = [entry for entry in history if "loss" in entry]
    validation = [entry for entry in history if "eval_wer" in entry]
    figure = Figure(figsize=(15, 4), layout="constrained")
    losses, rates, gates = figure.subplots(1, 3)

    def plot(axes, entries, key, style, label):
        axes.plot([entry["epoch"] for entry in entries], [entry[key] for entry in entries], style, label=label)

    for key, label in LOSSES.items():
        plot(losses, training, key, "-", f"{label}, training")
        plot(losses, validation, f"eval_{key}", "o-", f"{label}, validation")
    for key, label in RATES.items():
        plot(rates, validation, f"eval_{key}", "o-", label)
    for key in sorted(key for key in training[0] if key.startswith("gate/")):
        plot(gates, training, key, "-", key)
    losses.set(title="loss", ylim=(0, None))
    rates.set(title="word error rate, validation", ylim=(0, 1.5))
    gates.set(title="gates")
    for axes in (losses, rates, gates):
        axes.set_xlabel("epoch")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    return figure


def reliability(evaluation: str) -> Figure:
    """Plots the reliability diagram of a JSON file that evaluate_hf.py wrote."""
    return plots.reliability(json.loads(Path(evaluation).read_text(encoding="utf-8"))["reliability"])


if __name__ == "__main__":
    name, source, output = sys.argv[1:]
    if name == "moving":
        first, *others = [Image.fromarray(frame) for _, frame in read_frames(source)][::2]
        # Every second frame, for 80 ms; the last one stays for a second.
        first.save(
            output, save_all=True, append_images=others, duration=[80] * len(others) + [1000], loop=0, quality=60
        )
    else:
        {"curves": curves, "reliability": reliability}[name](source).savefig(output, dpi=110)
