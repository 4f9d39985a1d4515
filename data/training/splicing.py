# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips in which words of other clips take the place of some: new sentences, and who speaks no longer tells what.

A corpus in which one speaker says other sentences than the next teaches a reader to recognise speakers. Where the
corpus has the words' times, clips can be cut between words and put together anew (aligned data augmentation,
https://huggingface.co/papers/2104.01393). Here a word's movement is put on the face that it comes to.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..example_cache import Example

SWAPPED = 0.5  # share of the words of a spliced clip that come from elsewhere


class SpokenWord(NamedTuple):
    """A word of an example, and the frames in which it is spoken: `start` and the one after the last."""

    text: str
    start: int
    end: int


class WordSplicing:
    """Splices the examples of a batch.

    What is drawn depends on the seed and on which clips are together in a batch, in which order, and on nothing
    else: a run that goes on from a checkpoint sees what an undisturbed one would have.

    Args:
        probability (`float`): That a clip gets words of others.
        seed (`int`): Another seed, other words.
    """

    def __init__(self, probability: float, seed: int = 0):
        self.probability, self.seed = probability, seed

    def __call__(self, examples: Sequence[Example], names: Sequence[str]) -> list[Example]:
        """Splices a batch.

        Args:
            examples (`Sequence[dict]`): `words` (`SpokenWord`), `keypoints` (frames, landmarks, 3), `keypoints_mask`
                (frames,), and anything else that is an array over frames.
            names (`Sequence[str]`): The clips' ids.

        Returns:
            `list[dict]`: The same examples, or new ones in the place of some. Only arrays over frames and `words` of a
            new one are its own.
        """
        generator = np.random.default_rng([self.seed, *(zlib.crc32(str(name).encode()) for name in names)])
        spliced = []
        for index, example in enumerate(examples):
            if len(examples) > 1 and generator.random() < self.probability:
                words = {}
                for place, _ in enumerate(example["words"]):
                    donor = int(generator.integers(len(examples) - 1))
                    other = examples[donor + (donor >= index)]
                    if generator.random() < SWAPPED and other["words"]:
                        words[place] = other, _counterpart(place, example["words"], other["words"])
                example = splice(example, words) if words else example
            spliced.append(example)
        return spliced


def splice(example: Example, words: dict[int, tuple[Example, int]]) -> Example:
    """An example some of whose words are spoken as in others, on its own average face.

    Args:
        example (`dict`): As for `WordSplicing`; its words do not overlap.
        words (`dict`): By the place of a word, the example that its new one comes from, and which word it is there.

    Returns:
        `dict`: As many frames longer or shorter as the new words are.
    """
    arrays = {name: value for name, value in example.items() if isinstance(value, np.ndarray)}
    pieces = {name: [] for name in arrays}
    spoken, at, length = [], 0, 0

    def add(source: Example, start: int, end: int) -> None:
        nonlocal length
        for name in pieces:
            piece = source[name][start:end]
            if name == "keypoints" and source is not example:
                seen = source["keypoints_mask"][start:end, None, None] != 0
                piece = np.where(seen, piece + (_average_face(example) - _average_face(source)), piece)
            pieces[name].append(piece)
        length += end - start

    for place, word in enumerate(example["words"]):
        source, index = words.get(place, (example, place))
        said = source["words"][index]
        add(example, at, word.start)
        spoken.append(SpokenWord(said.text, length, length + said.end - said.start))
        add(source, said.start, said.end)
        at = word.end
    add(example, at, len(example["keypoints_mask"]))
    joined = {name: np.concatenate(parts).astype(arrays[name].dtype) for name, parts in pieces.items()}
    return {**example, **joined, "words": spoken}


def _average_face(example: Example) -> np.ndarray:
    seen = example["keypoints_mask"] != 0
    return example["keypoints"][seen].mean(0) if seen.any() else np.zeros_like(example["keypoints"][0])


def _counterpart(place: int, words: Sequence[SpokenWord], others: Sequence[SpokenWord]) -> int:
    """The word at the same place of another sentence; the places of a longer one are spread over a shorter one."""
    return round(place * (len(others) - 1) / max(1, len(words) - 1))
