# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How sure a reader is of what it wrote, word by word, when it was said, and whether it had better say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modeling_lipread.abstention_lipread import is_seldom_seen, judge, lip_speed
from modeling_lipread.confidence_lipread import WrittenWord, head_log_probs, words_of
from modeling_lipread.ctc_decoding_lipread import clip_lengths
from modeling_lipread.encoder_lipread import FaceKeypointEncoderOutput
from modeling_lipread.modeling_lipread import LipReadForConditionalGeneration

from ..schema import decode_row


def certainty(
    model: LipReadForConditionalGeneration,
    processor: Any,
    rows: Sequence[Mapping[str, Any]],
    tokens: torch.Tensor,
    log_probs: torch.Tensor,
    encoded: FaceKeypointEncoderOutput,
    mask: torch.Tensor,
    spelled: Sequence[str | None],
) -> list[dict[str, Any]]:
    """What there is to say of a batch of hypotheses, as the pipeline would say it.

    Args:
        model: The reader.
        processor: Its processor.
        rows: The clips, rows of `data.schema`.
        tokens: What was written, without the prompt, `(batch, tokens)`; padding follows the first end token.
        log_probs: The tokens' log-probabilities, `(batch, tokens)`.
        encoded: The face encoder's output.
        mask: Non-zero where there is a face, `(batch, frames)`.
        spelled: What the CTC head reads on its own, if the reader has one.

    Returns:
        For each clip `confidence`, `words`, `spoken`, `lip_speed`, `agreement` and `reason` as `Reading` has them.
    """
    config, heads = model.config, head_log_probs(encoded)
    lengths = clip_lengths(mask, encoded.frame_hidden_states).tolist()
    told = []
    for index, (row, sure) in enumerate(zip(rows, token_confidence(model, tokens, log_probs).tolist(), strict=True)):
        head = None if heads is None else heads[index, : lengths[index]]
        words = words_of(processor, config, tokens[index].tolist(), log_probs[index].tolist(), head)
        sequence = decode_row(row)
        seen = {
            "spelled": spelled[index],
            "speed": lip_speed(sequence),
            "has_face": bool(mask[index].any()),
            "seldom_seen": is_seldom_seen(sequence),
        }
        text = " ".join(word.text for word in words)
        verdict = judge(text, words, config.abstention, config.calibration, **seen)
        times = processor.feature_extractor.frame_times(row["timestamps"], mask.shape[1])
        told.append(
            {
                "confidence": sure,
                "words": [_word(word, score, times) for word, score in zip(words, verdict.scores, strict=True)],
                "spoken": [dict(word) for word in row.get("words", ())],
                "lip_speed": seen["speed"],
                "agreement": verdict.agreed,
                "reason": verdict.reason,
            }
        )
    return told


def _word(word: WrittenWord, score: float, times: np.ndarray) -> dict[str, Any]:
    start, end = (None, None) if word.frames is None else times[list(word.frames)].round(3).tolist()
    weighed = {"log_prob": word.log_prob, "fit": word.fit, "score": score}
    return {"word": word.text, "start": start, "end": end, **weighed}


def token_confidence(
    model: LipReadForConditionalGeneration, tokens: torch.Tensor, log_probs: torch.Tensor
) -> torch.Tensor:
    """How sure a reader is of what it wrote.

    Args:
        model: The reader.
        tokens: What it wrote, without the prompt, `(batch, tokens)`; padding follows the first end token.
        log_probs: The tokens' log-probabilities, `(batch, tokens)`, as `token_log_probs` gives them.

    Returns:
        Geometric mean of the probabilities of the tokens, the first end token included, `(batch,)`.
    """
    ends = model.generation_config.eos_token_id
    ended = torch.isin(tokens, torch.as_tensor([] if ends is None else ends, device=tokens.device)).int()
    counted = (ended.cumsum(-1) - ended == 0).float()
    return ((log_probs * counted).sum(-1) / counted.sum(-1).clamp(min=1)).exp()
