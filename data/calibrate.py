# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Calibrates the word scores of a reader, and the limits below which its pipeline abstains.

    python -m data.calibrate runs/a corpus/validation

Use clips that the reader was not trained on. The command fits a logistic function of the language model's log-odds and
of the words' fit to the lips to which words are correct. Then it makes clips without speech from the clips
(`data.evaluation.hallucination`) and fits the limits that separate the two. Both are stored in the reader's
`config.json`, where the pipeline finds them; the weights do not change.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModel, AutoProcessor

import modeling_lipread  # noqa: F401  (registers the model with the Auto classes)
from modeling_lipread.confidence_lipread import evidence

from .collator import LipReadCollator
from .console import set_up_console
from .dataset import ClipTable, open_split
from .evaluation.calibration import abstention_reason, correct_words, fit_calibration, fit_limits, reliability, rescore
from .evaluation.generation import predict
from .evaluation.hallucination import landmark_clips
from .files import write_json
from .schema import CorpusError, encode_row, rows_to_table


def calibrate(
    checkpoint: Path,
    source: str,
    *,
    split: str | None = None,
    num_beams: int = 1,
    batch_size: int = 16,
    clips: int = 25,
    device: str | None = None,
) -> dict[str, Any]:
    """Calibrates a reader, with the arguments of the command line, and stores the result in its `config.json`.

    Returns `calibration` and `abstention` as they were stored, the `reliability` of the word scores, and for clips
    with and without speech (`speech`, `non_speech`) the numbers `(abstentions, clips)`. Raises CorpusError, OSError or
    ValueError if checkpoint or source cannot be read, or if the reader wrote no word.
    """
    settings = checkpoint / "config.json"
    if not settings.is_file():
        raise ValueError(f"{checkpoint}: no folder with a config.json to store the calibration in; download it first")
    model, processor = AutoModel.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    model.config.abstention = None
    length = model.generation_config.max_new_tokens or 64
    collator = LipReadCollator(processor, seq_len=length, start_ids=model.config.start_ids, train=False)

    options = {"batch_size": batch_size, "confidence": True, "num_beams": num_beams}
    rows = open_split(source, split)
    speech = predict(model, processor, rows, collator, **options)
    words = [word for prediction in speech for word in prediction.words]
    if not words:
        raise ValueError(f"{source}: the reader wrote no word, so there is nothing to calibrate")
    inputs = evidence([word["log_prob"] for word in words], [word["fit"] for word in words])
    calibration = fit_calibration(inputs, correct_words(speech))
    made = [encode_row(clip.sequence, text="", id=f"{clip.kind} {clip.id}") for clip in landmark_clips(rows, clips)]
    non_speech = predict(model, processor, ClipTable(Dataset(rows_to_table(made))), collator, **options)
    for prediction in [*speech, *non_speech]:
        rescore(prediction, calibration)
    limits = fit_limits(speech, non_speech)
    content = json.loads(settings.read_text(encoding="utf-8"))
    write_json(settings, dict(sorted({**content, "calibration": calibration, "abstention": limits}.items())))
    result = {"calibration": calibration, "abstention": limits, "reliability": reliability(speech)}
    for name, predictions in (("speech", speech), ("non_speech", non_speech)):
        result[name] = sum(bool(abstention_reason(each, limits)) for each in predictions), len(predictions)
    return result


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    set_up_console()
    parser = argparse.ArgumentParser(
        prog="python -m data.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a trained reader")
    parser.add_argument("source", help="folder of a prepared split it was not trained on, or a data set's id")
    parser.add_argument("--split", help="split of a source that has several")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips in a batch (default: 16)")
    parser.add_argument("--clips", type=int, default=25, help="clips without speech of each kind (default: 25)")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    options = vars(parser.parse_args(arguments))
    try:
        result = calibrate(options.pop("checkpoint"), options.pop("source"), **options)
    except (CorpusError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    found = result["reliability"]
    print(
        f"{found['words']} words, {found['correct']:.1%} of them correct: expected calibration error "
        f"{found['ece']:.3f}, of the probabilities {found['probability_ece']:.3f} (on the clips of the fit)"
    )
    (silent, of_silent), (lost, of_speech) = result["non_speech"], result["speech"]
    print(f"abstains from {silent} of {of_silent} clips without speech and {lost} of {of_speech} with speech")
    print(json.dumps({name: result[name] for name in ("calibration", "abstention")}))


if __name__ == "__main__":
    main()
