# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lip-reading` pipeline: video in, words out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import Pipeline

from .confidence_lipread import (
    WrittenWord,
    head_log_probs,
    is_seldom_seen,
    judge,
    lip_speed,
    token_log_probs,
    weighed_words,
)
from .configuration_lipread import LIMITS
from .ctc_lipread import clip_lengths, greedy_ctc
from .landmarks_lipread import NoFaceError

PIPELINE_TASK = "lip-reading"
CLIP_ARGUMENTS = ("start", "end", "frame_rate", "face")


class LipReadingPipeline(Pipeline):
    """Reads what is said in a video from the lips.

    Give it one clip, a list, a generator or a data set of clips. A clip is the path of a video, frames uint8
    `(frames, height, width, 3)`, landmarks `(frames, 478, 3)`, a `LandmarkSequence`, or a mapping of `video` (any of
    these) and optionally `start`, `end`, `frame_rate` and `face`.

    Args:
        model: A [`LipReadForConditionalGeneration`].
        processor: Its [`LipReadProcessor`].
        return_timestamps: `"word"` for a chunk a word, `True` for one chunk from the first word to the last. Needs a
            reader with a CTC head.
        start: Seconds from the start of a video where reading begins.
        end: Seconds from the start of a video where reading ends.
        frame_rate: Frames a second of frames and landmarks given as arrays; 25 by default.
        face: Which of several faces is read: `largest`, `central` or `speaking`.
        abstain: Whether nothing is read where there is nothing to read; `True` by default. What then stands for a text
            is empty, and `reason` says why. `False` gives whatever the model writes, and a video without a face is an
            error.
        min_lip_motion: The least speed of the lips, in distances between the eyes a second.
        min_agreement: The least agreement of the words with what the CTC head spells, 0 to 1.
        min_confidence: The least share of the words that is expected to be right, 0 to 1. These three are the reader's
            own by default; 0 limits nothing.
        generate_kwargs: Arguments of `generate`; they may also be given one by one, as `num_beams=4`.
        kwargs: As for any [`Pipeline`]: `device`, `batch_size`, `num_workers`.

    Example:

    ```python
    >>> from transformers import pipeline

    >>> reader = pipeline(model="you/lipread-grid", trust_remote_code=True)
    >>> reader("clip.mp4", num_beams=4)
    {'text': 'bin blue at f two now'}
    >>> reader("clip.mp4", return_timestamps="word")["chunks"][0]
    {'text': 'bin', 'timestamp': (0.52, 0.72), 'score': 0.98}
    >>> reader("portrait.mp4")
    {'text': '', 'reason': 'the lips do not move'}
    ```

    What comes back has the form of the speech recognition pipeline: `text`, and with `return_timestamps` `chunks`,
    each with its `text`, its `timestamp` (seconds of its start and end in the video; `None` where the video is too
    short to say so much) and its `score`, the chance that it is right: calibrated if the reader is (`python -m
    data.calibrate`), and else the probability that the model gives those words after the ones before. Where nothing is
    read, the text is empty, there are no chunks, and `reason` is one of `confidence_lipread.REASONS`. With
    `num_return_sequences` it is a list of these, in the order of the search: the first is what is read without it, and
    decides for all of them whether anything is read. Scores need not fall in that order, since the search does not go
    by them.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # The tokenizer is the processor's. Here its padding side, often the left, would be taken for the clips'.
        self.tokenizer = None

    def _sanitize_parameters(self, return_timestamps=None, generate_kwargs=None, **parameters: Any):
        # Only what is given: the rest stays as it was when the pipeline was made.
        reading = {key: parameters.pop(key) for key in CLIP_ARGUMENTS if key in parameters}
        saying = {key: parameters.pop(key) for key in ("abstain", *LIMITS) if parameters.get(key) is not None}
        parameters = {key: value for key, value in parameters.items() if key not in ("abstain", *LIMITS)}
        generation = {**parameters, **(generate_kwargs or {})}
        if return_timestamps is not None:
            if return_timestamps not in (True, False, "word"):
                raise ValueError(f'return_timestamps must be True, False or "word", not {return_timestamps!r}')
            if return_timestamps and not self.model.config.ctc_vocab:
                raise ValueError(
                    "no CTC head of this reader spells words, and tells when they are said: no timestamps"
                )
            saying["return_timestamps"] = return_timestamps
        if "abstain" in saying:
            reading["abstain"] = saying["abstain"]
        return reading, {**generation, **saying}, saying

    def preprocess(self, clip: Any, abstain: bool = True, **reading: Any) -> dict[str, torch.Tensor]:
        """One clip to the model's input.

        Returns:
            What the feature extractor gives; `frame_times`, when its frames begin and the last ends, seconds `(1,
            frames + 1)`; the `lip_speed` `(1,)`, not a number where it cannot be told; and whether the face is
            `seldom_seen` `(1,)`. A clip without a face has one frame, and no face in it.
        """
        if isinstance(clip, Mapping):
            unknown = sorted(set(clip) - {"video", *CLIP_ARGUMENTS})
            if unknown or "video" not in clip:
                raise ValueError(
                    f"a clip given as a mapping has video, {', '.join(CLIP_ARGUMENTS)}, not {', '.join(clip)}"
                )
            clip = dict(clip)
            clip, reading = clip.pop("video"), {**reading, **clip}
        extractor = self.processor.feature_extractor
        try:
            sequence = self.processor.extract_landmarks([clip], **reading)[0]
        except NoFaceError:
            if not abstain:
                raise
            empty = torch.zeros(1, 1, extractor.num_landmarks, 3)
            nothing = {"keypoints": empty, "keypoints_mask": torch.zeros(1, 1, dtype=torch.int64)}
            unseen = {"lip_speed": torch.zeros(1), "seldom_seen": torch.zeros(1)}
            return {**nothing, "frame_times": torch.zeros(1, 2), **unseen}
        features = extractor([sequence], return_tensors="pt")
        times = extractor.frame_times(sequence.timestamps, features["keypoints"].shape[1])
        times = torch.tensor(times + (reading.get("start") or 0.0), dtype=torch.float32)
        speed = lip_speed(sequence) if abstain else None
        speed = torch.tensor([torch.nan if speed is None else speed], dtype=torch.float32)
        seldom = torch.tensor([float(is_seldom_seen(sequence))])
        return {**features, "frame_times": times[None], "lip_speed": speed, "seldom_seen": seldom}

    def _forward(
        self,
        inputs: dict[str, torch.Tensor],
        return_timestamps: bool | str = False,
        abstain: bool = True,
        **generation: Any,
    ) -> dict[str, torch.Tensor]:
        model = self.model
        given = {key: generation.pop(key) for key in LIMITS if key in generation}
        limits = self._limits(given) if abstain else {}
        conditioning, encoded = model.encode(inputs["keypoints"], inputs["keypoints_mask"])
        clips, prefix = len(inputs["keypoints"]), len(model.config.start_ids)
        start = torch.tensor([model.config.start_ids] * clips, device=model.device)
        written = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            conditioning=conditioning,
            ctc_logits=encoded.ctc_logits,
            keypoints_mask=inputs["keypoints_mask"],
            **generation,
        )
        written = getattr(written, "sequences", written)
        outputs = {key: inputs[key] for key in ("keypoints_mask", "frame_times", "lip_speed", "seldom_seen")}
        outputs["sequences"] = written[:, prefix:].unflatten(0, (clips, -1))
        if limits.get("min_agreement") and encoded.ctc_logits is not None:
            outputs["ctc_logits"] = encoded.ctc_logits.float()
        if return_timestamps or limits.get("min_confidence"):
            scores = token_log_probs(model, written, prefix, conditioning=conditioning)
            outputs["token_scores"] = scores.unflatten(0, (clips, -1))
            head = head_log_probs(encoded)
            if head is not None:
                outputs["head"] = head
        return outputs

    def postprocess(
        self,
        outputs: dict[str, torch.Tensor],
        return_timestamps: bool | str = False,
        abstain: bool = True,
        **limits: float,
    ) -> Any:
        """The texts of a clip, when they were said, and if nothing was, why."""
        limits, mask = self._limits(limits), outputs["keypoints_mask"]
        config, speed, spelled = self.model.config, outputs["lip_speed"][0].item(), None
        if "ctc_logits" in outputs and config.ctc_vocab:
            spelled = greedy_ctc(outputs["ctc_logits"], mask, config.ctc_vocab)[0]
        seen = {"spelled": spelled, "speed": None if np.isnan(speed) else speed, "has_face": bool(mask.any())}
        seen["seldom_seen"] = bool(outputs["seldom_seen"][0])
        results, reason = [], None
        for index, tokens in enumerate(outputs["sequences"][0].tolist()):
            text, words = self.processor.decode(tokens, skip_special_tokens=True).strip(), None
            if "token_scores" in outputs:
                words = self._words(tokens, outputs["token_scores"][0, index].tolist(), outputs)
            verdict = judge(text, words, limits, config.calibration, **seen)
            if abstain and index == 0:  # what the search prefers decides for the clip
                reason = verdict.reason
            result: dict[str, Any] = {"text": text} if reason is None else {"text": "", "reason": reason}
            if return_timestamps:
                times = outputs["frame_times"][0].tolist()
                chunks = _chunks(words, verdict.scores, times) if reason is None else []
                result["chunks"] = chunks if return_timestamps == "word" else _joined(result["text"], chunks)
            results.append(result)
        return results[0] if len(results) == 1 else results

    def _limits(self, given: dict[str, float]) -> dict[str, float]:
        """Below what nothing is said: the reader's own limits, and those given in their place."""
        return {**(self.model.config.abstention or {}), **given}

    def _words(self, tokens: list[int], scores: list[float], outputs: dict[str, torch.Tensor]) -> list[WrittenWord]:
        head = outputs.get("head")
        if head is not None:
            head = head[0, : clip_lengths(outputs["keypoints_mask"], head)[0]]
        return weighed_words(self.processor, self.model.config, tokens, scores, head)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and processor to one folder, from which `pipeline` makes the same pipeline again.

        Args:
            save_directory: The folder, made if need be.
            kwargs: Passed on to the `save_pretrained` of both.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _chunks(words: list[WrittenWord], scores: list[float], times: list[float]) -> list[dict[str, Any]]:
    """A chunk for each word."""
    chunks = []
    for word, score in zip(words, scores, strict=True):
        timestamp = (None, None)
        if word.frames is not None:
            timestamp = tuple(round(times[frame], 3) for frame in word.frames)
        chunks.append({"text": word.text, "timestamp": timestamp, "score": score})
    return chunks


def _joined(text: str, words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One chunk from the first word to the last."""
    if not words:
        return []
    timestamp = (words[0]["timestamp"][0], words[-1]["timestamp"][1])
    return [{"text": text, "timestamp": timestamp, "score": float(np.prod([word["score"] for word in words]))}]


__all__ = ["PIPELINE_TASK", "LipReadingPipeline"]
