# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A synthetic talking head: makes a corpus of videos from sentences, so that training can be tried without one.

    python -m data.talker --output clips/ --num_clips 320 --num_test 24 --seed 0
    python -m data.talker --output clips/ --num_clips 40 --num_test 8 --sentences lines.txt

writes `clips/video/*.mp4`, `clips/train.jsonl` and `clips/test.jsonl`, whose sentences are not in train. Existing
clips are kept, so an interrupted run resumes. Articulation is far more regular than that of people: a reader trained
on these clips reads no one else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np
from tqdm import tqdm

from lipread.output_files import replacing, write_atomically

from ..console import exit_on_error, make_parser
from .face import CANVAS, TalkingFace
from .visemes import FRAME_RATE, articulate, schedule

FRAME_SIZE = 256  # width and height of the videos in pixels

GRAMMAR = (
    ("", "please", "we should", "they will", "you must"),
    ("call", "follow", "watch", "visit", "help", "feed", "bring", "move"),
    ("the", "my", "your", "our"),
    ("doctor", "family", "baby", "teacher", "women", "puppy", "farmer", "children", "sister"),
    ("", "now", "today", "tonight", "tomorrow", "before lunch", "at five", "this morning", "on monday"),
)
MAX_WORDS = 6


def sentences(count: int, seed: int = 0) -> list[str]:
    """Draws different sentences of 3 to 6 words; a shorter list is the beginning of a longer one.

    Raises ValueError if there are fewer.
    """
    phrases = [" ".join(choices).split() for choices in product(*GRAMMAR)]
    order = np.random.default_rng(seed).permutation(len(phrases))
    drawn = [" ".join(words) for words in (phrases[index] for index in order) if len(words) <= MAX_WORDS][:count]
    if len(drawn) < count:
        raise ValueError(f"the grammar has {len(drawn)} sentences, fewer than {count}: give your own with --sentences")
    return drawn


@dataclass
class Performance:
    """Everything that varies between clips."""

    parameters: np.ndarray  # positions of the mouth, float32 (frames, parameters), in the order of visemes.PARAMETERS
    words: list[dict]  # {"word", "start", "end"} (seconds) in order
    motion: np.ndarray  # affine transformations from the canvas to the frames, float64 (frames, 2, 3)
    gain: float  # factor on brightness
    offset: float  # grey levels (of 255)
    noise: float  # standard deviation in grey levels
    noise_seed: int


def perform(text: str, seed: int = 0) -> Performance:
    """Draws speaking rate, head movement, light and noise from the seed; raises ValueError as `schedule` does."""
    rng = np.random.default_rng(seed)
    segments, words = schedule(text, rate=rng.uniform(1.05, 1.35))
    parameters = articulate(segments)
    motion = _head_motion(np.arange(len(parameters)) / FRAME_RATE, rng)
    gain, offset = rng.uniform(0.85, 1.12), rng.uniform(-8, 12)
    noise, noise_seed = rng.uniform(1.0, 4.0), int(rng.integers(2**31))
    return Performance(parameters, words, motion, gain, offset, noise, noise_seed)


