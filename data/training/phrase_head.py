# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Training of the phrase head, a linear map of the encoder's states by which phrases of new people are told apart.

It begins as the whitening of what differs between takes of a word, and a contrastive loss refines it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from lipread.landmark_rows import decode_row
from modeling_lipread import LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.phrases_lipread import span_frames

from ..collator import Example, SpokenWord
from ..dataset import Clips
from .augmentation import KeypointAugmentation
from .splicing import WordSplicing

POINTS = 10  # moments of a stretch, evenly spaced, that are compared in training
MAX_WORDS = 3
BATCH_CLIPS = 16
AUGMENTATION = {"rotation": 8.0, "scale": 0.1, "warp": 0.1, "motion": 0.3, "mirror": 0.5, "landmark_masks": 0.05}
AUGMENTATION |= {"shift": 0.01, "noise": 0.001, "speed": 0.15, "time_masks": 0, "trim_silence": 0.5}
SPLICING = 0.5
PHRASES, TAKES = 32, 4  # of a batch
WORDS = (1, 1, 2, 3)  # numbers of words of a batch's phrases, equally often
ALIKE = 0.5  # share of the batches of several words whose phrases share words
BALANCED = 0.6  # share of the takes whose speaker is drawn first
JITTER = 1  # frames by which a stretch may begin and end earlier or later
TEMPERATURE = 0.07
LEARNING_RATE, WEIGHT_DECAY = 2e-4, 0.05
TAKES_OF_SPEAKER = 40  # of each word, for the whitening
FLOOR = 0.3  # added to the variances of the whitening, as a share of their mean


@dataclass
class Stretches:
    """Stretches of words in clips, as the encoder sees them.

    Attributes:
        states: The encoder's states of all copies of all clips, float16 tensors `(frames, hidden_size)`.
        places: Copy, first frame and the frame after the last, of each stretch.
        phrases: Indices of the stretches by number of words, text and speaker.
    """

    states: list[torch.Tensor] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    phrases: dict[int, dict[str, dict[str, list[int]]]] = field(default_factory=dict)

    def add(self, states: torch.Tensor, words: Sequence[SpokenWord], speaker: str) -> None:
        """Adds the stretches of one copy of a clip."""
        for count in range(1, MAX_WORDS + 1):
            for first in range(len(words) - count + 1):
                stretch = words[first : first + count]
                if any(word.end - word.start < 2 for word in stretch):  # too short, or cut off
                    continue
                texts = self.phrases.setdefault(count, {})
                speakers = texts.setdefault(" ".join(word.text for word in stretch), {})
                speakers.setdefault(speaker, []).append(len(self.places))
                self.places.append((len(self.states), stretch[0].start, stretch[-1].end))
        self.states.append(states)

    def sample(self, index: int, jitter: Sequence[int] = (0, 0)) -> torch.Tensor:
        """Returns the states of a stretch at its `POINTS`, float32 `(POINTS, hidden_size)`."""
        copy, start, end = self.places[index]
        states = self.states[copy].float()
        start = max(0, start + int(jitter[0]))
        return sample_span(states, start, min(len(states), max(start + 2, end + int(jitter[1]))))


def train_phrase_head(
    model: LipReadForConditionalGeneration,
    processor: LipReadProcessor,
    corpora: Sequence[Clips],
    steps: int = 300,
    copies: int = 8,
    seed: int = 0,
) -> float:
    """Gives the model a trained `phrase_head`, in place of the one it has; returns the last loss.

    Raises:
        ValueError: No phrase has takes enough in clips with word times, or the loss is not finite.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    stretches = encode_copies(model, processor, corpora, copies, seed)
    model.config.phrase_head = True
    size = model.config.encoder_config.hidden_size
    head = model.phrase_head = nn.Linear(size, size)
    whiten(head, stretches, random)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    loss = torch.zeros(())
    for step in range(steps):
        takes, labels = draw_batch(stretches, random)
        loss = contrastive_loss(join_points(head(takes)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
    if not loss.isfinite():
        raise ValueError("the loss is not finite, so no reader is written; look at the clips: python -m data.report")
    head.requires_grad_(False)
    return loss.item()


def encode_copies(
    model: LipReadForConditionalGeneration,
    processor: LipReadProcessor,
    corpora: Sequence[Clips],
    copies: int,
    seed: int,
) -> Stretches:
    """Encodes every clip with word times as it is and in augmented copies with words of other clips."""
    extractor, stretches, random = processor.feature_extractor, Stretches(), np.random.default_rng(seed)
    augment = KeypointAugmentation(**AUGMENTATION)
    augment.set_landmarks(extractor.landmark_indices)
    examples = [example for clips in corpora for example in read_examples(clips, extractor)]
    for copy in range(copies + 1):
        splice = WordSplicing(SPLICING if copy else 0.0, seed + copy)
        order = random.permutation(len(examples))
        for first in range(0, len(order), BATCH_CLIPS):
            batch = [examples[index] for index in order[first : first + BATCH_CLIPS]]
            batch = splice(batch, [example["id"] for example in batch])
            keypoints, mask, labels = _pad(batch)
            if copy:
                keypoints, mask, labels = augment(keypoints, mask, labels)
            with torch.no_grad():
                states = model.encoder(keypoints, mask).frame_hidden_states.half()
            for example, clip, label in zip(batch, states, labels.numpy(), strict=True):
                words = []
                for place, word in enumerate(example["words"], start=1):
                    spoken = np.flatnonzero(label == place)
                    words.append(SpokenWord(word.text, *((spoken[0], spoken[-1] + 1) if len(spoken) else (0, 0))))
                stretches.add(clip.clone(), words, example["speaker"])
        print(f"encoded copy {copy} of {copies}, {len(examples)} clips", flush=True)
    return stretches


def read_examples(clips: Clips, extractor: Any) -> Iterator[Example]:
    """Yields the features and words of the clips with word times."""
    for index in range(len(clips)):
        row = clips[index]
        if not len(row["words"]):
            continue
        features = extractor([decode_row(row)], padding=False)
        edges = extractor.frame_times(row["timestamps"], len(features["keypoints"][0]))
        words = [SpokenWord(word["word"], *span_frames(edges, (word["start"], word["end"]))) for word in row["words"]]
        example = {"id": row["id"], "speaker": str(row["speaker"]), "words": words}
        yield example | {name: features[name][0] for name in ("keypoints", "keypoints_mask")}


def _pad(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns keypoints, mask, and for each frame the number of its word from 1, 0 between words, -100 in padding."""
    labels = []
    for example in examples:
        label = np.zeros(len(example["keypoints_mask"]), np.int64)
        for place, word in enumerate(example["words"], start=1):
            label[word.start : word.end] = place
        labels.append(label)
    columns = (
        [example["keypoints"] for example in examples],
        [example["keypoints_mask"] for example in examples],
        labels,
    )
    keypoints, mask, labels = (
        nn.utils.rnn.pad_sequence([torch.as_tensor(array) for array in column], True, value)
        for column, value in zip(columns, (0, 0, -100), strict=True)
    )
    return keypoints, mask, labels


