# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Phrases: embeds what somebody mouths and finds it among the takes of a phrase book.

A take is one recording of a phrase. Its embedding describes the movement of the lips from the first to the last
spoken frame: the states of the reader's encoder and the log-probabilities of the characters in each frame by its
alignment head. A clip is the phrase whose takes are most similar and whose text is most probable, or none of them if
both together are too low. The takes correct the alignment head for their speaker and show how much it can be trusted,
which is little in a language that the reader does not know. `lipread enroll` writes phrase books (docs/phrases.md).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch.nn import functional

from .ctc_lipread import best_spoken_path, spoken_log_probs
from .geometry_lipread import NUM_LANDMARKS, REST_SPEED, SPEED_SECONDS, average_energy, lip_energy

BOOK_FILE, EMBEDDINGS_FILE = "phrases.json", "embeddings.safetensors"
SAVED_NUMBERS = ("threshold", "slope", "text_weight")  # of a `PhraseIndex`, in the book's file
MARGIN_SECONDS = 0.4  # of rest that the encoder sees before and after the spoken stretch
# Similarities on speakers apart from the training (docs/results.md): of takes of one phrase, and of different ones.
KNOWN_PRIOR = (0.5, 0.7)
UNKNOWN_PRIOR = (0.3, 0.5)
# Weights of a text's log-probability in log-odds that are tried on the takes of a book; their prior, which counts as
# much as `PRIOR_TAKES` takes; and the change of the log-odds per unit of similarity.
TEXT_WEIGHTS = np.array([0.0, *np.geomspace(0.02, 1.0, 14)])
PRIOR_WEIGHT, PRIOR_TAKES = 0.2, 4
LOG_ODDS = 20.0
LOWEST = -8.0  # log-probability a frame of texts that are too long
RIDGE, CORRECTION = 1.0, 8.0  # shrinkage and strength of the correction of the alignment head
UNKNOWN_PHRASE = "none of the phrases"
ACCEPTED = 0.5  # lowest score of a phrase that counts as said


class PhraseBookError(ValueError):
    """Raised for a folder that is not a phrase book of this reader; the message names the remedy."""


@dataclass(frozen=True)
class PhraseMatch:
    """A phrase and the probability, 0 to 1, that the clip is this phrase and not one outside the book."""

    text: str
    score: float


