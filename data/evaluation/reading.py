# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Reading every clip of a corpus, with its own video and with blank video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from modeling_lipread.confidence_lipread import token_log_probs
from modeling_lipread.ctc_decoding_lipread import greedy_ctc
from modeling_lipread.modeling_lipread import LipReadForConditionalGeneration

from ..opening import Clips
from .certainty import certainty


@dataclass
class Reading:
    """A clip: what was said in it, what was read from it, and what was read from blank video of the same length.

    Attributes:
        id, speaker, reference: As the corpus has them.
        hypothesis: What was read.
        blank_hypothesis: What was read from blank video.
        nbest: The likeliest hypotheses where more than one was asked for; the first is `hypothesis`.
        confidence: Geometric mean of the probabilities that the model gives the tokens of `hypothesis`, in (0, 1],
            where it was asked for.
        ctc_hypothesis: What the CTC head reads on its own, if the reader has one.
        words: With a confidence, the words of `hypothesis`: each with its `word`, `start` and `end` (seconds from the
            clip's start; None where that cannot be told), the `log_prob` and the `fit` that its `score` is made of
            (`modeling_lipread.confidence_lipread`).
        spoken: The words of the reference with their `start` and `end`, where the corpus has them.
        lip_speed, agreement: With a confidence, how fast the lips move, and how far `hypothesis` agrees with
            `ctc_hypothesis` (`modeling_lipread.abstention_lipread`).
        reason: With a confidence, why the pipeline would say nothing; None where it would say `hypothesis`.
    """

    id: str
    speaker: str | None
    reference: str
    hypothesis: str
    blank_hypothesis: str
    nbest: list[str] = field(default_factory=list)
    confidence: float | None = None
    ctc_hypothesis: str | None = None
    words: list[dict[str, Any]] = field(default_factory=list)
    spoken: list[dict[str, Any]] = field(default_factory=list)
    lip_speed: float | None = None
    agreement: float | None = None
    reason: str | None = None

    def as_row(self) -> dict[str, Any]:
        """What is known of it, for JSON."""
        return {key: value for key, value in asdict(self).items() if key == "speaker" or value not in (None, [])}


def blank_video(model: LipReadForConditionalGeneration, keypoints: torch.Tensor) -> torch.Tensor:
    """The average training face, motionless, in the shape of `keypoints`, `(batch, frames, landmarks, 3)`."""
    return model.encoder.average_face.to(keypoints).expand_as(keypoints)


@torch.no_grad()
def read_clips(
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
) -> list[Reading]:
    """Reads every clip of a prepared corpus, with its own video and with blank video.

    Each process reads its share and receives everyone's.

    Args:
        model: The reader; its device is used.
        processor: Its processor.
        dataset: Rows of `data.schema`.
        collator: A collator in evaluation mode: its `input_ids` hold the prompt and nothing of the transcript.
        batch_size: Clips read at once.
        nbest: Hypotheses kept of a clip, at most the beams of the search; they come from the same search.
        confidence: Whether to ask the model how sure it is of each word and when it was said, which costs one forward
            pass a batch.
        encoder_only: Whether what the CTC head reads on its own is all there is, `generate` not being asked.
        process_index, num_processes: This process among those that share the work.
        progress: Whether to show a progress bar.
        in_step: Whether processes hold parts of the model for each other, so that each must do as much as the others.
        generation: Arguments of `generate`.

    Returns:
        One reading a clip, in the order of `dataset`.
    """
    training, model_device = model.training, model.device
    model.eval()
    indices = range(process_index, len(dataset), num_processes)
    num_own = len(indices)
    if in_step:  # one that has a clip less reads one again
        indices = [*indices, *[0] * (-(-len(dataset) // num_processes) - num_own)]
        generation["synced_gpus"] = num_processes > 1
    share = dataset.select(indices)
    # A generator of its own: reading must not move the random state that training goes on from.
    batches = DataLoader(
        share, batch_size=batch_size, collate_fn=lambda rows: (rows, collator(rows)), generator=torch.Generator()
    )
    read: list[tuple[int, Reading]] = []
    try:
        for rows, batch in tqdm(batches, desc="Reading", leave=False, disable=not progress or process_index > 0):
            prompt = {key: batch[key].to(model_device) for key in ("input_ids", "attention_mask")}
            keypoints, mask = (batch[key].to(model_device) for key in ("keypoints", "keypoints_mask"))
            start = prompt["input_ids"].shape[1]

            def texts(ids: torch.Tensor, start: int = start) -> list[str]:
                return [text.strip() for text in processor.batch_decode(ids[:, start:], skip_special_tokens=True)]

            def spell(ctc_logits: torch.Tensor, mask: torch.Tensor = mask) -> list[str]:
                return greedy_ctc(ctc_logits, mask, model.config.ctc_vocab)

            spelled = [None] * len(rows)
            told: list[dict[str, Any]] = [{}] * len(rows)
            blank_keypoints = blank_video(model, keypoints)
            if encoder_only:
                hypotheses = spelled = spell(model.encode(keypoints, mask)[1].ctc_logits)
                blank = spell(model.encode(blank_keypoints, mask)[1].ctc_logits)
            else:
                # Nothing is asked of `generate` that the caller did not ask for.
                several = {"num_return_sequences": nbest} if nbest > 1 else {}
                conditioning, encoded = model.encode(keypoints, mask)
                seen = {"conditioning": conditioning, "keypoints_mask": mask, "ctc_logits": encoded.ctc_logits}
                written = model.generate(**prompt, **seen, **generation, **several)
                hypotheses = texts(written)
                blank_seen = {"keypoints": blank_keypoints, "keypoints_mask": mask}
                blank = texts(model.generate(**prompt, **blank_seen, **generation))
                if encoded.ctc_logits is not None and model.config.ctc_vocab:
                    spelled = spell(encoded.ctc_logits)
                if confidence:
                    log_probs = token_log_probs(model, written[::nbest], start, conditioning=conditioning)
                    told = certainty(
                        model, processor, rows, written[::nbest, start:], log_probs, encoded, mask, spelled
                    )
            for index, row in enumerate(rows):
                kept = hypotheses[index * nbest : (index + 1) * nbest]
                reading = _reading(row, kept, blank[index], spelled[index], told[index])
                read.append((process_index + len(read) * num_processes, reading))
    finally:
        model.train(training)
    del read[num_own:]
    if num_processes > 1:
        read = gather_object(read)
    return [reading for _, reading in sorted(read, key=lambda item: item[0])]


def _reading(
    row: Mapping[str, Any], hypotheses: list[str], blank: str, spelled: str | None, told: dict[str, Any]
) -> Reading:
    speaker = None if row["speaker"] is None else str(row["speaker"])
    nbest = hypotheses if len(hypotheses) > 1 else []
    known = {"nbest": nbest, "ctc_hypothesis": spelled, **told}
    return Reading(str(row["id"]), speaker, str(row["text"]), hypotheses[0], blank, **known)
