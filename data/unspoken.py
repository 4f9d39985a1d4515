# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips in which nobody speaks, made from a prepared corpus: what a reader should read nothing from.

Some are real (people before and after their sentence), some half real (a real frame that stands still, seen by
MediaPipe again and again through the noise of a camera), some made up (the average face, a face that moves but does
not speak, the synthetic talker with its mouth closed).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modeling_lipread.geometry_lipread import rigid_rotation
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence
from modeling_lipread.video_lipread import read_frames

from .schema import decode_row

SECONDS = 3.0  # of the clips that can be made as long as one likes
LEAST_SILENCE = 0.28  # seconds of a silent stretch that is worth reading
BEFORE_SPEECH = 0.12  # seconds around the words that belong to them: lips move before there is a sound
CAMERA_NOISE = (2.0, 6.0)  # standard deviation of a pixel, of 255


@dataclass(frozen=True)
class UnspokenClip:
    """A clip in which nobody speaks.

    Attributes:
        kind: How it was made.
        id: The clip it was made from.
        sequence: Its landmarks.
    """

    kind: str
    id: str
    sequence: LandmarkSequence


def silences(sequence: LandmarkSequence, words: Sequence[Mapping[str, Any]]) -> list[LandmarkSequence]:
    """The stretches before the first and after the last word, as far as they are long enough."""
    if not len(words):
        return []
    times = sequence.timestamps
    before = np.flatnonzero(times < words[0]["start"] - BEFORE_SPEECH)
    after = np.flatnonzero(times > words[-1]["end"] + BEFORE_SPEECH)
    interval = 1 / sequence.frame_rate
    return [_frames(sequence, stretch) for stretch in (before, after) if len(stretch) * interval >= LEAST_SILENCE]


def blank(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """The clip's average face, motionless."""
    average = sequence.keypoints[sequence.present].mean(axis=0, keepdims=True)
    return _still(sequence, average)


def frozen(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """One of its frames, again and again, as a video that hangs shows it."""
    return _still(sequence, sequence.keypoints[[random.choice(np.flatnonzero(sequence.present))]])


def nodding(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """One of its frames, nodding and shaking its head without a word, with a little noise on every landmark."""
    still = frozen(sequence, random)
    face = still.keypoints[0].astype(np.float64)
    frontal = (face - face.mean(axis=0)) @ rigid_rotation(face[None])[0]
    size = np.ptp(frontal[:, 0])
    phase = 2 * np.pi * (np.outer(still.timestamps, random.uniform(0.2, 0.8, 3)) + random.uniform(0, 1, 3))
    turns = np.radians(random.uniform(2, 8, 3)) * np.sin(phase)
    moved = np.stack([frontal @ _rotation(turn) for turn in turns]) + face.mean(axis=0)
    moved += random.normal(0, 0.003 * size, moved.shape)
    return replace(still, keypoints=moved.astype(np.float32))


def gaping(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """From one of its mouths to another and back so slowly that nobody speaks: some three seconds there and back."""
    still = frozen(sequence, random)
    other = sequence.keypoints[random.choice(np.flatnonzero(sequence.present))]
    phase = 2 * np.pi * (random.uniform(0.25, 0.4) * still.timestamps + random.uniform())
    weight = ((1 + np.sin(phase)) / 2).astype(np.float32)[:, None, None]
    moved = (1 - weight) * still.keypoints + weight * other
    return replace(still, keypoints=moved + random.normal(0, 0.1, moved.shape).astype(np.float32))


def silent(sequence: LandmarkSequence, random: np.random.Generator) -> LandmarkSequence:
    """A silent stretch, forwards and backwards until it is as long as a sentence."""
    frames = len(sequence)
    there_and_back = np.concatenate([np.arange(frames), np.arange(frames - 2, 0, -1)])
    order = np.resize(there_and_back, round(SECONDS * sequence.frame_rate))
    longer = _frames(sequence, order)
    return replace(longer, timestamps=np.arange(len(order)) / sequence.frame_rate)


def jittered(video: Path, extractor: Face3DKeypointExtractor, random: np.random.Generator) -> LandmarkSequence:
    """A frame of a video that stands still, as MediaPipe sees it through a camera's noise."""
    frames = [frame for _, frame in read_frames(video)]
    picture = frames[random.integers(len(frames))].astype(np.float32)
    deviation = random.uniform(*CAMERA_NOISE)
    count = round(SECONDS * 25)
    noisy = (picture + random.normal(0, deviation, picture.shape).astype(np.float32) for _ in range(count))
    return extractor.extract_frames([np.clip(frame, 0, 255).astype(np.uint8) for frame in noisy], 25.0)


def closed_mouths(count: int, random: np.random.Generator) -> Iterator[LandmarkSequence]:
    """The synthetic talker, swaying as it does when it talks, with its mouth closed."""
    from .talker import TalkingHead, perform  # needs scikit-image, and is asked for last

    head, text = TalkingHead(), "please watch the baby this morning"
    with Face3DKeypointExtractor() as extractor:
        for _ in range(count):
            performance = perform(text, int(random.integers(2**31)))
            rest = np.repeat(performance.parameters[:1], len(performance.parameters), axis=0)
            frames = np.stack(list(head.frames(replace(performance, parameters=rest))))
            yield extractor.extract_frames(frames, head.frame_rate)


def unspoken_clips(
    rows: Sequence[Mapping[str, Any]], count: int, seed: int = 0, videos: Mapping[str, Path] | None = None
) -> Iterator[UnspokenClip]:
    """Clips of every kind in turn.

    Args:
        rows: Rows of `data.schema`, with the words' times where there are any.
        count: How many of each kind; fewer of what the rows have fewer of.
        seed: The same seed gives the same clips.
        videos: The rows' videos by their ids, for the kind `jittered`, which is left out without.
    """
    random = np.random.default_rng(seed)
    chosen = [rows[int(index)] for index in random.permutation(len(rows))]
    clips = [(str(row["id"]), decode_row(row), row["words"]) for row in chosen]
    # Each kind begins with other clips.
    for place, make in enumerate((blank, frozen, nodding, gaping)):
        for name, sequence, _ in (clips[place * count :] + clips[: place * count])[:count]:
            yield UnspokenClip(make.__name__, name, make(sequence, random))
    stretches = [(name, cut) for name, sequence, words in clips for cut in silences(sequence, words)]
    for name, cut in stretches[:count]:
        yield UnspokenClip("silent", name, cut)
    for name, cut in stretches[count : 2 * count]:
        yield UnspokenClip("silent, longer", name, silent(cut, random))
    if videos:
        with Face3DKeypointExtractor() as extractor:
            for name, *_ in clips[:count]:
                yield UnspokenClip("jittered", name, jittered(videos[name], extractor, random))
    for sequence in closed_mouths(count, random):
        yield UnspokenClip("closed mouth", "talker", sequence)


def _frames(sequence: LandmarkSequence, indices: np.ndarray) -> LandmarkSequence:
    """Some of its frames, timed from the first of them."""
    times = sequence.timestamps[indices] - sequence.timestamps[indices[0]]
    return replace(
        sequence, keypoints=sequence.keypoints[indices], present=sequence.present[indices], timestamps=times
    )


def _still(sequence: LandmarkSequence, face: np.ndarray) -> LandmarkSequence:
    count = round(SECONDS * sequence.frame_rate)
    return replace(
        sequence,
        keypoints=np.repeat(face, count, axis=0),
        present=np.ones(count, bool),
        timestamps=np.arange(count) / sequence.frame_rate,
    )


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Turns about the three axes one after the other, `(3, 3)`."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return about_x @ about_y @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