@torch.no_grad()
def whiten(head: nn.Linear, stretches: Stretches, random: np.random.Generator) -> None:
    """Sets the head to the inverse root of the covariance of a word's states over takes and speakers."""
    covariance, means = 0.0, []
    for speakers in stretches.phrases.get(1, {}).values():
        takes, weights = [], []
        for indices in speakers.values():
            drawn = random.permutation(indices)[:TAKES_OF_SPEAKER]
            takes += [stretches.sample(index) for index in drawn]
            weights += [1 / len(drawn)] * len(drawn)
        if len(takes) < 2:
            continue
        weight = torch.tensor(weights)[:, None, None] / sum(weights)
        states = torch.stack(takes)
        means.append((weight * states).sum(0))
        deviation = ((states - means[-1]) * weight.sqrt()).flatten(0, 1).double()
        covariance = covariance + deviation.T @ deviation
    if not means:
        raise ValueError("no word is said twice in clips with word times; give more clips")
    variances, directions = torch.linalg.eigh(covariance / len(means) / len(means[0]))
    matrix = directions * (variances + FLOOR * variances.mean()).rsqrt()
    head.weight.copy_(matrix.T)
    head.bias.copy_(-torch.stack(means).mean((0, 1)).double() @ matrix)


def sample_span(states: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """Interpolates states `(frames, size)` linearly at `POINTS` moments from frame `start` to before `end`."""
    places = torch.linspace(start, max(start, end - 1), POINTS, device=states.device)
    before = places.long()
    after = (before + 1).clamp(max=len(states) - 1)
    return torch.lerp(states[before], states[after], (places - before)[:, None])


def join_points(points: torch.Tensor) -> torch.Tensor:
    """Returns `(stretches, POINTS * size)` of length 1, in which all points weigh the same."""
    return nn.functional.normalize(points, dim=-1).flatten(1) / POINTS**0.5


def draw_batch(stretches: Stretches, random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns `(takes, POINTS, hidden_size)` of several takes of several phrases, and the phrase of each take."""
    phrases = stretches.phrases[int(random.choice([count for count in WORDS if count in stretches.phrases]))]
    texts = random.permutation(sorted(phrases))
    if " " in texts[0] and random.random() < ALIKE:
        shared = {word for text in texts[: PHRASES // 8] for word in text.split()}
        texts = np.array(sorted(texts, key=lambda text: shared.isdisjoint(text.split())))
    takes, labels = [], []
    for label, text in enumerate(texts[:PHRASES]):
        speakers = list(phrases[text].values())
        everyone = [index for indices in speakers for index in indices]
        for _ in range(TAKES):
            chosen = speakers[random.integers(len(speakers))] if random.random() < BALANCED else everyone
            jitter = random.integers(-JITTER, JITTER + 1, 2)
            takes.append(stretches.sample(chosen[random.integers(len(chosen))], jitter))
            labels.append(label)
    return torch.stack(takes), torch.tensor(labels)


def contrastive_loss(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns the supervised contrastive loss (https://huggingface.co/papers/2004.11362) of embeddings
    `(takes, size)` of length 1.
    """
    itself = torch.eye(len(labels), dtype=torch.bool)
    similarity = (embeddings @ embeddings.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    positive = (labels[:, None] == labels) & ~itself
    log_probs = similarity.log_softmax(1).masked_fill(~positive, 0.0)
    return -(log_probs.sum(1) / positive.sum(1)).mean()
