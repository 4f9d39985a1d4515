# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Collator: turns stored rows into a padded batch for the model, and caches the features of each clip."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lipread.landmark_rows import decode_row
from modeling_lipread.text_normalizer_lipread import is_unspaced, join_words, normalize_text, same_units

from .tokenizer import special_tokens

logger = logging.getLogger(__name__)

IGNORED = -100  # label that losses ignore
Row = Mapping[str, Any]
Example = dict[str, Any]


class SpokenWord(NamedTuple):
    """A word of an example and its frames, from `start` to before `end`."""

    text: str
    start: int
    end: int


class ExampleCache:
    """Keeps the examples of clips until their arrays fill `max_bytes`; examples of later clips are not kept.

    Nothing is evicted: every epoch uses each clip once, so the least recently used example is needed first.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.bytes = max_bytes, 0
        self._examples: dict[tuple, Example] = {}

    def __reduce__(self):
        return ExampleCache, (self.max_bytes,)  # each worker process fills its own

    def __len__(self) -> int:
        return len(self._examples)

    def fetch(self, rows: Sequence[Row], make: Callable[[list[Row]], Sequence[Example]]) -> list[Example]:
        """Returns the example of each row, from the cache or from `make`. Do not write to cached examples."""
        # Ids are unique in a split; size and offset tell clips of different splits apart.
        keys = [(row["id"], int(row["num_frames"]), float(row["scale"]), *map(float, row["offset"])) for row in rows]
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._examples}
        made = dict(zip(missing, make(list(missing.values())), strict=True)) if missing else {}
        examples = [made[key] if key in made else self._examples[key] for key in keys]
        for key, example in made.items():
            size = sum(value.nbytes for value in example.values() if isinstance(value, np.ndarray))
            if self.bytes + size <= self.max_bytes:
                self._examples[key] = example
                self.bytes += size
        return examples


class LipReadCollator:
    """Turns rows of a prepared corpus (`data.schema.load_split`) into one padded batch.

    In training, `input_ids` hold ``start [prompt] text end``. In evaluation they hold ``start [prompt]``, which
    `generate` continues; the transcript is in `labels` alone.

    Args:
        seq_len: Largest number of tokens in training `input_ids`; longer texts are cut, with a warning.
        start_ids: Tokens before each transcript, `LipReadConfig.start_ids`; never labels. Default: the start token.
        ctc_vocab: Characters, the blank at index 0. Adds `ctc_targets` to training batches.
        alignment: Whether to add `alignment_targets`, the character spoken in each frame, if there is a `ctc_vocab`.
        splicing: Replaces words of training clips by words of other clips in the batch.
        cache_bytes: Memory for cached examples in each process.

    Raises ValueError if `seq_len` leaves no room after the prompt.
    """

    def __init__(
        self,
        processor: Any,
        *,
        seq_len: int,
        train: bool = True,
        start_ids: Sequence[int] | None = None,
        ctc_vocab: Sequence[str] | None = None,
        alignment: bool = False,
        splicing: Callable[[Sequence[Example], Sequence[str]], list[Example]] | None = None,
        cache_bytes: int = 0,
    ):
        self.feature_extractor, self.tokenizer = processor.feature_extractor, processor.tokenizer
        self.seq_len, self.train, self.alignment = seq_len, train, alignment
        self.special_tokens = special_tokens(processor.tokenizer)
        self.prefix = [self.special_tokens.start] if start_ids is None else list(start_ids)
        if len(self.prefix) >= seq_len:
            used = f"the start token and the prompt ({len(self.prefix)} tokens)"
            raise ValueError(f"seq_len {seq_len} leaves no room after {used}")
        self.ctc_ids = {character: index for index, character in enumerate(ctc_vocab or []) if index > 0}
        self.splicing = splicing if train else None
        self.cache = ExampleCache(cache_bytes)
        self._warned: set[str] = set()

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Collates stored rows, in numpy or python format.

        Returns `keypoints` float32 (batch, frames, landmarks, 3), `keypoints_mask` (batch, frames), `input_ids` and
        `attention_mask` (batch, tokens), and `labels` (batch, tokens), -100 at start, prompt and padding; in
        evaluation the whole reference. In training also `ctc_targets` (batch, characters), padded with -100, and
        `alignment_targets` (batch, frames), 0 in silence and -100 in padding and where the character is unknown.
        """
        examples = self.cache.fetch(rows, self._examples)
        if self.splicing is not None:
            spliced = self.splicing(examples, [row["id"] for row in rows])
            examples = [
                new if new is old else new | self._targets(join_words(word.text for word in new["words"]))
                for new, old in zip(spliced, examples, strict=True)
            ]
        columns = {name: [example[name] for example in examples] for name in examples[0] if name != "words"}
        batch = {name: _pad(columns.pop(name), 0) for name in ("keypoints", "keypoints_mask")}
        targets = columns.pop("target")
        if self.train:
            batch["input_ids"] = _pad([self.prefix + target for target in targets], self.special_tokens.pad)
            batch["attention_mask"] = _pad([[1] * (len(self.prefix) + len(target)) for target in targets], 0)
            targets = [[IGNORED] * len(self.prefix) + target for target in targets]
        else:
            batch["input_ids"] = torch.tensor([self.prefix] * len(targets))
            batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        columns = {"labels": targets, **columns}
        return batch | {key: _pad(column, IGNORED) for key, column in columns.items()}

    def _examples(self, rows: Sequence[Row]) -> list[Example]:
        """Returns what the batch holds of each row, without padding."""
        features = self.feature_extractor(map(decode_row, rows), padding=False)
        examples = []
        for row, keypoints, mask in zip(rows, features["keypoints"], features["keypoints_mask"], strict=True):
            text = str(row["text"])
            example = {"keypoints": keypoints, "keypoints_mask": mask, **self._targets(text)}
            if self.train:
                times = self.feature_extractor.frame_times(row["timestamps"], len(mask))
                middles = (times[:-1] + times[1:]) / 2  # of the frames, seconds
                if self.ctc_ids and self.alignment:
                    example["alignment_targets"] = self._align(row["words"], middles)
                example["words"] = self._spoken_words(row.get("words", ()), text, middles)
            examples.append(example)
        return examples

    def _targets(self, text: str) -> dict[str, list[int]]:
        """Returns the tokens of a transcript, in training with the end token and cut, and its CTC targets."""
        tokens = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not self.train:
            return {"target": tokens}
        end, room = self.special_tokens.end, self.seq_len - len(self.prefix)
        if len(tokens) > room:
            self._warn_once(f"texts longer than seq_len={self.seq_len} are cut; the first is {text!r}", "cut")
        target = [*tokens, end][:room]
        if not self.ctc_ids:
            return {"target": target}
        characters = normalize_text(text)
        if unknown := sorted(set(characters) - self.ctc_ids.keys()):
            self._warn_once(f"CTC labels leave out {unknown}, not in ctc_vocab; the first text is {text!r}", "unknown")
        return {"target": target, "ctc_targets": self._spell(characters)}

    def _spoken_words(self, words: Sequence[Row], text: str, middles: np.ndarray) -> list[SpokenWord]:
        """Returns the transcript's words and frames; none if the timed words differ from it or overlap."""
        timed = [str(word["word"]) for word in words]
        spellings, spoken = timed if is_unspaced(text) else text.split(), []
        if len(spellings) != len(words) or not same_units(*map(normalize_text, (join_words(timed), text))):
            return []
        for spelling, word in zip(spellings, words, strict=True):
            start, end = np.searchsorted(middles, [float(word["start"]), float(word["end"])]).tolist()
            spoken.append(SpokenWord(spelling, start, end))
        separate = all(first.end <= second.start for first, second in itertools.pairwise(spoken))
        return spoken if separate and all(word.start < word.end for word in spoken) else []

    def _align(self, words: Sequence[Row], middles: np.ndarray) -> np.ndarray:
        """Returns the character id of each frame; the characters of a word share its time evenly."""
        labels = np.full(len(middles), 0 if len(words) else IGNORED)
        for word in words:
            spelling = np.array(self._spell(normalize_text(word["word"])), dtype=np.int64)
            start, end = float(word["start"]), float(word["end"])
            inside = np.flatnonzero((start <= middles) & (middles < end))
            place = ((middles[inside] - start) / (end - start) * len(spelling)).astype(int)
            labels[inside] = spelling[place] if len(spelling) else IGNORED
        return labels

    def _spell(self, characters: str) -> list[int]:
        return [self.ctc_ids[character] for character in characters if character in self.ctc_ids]

    def _warn_once(self, message: str, kind: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning(message)


def _pad(sequences: Sequence[np.ndarray | list[int]], value: int) -> torch.Tensor:
    """Returns a right-padded tensor `(batch, longest, ...)`; lists become int64."""
    tensors = [
        torch.from_numpy(sequence) if isinstance(sequence, np.ndarray) else torch.tensor(sequence, dtype=torch.int64)
        for sequence in sequences
    ]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
