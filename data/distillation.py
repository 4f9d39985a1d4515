# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Learning from readers trained before: what several of them expect, on average, is more than the transcript says.

Readers that differ by their seeds and sizes misread different words, and their average misreads fewer than any of
them. A new reader that learns from that average (Hinton et al., 2015), on faces and sentences varied anew at each
step, is to come near it at the cost of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration, LipReadOutput
from modeling_lipread.processing_lipread import LipReadProcessor

from .trained_encoder import feature_settings, reader_config, refuse_differences

HEADS = ("logits", "alignment_logits")
READ = ("keypoints", "keypoints_mask", "input_ids", "attention_mask")


class Teachers:
    """Readers that a new one learns from.

    Args:
        sources: Folders or Hub ids of readers of the new one's landmarks, tokens and characters, of any size.
        config: The new reader's configuration.
        processor: The new reader's processor.

    Raises:
        ValueError: If one of them sees other features, or writes other tokens or characters.
        OSError: If there is no such reader, or its weights are damaged.
    """

    def __init__(self, sources: Sequence[str], config: LipReadConfig, processor: LipReadProcessor):
        self.sources = list(sources)
        self.readers: list[LipReadForConditionalGeneration] = []
        for source in self.sources:
            _check(source, config, processor)
            reader = LipReadForConditionalGeneration.from_pretrained(source)
            self.readers.append(reader.eval().requires_grad_(False))

    def to(self, device: torch.device) -> Teachers:
        """Moves them to where the new reader is trained."""
        for reader in self.readers:
            reader.to(device)
        return self

    @torch.no_grad()
    def probabilities(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the teachers expect of a batch, on average.

        Args:
            inputs: A training batch; without `input_ids` the encoders alone are asked.

        Returns:
            `logits` `(batch, sequence, vocab_size)` and `alignment_logits` `(batch, frames, characters)`, as far as
            every teacher has them: probabilities, float32.
        """
        given = {name: inputs[name] for name in READ if name in inputs}
        opinions = []
        for reader in self.readers:
            outputs = reader(**given) if "input_ids" in given else reader.encoder(**given)
            opinions.append({name: outputs[name].float().softmax(-1) for name in HEADS if name in outputs})
        shared = set.intersection(*(set(opinion) for opinion in opinions))
        return {name: torch.stack([opinion[name] for opinion in opinions]).mean(0) for name in sorted(shared)}

    def loss(self, outputs: LipReadOutput, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """How far a reader's expectations are from the teachers' average.

        Args:
            outputs: What the reader made of the batch.
            inputs: The batch.

        Returns:
            The Kullback-Leibler divergence, a number: its mean over the transcripts' tokens and that over the frames
            with a face, added.
        """
        expected = self.probabilities(inputs)
        losses = []
        if outputs.logits is not None and "logits" in expected:
            learned = nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=-100) != -100
            losses.append(_divergence(outputs.logits[learned], expected["logits"][learned]))
        if outputs.alignment_logits is not None and "alignment_logits" in expected:
            seen = inputs["keypoints_mask"].bool()
            losses.append(_divergence(outputs.alignment_logits[seen], expected["alignment_logits"][seen]))
        return sum(losses)


def _divergence(logits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Mean divergence of `(..., choices)` from probabilities of the same shape."""
    return nn.functional.kl_div(logits.float().log_softmax(-1), probabilities, reduction="batchmean")


def _check(source: str, config: LipReadConfig, processor: LipReadProcessor) -> None:
    """Refuses a teacher that does not see or write what the new reader does."""
    theirs, their_config = LipReadProcessor.from_pretrained(source), reader_config(source, "--teachers")
    refuse_differences(
        f"--teachers {source}", *(feature_settings(part.feature_extractor) for part in (theirs, processor))
    )
    if theirs.tokenizer.get_vocab() != processor.tokenizer.get_vocab():
        raise ValueError(
            f"--teachers {source}: it writes other tokens than this run; train both with one language model on one "
            "corpus"
        )
    spelling = [(settings.ctc_units, settings.ctc_vocab) for settings in (their_config, config)]
    if spelling[0] != spelling[1] or their_config.start_ids != config.start_ids:
        raise ValueError(
            f"--teachers {source}: it was trained on other characters or with another prompt than this run; train "
            "both on one corpus"
        )


__all__ = ["Teachers"]
