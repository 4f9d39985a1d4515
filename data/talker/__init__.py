# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A synthetic talking head: sentences to videos that any lip reader can be tried on, with no corpus at hand.

    python -m data.talker --output clips/ --num_clips 320 --num_test 24 --seed 0
    python -m data.talker --output clips/ --num_clips 40 --num_test 8 --image me.jpg --sentences lines.txt

writes `clips/video/*.mp4`, `clips/train.jsonl` and `clips/test.jsonl`, whose sentences are not in train. Clips that
are there already are kept, so an interrupted run goes on where it stopped. What the head says is text, not sound: see
`data/talker/visemes.py` for its pronunciation and `data/talker/face.py` for its face. It articulates far more
regularly than people do; a reader trained on it reads it, and nobody else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import prod
from pathlib import Path

import av
import cv2
import numpy as np
from tqdm import tqdm

from ..preparation.workers import worker_context
from .face import CANVAS, TalkingFace
from .visemes import articulate, schedule

FRAME_SIZE = 256
"""Width and height of the videos in pixels."""

GRAMMAR = (
    ("", "please", "we should", "they will", "you must"),
    ("call", "follow", "watch", "visit", "help", "feed", "bring", "move"),
    ("the", "my", "your", "our"),
    ("doctor", "family", "baby", "teacher", "women", "puppy", "farmer", "children", "sister"),
    ("", "now", "today", "tonight", "tomorrow", "before lunch", "at five", "this morning", "on monday"),
)
MAX_WORDS = 6


def sentences(count: int, seed: int = 0) -> list[str]:
    """Draws different sentences of 3 to 6 everyday words from a small grammar.

    Args:
        count: How many.
        seed: The same seed gives the same sentences; the first ones of a longer list are those of a shorter one.

    Returns:
        Lower-case sentences, all different.

    Raises:
        ValueError: If the grammar has fewer sentences than that.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for index in rng.permutation(prod(map(len, GRAMMAR))):
        if len(drawn) == count:
            break
        choices = np.unravel_index(index, [len(slot) for slot in GRAMMAR])
        words = " ".join(slot[choice] for slot, choice in zip(GRAMMAR, choices, strict=True)).split()
        if len(words) <= MAX_WORDS:
            drawn.append(" ".join(words))
    if len(drawn) < count:
        raise ValueError(f"the grammar has {len(drawn)} sentences, not {count}: give your own with --sentences")
    return drawn


@dataclass
class Performance:
    """All that varies in a clip, before anything is drawn.

    Attributes:
        parameters: The mouth's position in each frame, float32 `(frames, parameters)`, as
        `data.talker.visemes.PARAMETERS`.
        words: `{"word", "start", "end"}` (seconds) in order.
        motion: The head's affine movement from the canvas to the frame, float64 `(frames, 2, 3)`.
        gain: Factor on brightness.
        offset: Addend to brightness, of 255.
        noise: Standard deviation of the noise, of 255.
        noise_seed: Seed of the noise.
    """

    parameters: np.ndarray
    words: list[dict]
    motion: np.ndarray
    gain: float
    offset: float
    noise: float
    noise_seed: int


def perform(text: str, seed: int = 0, frame_rate: float = 25.0) -> Performance:
    """Decides how a sentence is spoken: pace, head movement, light and noise, all drawn from the seed.

    Args:
        text: Words separated by spaces.
        seed: The same seed gives the same performance.
        frame_rate: Frames a second.

    Raises:
        ValueError: If a word cannot be pronounced.
    """
    rng = np.random.default_rng(seed)
    segments, words = schedule(text, rate=rng.uniform(1.05, 1.35))
    parameters = articulate(segments, frame_rate)
    times = np.arange(len(parameters)) / frame_rate
    return Performance(
        parameters=parameters,
        words=words,
        motion=_head_motion(times, rng),
        gain=rng.uniform(0.85, 1.12),
        offset=rng.uniform(-8, 12),
        noise=rng.uniform(1.0, 4.0),
        noise_seed=int(rng.integers(2**31)),
    )


def _head_motion(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pose of the clip's own and slow sways about it, as affine matrices `(frames, 2, 3)`."""
    # Right, down (pixels), rotation (degrees), scale (a hundredth).
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
    """Speaks any English text, silently, with the face of a portrait.

    Args:
        image: A picture of a face; None takes scikit-image's public-domain portrait of the astronaut Eileen Collins.
        frame_rate: Frames a second of the videos.

    Raises:
        ValueError: If the picture cannot be read or has no face in it.
    """

    def __init__(self, image: str | Path | None = None, frame_rate: float = 25.0) -> None:
        self.face = TalkingFace(image)
        self.frame_rate = frame_rate

    def frames(self, performance: Performance) -> Iterator[np.ndarray]:
        """Draws a performance; yields RGB frames, uint8 `(FRAME_SIZE, FRAME_SIZE, 3)`."""
        rng = np.random.default_rng(performance.noise_seed)
        # One field of noise looked at through a window that jumps about is as random to the eye, and far cheaper.
        side = FRAME_SIZE + 64
        grain = np.clip(rng.normal(128, performance.noise, (side, side, 3)), 0, 255).astype(np.uint8)
        corners = rng.integers(0, 64, (len(performance.parameters), 2))
        for parameters, matrix, (y, x) in zip(performance.parameters, performance.motion, corners, strict=True):
            canvas = self.face.draw(parameters)
            frame = cv2.warpAffine(canvas, matrix, (FRAME_SIZE, FRAME_SIZE), borderMode=cv2.BORDER_REFLECT_101)
            window = grain[y : y + FRAME_SIZE, x : x + FRAME_SIZE]
            yield cv2.addWeighted(frame, performance.gain, window, 1.0, performance.offset - 128)

    def render(self, text: str, output_path: str | Path, seed: int = 0) -> list[dict]:
        """Writes a video of the head saying a text.

        Args:
            text: Words separated by spaces.
            output_path: The `.mp4` to write; it appears when it is complete.
            seed: Varies pace, head movement, light and noise; the same seed gives the same video.

        Returns:
            `{"word", "start", "end"}` (seconds) in order.

        Raises:
            ValueError: If a word cannot be pronounced.
        """
        performance = perform(text, seed, self.frame_rate)
        output_path = Path(output_path)
        output_path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = output_path.with_name(f".{output_path.name}.{os.getpid()}.part")
        try:
            _encode(self.frames(performance), partial_path, self.frame_rate)
            os.replace(partial_path, output_path)
        finally:
            partial_path.unlink(missing_ok=True)
        return performance.words