@dataclass(frozen=True)
class PhraseIndex:
    """The takes of a phrase book as embeddings, which is all that matching needs.

    Attributes:
        texts: The phrase of each take.
        embeddings: Those of the takes, from `embed_spans`.
        symbols: The characters of the alignment head, in the last columns of the embeddings; empty without the head.
        threshold: Lowest similarity of a clip that is accepted as its most similar phrase.
        slope: Change of the score's log-odds per unit of similarity; the score is 0.5 at the threshold.
        text_weight: What a text's log-probability adds to the similarity.
        errors: Those of the alignment head in the takes, from `alignment_errors`; by default computed.
    """

    texts: list[str]
    embeddings: list[np.ndarray]
    symbols: Sequence[str] = ()
    threshold: float = 0.0
    slope: float = 1.0
    text_weight: float = 0.0
    errors: list[np.ndarray] | None = None

    @classmethod
    def from_takes(cls, texts: list[str], embeddings: list[np.ndarray], symbols: Sequence[str] = ()) -> PhraseIndex:
        """Builds an index and sets its text weight and threshold by its takes, each compared with the others.

        The similarity of a take to its own phrase, and to the most similar other phrase, are taken as normally
        distributed. The threshold has the same error rate for both. Priors stand for takes that do not exist.
        """
        if not texts:
            return cls(texts, embeddings, symbols)
        phrases = list(dict.fromkeys(texts))
        own = np.array([phrases.index(text) for text in texts])
        plain = np.stack([spelled_log_probs(embedding, phrases, symbols) for embedding in embeddings])
        index = cls(texts, embeddings, symbols, text_weight=fit_text_weight(plain, own))
        known, unknown, spoken, others = [], [], [], []
        for place, text in enumerate(texts):
            found = index.take_similarities(embeddings[place], leave_out=place)
            spelled = index.text_scores(embeddings[place], phrases, leave_out=place)
            found = {phrase: similarity + spelled[phrase] for phrase, similarity in found.items()}
            known += [found.pop(text)] if text in found else []
            unknown += [max(found.values())] if found else []
            spoken.append(spelled.pop(text))
            others += [max(spelled.values())] if spelled else []
        # The priors are similarities of takes alone, so what texts add is added to them.
        known += [prior + np.mean(spoken) for prior in KNOWN_PRIOR]
        unknown += [prior + np.mean(others or spoken) for prior in UNKNOWN_PRIOR]
        means, spreads = (np.mean(known), np.mean(unknown)), (np.std(known), np.std(unknown))
        threshold = (means[0] * spreads[1] + means[1] * spreads[0]) / sum(spreads)
        slope = max(means[0] - means[1], 0.01) / np.mean(np.square(spreads))
        return replace(index, threshold=float(threshold), slope=float(slope))

    @classmethod
    def load(cls, folder: str | os.PathLike, model: Any) -> PhraseIndex:
        """Reads the phrase book in a folder.

        Args:
            folder: The folder that `lipread enroll` wrote.
            model: The [`LipReadForConditionalGeneration`] that is to read the phrases.

        Raises:
            PhraseBookError: The folder is no phrase book, is damaged, or has the embeddings of another reader.
        """
        folder = Path(folder)
        try:
            book = json.loads((folder / BOOK_FILE).read_text(encoding="utf-8"))
            found = load_file(folder / EMBEDDINGS_FILE)
            texts = [str(take["text"]) for take in book["takes"]]
            embeddings = [found[take["id"]] for take in book["takes"]]
            numbers = {name: float(book[name]) for name in SAVED_NUMBERS}
            index = cls(texts, embeddings, alignment_symbols(model), **numbers)
        except FileNotFoundError as error:
            raise PhraseBookError(f"{folder}: no phrase book here; record one with `lipread enroll`") from error
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise PhraseBookError(
                f"{folder}: the phrase book is damaged ({error}); `lipread phrases {folder}` repairs it from its takes"
            ) from error
        if not texts:
            raise PhraseBookError(f"{folder}: the phrase book is empty; record phrases with `lipread enroll`")
        if book.get("weights") != embedder_hash(model):
            raise PhraseBookError(
                f"{folder}: its takes were embedded by another reader ({book.get('reader')}); run `lipread phrases "
                f"{folder} --model READER` with this reader to embed them again"
            )
        return index

    def match(self, embedding: np.ndarray, count: int | None = None) -> list[PhraseMatch]:
        """Returns the most similar phrases, best first.

        Args:
            embedding: Float32 `(frames, size)`, from `embed_spans`.
            count: The number of phrases to return; by default all.
        """
        best = sorted(self.similarities(embedding).items(), key=lambda item: -item[1])[:count]
        scores = [1 / (1 + np.exp(-self.slope * (similarity - self.threshold))) for _, similarity in best]
        return [PhraseMatch(text, float(score)) for (text, _), score in zip(best, scores, strict=True)]

    def similarities(self, embedding: np.ndarray, leave_out: int | None = None) -> dict[str, float]:
        """Returns the similarity to each phrase: that of its takes, and what its text adds.

        Args:
            embedding: Float32 `(frames, size)`.
            leave_out: The index of a take that does not count.
        """
        takes = self.take_similarities(embedding, leave_out)
        spelled = self.text_scores(embedding, list(takes), leave_out)
        return {text: similarity + spelled[text] for text, similarity in takes.items()}

    def take_similarities(self, embedding: np.ndarray, leave_out: int | None = None) -> dict[str, float]:
        """Returns the mean of the highest and the average similarity to the takes of each phrase."""
        takes: dict[str, list[float]] = {}
        states = [self._states(take) for take in self.embeddings]
        for index, (text, similarity) in enumerate(
            zip(self.texts, warped_similarities(self._states(embedding), states), strict=True)
        ):
            if index != leave_out:
                takes.setdefault(text, []).append(float(similarity))
        return {text: (max(found) + sum(found) / len(found)) / 2 for text, found in takes.items()}

    def text_scores(
        self, embedding: np.ndarray, texts: Sequence[str], leave_out: int | None = None
    ) -> dict[str, float]:
        """Returns what each text adds to the similarity; the alignment head is corrected by all takes but one."""
        if not self.text_weight or not texts:
            return dict.fromkeys(texts, 0.0)
        squares, products = self._moments
        if leave_out is not None:
            states = self._states(self.embeddings[leave_out])
            squares, products = squares - states.T @ states, products - states.T @ self._errors[leave_out]
        correction = CORRECTION * np.linalg.solve(squares + RIDGE * np.eye(len(squares)), products)
        logits = self._states(embedding) @ correction + embedding[:, -len(self.symbols) :]
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        scores = self.text_weight * spelled_log_probs(log_probs, texts, self.symbols)
        return dict(zip(texts, scores.tolist(), strict=True))

    def _states(self, embedding: np.ndarray) -> np.ndarray:
        return embedding[:, : embedding.shape[1] - len(self.symbols)]

    @cached_property
    def _errors(self) -> list[np.ndarray]:
        if self.errors is not None:
            return self.errors
        takes = zip(self.embeddings, self.texts, strict=True)
        return [alignment_errors(embedding, text, self.symbols) for embedding, text in takes]

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The sums of the ridge regression of the errors on the states."""
        states = np.concatenate([self._states(take) for take in self.embeddings])
        return states.T @ states, states.T @ np.concatenate(self._errors)


def spelled_log_probs(embedding: np.ndarray, texts: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    """Returns the log-probability of each text relative to the most probable path, `(texts,)`; 0 without symbols."""
    if not symbols:
        return np.zeros(len(texts))
    log_probs = embedding[:, -len(symbols) :]
    # A text that is too long for the frames is improbable, but not impossible.
    spelled = np.maximum(spoken_log_probs(log_probs, texts, symbols), LOWEST * len(log_probs))
    return spelled - log_probs.max(1).sum()


def alignment_errors(embedding: np.ndarray, text: str, symbols: Sequence[str]) -> np.ndarray:
    """Returns what the alignment head lacks in each frame of a take of a text, float64 `(frames, symbols)`.

    It is 1 for the symbol of the most probable path of the text, less the probabilities; 0 if the text is too long.
    """
    log_probs = embedding[:, embedding.shape[1] - len(symbols) :].astype(np.float64)
    path = best_spoken_path(log_probs, text, symbols) if symbols else None
    if path is None:
        return np.zeros_like(log_probs)
    return np.eye(len(symbols))[path] - np.exp(log_probs)


def fit_text_weight(log_probs: np.ndarray, own: np.ndarray) -> float:
    """Returns the weight of texts by which the takes' own phrases are most probable, shrunk towards a prior.

    Args:
        log_probs: Log-probability of each phrase's text in each take, `(takes, phrases)`.
        own: The phrase of each take, `(takes,)`.
    """
    if not log_probs.any():  # a reader without an alignment head
        return 0.0
    scaled = torch.from_numpy(TEXT_WEIGHTS[:, None, None] * log_probs).log_softmax(-1).numpy()
    fit = scaled[:, np.arange(len(own)), own].sum(1)
    fit -= PRIOR_TAKES / 2 * (TEXT_WEIGHTS / PRIOR_WEIGHT - 1) ** 2
    return float(TEXT_WEIGHTS[fit.argmax()] / LOG_ODDS)


def alignment_symbols(model: Any) -> list[str]:
    """Returns the characters of the model's alignment head, none without the head."""
    return list(model.config.ctc_vocab) if model.config.encoder_config.alignment_head else []


