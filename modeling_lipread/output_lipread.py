# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a reader's forward pass gives."""

from dataclasses import dataclass, fields

import torch
from transformers.modeling_outputs import CausalLMOutputWithPast

# What language models call their cache, as an argument and in their output: `past_key_values` until transformers 5.24.
CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"


@dataclass
class LipReadOutput(CausalLMOutputWithPast):
    """What the reader gives: a causal language model's output, and what its encoder was scored by.

    Args:
        loss (`torch.FloatTensor`, *optional*):
            `lm_loss + ctc_weight * ctc_loss + alignment_weight * alignment_loss`, of those whose targets were given.
            Each is a mean over clips of the clip's own mean; a clip counts by its transcript's tokens.
        logits (`torch.FloatTensor`):
            Scores of the next token, `(batch, sequence, vocab_size)`.
        past_key_values (`Cache`, *optional*):
            The language model's cache; `cache` since transformers 5.24.
        hidden_states, attentions:
            The language model's, if asked for.
        lm_loss (`torch.FloatTensor`, *optional*):
            Cross-entropy of the transcript's tokens; in training with `config.label_smoothing`.
        ctc_loss (`torch.FloatTensor`, *optional*):
            Connectionist temporal classification loss of the transcript, by character.
        alignment_loss (`torch.FloatTensor`, *optional*):
            Cross-entropy of the character spoken in each frame; 0 for a clip without word times.
        ctc_logits (`torch.FloatTensor`, *optional*):
            Scores of the CTC head, `(batch, frames, len(config.ctc_vocab))`.
        alignment_logits (`torch.FloatTensor`, *optional*):
            Scores of the alignment head, `(batch, frames, len(config.ctc_vocab))`.
    """

    lm_loss: torch.FloatTensor | None = None
    ctc_loss: torch.FloatTensor | None = None
    alignment_loss: torch.FloatTensor | None = None
    ctc_logits: torch.FloatTensor | None = None
    alignment_logits: torch.FloatTensor | None = None


__all__ = ["CACHE", "LipReadOutput"]
