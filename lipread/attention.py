# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The attention of each word of a transcript to the frames of its clip."""

from __future__ import annotations

import numpy as np
import torch

from modeling_lipread import FaceKeypointEncoderConfig, LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.confidence_lipread import token_units
from modeling_lipread.text_normalizer_lipread import split_units


def token_frames(config: FaceKeypointEncoderConfig, mask: np.ndarray) -> np.ndarray:
    """Returns the share of each frame in each conditioning token, float64 `(tokens, frames)`.

    A token of the `pool` resampler is an average of neighbouring frames. A token of the `perceiver` resampler attends
    to all frames; here it counts for the segment whose average it starts from. The mask, bool `(frames,)`, is True for
    frames with a face; the others have no share.
    """
    frames = np.arange(len(mask))
    if config.resampler == "pool":
        tokens = np.arange(-(-len(mask) // config.pool_frames))
        covers = frames // config.pool_frames == tokens[:, None]
    else:
        length = int(np.flatnonzero(mask)[-1]) + 1
        centre = (np.arange(config.cond_len) + 0.5) * length / config.cond_len
        covers = np.abs(frames + 0.5 - centre[:, None]) <= max(length / (2 * config.cond_len), 0.5)
    shares = (covers & mask).astype(np.float64)
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1)


@torch.no_grad()
def word_attention(
    model: LipReadForConditionalGeneration, processor: LipReadProcessor, features: dict[str, torch.Tensor], text: str
) -> np.ndarray:
    """Returns the attention of each word of a transcript to the frames of its clip, float64 `(words, frames)`.

    It is the mean over the word's tokens and sums to 1. `features` are those of one clip.
    """
    tokens = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = model.config.start_ids
    keypoints, mask = features["keypoints"].to(model.device), features["keypoints_mask"].to(model.device)
    ids = torch.tensor([start + tokens], device=model.device)
    weights = model(ids, keypoints=keypoints, keypoints_mask=mask, output_cross_attentions=True).cross_attentions
    # Averaged over adapters and heads. The position before a token predicts it.
    attention = torch.stack([adapter[0].mean(0).cpu() for adapter in weights]).mean(0)[len(start) - 1 : -1]
    frames = attention.double().numpy() @ token_frames(model.config.encoder_config, mask[0].bool().cpu().numpy())
    words = len(split_units(text))
    sums, counts = np.zeros((words, frames.shape[1])), np.zeros((words, 1))
    for weights, written in zip(frames, token_units(processor, tokens), strict=True):
        sums[written] += weights
        counts[written] += 1
    sums /= np.maximum(counts, 1)
    return sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
