# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Generates hypotheses for every clip of a corpus, from its own video and from blank video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_lipread.confidence_lipread import token_log_probs
from modeling_lipread.ctc_lipread import greedy_ctc
from modeling_lipread.modeling_lipread import LipReadForConditionalGeneration

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
    collator: Callable[[list[dict]], dict[str, torch.Tensor]],
    *,
    batch_size: int = 16,
    nbest: int = 1,
    confidence: bool = False,
    encoder_only: bool = False,
    process_index: int = 0,
    num_processes: int = 1,
    progress: bool = True,
    in_step: bool = False,
    **generation: Any,
) -> list[Prediction]:
    """Generates hypotheses for every clip, from its own video and from blank video.

    Each process takes its share of the clips and receives the predictions of all.

    Args:
        model: The model; its device is used.
        processor: Its processor.
        dataset: Rows of `data.schema`.
        collator: A collator in evaluation mode, whose `input_ids` hold the prompt and nothing of the transcript.
        batch_size: Clips in a batch.
        nbest: Hypotheses kept of a clip, at most as many as beams; they come from one search.
        confidence: Whether to compute word scores and word times, which costs one more forward pass a batch.
        encoder_only: Whether to take the greedy hypotheses of the CTC head instead of calling `generate`.
        process_index, num_processes: This process among those that share the work.
        progress: Whether to show a progress bar.
        in_step: Whether processes hold parts of the model for each other, so that each must run as many steps.
        generation: Arguments of `generate`.

    Returns:
        One prediction for each clip, in the order of `dataset`.
    """
    training, device = model.training, model.device
    model.eval()
    indices = range(process_index, len(dataset), num_processes)
    num_own = len(indices)
    if in_step:  # a process that has one clip less repeats a clip
        indices = [*indices, *[0] * (-(-len(dataset) // num_processes) - num_own)]
        generation["synced_gpus"] = num_processes > 1
    # A generator of its own: an evaluation must not change the random state of the training.
    batches = DataLoader(
        dataset.select(indices),
        batch_size=batch_size,
        collate_fn=lambda rows: (rows, collator(rows)),
        generator=torch.Generator(),
    )
    found: list[tuple[int, Prediction]] = []
    try:
        for rows, batch in tqdm(batches, desc="Reading", leave=False, disable=not progress or process_index > 0):
            prompt = {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}
            keypoints, mask = (batch[key].to(device) for key in ("keypoints", "keypoints_mask"))
            start = prompt["input_ids"].shape[1]

            def texts(ids: torch.Tensor, start: int = start) -> list[str]:
                return [text.strip() for text in processor.batch_decode(ids[:, start:], skip_special_tokens=True)]

            def spell(ctc_logits: torch.Tensor, mask: torch.Tensor = mask) -> list[str]:
                return greedy_ctc(ctc_logits, mask, model.config.ctc_vocab)

            ctc_hypotheses = [None] * len(rows)
            scored: list[dict[str, Any]] = [{}] * len(rows)
            blank_keypoints = blank_video(model, keypoints)
            if encoder_only:
                hypotheses = ctc_hypotheses = spell(model.encode(keypoints, mask)[1].ctc_logits)
                blank = spell(model.encode(blank_keypoints, mask)[1].ctc_logits)
            else:
                # `num_return_sequences` is passed only if several hypotheses were asked for.
                several = {"num_return_sequences": nbest} if nbest > 1 else {}
                conditioning, encoded = model.encode(keypoints, mask)
                seen = {"conditioning": conditioning, "keypoints_mask": mask, "ctc_logits": encoded.ctc_logits}
                generated = model.generate(**prompt, **seen, **generation, **several)
                hypotheses = texts(generated)
                blank_seen = {"keypoints": blank_keypoints, "keypoints_mask": mask}
                blank = texts(model.generate(**prompt, **blank_seen, **generation))
                if encoded.ctc_logits is not None and model.config.ctc_vocab:
                    ctc_hypotheses = spell(encoded.ctc_logits)
                if confidence:
                    best = generated[::nbest]
                    log_probs = token_log_probs(model, best, start, conditioning=conditioning)
                    scored = word_confidence(
                        model, processor, rows, best[:, start:], log_probs, encoded, mask, ctc_hypotheses
                    )
            for index, row in enumerate(rows):
                kept = hypotheses[index * nbest : (index + 1) * nbest]
                prediction = Prediction(
                    id=str(row["id"]),
                    speaker=None if row["speaker"] is None else str(row["speaker"]),
                    reference=str(row["text"]),
                    hypothesis=kept[0],
                    blank_hypothesis=blank[index],
                    nbest=kept if len(kept) > 1 else [],
                    ctc_hypothesis=ctc_hypotheses[index],
                    **scored[index],
                )
                found.append((process_index + len(found) * num_processes, prediction))
    finally:
        model.train(training)
    del found[num_own:]
    if num_processes > 1:
        found = gather_object(found)
    return [prediction for _, prediction in sorted(found, key=lambda item: item[0])]
