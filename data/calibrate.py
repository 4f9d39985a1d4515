# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Calibrates the word scores of a reader, and the limits below which its pipeline abstains.

    python -m data.calibrate runs/a corpus/validation

Use clips that the reader was not trained on. They are read as they are, and as if other people spoke: with strong
augmentation, and backwards. A logistic function of the evidence for a word (`confidence_lipread`) is fitted to which
words are correct, and limits to clips with speech and clips made of them without (`data.evaluation.hallucination`).
Both are stored in the reader's `config.json`; the weights do not change.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import exit_on_error, make_parser
from .files import write_json

if TYPE_CHECKING:
    import torch

    from .collator import LipReadCollator
    from .training.augmentation import KeypointAugmentation

STRONG = {"scale": 0.1, "warp": 0.1, "motion": 0.3, "shift": 0.0, "noise": 0.001, "speed": 0.0, "time_masks": 0}
MIXINGS = (1.2, 1.6, 2.0)  # of the augmentation: a reader then makes as many errors as with people it does not know


def collate_as_strangers(
    rows: Sequence[Mapping[str, Any]], collator: LipReadCollator, augmentation: KeypointAugmentation | None
) -> dict[str, torch.Tensor]:
    """Collates clips as if other people spoke.

    Without an `augmentation` they are reversed in time: people whose movements are as clear as the training's, but
    seldom have its words.
    """
    import torch

    batch = collator(rows)
    if augmentation is None:
        for keypoints, mask in zip(batch["keypoints"], batch["keypoints_mask"], strict=True):
            frames = int(mask.nonzero().max()) + 1 if mask.any() else 0
            keypoints[:frames], mask[:frames] = keypoints[:frames].flip(0), mask[:frames].flip(0)
        return batch
    with torch.random.fork_rng([]):
        torch.manual_seed(zlib.crc32(str(rows[0]["id"]).encode()))
        batch["keypoints"], *_ = augmentation(batch["keypoints"], batch["keypoints_mask"])
    return batch


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

    Returns `calibration` and `abstention` as stored, the `reliability` of the word scores, also as if other people
    spoke (`stranger_reliability`), and `(abstentions, clips)` with and without speech (`speech`, `non_speech`). Raises
    CorpusError, OSError or ValueError if checkpoint or source cannot be read, or the reader wrote no word.
    """
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import AutoModel, AutoProcessor

    from modeling_lipread import register

    from .collator import LipReadCollator
    from .dataset import ClipTable, open_split
    from .evaluation import calibration as scores
    from .evaluation.generation import predict
    from .evaluation.hallucination import landmark_clips
    from .schema import encode_row, rows_to_table
    from .training.augmentation import KeypointAugmentation

    register()
    settings = checkpoint / "config.json"
    if not settings.is_file():
        raise ValueError(f"{checkpoint}: no folder with a config.json to store the calibration in; download it first")
    model, processor = AutoModel.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    model.config.abstention = None
    options = {"batch_size": batch_size, "confidence": True, "num_beams": num_beams}
    rows = open_split(source, split)
    speech = predict(model, processor, rows, **options)
    start_ids, strangers = model.config.start_ids, []
    collator = LipReadCollator(processor, seq_len=len(start_ids) + 1, start_ids=start_ids, train=False)
    for augmentation in (*(KeypointAugmentation(**STRONG, mixing=mixing) for mixing in MIXINGS), None):
        others = partial(collate_as_strangers, collator=collator, augmentation=augmentation)
        strangers += predict(model, processor, rows, others, **options)
    known = [prediction for prediction in [*speech, *strangers] if prediction.words]
    if not known:
        raise ValueError(f"{source}: the reader wrote no word, so there is nothing to calibrate")
    evidence = np.concatenate([scores.word_inputs(prediction) for prediction in known])
    calibration = scores.fit_calibration(evidence, scores.correct_words(known))
    made = [encode_row(clip.sequence, text="", id=f"{clip.kind} {clip.id}") for clip in landmark_clips(rows, clips)]
    non_speech = predict(model, processor, ClipTable(Dataset(rows_to_table(made))), **options)
    for prediction in [*speech, *strangers, *non_speech]:
        scores.rescore(prediction, calibration)
    limits = scores.fit_limits(speech, non_speech)
    content = json.loads(settings.read_text(encoding="utf-8"))
    write_json(settings, dict(sorted({**content, "calibration": calibration, "abstention": limits}.items())))
    found = {"reliability": scores.reliability(speech), "stranger_reliability": scores.reliability(strangers)}
    result = {"calibration": calibration, "abstention": limits, **found}
    for name, predictions in (("speech", speech), ("non_speech", non_speech)):
        result[name] = sum(bool(scores.abstention_reason(each, limits)) for each in predictions), len(predictions)
    return result


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = make_parser("python -m data.calibrate", __doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a trained reader")
    parser.add_argument("source", help="folder of a prepared split it was not trained on, or a data set's id")
    parser.add_argument("--split", help="split of a source that has several")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips in a batch (default: 16)")
    parser.add_argument("--clips", type=int, default=25, help="clips without speech of each kind (default: 25)")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    options = vars(parser.parse_args(arguments))
    with exit_on_error():
        result = calibrate(options.pop("checkpoint"), options.pop("source"), **options)
    found = result["reliability"]
    print(
        f"{found['words']} words, {found['correct']:.1%} of them correct: expected calibration error "
        f"{found['ece']:.3f}, of the probabilities {found['probability_ece']:.3f} (on the clips of the fit)"
    )
    found = result["stranger_reliability"]
    print(f"as if other people spoke: {found['correct']:.1%} correct, expected calibration error {found['ece']:.3f}")
    (silent, of_silent), (lost, of_speech) = result["non_speech"], result["speech"]
    print(f"abstains from {silent} of {of_silent} clips without speech and {lost} of {of_speech} with speech")
    print(json.dumps({name: result[name] for name in ("calibration", "abstention")}))


if __name__ == "__main__":
    main()
