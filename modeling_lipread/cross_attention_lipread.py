# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Which frames a reader looks at when it writes a word: its adapters' cross-attention, brought back to frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .adapters_lipread import Conditioning
from .configuration_lipread import FaceKeypointEncoderConfig


@torch.no_grad()
def token_attention(model: Any, input_ids: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
    """Where the adapters look at each position of a text, averaged over heads and adapters.

    Args:
        model: A [`LipReadForConditionalGeneration`]; its forward stays as it is.
        input_ids: The text, `(rows, sequence)`.
        conditioning: What `encode` gave for the clips.

    Returns:
        Weights that sum to 1 over the conditioning tokens, float32 `(rows, sequence, tokens)`.
    """
    found: list[torch.Tensor] = []

    def look(adapter: Any, arguments: tuple) -> None:
        found.append(adapter.attention_weights(*arguments).mean(1).cpu())

    hooks = [adapter.register_forward_pre_hook(look) for adapter in model.adapters]
    try:
        model(input_ids=input_ids, conditioning=conditioning)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found).mean(0)


def token_frames(config: FaceKeypointEncoderConfig, mask: np.ndarray) -> np.ndarray:
    """Which frames each conditioning token stands for.

    Tokens of the `pool` resampler are averages of neighbouring frames. Those of a `perceiver` may read every frame;
    each is taken for the stretch of the clip from whose average it starts.

    Args:
        config: The encoder's.
        mask: Whether a frame has a face, bool `(frames,)`; one frame at least has.

    Returns:
        Shares that sum to 1 over the frames, float64 `(tokens, frames)`; 0 for a token without a face.
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


def word_attention(model: Any, processor: Any, features: dict[str, torch.Tensor], text: str) -> np.ndarray:
    """How much each word of a text looks at each frame of a clip.

    Args:
        model: A [`LipReadForConditionalGeneration`].
        processor: Its [`LipReadProcessor`].
        features: What the feature extractor gives for the one clip.
        text: What was read in it.

    Returns:
        Weights that sum to 1 over the frames, the mean over the word's tokens, float64 `(words, frames)`.
    """
    tokens = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    start = list(model.config.start_ids)
    keypoints, mask = features["keypoints"].to(model.device), features["keypoints_mask"].to(model.device)
    with torch.no_grad():
        conditioning, _ = model.encode(keypoints, mask)
    ids = torch.tensor([start + tokens], device=model.device)
    # A token is written at the position before it.
    looked = token_attention(model, ids, conditioning)[0, len(start) - 1 : -1].double().numpy()
    frames = looked @ token_frames(model.config.encoder_config, mask[0].bool().cpu().numpy())
    words = len(text.split())
    sums, counts = np.zeros((words, frames.shape[1])), np.zeros((words, 1))
    for count, weights in enumerate(frames, start=1):
        word = len(processor.decode(tokens[:count], skip_special_tokens=True).split()) - 1
        if 0 <= word < words:
            sums[word] += weights
            counts[word] += 1
    sums /= np.maximum(counts, 1)
    return sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
