# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A page that turns and plays a clip's landmarks, with the words and the frames they attend to: `lipread replay`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeling_lipread import (
    FaceKeypointEncoderConfig,
    LipReadForConditionalGeneration,
    LipReadingPipeline,
    LipReadProcessor,
)
from modeling_lipread.adapters_lipread import recorded_attention
from modeling_lipread.confidence_lipread import token_units
from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.text_normalizer_lipread import split_units

from .long_form.segmentation import Segment
from .long_form.transcription import CountedFrames, read_utterances, segment_words, sequence_frames
from .output_files import write_atomically
from .overlay import INNER_LIPS, OUTER_LIPS

TEMPLATE = Path(__file__).with_name("replay_page.html")
MAX_STEPS = 32767  # int16: steps from the centre of a clip to its farthest coordinate


def describe_clip(
    pipeline: LipReadingPipeline, sequence: LandmarkSequence, name: str, text: str | None = None, **generation: Any
) -> dict[str, Any]:
    """Reads a clip, segmented where the lips pause if it is long, and collects everything that the page shows.

    Args:
        name, text: The title on the page, and the reference transcript if known.
        generation: Arguments of the pipeline.

    Returns:
        The content of the page: `name`, `text`, `times` (seconds of each frame), the numbers of `points` and `frames`,
        `landmarks` (little-endian int16 `(frames, points, 3)` in base64), the `scale` of a step in pixels, `present`
        (a byte a frame, base64), `lips` (two rings of indices), `unread` (spans with reasons), and `words`, each with
        `text`, `start`, `end`, `score` and `frames`: its attention to each frame, a byte each with the maximum 255,
        base64.
    """
    utterances, unread, frames = [], [], {}
    for reading in read_utterances(pipeline, CountedFrames(sequence_frames(sequence)), **generation):
        segment = reading.segment
        utterances.append(reading.utterance)
        if reading.reason:
            unread.append({"start": segment.start, "end": segment.end, "reason": reading.reason})
        else:
            # All words of the segment, since stitching may exchange words with the segment before.
            said = segment_words(reading.hypothesis, segment)
            attention = segment_attention(pipeline, segment, reading.hypothesis["text"], sequence.timestamps)
            frames.update(zip(said, attention, strict=True))
    landmarks, scale = quantize(sequence)
    return {
        "name": name,
        "text": text,
        "times": np.round(sequence.timestamps, 4).tolist(),
        "frames": len(sequence),
        "points": landmarks.shape[1],
        "landmarks": _base64(landmarks),
        "scale": scale,
        "present": _base64(sequence.present.astype(np.uint8)),
        "lips": [OUTER_LIPS, INNER_LIPS] if landmarks.shape[1] > max(OUTER_LIPS) else [],
        "words": [
            {
                "text": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "score": word.score,
                "frames": _base64(frames[word]),
            }
            for utterance in utterances
            for word in utterance.words
        ],
        "unread": unread,
    }


def segment_attention(
    pipeline: LipReadingPipeline, segment: Segment, text: str, timestamps: np.ndarray
) -> list[np.ndarray]:
    """Returns the attention of each word of a segment to the frames of its clip, uint8 `(frames,)`, at most 255."""
    extractor = pipeline.processor.feature_extractor
    features = extractor([segment.sequence], return_tensors="pt")
    attention = word_attention(pipeline.model, pipeline.processor, features, text)
    edges = extractor.frame_times(segment.sequence.timestamps, attention.shape[1])
    at = np.searchsorted(edges, timestamps + 1e-6, side="right") - 1
    inside = (at >= 0) & (at < attention.shape[1]) & (timestamps <= segment.end + 1e-6)
    weights = np.where(inside, attention[:, at.clip(0, attention.shape[1] - 1)], 0.0)
    highest = weights.max(axis=1, keepdims=True, initial=1e-12)
    return list(np.round(255 * weights / highest).astype(np.uint8))


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
    with recorded_attention(model.adapters) as weights:
        model(ids, keypoints=keypoints, keypoints_mask=mask)
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


def quantize(sequence: LandmarkSequence) -> tuple[np.ndarray, float]:
    """Returns landmarks as integer steps from the centre of the clip, and the size of a step in pixels.

    The steps are little-endian int16 `(frames, points, 3)`, and zero in frames without a face.
    """
    faces = sequence.keypoints[sequence.present]
    low, high = faces.min(axis=(0, 1)), faces.max(axis=(0, 1))
    scale = float((high - low).max()) / 2 / MAX_STEPS or 1.0
    steps = np.round((sequence.keypoints - (low + high) / 2) / scale)
    steps[~sequence.present] = 0
    return steps.astype("<i2"), scale


def write_replay(path: Path, clip: dict[str, Any]) -> None:
    """Writes the content from `describe_clip` as a page that loads nothing else. The file appears when complete."""
    data = json.dumps(clip, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    write_atomically(path, TEMPLATE.read_text(encoding="utf-8").replace("{{clip}}", data))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
