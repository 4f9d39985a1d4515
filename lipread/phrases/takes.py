# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Phrases before and after they are recorded: which look alike, and the reasons to refuse a take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.phrases_lipread import spoken_span

from ..diagnosis import DARK, SMALL_FACE
from ..video_files import VIDEO_SUFFIXES, is_hidden

MIN_COVERAGE = 0.9  # share of the frames with a face
MIN_SECONDS = 0.25  # of speech
MIN_REST_SECONDS = 0.08  # of resting lips before and after the speech; two frames
STILL = "the lips hardly move: mouth the whole phrase clearly, as if you spoke it aloud"

ALIKE = 0.85  # similarity of the visemes of two phrases, 0 to 1, from which they are pointed out


class TakeError(ValueError):
    """Raised for a take that would not help to recognise its phrase; the message says what to do."""


def look_alikes(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the pairs of phrases with similar visemes; none without the pronouncing dictionary.

    Texts of another language than English are compared by their English pronunciation, a rough guide.
    """
    try:
        from ..pronunciation import pronounce, visemes_of_phoneme
    except ImportError:
        return []
    visemes = {}
    for text in texts:
        try:
            visemes[text] = [v for word in text.split() for p in pronounce(word) for v in visemes_of_phoneme(p)]
        except ValueError:  # no Latin letters
            continue
    return [
        (first, second)
        for first, second in combinations(visemes, 2)
        if SequenceMatcher(None, visemes[first], visemes[second], autojunk=False).ratio() >= ALIKE
    ]


def check_take(sequence: LandmarkSequence, brightness: float | None = None) -> None:
    """Raises `TakeError` for a take without a face, too dark, too small, cut off, or with lips that hardly move.

    Args:
        sequence: The landmarks of the take.
        brightness: Average grey value of its frames, 0 to 255; `None` if it is unknown.
    """
    present = np.asarray(sequence.present, bool)
    if sequence.coverage < MIN_COVERAGE:
        seen = f"a face was found in only {int(present.sum())} of {len(present)} frames"
        if brightness is not None and brightness < DARK:
            raise TakeError(f"the picture is too dark, {seen}: turn on a light in front of you")
        raise TakeError(f"{seen}: look at the camera, keep your hands off your face, and move nearer")
    width = float(np.median(np.ptp(sequence.keypoints[present][..., 0], axis=1)))
    if sequence.width and width < SMALL_FACE:
        raise TakeError(f"the face is only {width:.0f} pixels wide, {SMALL_FACE} are needed: move nearer")
    span = spoken_span(sequence)
    if span is None or span[1] - span[0] < MIN_SECONDS:
        raise TakeError(STILL)
    times = sequence.timestamps[present]
    if span[0] - times[0] < MIN_REST_SECONDS:
        raise TakeError("the beginning is cut off: keep your mouth closed for a moment before the phrase")
    if times[-1] - span[1] < MIN_REST_SECONDS:
        raise TakeError("the end is cut off: keep your mouth closed for a moment after the phrase")


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a text file in UTF-8; raises `TakeError` for any other file."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise TakeError(
            f"{path}: not a text file in UTF-8; give one phrase a line, and a video of all phrases by --source"
        ) from error


def recorded_takes(source: Path) -> Iterator[dict[str, Any]]:
    """Yields recordings as `video`, `text`, and, from a manifest, `start` and `end` in seconds or `None`.

    Args:
        source: A folder with a folder of videos for each phrase, or a manifest, a line of JSON a take with paths
            relative to it.

    Raises:
        TakeError: The folder has no videos, or a line of the manifest is not a take.
    """
    if source.is_dir():
        videos = [path for path in sorted(source.glob("*/*")) if path.suffix.lower() in VIDEO_SUFFIXES | {".npy"}]
        videos = [path for path in videos if not is_hidden(path.name)]
        if not videos:
            raise TakeError(f"{source}: no videos; give a folder with a folder of videos for each phrase")
        for path in videos:
            yield {"video": path, "text": path.parent.name, "start": None, "end": None}
        return
    for number, line in enumerate(read_lines(source), start=1):
        if not line.strip():
            continue
        try:
            take = json.loads(line)
            video, text = source.parent / take["video"], take["text"].strip()
            times = {name: None if take.get(name) is None else float(take[name]) for name in ("start", "end")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TakeError(
                f'{source}: line {number} is not a take like {{"video": "1.mp4", "text": "..."}}'
            ) from error
        yield {"video": video, "text": text, **times}
