# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Generates hypotheses for every clip of a corpus, from its own video and from blank video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_lipread import LipReadForConditionalGeneration
from modeling_lipread.confidence_lipread import token_log_probs
from modeling_lipread.ctc_lipread import greedy_ctc

from ..collator import LipReadCollator
from ..dataset import Clips
from .calibration import word_confidence
from .metrics import Prediction


def blank_video(model: LipReadForConditionalGeneration, keypoints: torch.Tensor) -> torch.Tensor:
    """Returns the average training face, motionless, in the shape of `keypoints`, `(batch, frames, landmarks, 3)`."""
    return model.encoder.average_face.to(keypoints).expand_as(keypoints)


@torch.no_grad()
def predict(
    model: LipReadForConditionalGeneration,
    processor: Any,
    dataset: Clips,
    collator: Callable[[list[dict]], dict[str, torch.Tensor]] | None = None,
    *,
    batch_size: int = 16,
    process_index: int = 0,
    num_processes: int = 1,
    progress: bool = True,
    **options: Any,
) -> list[Prediction]:
    """Returns a prediction for each clip: hypotheses from its own video and from blank video.

    Args:
        collator: In place of a `LipReadCollator` in evaluation mode.
        process_index, num_processes: This process among those that share the work; each receives all predictions.
        options: `confidence` and `encoder_only` of `predict_batch`, and arguments of `generate`.
    """
    if collator is None:
        start_ids = model.config.start_ids
        collator = LipReadCollator(processor, seq_len=len(start_ids) + 1, start_ids=start_ids, train=False)
    training = model.training
    model.eval()
    indices = range(process_index, len(dataset), num_processes)
    # A generator of its own: an evaluation must not change the random state of the training.
    batches = DataLoader(
        dataset.select(indices),
        batch_size=batch_size,
        collate_fn=lambda rows: (rows, collator(rows)),
        generator=torch.Generator(),
    )
    predictions: list[Prediction] = []
    hidden = True if process_index or not progress else None  # None: shown on a terminal alone
    try:
        for rows, batch in tqdm(batches, desc="Reading", leave=False, disable=hidden):
            batch = {key: value.to(model.device) for key, value in batch.items() if torch.is_tensor(value)}
            predictions += predict_batch(model, processor, rows, batch, **options)
    finally:
        model.train(training)
    found = list(zip(indices, predictions, strict=True))
    if num_processes > 1:
        found = gather_object(found)
    return [prediction for _, prediction in sorted(found, key=lambda item: item[0])]


def predict_batch(
    model: LipReadForConditionalGeneration,
    processor: Any,
    rows: list[dict],
    batch: dict[str, torch.Tensor],
    *,
    confidence: bool = False,
    encoder_only: bool = False,
    **generation: Any,
) -> list[Prediction]:
    """Returns the predictions for a batch of collated rows on the model's device.

    Args:
        confidence: Whether to compute word scores and word times, which costs one more forward pass.
        encoder_only: Whether to take the greedy hypotheses of the CTC head instead of generating text.
    """
    prompt = {key: batch[key] for key in ("input_ids", "attention_mask")}
    keypoints, mask, start = batch["keypoints"], batch["keypoints_mask"], batch["input_ids"].shape[1]
    blank_keypoints = blank_video(model, keypoints)
    conditioning, encoded = model.encode(keypoints, mask)
    ctc_hypotheses: list[str | None] = [None] * len(rows)
    scored: list[dict[str, Any]] = [{}] * len(rows)
    if encoded.ctc_logits is not None and model.config.ctc_vocab:
        ctc_hypotheses = greedy_ctc(encoded.ctc_logits, mask, model.config.ctc_vocab)
    if encoder_only:
        texts = ctc_hypotheses
        blank_logits = model.encode(blank_keypoints, mask)[1].ctc_logits
        blank = greedy_ctc(blank_logits, mask, model.config.ctc_vocab)
    else:
        video = {"conditioning": conditioning, "keypoints_mask": mask, "ctc_logits": encoded.ctc_logits}
        generated = model.generate(**prompt, **video, **generation)
        texts = _decode(processor, generated[:, start:])
        from_blank = model.generate(**prompt, keypoints=blank_keypoints, keypoints_mask=mask, **generation)
        blank = _decode(processor, from_blank[:, start:])
        if confidence:
            log_probs = token_log_probs(model, generated, start, conditioning=conditioning)
            scored = word_confidence(model, processor, rows, generated[:, start:], log_probs, encoded, mask)
    return [
        Prediction(
            id=str(row["id"]),
            speaker=None if row["speaker"] is None else str(row["speaker"]),
            reference=str(row["text"]),
            hypothesis=texts[index],
            blank_hypothesis=blank[index],
            ctc_hypothesis=ctc_hypotheses[index],
            **scored[index],
        )
        for index, row in enumerate(rows)
    ]


def _decode(processor: Any, ids: torch.Tensor) -> list[str]:
    return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]
