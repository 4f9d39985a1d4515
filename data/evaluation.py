# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Reading a corpus and saying honestly how well: what training and `evaluate_hf.py` share.

Word error rate alone cannot tell a reader from a language model that knows the sentences. Beside it stand the rate
with blank video (the average training face, motionless) and with shuffled video (another clip's).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_lipread.modeling_lipread import LipReadForConditionalGeneration

from .metrics import ReadingErrorRate, bootstrap_interval
from .opening import Clips


@dataclass
class Reading:
    """A clip: what was said in it, what was read from it, and what was read from blank video of the same length."""

    id: str
    speaker: str | None
    reference: str
    hypothesis: str
    blank_hypothesis: str


def _reading(row: Mapping[str, Any], hypothesis: str, blank_hypothesis: str) -> Reading:
    speaker = None if row["speaker"] is None else str(row["speaker"])
    return Reading(str(row["id"]), speaker, str(row["text"]), hypothesis, blank_hypothesis)


def shuffled_partners(references: Sequence[str], seed: int = 0) -> list[int | None]:
    """For each clip another clip with another text; `None` where there is none.

    Every clip is the next one's partner in a random order, so no clip serves twice unless texts repeat.
    """
    order = np.random.default_rng(seed).permutation(len(references)).tolist()
    partners: list[int | None] = [None] * len(references)
    for place, clip in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, len(order)))
        partners[clip] = next((other for other in following if references[other] != references[clip]), None)
    return partners


def blank_video(model: LipReadForConditionalGeneration, keypoints: torch.Tensor) -> torch.Tensor:
    """The average training face, motionless, in the shape of `keypoints`, `(batch, frames, landmarks, 3)`."""
    return model.encoder.input_mean[:, :3].to(keypoints).expand_as(keypoints)


@torch.no_grad()
def read_clips(
    model: LipReadForConditionalGeneration,
    processor: Any,
    dataset: Clips,
    collator: Callable[[list[dict]], dict[str, torch.Tensor]],
    *,
    batch_size: int = 16,
    process_index: int = 0,
    num_processes: int = 1,
    progress: bool = True,
    **generation: Any,
) -> list[Reading]:
    """Reads every clip of a prepared corpus, with its own video and with blank video.

    Each process reads its share and receives everyone's.

    Args:
        model: The reader; its device is used.
        processor: Its processor.
        dataset: Rows of `data.schema`.
        collator: A collator in evaluation mode: its `input_ids` hold the prompt and nothing of the transcript.
        batch_size: Clips read at once.
        process_index, num_processes: This process among those that share the work.
        progress: Whether to show a progress bar.
        generation: Arguments of `generate`.

    Returns:
        One reading a clip, in the order of `dataset`.
    """
    training, model_device = model.training, model.device
    model.eval()
    share = dataset.select(range(process_index, len(dataset), num_processes))
    # A generator of its own: reading must not move the random state that training goes on from.
    batches = DataLoader(
        share, batch_size=batch_size, collate_fn=lambda rows: (rows, collator(rows)), generator=torch.Generator()
    )
    read: list[tuple[int, Reading]] = []
    try:
        for rows, batch in tqdm(batches, desc="Reading", leave=False, disable=not progress or process_index > 0):
            prompt = {key: batch[key].to(model_device) for key in ("input_ids", "attention_mask")}
            keypoints, mask = (batch[key].to(model_device) for key in ("keypoints", "keypoints_mask"))
            texts = []
            for video in (keypoints, blank_video(model, keypoints)):
                ids = model.generate(**prompt, keypoints=video, keypoints_mask=mask, **generation)
                written = ids[:, prompt["input_ids"].shape[1] :]
                texts.append([text.strip() for text in processor.batch_decode(written, skip_special_tokens=True)])
            for row, text, blank in zip(rows, *texts, strict=True):
                position = process_index + len(read) * num_processes
                read.append((position, _reading(row, text, blank)))
    finally:
        model.train(training)
    if num_processes > 1:
        read = gather_object(read)
    return [reading for _, reading in sorted(read, key=lambda item: item[0])]


def figures(readings: Sequence[Reading], intervals: bool = False) -> dict[str, Any]:
    """Error rates with the clips' own, blank and shuffled video; with `intervals`, 95% bootstrap ones beside them."""
    references = [reading.reference for reading in readings]
    hypotheses = [reading.hypothesis for reading in readings]
    metric = ReadingErrorRate()
    result: dict[str, Any] = dict(metric.compute(predictions=hypotheses, references=references))
    blank = [reading.blank_hypothesis for reading in readings]
    result["blank_wer"] = metric.compute(predictions=blank, references=references)["wer"]
    # What is read depends on nothing but the video, so another clip's video gives another clip's hypothesis.
    pairs = zip(shuffled_partners(references), references, strict=True)
    shuffled = [(hypotheses[partner], reference) for partner, reference in pairs if partner is not None]
    result["shuffled_wer"] = math.nan
    if shuffled:
        predictions, others = map(list, zip(*shuffled, strict=True))
        result["shuffled_wer"] = metric.compute(predictions=predictions, references=others)["wer"]
    result["empty"] = sum(not hypothesis for hypothesis in hypotheses)
    result["clips"] = len(readings)
    if intervals:
        for rate in ("wer", "cer"):
            result[f"{rate}_interval"] = list(bootstrap_interval(hypotheses, references, rate))
    return result


def closing_line(result: dict[str, Any]) -> str:
    """The one line every evaluation closes with."""
    return (
        f"WER {result['wer']:.3f} CER {result['cer']:.3f} | blank video WER {result['blank_wer']:.3f} | "
        f"shuffled video WER {result['shuffled_wer']:.3f} | {result['clips']} clips"
    )


def report(readings: Sequence[Reading], **about: Any) -> dict[str, Any]:
    """Figures with intervals and every hypothesis, ready to be written as JSON."""
    return {**about, "figures": figures(readings, intervals=True), "readings": [asdict(r) for r in readings]}
