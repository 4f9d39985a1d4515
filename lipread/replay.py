# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A page that turns and plays a clip's landmarks, with the words: `lipread replay`."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from modeling_lipread.landmarks_lipread import LandmarkSequence

from .output_files import write_atomically
from .overlay import INNER_LIPS, OUTER_LIPS
from .transcript import Transcript

TEMPLATE = Path(__file__).with_name("replay_page.html")
MAX_STEPS = 32767  # int16: steps from the centre of a clip to its farthest coordinate


def write_replay(path: Path, sequence: LandmarkSequence, transcript: Transcript) -> None:
    """Writes a page that loads nothing else. The file appears when it is complete.

    The page holds the clip as JSON: `name`, `times` (seconds of each frame), the numbers of `points` and `frames`,
    `landmarks` (little-endian int16 `(frames, points, 3)` in base64, steps from the centre of the clip, 0 without a
    face), `present` (a byte a frame, base64), `lips` (two rings of indices), `unread` (spans with reasons), and
    `words`, each with `text`, `start`, `end` and `score`.

    Args:
        sequence: The landmarks, with a face in a frame at least.
        transcript: Its words, in seconds from the start of the sequence.
    """
    faces = sequence.keypoints[sequence.present]
    low, high = faces.min(axis=(0, 1)), faces.max(axis=(0, 1))
    step = float((high - low).max()) / 2 / MAX_STEPS or 1.0
    landmarks = np.round((sequence.keypoints - (low + high) / 2) / step)
    landmarks[~sequence.present] = 0
    clip = {
        "name": Path(transcript.file).name,
        "times": np.round(sequence.timestamps, 4).tolist(),
        "frames": len(sequence),
        "points": landmarks.shape[1],
        "landmarks": _base64(landmarks.astype("<i2")),
        "present": _base64(sequence.present.astype(np.uint8)),
        "lips": [OUTER_LIPS, INNER_LIPS] if landmarks.shape[1] > max(OUTER_LIPS) else [],
        "words": [
            {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3), "score": word.score}
            for word in transcript.words()
        ],
        "unread": [asdict(span) for span in transcript.unread],
    }
    data = json.dumps(clip, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    write_atomically(path, TEMPLATE.read_text(encoding="utf-8").replace("{{clip}}", data))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
