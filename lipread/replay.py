# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A page that turns and plays a clip's landmarks, with the words and the frames they attend to: `lipread replay`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from modeling_lipread import LipReadingPipeline
from modeling_lipread.landmarks_lipread import LandmarkSequence

from .attention import word_attention
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
            said = segment_words(reading.hypotheses[0], segment)
            attention = segment_attention(pipeline, segment, reading.hypotheses[0]["text"], sequence.timestamps)
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
