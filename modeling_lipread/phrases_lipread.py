# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Phrases: embeds what somebody mouths and finds it among the takes of a phrase book.

A take is one recording of a phrase. Its embedding describes the movement of the lips from the first to the last
spoken frame, by the states of the reader's encoder. A clip is the phrase whose takes are most similar, or none of them
if the similarity is too low. `lipread enroll` writes phrase books (docs/phrases.md).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch.nn import functional

from .geometry_lipread import NUM_LANDMARKS, REST_SPEED, SPEED_SECONDS, average_energy, lip_energy

BOOK_FILE, EMBEDDINGS_FILE = "phrases.json", "embeddings.safetensors"
MARGIN_SECONDS = 0.4  # of rest that the encoder sees before and after the spoken stretch
# Similarities on speakers apart from the training (docs/results.md): of takes of one phrase, and of different ones.
KNOWN_PRIOR = (0.6, 0.8)
UNKNOWN_PRIOR = (0.4, 0.6)
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
        threshold: Lowest similarity, -1 to 1, of a clip that is accepted as its most similar phrase.
        slope: Change of the score's log-odds per unit of similarity; the score is 0.5 at the threshold.
    """

    texts: list[str]
    embeddings: list[np.ndarray]
    threshold: float
    slope: float

    @classmethod
    def from_takes(cls, texts: list[str], embeddings: list[np.ndarray]) -> PhraseIndex:
        """Builds an index and sets its threshold by its takes, each compared with the others.

        The similarity of a take to its own phrase, and to the most similar other phrase, are taken as normally
        distributed. The threshold has the same error rate for both. Priors stand for takes that do not exist.
        """
        known, unknown = list(KNOWN_PRIOR), list(UNKNOWN_PRIOR)
        index = cls(texts, embeddings, 0.0, 1.0)
        for place, text in enumerate(texts):
            found = index.similarities(embeddings[place], leave_out=place)
            known += [found.pop(text)] if text in found else []
            unknown += [max(found.values())] if found else []
        means, spreads = (np.mean(known), np.mean(unknown)), (np.std(known), np.std(unknown))
        threshold = (means[0] * spreads[1] + means[1] * spreads[0]) / sum(spreads)
        slope = max(means[0] - means[1], 0.01) / np.mean(np.square(spreads))
        return cls(texts, embeddings, float(threshold), float(slope))

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
            index = cls(texts, embeddings, float(book["threshold"]), float(book["slope"]))
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
        """Returns the similarity to each phrase: the mean of the highest and the average one of its takes.

        Args:
            embedding: Float32 `(frames, size)`.
            leave_out: The index of a take that does not count.
        """
        takes: dict[str, list[float]] = {}
        for index, (text, similarity) in enumerate(
            zip(self.texts, warped_similarities(embedding, self.embeddings), strict=True)
        ):
            if index != leave_out:
                takes.setdefault(text, []).append(float(similarity))
        return {text: (max(found) + sum(found) / len(found)) / 2 for text, found in takes.items()}


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
    """Returns the embeddings of spoken stretches, float32 `(frames, size)`, each frame of length 1.

    Args:
        model: The [`LipReadForConditionalGeneration`].
        keypoints: Landmarks, `(clips, frames, landmarks, 3)`.
        keypoints_mask: Non-zero for frames with a face, `(clips, frames)`.
        spans: The first frame of each stretch and the frame after its last.
    """
    encoded = model.encoder(keypoints.to(model.device), keypoints_mask.to(model.device))
    return embed_states(model, encoded.frame_hidden_states, spans)


@torch.no_grad()
def embed_states(model: Any, states: torch.Tensor, spans: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Returns the embeddings of `embed_spans` from the encoder's `frame_hidden_states`."""
    if model.phrase_head is not None:
        states = model.phrase_head(states)
    states = functional.normalize(states.float(), dim=-1).cpu().numpy()
    return [clip[start : max(end, start + 1)] for clip, (start, end) in zip(states, spans, strict=True)]


def warped_similarities(embedding: np.ndarray, takes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the similarity, -1 to 1, of a stretch to each take, under the best alignment of their frames.

    It is one minus the cost of dynamic time warping with the cosine distance. A step in both stretches counts twice,
    so that all alignments weigh the same (Sakoe and Chiba, 1978).

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
        entered = np.minimum(least[:, :-1] + 2 * cost, least[:, 1:] + cost)
        run = np.cumsum(cost, axis=1)  # of staying at this frame over frames of the take
        least[:, 1:] = run + np.minimum.accumulate(entered - run, axis=1)
        least[:, 0] = np.inf
    return 1.0 - least[np.arange(len(takes)), lengths] / (len(embedding) + lengths)


def embedder_hash(model: Any) -> str:
    """Returns the SHA-256 of the weights that make embeddings."""
    digest, parts = hashlib.sha256(), ("encoder.", "phrase_head.")
    for name, weight in sorted(model.state_dict().items()):
        if not name.startswith(parts):
            continue
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