def spoken_span(sequence: Any) -> tuple[float, float] | None:
    """Returns the times at which the lips begin and end to move, in seconds of the timestamps.

    Args:
        sequence: A `LandmarkSequence`.

    Returns:
        `None` if the lips rest in the whole clip; the times of the first and the last face for landmarks of another
        kind than MediaPipe's.
    """
    present = np.asarray(sequence.present, bool)
    keypoints, times = np.asarray(sequence.keypoints)[present], np.asarray(sequence.timestamps, np.float64)[present]
    if len(times) < 3:
        return None
    if keypoints.shape[1] != NUM_LANDMARKS:
        return float(times[0]), float(times[-1])
    average = average_energy(np.nan_to_num(lip_energy(keypoints, times)), float(np.median(np.diff(times))))
    moving = np.flatnonzero(average >= REST_SPEED**2)
    if not len(moving):
        return None
    # The speed of a frame is that of the SPEED_SECONDS after it.
    return float(times[moving[0]]), float(min(times[-1], times[moving[-1]] + SPEED_SECONDS))


def crop_to_speech(sequence: Any, span: tuple[float, float]) -> Any:
    """Returns the `LandmarkSequence` from `MARGIN_SECONDS` before a span to as long after it, with the same times."""
    times = np.asarray(sequence.timestamps, np.float64)
    kept = (times >= span[0] - MARGIN_SECONDS) & (times <= span[1] + MARGIN_SECONDS)
    arrays = {name: np.asarray(getattr(sequence, name))[kept] for name in ("keypoints", "present", "timestamps")}
    return replace(sequence, **arrays)


