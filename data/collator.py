# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Stored rows to a batch for the model."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from modeling_lipread.text_normalizer_lipread import TextNormalizer

from .example_cache import ExampleCache
from .schema import decode_row
from .tokenizer import special_tokens
from .training.splicing import SpokenWord, WordSplicing

logger = logging.getLogger(__name__)

IGNORED = -100  # the label that losses leave out


class LipReadCollator:
    """Turns rows of a prepared corpus (`data.schema.load_split`) into one padded batch.

    Landmarks go through the processor's feature extractor, the same way as at inference. Training batches teach the
    model to continue ``start [prompt]`` with ``text end``, with the tokens of `data.tokenizer`. Evaluation
    batches hold ``start [prompt]`` alone in `input_ids`, since `generate` continues them: the transcript is in
    `labels` only.

    Args:
        processor (`LipReadProcessor`): Anything with a `feature_extractor` and a `tokenizer`.
        seq_len (`int`): Most tokens in a row of training `input_ids`; longer texts are cut, with a warning.
        prompt (`str`, *optional*): Text before the transcript, the same for every clip; never a label.
        train (`bool`): False for evaluation batches.
        add_special_tokens (`bool`): Passed to the tokenizer for the transcript.
        start_ids (`list[int]`, *optional*): What every transcript continues, as a trained reader's configuration has
            it, in place of the start token and the prompt.
        ctc_vocab (`list[str]`, *optional*): Characters, index 0 the blank. Adds `ctc_targets` to training batches.
        alignment (`bool`): Whether training batches with a `ctc_vocab` also say which character is spoken when, from
            the rows' `words`. Adds `alignment_targets`.
        splicing (`WordSplicing`, *optional*): Makes new sentences of the words of a training batch.
        cache_bytes (`int`): Memory in which what is made of each row is kept for the next epoch; each worker process
            has its own.

    Raises:
        ValueError: If the tokenizer has none of BOS, EOS and PAD, `seq_len` leaves no room after the prompt, or
            `ctc_vocab` does not begin with the blank.
    """

    def __init__(
        self,
        processor: Any,
        *,
        seq_len: int,
        prompt: str | None = None,
        train: bool = True,
        add_special_tokens: bool = False,
        start_ids: Sequence[int] | None = None,
        ctc_vocab: Sequence[str] | None = None,
        alignment: bool = False,
        splicing: WordSplicing | None = None,
        cache_bytes: int = 0,
    ):
        self.feature_extractor = processor.feature_extractor
        self.tokenizer = tokenizer = processor.tokenizer
        self.seq_len = seq_len
        self.train = train
        self.add_special_tokens = add_special_tokens
        self.normalize = TextNormalizer()
        self.special_tokens = special_tokens(tokenizer)
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else []
        self.prefix = [self.special_tokens.start, *prompt_ids] if start_ids is None else list(start_ids)
        if len(self.prefix) >= seq_len:
            raise ValueError(
                f"seq_len {seq_len} leaves no room after the start token and the prompt ({len(self.prefix)} tokens)"
            )
        if ctc_vocab and ctc_vocab[0] != "":
            raise ValueError(f'ctc_vocab begins with {ctc_vocab[0]!r}; index 0 is the CTC blank, ""')
        self.ctc_ids = {character: index for index, character in enumerate(ctc_vocab or []) if index > 0}
        self.alignment = alignment
        self.splicing = splicing if train else None
        self.cache = ExampleCache(cache_bytes)
        self._warned: set[str] = set()

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows.

        Args:
            rows (`Sequence[Mapping]`): Stored rows, in numpy or python format.

        Returns:
            `dict[str, torch.Tensor]`: `keypoints` float32 (batch, frames, landmarks, 3), `keypoints_mask`
            (batch, frames), `input_ids` and `attention_mask` (batch, tokens), `labels` (batch, tokens; in evaluation
            the reference's own length, never cut) with -100 where nothing is to be predicted, and with a `ctc_vocab`
            in training `ctc_targets` (batch, characters) padded with -100, and with `alignment` also
            `alignment_targets` (batch, frames), 0 in silence and -100 after the clip or where it is
            not known what is said.
        """
        examples = self.cache.fetch(rows, self._examples)
        if self.splicing is not None:
            spliced = self.splicing(examples, [row["id"] for row in rows])
            examples = [
                new if new is old else new | self._said(" ".join(word.text for word in new["words"]))
                for new, old in zip(spliced, examples, strict=True)
            ]
        columns = {name: [example[name] for example in examples] for name in examples[0] if name != "words"}
        batch = {name: _pad(columns.pop(name), 0) for name in ("keypoints", "keypoints_mask")}
        targets = columns.pop("target")
        batch |= self._training_tokens(targets) if self.train else self._evaluation_tokens(targets)
        return batch | {name: _pad(column, IGNORED) for name, column in columns.items()}

    def _examples(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, np.ndarray | list[int]]]:
        """What is made of each row by itself, whatever batch it comes in."""
        features = self.feature_extractor(map(decode_row, rows), padding=False)
        examples = []
        for row, keypoints, mask in zip(rows, features["keypoints"], features["keypoints_mask"], strict=True):
            text = str(row["text"])
            example = {"keypoints": keypoints, "keypoints_mask": mask, **self._said(text)}
            if self.train and self.ctc_ids and self.alignment:
                example["alignment_targets"] = self._align(row, len(mask))
            if self.train:
                example["words"] = self._spoken_words(row, text, len(mask))
            examples.append(example)
        return examples

    def _said(self, text: str) -> dict[str, list[int]]:
        """A transcript, as it is to be written and as it is to be spelled."""
        if not self.train:
            return {"target": self._tokenize(text)}
        return {"target": self._target(text)} | ({"ctc_targets": self._spell(text)} if self.ctc_ids else {})

    def _frame_times(self, row: Mapping[str, Any], frames: int) -> np.ndarray:
        """The middle of each frame, seconds `(frames,)`."""
        times = self.feature_extractor.frame_times(row["timestamps"], frames)
        return (times[:-1] + times[1:]) / 2

    def _spoken_words(self, row: Mapping[str, Any], text: str, frames: int) -> list[SpokenWord]:
        """The transcript's words and their frames; none where other words have times, or they overlap."""
        middles, spoken = self._frame_times(row, frames), []
        spellings, words = text.split(), row.get("words", ())
        said = " ".join(str(word["word"]) for word in words)
        if len(spellings) != len(words) or self.normalize(said) != self.normalize(text):
            return []
        for spelling, word in zip(spellings, words, strict=True):
            start, end = np.searchsorted(middles, [float(word["start"]), float(word["end"])]).tolist()
            spoken.append(SpokenWord(spelling, start, end))
        apart = all(first.end <= second.start for first, second in itertools.pairwise(spoken))
        return spoken if apart and all(word.start < word.end for word in spoken) else []

    def _align(self, row: Mapping[str, Any], frames: int) -> np.ndarray:
        """The character spoken in the middle of each frame, each word's characters sharing its time evenly."""
        words, middles = row["words"], self._frame_times(row, frames)
        labels = np.full(frames, 0 if len(words) else IGNORED)
        for word in words:
            spelling = np.array(self._ids(self.normalize(word["word"])), dtype=np.int64)
            start, end = float(word["start"]), float(word["end"])
            inside = np.flatnonzero((start <= middles) & (middles < end))
            place = ((middles[inside] - start) / (end - start) * len(spelling)).astype(int)
            labels[inside] = spelling[place] if len(spelling) else IGNORED
        return labels

    def _training_tokens(self, targets: list[list[int]]) -> dict[str, torch.Tensor]:
        return {
            "input_ids": _pad([self.prefix + target for target in targets], self.special_tokens.pad),
            "attention_mask": _pad([[1] * (len(self.prefix) + len(target)) for target in targets], 0),
            "labels": _pad([[IGNORED] * len(self.prefix) + target for target in targets], IGNORED),
        }

    def _evaluation_tokens(self, references: list[list[int]]) -> dict[str, torch.Tensor]:
        input_ids = torch.tensor([self.prefix] * len(references))
        return {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "labels": _pad(references, IGNORED),
        }

    def _tokenize(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=self.add_special_tokens)["input_ids"])

    def _target(self, text: str) -> list[int]:
        """Text tokens and the end token, as far as `seq_len` has room."""
        tokens, end, room = self._tokenize(text), self.special_tokens.end, self.seq_len - len(self.prefix)
        if len(tokens) > room:
            self._warn_once(f"texts longer than seq_len={self.seq_len} are cut; the first is {text!r}", "cut")
        if tokens[-1:] != [end]:
            tokens.append(end)
        return tokens[:room]

    def _spell(self, text: str) -> list[int]:
        characters = self.normalize(text)
        unknown = sorted(set(characters) - self.ctc_ids.keys())
        if unknown:
            self._warn_once(f"CTC labels leave out {unknown}, not in ctc_vocab; the first text is {text!r}", "unknown")
        return self._ids(characters)

    def _ids(self, characters: str) -> list[int]:
        return [self.ctc_ids[character] for character in characters if character in self.ctc_ids]

    def _warn_once(self, message: str, kind: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning(message)


def _pad(sequences: Sequence[np.ndarray | list[int]], value: int) -> torch.Tensor:
    """Right-padded `(batch, longest, ...)`; lists become int64."""
    tensors = [
        torch.from_numpy(sequence) if isinstance(sequence, np.ndarray) else torch.tensor(sequence, dtype=torch.int64)
        for sequence in sequences
    ]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
