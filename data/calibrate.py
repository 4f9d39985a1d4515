# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures how sure a reader may be of its words, and below what it had better say nothing, and stores both with it.

    python -m data.calibrate runs/a corpus/validation

Take clips that the reader was not trained on. They are read, and a logistic function of the language model's log-odds
and of the words' fit to the lips is fitted to which words are right. Then clips without speech are made of them
(`data.unspoken`), and limits set that tell these apart. Both are numbers in the reader's `config.json`, of which the
pipeline makes its scores and its silence; weights stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModel, AutoProcessor

import modeling_lipread  # noqa: F401  (registers the reader)
from modeling_lipread.abstention_lipread import why_nothing
from modeling_lipread.confidence_lipread import evidence, logistic, word_scores
from modeling_lipread.configuration_lipread import CALIBRATION

from .assembly import write_json
from .clips import ClipTable
from .collator import LipReadCollator
from .evaluation import Reading, read_clips
from .evaluation.reliability import reliability, right_words
from .opening import Clips, open_split
from .schema import CorpusError, encode_row, rows_to_table
from .unspoken import landmark_clips

# A word's score is the language model's probability until the clips say otherwise: weights have a normal prior about
# that, of variance 1, since a good reader makes few errors to learn from.
AS_IT_IS = np.array([1.0, 0.0, 0.0])
MAY_BE_LOST = 0.02  # share of the clips with speech
# Limits are so far from clips without speech to those with: people whom the reader does not know are read less surely
# than those of a validation split, while clips without speech are of every kind that came to mind.
TOWARDS_SPEECH = 0.25
STEPS = 100  # of Newton's method, which takes ten