def span_frames(edges: np.ndarray, span: tuple[float, float]) -> tuple[int, int]:
    """Returns the first frame of a span of seconds and the frame after its last, at least one frame.

    Args:
        edges: `LipReadFeatureExtractor.frame_times` of the clip.
        span: Seconds at which it starts and ends.
    """
    start, end = np.searchsorted((edges[:-1] + edges[1:]) / 2, span).tolist()
    start = min(start, len(edges) - 2)
    return start, max(end, start + 1)


@torch.no_grad()
def embed_spans(
    model: Any, keypoints: torch.Tensor, keypoints_mask: torch.Tensor, spans: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """Returns the embeddings of spoken stretches, float32 `(frames, size)`.

    A frame has the sum of the states before and after each temporal layer of the encoder, of length 1, and after them
    the log-probabilities of the `alignment_symbols`. The lower layers carry over better to people not trained on.

    Args:
        model: The [`LipReadForConditionalGeneration`].
        keypoints: Landmarks, `(clips, frames, landmarks, 3)`.
        keypoints_mask: Non-zero for frames with a face, `(clips, frames)`.
        spans: The first frame of each stretch and the frame after its last.
    """
    encoded = model.encoder(keypoints.to(model.device), keypoints_mask.to(model.device), output_hidden_states=True)
    columns = [functional.normalize(torch.stack(encoded.hidden_states).float().sum(0), dim=-1)]
    if encoded.alignment_logits is not None:
        columns.append(encoded.alignment_logits.float().log_softmax(-1))
    frames = torch.cat(columns, dim=-1).cpu().numpy()
    return [clip[start : max(end, start + 1)] for clip, (start, end) in zip(frames, spans, strict=True)]


def warped_similarities(embedding: np.ndarray, takes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the similarity, at most 1, of a stretch to each take, under the best alignment of their frames.

    It is one minus the cost of dynamic time warping with the cosine distance, by the mean length of both. A step in
    both stretches counts once, so that another duration costs something.

    Args:
        embedding: Float32 `(frames, size)`.
        takes: Float32 `(frames, size)` each.
    """
    lengths = np.array([len(take) for take in takes])
    padded = np.zeros((len(takes), lengths.max(), embedding.shape[1]), np.float32)
    for row, take in zip(padded, takes, strict=True):
        row[: len(take)] = take
    costs = 1.0 - np.einsum("fd,tgd->ftg", embedding, padded, optimize=True).astype(np.float64)
    least = np.full((len(takes), padded.shape[1] + 1), np.inf)
    least[:, 0] = 0.0
    for cost in costs:
        entered = np.minimum(least[:, :-1] + cost, least[:, 1:] + cost)
        run = np.cumsum(cost, axis=1)  # of staying at this frame over frames of the take
        least[:, 1:] = run + np.minimum.accumulate(entered - run, axis=1)
        least[:, 0] = np.inf
    return 1.0 - 2 * least[np.arange(len(takes)), lengths] / (len(embedding) + lengths)


def embedder_hash(model: Any) -> str:
    """Returns the SHA-256 of the weights that make embeddings, and of how they do."""
    digest = hashlib.sha256(b"sum of layers")  # names what `embed_spans` makes of them
    for name, weight in sorted(model.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
