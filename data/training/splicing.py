# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Word splicing: replaces words of training clips by words of other clips, to make new sentences.

In a corpus whose speakers say different sentences, a model learns to recognise the speaker. Splicing breaks that link
(aligned data augmentation, https://huggingface.co/papers/2104.01393). The movement of a word is transferred to the
average face of the clip that it is spliced into.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ..collator import Example, SpokenWord

SWAPPED = 0.5  # share of the words of a spliced clip that are replaced


class WordSplicing:
    """Splices examples of a batch with a probability; draws depend on seed and clips, so resumed runs repeat them."""

    def __init__(self, probability: float, seed: int = 0):
        self.probability, self.seed = probability, seed

    def __call__(self, examples: Sequence[Example], ids: Sequence[str]) -> list[Example]:
        """Returns the examples; spliced ones are new, with arrays over frames and `words` of their own.

        An example has `words` (`SpokenWord`), `keypoints` (frames, landmarks, 3), and other arrays over frames.
        """
        generator = np.random.default_rng([self.seed, *(zlib.crc32(str(clip).encode()) for clip in ids)])
        spliced = []
        for index, example in enumerate(examples):
            if len(examples) > 1 and generator.random() < self.probability:
                words = {}
                for place, _ in enumerate(example["words"]):
                    donor = int(generator.integers(len(examples) - 1))
                    other = examples[donor + (donor >= index)]
                    if generator.random() < SWAPPED and other["words"]:
                        # The word at the same relative position of the other sentence.
                        last, other_last = max(1, len(example["words"]) - 1), len(other["words"]) - 1
                        words[place] = other, round(place * other_last / last)
                example = splice(example, words) if words else example
            spliced.append(example)
        return spliced


def splice(example: Example, words: dict[int, tuple[Example, int]]) -> Example:
    """Returns an example, whose words do not overlap, with some words replaced, on its own average face.

    `words` has, for the index of each word to replace, the other example and the index of the word there.
    """
    segments, spoken, position, length = [], [], 0, 0
    for place, word in enumerate(example["words"]):
        source, index = words.get(place, (example, place))
        inserted = source["words"][index]
        segments += [(example, position, word.start), (source, inserted.start, inserted.end)]
        start = length + word.start - position
        length = start + inserted.end - inserted.start
        spoken.append(SpokenWord(inserted.text, start, length))
        position = word.end
    segments.append((example, position, len(example["keypoints_mask"])))
    joined = {
        name: np.concatenate([_cut(name, *segment, example) for segment in segments]).astype(value.dtype)
        for name, value in example.items()
        if isinstance(value, np.ndarray)
    }
    return {**example, **joined, "words": spoken}


def _cut(name: str, source: Example, start: int, end: int, example: Example) -> np.ndarray:
    """Returns the frames of an array of `source`, whose landmarks are moved to the average face of `example`."""
    piece = source[name][start:end]
    if name != "keypoints" or source is example:
        return piece
    seen = source["keypoints_mask"][start:end, None, None] != 0
    return np.where(seen, piece + (_average_face(example) - _average_face(source)), piece)


def _average_face(example: Example) -> np.ndarray:
    seen = example["keypoints_mask"] != 0
    return example["keypoints"][seen].mean(0) if seen.any() else np.zeros_like(example["keypoints"][0])