def fit_calibration(found: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """Weights of the logistic function that makes scores of evidence.

    Args:
        found: The words' `evidence`, `(words, 3)`.
        right: Whether each is right, bool `(words,)`.

    Returns:
        `config.calibration`: the likeliest weights, with a standard normal prior about `AS_IT_IS`.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999, here with two inputs and a prior.
    """
    weights = AS_IT_IS.copy()
    for _ in range(STEPS):
        scores = logistic(found @ weights)
        gradient = found.T @ (scores - right) + weights - AS_IT_IS
        curvature = (found * (scores * (1 - scores))[:, None]).T @ found + np.eye(len(weights))
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return dict(zip(CALIBRATION, weights.round(5).tolist(), strict=True))


def fit_limits(spoken: Sequence[Reading], unspoken: Sequence[Reading]) -> dict[str, float]:
    """Limits that tell clips with speech from others.

    Args:
        spoken: Clips in which people speak, their words scored.
        unspoken: Clips in which nobody does.

    Returns:
        `config.abstention`. Lips move if they are half as fast as the slowest of the spoken clips. Of what then is
        left unspoken, the clip that agrees best with the CTC head, and the spoken one that agrees least (leaving out
        the 2% that may be lost), give the limit of agreement, between them; and of what is left after that, the surest
        clip and the least sure spoken one the limit of confidence.
    """
    speeds = [reading.lip_speed for reading in spoken if reading.lip_speed is not None]
    limits = {"min_lip_motion": round(min(speeds, default=0.0) / 2, 3)}
    for name, measure in (("min_agreement", lambda reading: reading.agreement), ("min_confidence", _confidence)):
        found = [measure(reading) for reading in spoken]
        if None in found:  # a reader without a CTC head
            continue
        least = float(np.quantile(found, MAY_BE_LOST, method="lower"))
        left = [measure(reading) for reading in unspoken if not _reason(reading, limits)]
        most = max((other for other in left if other < least), default=0.0)
        limits[name] = round(most + TOWARDS_SPEECH * (least - most), 3)
    return limits


def _confidence(reading: Reading) -> float:
    return float(np.mean([word["score"] for word in reading.words])) if reading.words else 0.0


def _reason(reading: Reading, limits: dict[str, float]) -> str | None:
    scores = [word["score"] for word in reading.words]
    return why_nothing(limits, scores, speed=reading.lip_speed, agreed=reading.agreement)


def as_clips(sequences: Sequence[tuple[str, Any]]) -> ClipTable:
    """Landmarks by their names as a split in memory, without any text."""
    rows = [encode_row(sequence, text="", id=name) for name, sequence in sequences]
    return ClipTable(Dataset(rows_to_table(rows)))


def calibrate(
    reader: Path,
    source: str,
    *,
    split: str | None = None,
    num_beams: int = 1,
    batch_size: int = 16,
    unspoken: int = 25,
    device: str | None = None,
) -> dict[str, Any]:
    """Calibrates a reader and stores the result in its `config.json`, which appears whole or not at all.

    Args:
        reader: Folder of the reader.
        source: A prepared split, or a data set in Parquet, that the reader was not trained on.
        split: The split, where the source has several.
        num_beams: Beams of the search.
        batch_size: Clips read at once.
        unspoken: Clips without speech of each kind.
        device: Torch device; a GPU if there is one by default.

    Returns:
        `calibration` and `abstention` as they were stored, the `reliability` of the words' scores, and how many clips
        with and without speech would be given up: `spoken` and `unspoken`, each `(given up, clips)`.

    Raises:
        CorpusError, OSError, ValueError: If reader or source cannot be read, or there is nothing to learn from.
    """
    settings = reader / "config.json"
    if not settings.is_file():
        raise ValueError(f"{reader}: no folder with a config.json, in which the numbers are kept; download it first")
    model, processor = AutoModel.from_pretrained(reader), AutoProcessor.from_pretrained(reader)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    model.config.abstention = None
    length = model.generation_config.max_new_tokens or 64
    collator = LipReadCollator(processor, seq_len=length, start_ids=model.config.start_ids, train=False)

    def read(clips: Clips) -> list[Reading]:
        options = {"batch_size": batch_size, "confidence": True, "num_beams": num_beams}
        return read_clips(model, processor, clips, collator, **options)

    clips = open_split(source, split)
    spoken = read(clips)
    words = [word for reading in spoken for word in reading.words]
    if not words:
        raise ValueError(f"{source}: the reader wrote no word, so there is nothing to calibrate")
    found = evidence([word["log_prob"] for word in words], [word["fit"] for word in words])
    calibration = fit_calibration(found, right_words(spoken))
    made = landmark_clips(clips, unspoken)
    silent = read(as_clips([(f"{clip.kind} {clip.id}", clip.sequence) for clip in made]))
    for reading in [*spoken, *silent]:
        _score(reading, calibration)
    limits = fit_limits(spoken, silent)
    content = json.loads(settings.read_text(encoding="utf-8"))
    write_json(settings, dict(sorted({**content, "calibration": calibration, "abstention": limits}.items())))
    return {
        "calibration": calibration,
        "abstention": limits,
        "reliability": reliability(spoken),
        "spoken": (_given_up(spoken, limits), len(spoken)),
        "unspoken": (_given_up(silent, limits), len(silent)),
    }


def _score(reading: Reading, calibration: dict[str, float]) -> None:
    """Gives a reading's words the scores of a new calibration."""
    log_probs, fits = ([word[name] for word in reading.words] for name in ("log_prob", "fit"))
    for word, score in zip(reading.words, word_scores(log_probs, fits, calibration), strict=True):
        word["score"] = score


def _given_up(readings: Sequence[Reading], limits: dict[str, float]) -> int:
    return sum(_reason(reading, limits) is not None for reading in readings)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reader", type=Path, help="folder of a trained reader")
    parser.add_argument("source", help="folder of a prepared split it was not trained on, or a data set's id")
    parser.add_argument("--split", help="split of a source that has several")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips read at once (default: 16)")
    parser.add_argument("--unspoken", type=int, default=25, help="clips without speech made of each kind (25)")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    options = vars(parser.parse_args(arguments))
    try:
        result = calibrate(options.pop("reader"), options.pop("source"), **options)
    except (CorpusError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    found, (lost, spoken), (silenced, unspoken) = result["reliability"], result["spoken"], result["unspoken"]
    print(
        f"{found['words']} words, {found['right']:.1%} of them right: expected calibration error {found['ece']:.3f}, "
        f"that of the probabilities {found['probability_ece']:.3f} (on the clips it was fitted to)"
    )
    print(f"nothing is read from {silenced} of {unspoken} clips without speech and {lost} of {spoken} with speech")
    print(json.dumps({name: result[name] for name in ("calibration", "abstention")}))


if __name__ == "__main__":
    main()