def _encode(frames: Iterable[np.ndarray], path: Path, frame_rate: float) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(frame_rate).limit_denominator(1001))
        stream.width = stream.height = FRAME_SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "superfast", "crf": "21"}
        stream.codec_context.thread_count = 1
        for frame in frames:
            planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)  # several times as fast as FFmpeg's own conversion
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


@dataclass(frozen=True)
class Clip:
    """One clip to make."""

    text: str
    seed: int
    path: str


_worker_head: TalkingHead | None = None


def _start_worker(head: TalkingHead) -> None:
    global _worker_head
    _worker_head = head
    cv2.setNumThreads(1)


def _make_in_worker(clip: Clip) -> None:
    _worker_head.render(clip.text, clip.path, clip.seed)


def read_sentences(path: str | Path) -> list[str]:
    """Reads one sentence a line; empty lines and repetitions are left out.

    Raises:
        ValueError: If the file is empty or a word cannot be pronounced; names file and line.
    """
    texts: dict[str, None] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), start=1):
        text = " ".join(line.split())
        if text:
            try:
                schedule(text)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            texts[text] = None
    if not texts:
        raise ValueError(f"{path} has no sentence in it: write one a line")
    return list(texts)


def make_corpus(
    output: str | Path,
    num_clips: int,
    num_test: int,
    seed: int = 0,
    image: str | Path | None = None,
    sentences_file: str | Path | None = None,
    num_proc: int = 1,
) -> None:
    """Writes a corpus of talking-head clips: `video/*.mp4`, `train.jsonl` and `test.jsonl`.

    Args:
        output: Folder to write.
        num_clips: Clips of the training split. With fewer sentences than that, sentences come again, spoken otherwise.
        num_test: Clips of the test split, each a different sentence that training does not have.
        seed: Seed of the choice of sentences and of how each is spoken.
        image: A picture of a face, or None.
        sentences_file: Sentences, one a line; None takes those of the grammar.
        num_proc: Processes.

    Raises:
        ValueError: If picture or sentences cannot be used, or there are too few sentences.
    """
    output = Path(output)
    if sentences_file is None:
        pool = sentences(num_clips + num_test, seed)
    else:
        pool = read_sentences(sentences_file)
        pool = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
    if len(pool) < num_test + min(num_clips, 1):
        raise ValueError(f"{num_test} test sentences of {len(pool)} leave none to train on: lower --num_test")
    head = TalkingHead(image)
    face = hashlib.sha256(head.face.canvas.tobytes()).hexdigest()
    training = pool[num_test:]
    splits = {"test": pool[:num_test], "train": [training[i % len(training)] for i in range(num_clips)]}
    lines, clips = {}, []
    for split, texts in splits.items():
        lines[split] = []
        for index, text in enumerate(texts):
            # The name tells what is in the clip: what a run with other settings left is never taken for it.
            digest = hashlib.sha256(json.dumps([split, index, text, seed, face]).encode()).digest()
            clip_id, clip_seed = f"{split}-{index:04d}-{digest[:4].hex()}", int.from_bytes(digest[4:8], "big")
            video = f"video/{clip_id}.mp4"
            clips.append(Clip(text, clip_seed, str(output / video)))
            words = perform(text, clip_seed, head.frame_rate).words
            speaker = "astronaut" if image is None else Path(image).stem
            lines[split].append({"video": video, "text": text, "id": clip_id, "speaker": speaker, "words": words})
    output.mkdir(parents=True, exist_ok=True)
    _make_all(head, clips, num_proc)
    for split, entries in lines.items():
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        partial_path = output / f".{split}.jsonl.part"
        partial_path.write_text(text, encoding="utf-8")
        os.replace(partial_path, output / f"{split}.jsonl")


def _make_all(head: TalkingHead, clips: list[Clip], num_proc: int) -> None:
    missing = [clip for clip in clips if not os.path.exists(clip.path)]
    progress = partial(tqdm, total=len(clips), initial=len(clips) - len(missing), desc="talking head", unit="clip")
    if num_proc <= 1:
        for clip in progress(missing):
            head.render(clip.text, clip.path, clip.seed)
        return
    with ProcessPoolExecutor(num_proc, worker_context(), initializer=_start_worker, initargs=(head,)) as pool:
        for _ in progress(pool.map(_make_in_worker, missing, chunksize=4)):
            pass


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m data.talker", description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument("--num_clips", type=int, default=320, help="training clips")
    parser.add_argument("--num_test", type=int, default=24, help="test clips, of sentences not in train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--image", help="a picture of a face, in place of the astronaut's")
    parser.add_argument("--sentences", help="a text file, one sentence a line, in place of the grammar's")
    parser.add_argument("--num_proc", type=int, default=1)
    args = parser.parse_args(arguments)
    try:
        make_corpus(args.output, args.num_clips, args.num_test, args.seed, args.image, args.sentences, args.num_proc)
    except (ValueError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
