# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread replay`: a clip's landmarks to turn and play in a browser, with the words and the frames each looked at.

lipread replay clip.mp4 --output replay.html
lipread replay talk.mp4 --model runs/a --start 12 --end 16 --output replay.html
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from .adapters_lipread import word_attention
from .landmarks_lipread import ONLY_PERSON, LandmarkSequence
from .overlay_lipread import INNER_LIPS, OUTER_LIPS
from .pipeline_lipread import LipReadingPipeline
from .reader_options_lipread import (
    READ,
    SOME_FAILED,
    generation_arguments,
    load_reader,
    output_file,
    reader_options,
    span_options,
    tell,
)
from .reading_lipread import words_of
from .segmentation_lipread import Segmenter, SegmentSettings
from .transcript_files_lipread import write_whole

PAGE = Path(__file__).with_name("replay_page.html")
STEPS = 32767  # of a coordinate from the middle of a clip to its edge


def add_replay(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser(
        "replay",
        parents=[reader_options(), span_options()],
        help="write a page that turns and plays the landmarks, with the words and where each looked",
    )
    parser.add_argument("video", metavar="VIDEO", help="video, or .npy file of landmarks")
    parser.add_argument("--output", required=True, type=Path, help="HTML file to write")
    parser.set_defaults(run=replay)


def replay(arguments: argparse.Namespace) -> int:
    """Writes the page, and prints what is said and where it was written.

    Returns:
        The exit status: 0, or 1 if the video could not be read.
    """
    output = output_file(arguments.output, ".html", arguments.video)
    reader = load_reader(arguments)
    try:
        span = {"start": arguments.start, "end": arguments.end}
        sequence = reader.processor.extract_landmarks(arguments.video, **span, face=arguments.face)[0]
        clip = describe(reader, sequence, Path(arguments.video).name, **generation_arguments(arguments))
        write_replay(output, clip)
    except (OSError, ValueError) as error:
        tell(error)
        return SOME_FAILED
    print(f"{' '.join(word['text'] for word in clip['words'])}\n{output}")
    return READ


def describe(
    reader: LipReadingPipeline, sequence: LandmarkSequence, name: str, text: str | None = None, **generation: Any
) -> dict[str, Any]:
    """Everything the page shows of a clip.

    Args:
        reader: A [`LipReadingPipeline`].
        sequence: The clip's landmarks. A long one is cut where the lips pause.
        name: What the page calls it.
        text: What was said, if it is known.
        generation: Arguments of `generate`.

    Returns:
        What `write_replay` takes: `name`, `text`, `times` (seconds of each frame), how many `points` and `frames`,
        `landmarks` (little-endian int16 `(frames, points, 3)` in base64), the `scale` of their steps in pixels,
        `present` (base64, a byte a frame), `lips` (two rings of indices), `unread` (reasons), and `words`, each with
        `text`, `start`, `end`, `score`, and `frames`: how much it looked at each, the most 255, a byte each in base64.
    """
    words, unread = [], []
    segmenter = Segmenter(SegmentSettings.of_reader(reader.model.config), ONLY_PERSON)
    segments = []
    for time, face, present in zip(sequence.timestamps, sequence.keypoints, sequence.present, strict=True):
        segments += segmenter.push(float(time), face if present else None, (sequence.width, sequence.height))
    timestamps = "word" if reader.model.config.ctc_vocab else False
    extractor = reader.processor.feature_extractor
    for segment in [*segments, *segmenter.flush()]:
        result = reader(segment.sequence, return_timestamps=timestamps, **generation)
        if result.get("reason"):
            unread.append({"start": segment.start, "end": segment.end, "reason": result["reason"]})
            continue
        features = extractor([segment.sequence], return_tensors="pt")
        looked = word_attention(reader.model, reader.processor, features, result["text"])
        edges = extractor.frame_times(segment.sequence.timestamps, looked.shape[1])
        at = np.searchsorted(edges, sequence.timestamps + 1e-6, side="right") - 1
        inside = (at >= 0) & (at < looked.shape[1]) & (sequence.timestamps <= segment.end + 1e-6)
        for word, weights in zip(words_of(result, segment), looked, strict=True):
            seen = np.where(inside, weights[at.clip(0, looked.shape[1] - 1)], 0.0)
            seen = np.round(255 * seen / max(seen.max(), 1e-12)).astype(np.uint8)
            found = {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            words.append({**found, "score": word.score, "frames": _base64(seen)})
    landmarks, scale = quantised(sequence)
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
        "words": words,
        "unread": unread,
    }


def quantised(sequence: LandmarkSequence) -> tuple[np.ndarray, float]:
    """Landmarks as whole steps from the middle of the clip.

    Returns:
        Little-endian int16 `(frames, points, 3)`, zeros where there is no face; and the size of a step in pixels.
    """
    faces = sequence.keypoints[sequence.present]
    low, high = faces.min(axis=(0, 1)), faces.max(axis=(0, 1))
    scale = float((high - low).max()) / 2 / STEPS or 1.0
    steps = np.round((sequence.keypoints - (low + high) / 2) / scale)
    steps[~sequence.present] = 0
    return steps.astype("<i2"), scale


def write_replay(path: Path, clip: dict[str, Any]) -> None:
    """Writes a page that needs nothing but itself: it loads nothing, and its policy forbids it to.

    Args:
        path: The HTML file; it is whole or not there.
        clip: As `describe` gives it.
    """
    data = json.dumps(clip, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    write_whole(path, PAGE.read_text(encoding="utf-8").replace("{{clip}}", data))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
