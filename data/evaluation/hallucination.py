# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips in which nobody speaks, real, half real and synthetic, and how often a model writes words for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from lipread.landmark_rows import decode_row
from modeling_lipread import LipReadingPipeline
from modeling_lipread.geometry_lipread import rigid_rotation
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence
from modeling_lipread.video_lipread import read_frames

SECONDS = 3.0  # length of the clips that are made of single frames
SHORTEST_SILENCE = 0.28  # seconds
SPEECH_MARGIN = 0.12  # seconds around the words that are left out: lips move before there is a sound
INNER_LIPS = (13, 14)  # MediaPipe's landmarks in the middle of the upper and of the lower lip
FRAME_RATE = 25.0
CAMERA_NOISE = (2.0, 6.0)  # standard deviation of a pixel, of 255


@dataclass(frozen=True)
class NonSpeechClip:
    """A clip in which nobody speaks."""

    kind: str  # how it was made
    id: str  # of the clip that it was made from
    sequence: LandmarkSequence


def silences(sequence: LandmarkSequence, words: Sequence[Mapping[str, Any]]) -> list[LandmarkSequence]:
    """Returns the segments of a clip before its first and after its last word, if they are long enough."""
    if not len(words):
        return []
    times = sequence.timestamps
    before = np.flatnonzero(times < words[0]["start"] - SPEECH_MARGIN)
    after = np.flatnonzero(times > words[-1]["end"] + SPEECH_MARGIN)
    least = SHORTEST_SILENCE * sequence.frame_rate
    segments = [segment for segment in (before, after) if len(segment) >= least and sequence.present[segment].any()]
    return [_frames(sequence, segment) for segment in segments]