def _head_motion(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a random pose with slow sways about it, as affine matrices `(frames, 2, 3)`."""
    # Right, down (pixels), rotation (degrees), scale (percent).
    reach = np.array([3.0, 2.5, 2.0, 2.0])
    frequency, phase = rng.uniform(0.2, 0.9, (2, 4)), rng.uniform(0, 2 * np.pi, (2, 4))
    sways = np.sin(2 * np.pi * frequency * times[:, None, None] + phase).mean(axis=1)
    poses = reach * (rng.uniform(-1, 1, 4) + sways)
    middle = (CANVAS - 1) / 2
    matrices = []
    for right, down, degrees, percent in poses:
        matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1 + percent / 100)
        matrix[:, 2] += np.array([right, down]) + (FRAME_SIZE - 1) / 2 - middle
        matrices.append(matrix)
    return np.stack(matrices)


class TalkingHead:
    """Makes silent videos in which a portrait speaks English text."""

    def __init__(self) -> None:
        self.face = TalkingFace()

    def frames(self, performance: Performance) -> Iterator[np.ndarray]:
        """Draws a performance; yields RGB frames, uint8 `(FRAME_SIZE, FRAME_SIZE, 3)`."""
        rng = np.random.default_rng(performance.noise_seed)
        # Random windows of one noise field look as random as new noise for each frame, and are far cheaper.
        side = FRAME_SIZE + 64
        grain = np.clip(rng.normal(128, performance.noise, (side, side, 3)), 0, 255).astype(np.uint8)
        corners = rng.integers(0, 64, (len(performance.parameters), 2))
        for parameters, matrix, (y, x) in zip(performance.parameters, performance.motion, corners, strict=True):
            canvas = self.face.draw(parameters)
            frame = cv2.warpAffine(canvas, matrix, (FRAME_SIZE, FRAME_SIZE), borderMode=cv2.BORDER_REFLECT_101)
            window = grain[y : y + FRAME_SIZE, x : x + FRAME_SIZE]
            yield cv2.addWeighted(frame, performance.gain, window, 1.0, performance.offset - 128)

    def render(self, text: str, output_path: str | Path, seed: int = 0) -> list[dict]:
        """Writes an MP4 video of a text atomically and returns its words with times.

        Raises ValueError as `schedule` does.
        """
        performance, output_path = perform(text, seed), Path(output_path)
        output_path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output_path) as beside, av.open(str(beside), "w", format="mp4") as container:
            options = {"preset": "superfast", "crf": "21"}
            stream = container.add_stream("libx264", rate=FRAME_RATE, options=options)
            stream.width = stream.height = FRAME_SIZE
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for frame in self.frames(performance):
                planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)  # several times as fast as FFmpeg's conversion
                container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
            container.mux(stream.encode())
        return performance.words


def make_corpus(
    output: str | Path,
    num_clips: int,
    num_test: int,
    seed: int = 0,
    sentences_file: str | Path | None = None,
    num_proc: int = 1,
) -> None:
    """Writes `video/*.mp4`, `train.jsonl` and `test.jsonl`, with the arguments of the command line.

    If there are fewer sentences than training clips, they are repeated with other seeds. Raises ValueError if the
    sentences cannot be used, or there are too few.
    """
    output = Path(output)
    if sentences_file is None:
        pool = sentences(num_clips + num_test, seed)
    else:
        written = Path(sentences_file).read_text(encoding="utf-8-sig").splitlines()
        pool = list(dict.fromkeys(" ".join(line.split()) for line in written if line.strip()))
        pool = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
    if len(pool) < num_test + min(num_clips, 1):
        raise ValueError(f"{num_test} test sentences of {len(pool)} leave none to train on: lower --num_test")
    head = TalkingHead()
    face = hashlib.sha256(head.face.canvas.tobytes()).hexdigest()
    training = pool[num_test:]
    splits = {"test": pool[:num_test], "train": [training[i % len(training)] for i in range(num_clips)]}
    lines: dict[str, list[dict]] = {split: [] for split in splits}
    clips = []
    for split, texts in splits.items():
        for index, text in enumerate(texts):
            # The name is a hash of the content, so that clips of a run with other settings are never reused.
            digest = hashlib.sha256(json.dumps([split, index, text, seed, face]).encode()).digest()
            clip_id, clip_seed = f"{split}-{index:04d}-{digest[:4].hex()}", int.from_bytes(digest[4:8], "big")
            video = f"video/{clip_id}.mp4"
            clips.append((text, str(output / video), clip_seed))
            words = perform(text, clip_seed).words
            lines[split].append({"video": video, "text": text, "id": clip_id, "speaker": "astronaut", "words": words})
    missing = [clip for clip in clips if not os.path.exists(clip[1])]
    bar = tqdm(total=len(clips), initial=len(clips) - len(missing), desc="talking head", unit="clip", disable=None)
    if missing and num_proc > 1:
        from ..preparation.workers import worker_context

        with ProcessPoolExecutor(num_proc, worker_context(), cv2.setNumThreads, (1,)) as pool:
            for _ in pool.map(head.render, *zip(*missing, strict=True), chunksize=4):
                bar.update()
    else:
        for clip in missing:
            head.render(*clip)
            bar.update()
    bar.close()
    for split, entries in lines.items():
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        write_atomically(output / f"{split}.jsonl", text)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = make_parser("python -m data.talker", __doc__)
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--num_clips", type=int, default=320, help="training clips (default: 320)")
    parser.add_argument("--num_test", type=int, default=24, help="test clips, of sentences not in train (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="seed of sentences and performances (default: 0)")
    parser.add_argument("--sentences", help="text file with one sentence a line (default: sentences of a grammar)")
    parser.add_argument("--num_proc", type=int, default=1, help="processes (default: 1)")
    args = parser.parse_args(arguments)
    with exit_on_error():
        make_corpus(args.output, args.num_clips, args.num_test, args.seed, args.sentences, args.num_proc)