def frozen_frame(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """Repeats one frame, as a frozen video does."""
    return _still(sequence, sequence.keypoints[[random.choice(np.flatnonzero(sequence.present))]])


def moving_head(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """Turns one frame slowly about three axes, with a little noise on every landmark."""
    still = frozen_frame(sequence, random)
    face = still.keypoints[0].astype(np.float64)
    frontal = (face - face.mean(axis=0)) @ rigid_rotation(face[None])[0]
    phase = 2 * np.pi * (np.outer(still.timestamps, random.uniform(0.2, 0.8, 3)) + random.uniform(0, 1, 3))
    turns = np.radians(random.uniform(2, 8, 3)) * np.sin(phase)
    moved = frontal @ Rotation.from_euler("XYZ", turns).as_matrix() + face.mean(axis=0)
    moved += random.normal(0, 0.003 * np.ptp(frontal[:, 0]), moved.shape)
    return replace(still, keypoints=moved.astype(np.float32))


def noisy_landmarks(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """Adds independent noise to every landmark of one frame, as under poor light."""
    still = frozen_frame(sequence, random)
    deviation = random.uniform(0.005, 0.02) * np.ptp(still.keypoints[0, :, 0])
    noise = deviation * random.standard_normal(still.keypoints.shape, np.float32)
    return replace(still, keypoints=still.keypoints + noise)


def there_and_back(sequence: LandmarkSequence) -> LandmarkSequence:
    """Plays a clip forwards and backwards until it is three seconds long."""
    order = [*range(len(sequence)), *range(len(sequence) - 2, 0, -1)]
    order = np.resize(order, round(SECONDS * sequence.frame_rate))
    return replace(_frames(sequence, order), timestamps=np.arange(len(order)) / sequence.frame_rate)


def _average_face(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    return _still(sequence, sequence.keypoints[sequence.present].mean(axis=0, keepdims=True))


def _opening(sequence: LandmarkSequence, random: np.random.Generator, slowest: float, fastest: float):
    """Blends between the frames with the most closed and most open mouth, `slowest` to `fastest` times a second."""
    frequency, faces = random.uniform(slowest, fastest), sequence.keypoints[sequence.present]
    upper, lower = INNER_LIPS
    gaps = np.linalg.norm(faces[:, upper] - faces[:, lower], axis=-1)
    still = _still(sequence, faces[[gaps.argmin()]])
    phase = 2 * np.pi * (frequency * still.timestamps + random.uniform())
    weight = ((1 + np.sin(phase)) / 2).astype(np.float32)[:, None, None]
    return replace(still, keypoints=(1 - weight) * still.keypoints + weight * faces[gaps.argmax()])


LANDMARK_KINDS = {
    "average face": _average_face,
    "frozen frame": frozen_frame,
    "moving head": moving_head,
    "noisy landmarks": noisy_landmarks,
    "slow mouth": partial(_opening, slowest=0.25, fastest=0.4),  # slower than speech
    "chewing": partial(_opening, slowest=1.0, fastest=2.0),
}


def landmark_clips(rows: Sequence[Mapping[str, Any]], count: int, seed: int = 0) -> Iterator[NonSpeechClip]:
    """Makes up to `count` clips of each kind from landmarks alone; silent segments need rows with word times."""
    random = np.random.default_rng(seed)
    # Enough clips that no two kinds share one, without decoding all of a large split.
    chosen = islice(_shuffled(rows, random), 2 * count * len(LANDMARK_KINDS))
    clips = [row for row in chosen if row["num_frames"] > 1]
    for index, (kind, make) in enumerate(LANDMARK_KINDS.items()):
        for row in (clips[index * count :] + clips[: index * count])[:count]:
            yield NonSpeechClip(kind, str(row["id"]), make(decode_row(row), random))
    segments = [(str(row["id"]), cut) for row in clips for cut in silences(decode_row(row), row["words"])]
    for name, cut in segments[:count]:
        yield NonSpeechClip("silent", name, cut)
    for name, cut in segments[count : 2 * count] or segments[:count]:
        yield NonSpeechClip("silent, longer", name, there_and_back(cut))


def video_clips(videos: Mapping[str, Path], count: int, seed: int = 0) -> Iterator[NonSpeechClip]:
    """Makes `count` clips of each kind through MediaPipe: real frames with camera noise, and the silent talker.

    `videos` has the ids of clips as keys; without any, only the talker is used. Raises VideoError if a video cannot be
    read.
    """
    random = np.random.default_rng(seed)
    with Face3DKeypointExtractor() as extractor:
        for name, video in list(_shuffled(list(videos.items()), random))[:count]:
            yield NonSpeechClip("camera noise", name, extractor.extract_frames(_noisy(video, random), FRAME_RATE))
        for frames in _closed_mouths(count, random):
            yield NonSpeechClip("closed mouth", "talker", extractor.extract_frames(frames, FRAME_RATE))


def _noisy(video: Path, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields one frame of a video repeatedly, with independent noise."""
    frames = [frame for _, frame in read_frames(video)]
    picture = frames[random.integers(len(frames))].astype(np.float32)
    deviation = random.uniform(*CAMERA_NOISE)
    for _ in range(round(SECONDS * FRAME_RATE)):
        noise = random.standard_normal(picture.shape, np.float32)
        yield np.clip(picture + deviation * noise, 0, 255).astype(np.uint8)


def _closed_mouths(count: int, random: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Yields videos of the talker, whose head moves as in speech while its mouth stays closed."""
    try:
        from ..talker import TalkingHead, perform
    except ImportError as error:
        raise ImportError(f"{error}; the talker needs: pip install -c constraints.txt -e '.[talker]'") from error

    head = TalkingHead()
    for _ in range(count):
        performance = perform("please watch the baby this morning", int(random.integers(2**31)))
        rest = np.repeat(performance.parameters[:1], len(performance.parameters), axis=0)
        yield list(head.frames(replace(performance, parameters=rest)))


def _shuffled(items: Sequence[Any], random: np.random.Generator) -> Iterator[Any]:
    return (items[int(index)] for index in random.permutation(len(items)))


def _frames(sequence: LandmarkSequence, indices: np.ndarray) -> LandmarkSequence:
    """Selects frames; times start at the first of them."""
    keypoints, present, times = sequence.keypoints[indices], sequence.present[indices], sequence.timestamps[indices]
    return replace(sequence, keypoints=keypoints, present=present, timestamps=times - times[0])


def _still(sequence: LandmarkSequence, face: np.ndarray) -> LandmarkSequence:
    count = round(SECONDS * sequence.frame_rate)
    keypoints, times = np.repeat(face, count, axis=0), np.arange(count) / sequence.frame_rate
    return replace(sequence, keypoints=keypoints, present=np.ones(count, bool), timestamps=times)


def hallucinations(pipeline: LipReadingPipeline, clips: Iterable[NonSpeechClip]) -> dict[str, dict[str, Any]]:
    """Counts the clips without speech for which a pipeline writes words.

    Returns for each kind of clip the numbers of `clips`, of those with words (`hallucinated`) and of those with words
    if the pipeline may not abstain (`without_abstention`); the `reasons` for abstaining with counts; and the `texts`.
    """
    kinds: dict[str, dict[str, Any]] = {}
    for clip in clips:
        new = {"clips": 0, "without_abstention": 0, "hallucinated": 0, "reasons": Counter(), "texts": []}
        row = kinds.setdefault(clip.kind, new)
        row["clips"] += 1
        row["without_abstention"] += bool(pipeline(clip.sequence, abstain=False)["text"])
        result = pipeline(clip.sequence)
        if result["text"]:
            row["hallucinated"] += 1
            row["texts"].append(result["text"])
        else:
            row["reasons"][result.get("reason", "empty hypothesis")] += 1
    return kinds
