# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lip-reading` pipeline, from videos to text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import Pipeline

from .confidence_lipread import (
    NO_FACE,
    STILL_LIPS,
    WordEvidence,
    assess,
    head_log_probs,
    is_seldom_seen,
    lip_speed,
    token_log_probs,
    word_evidence,
)
from .configuration_lipread import LIMITS
from .ctc_lipread import clip_lengths
from .phrases_lipread import (
    ACCEPTED,
    UNKNOWN_PHRASE,
    PhraseIndex,
    crop_to_speech,
    embed_spans,
    span_frames,
    spoken_span,
)
from .processing_lipread import CLIP_ARGUMENTS, is_array_of_clips, is_frame_list

PIPELINE_TASK = "lip-reading"


class LipReadingPipeline(Pipeline):
    """Transcribes videos by lip reading.

    It accepts one clip, or a list, a generator or a data set of clips. A clip is one of the processor's, such as the
    path of a video or a list of frames, or a mapping with that as `video`, and optionally `start`, `end`, `frame_rate`
    and `face`.

    Args:
        return_timestamps: `"word"` or `True` returns a chunk for each word. Needs a model with a CTC head.
        start, end, frame_rate, face: As for the processor.
        abstain: Returns an empty text with a `reason` for clips without readable speech; `True` by default. With
            `False` it returns every hypothesis, and a video without a face raises an error.
        phrases: The folder of a phrase book (`lipread enroll`), or a `PhraseIndex`: the clip is read as one of its
            phrases instead of by the language model, whose arguments and limits then do not apply.
        min_lip_motion, min_confidence: Limits instead of those in the configuration's `abstention`; 0 turns one off.
        generate_kwargs: Arguments of `generate`; they can also be passed directly, such as `num_beams=4`.

    Returns:
        A dictionary like that of the speech recognition pipeline: `text`, and with `return_timestamps` also `chunks`.
        Each chunk has a `text`; a `timestamp`, its start and end in seconds of the video, `None` if the video is too
        short for the words; and a `score`, the probability that it is right, calibrated if the model has a
        `calibration` and otherwise that of the language model. After abstention the text is empty, there are no
        chunks, and `reason` is one of `confidence_lipread.REASONS`. With `phrases`, the result also has a `score`, and
        `phrases`, the three most similar ones as `{"text", "score"}`.

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
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        # The base class would pad clips on the tokenizer's padding side, which is often the left.
        self.tokenizer = None

    def __call__(self, clips: Any, **kwargs: Any) -> Any:
        """Transcribes one clip, or an iterable of clips, as described for the class."""
        if is_frame_list(clips):  # one clip, where the base class would see many
            clips = {"video": clips}
        elif isinstance(clips, tuple) or is_array_of_clips(clips):
            clips = list(clips)
        if isinstance(clips, list) and not clips:
            raise ValueError("the list of clips is empty; give at least one clip")
        return super().__call__(clips, **kwargs)

    def _sanitize_parameters(self, return_timestamps=None, generate_kwargs=None, phrases=None, **parameters: Any):
        if "chunk_length_s" in parameters or "stride_length_s" in parameters:
            raise ValueError(
                "chunk_length_s: the pipeline reads clips of a few seconds; `lipread transcribe VIDEO` cuts long "
                "videos where the lips pause, and joins the words"
            )
        # Holds only given parameters, since missing ones keep their values from the pipeline's construction.
        reading = {key: parameters.pop(key) for key in CLIP_ARGUMENTS if key in parameters}
        choices = {key: parameters.pop(key, None) for key in ("abstain", *LIMITS)}
        output = {key: value for key, value in choices.items() if value is not None}
        generation = {**parameters, **(generate_kwargs or {})}
        if generation.get("num_return_sequences", 1) > 1:
            raise ValueError("num_return_sequences: the pipeline returns one text for a clip; use model.generate")
        if return_timestamps is not None:
            if return_timestamps not in (True, False, "word"):
                raise ValueError(f'return_timestamps must be True, False or "word", not {return_timestamps!r}')
            if return_timestamps and not self.model.config.ctc_vocab and phrases is None:
                raise ValueError("return_timestamps needs a CTC head, but this model has no CTC head")
            output["return_timestamps"] = return_timestamps
        if "abstain" in output:
            reading["abstain"] = output["abstain"]
        if phrases is not None:
            reading["spoken_only"] = True
            is_folder = isinstance(phrases, (str, os.PathLike))
            output["phrases"] = PhraseIndex.load(phrases, self.model) if is_folder else phrases
        return reading, {**generation, **output}, output

    def preprocess(
        self, clip: Any, abstain: bool = True, spoken_only: bool = False, **reading: Any
    ) -> dict[str, torch.Tensor]:
        """Computes the model's input for one clip, in any form of the class.

        Args:
            abstain: Whether a clip without a face is allowed.
            spoken_only: Whether to cut off the rest of the lips before and after the speech.
            reading: Arguments of `LipReadProcessor.extract_clip`.

        Returns:
            The output of the feature extractor; `frame_times`, the starts of its frames and the end of the last one in
            seconds, `(1, frames + 1)`; `spoken` `(1, 2)`, the first spoken frame and the frame after the last, both 0
            without `spoken_only` and if the lips rest; `lip_speed` `(1,)`, NaN if it is unknown; and `seldom_seen`
            `(1,)`, 1 if too few frames have a face. Of a clip without a face, only the beginning is left.
        """
        if isinstance(clip, Mapping):
            unknown = sorted(set(clip) - {"video", *CLIP_ARGUMENTS})
            if unknown or "video" not in clip:
                raise ValueError(f"a clip in a mapping has video, {', '.join(CLIP_ARGUMENTS)}, not {', '.join(clip)}")
            clip = dict(clip)
            clip, reading = clip.pop("video"), {**reading, **clip}
        extractor = self.processor.feature_extractor
        # Not by catching `NoFaceError`: remote code may be imported as several copies of the class.
        sequence = self.processor.extract_clip(clip, **reading, require_face=not abstain)
        if not np.any(sequence.present):
            sequence = crop_to_speech(sequence, (sequence.timestamps[0], sequence.timestamps[0]))
        span = spoken_span(sequence) if spoken_only else None
        sequence = sequence if span is None else crop_to_speech(sequence, span)
        features = extractor([sequence], return_tensors="pt")
        times = extractor.frame_times(sequence.timestamps, features["keypoints"].shape[1])
        spoken = torch.tensor([(0, 0) if span is None else span_frames(times, span)])
        times = torch.tensor(times + (reading.get("start") or 0.0), dtype=torch.float32)
        speed = lip_speed(sequence) if abstain else None
        speed = torch.tensor([torch.nan if speed is None else speed], dtype=torch.float32)
        seldom_seen = torch.tensor([float(is_seldom_seen(sequence))])
        known = {"frame_times": times[None], "spoken": spoken, "lip_speed": speed, "seldom_seen": seldom_seen}
        return {**features, **known}

    def _forward(
        self,
        inputs: dict[str, torch.Tensor],
        return_timestamps: bool | str = False,
        abstain: bool = True,
        phrases: PhraseIndex | None = None,
        **generation: Any,
    ) -> dict[str, torch.Tensor]:
        model = self.model
        if phrases is not None:
            whole = [(0, inputs["keypoints"].shape[1])] * len(inputs["keypoints"])
            embeddings = embed_spans(model, inputs["keypoints"], inputs["keypoints_mask"], whole)
            kept = ("keypoints_mask", "frame_times", "spoken")
            return {"embeddings": torch.from_numpy(np.stack(embeddings)), **{key: inputs[key] for key in kept}}
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
        outputs["sequences"] = written[:, prefix:]
        if return_timestamps or limits.get("min_confidence"):
            outputs["token_log_probs"] = token_log_probs(model, written, prefix, conditioning=conditioning)
            heads = head_log_probs(encoded)
            if heads is not None:
                outputs["heads"] = heads
        return outputs

    def postprocess(
        self,
        outputs: dict[str, torch.Tensor],
        return_timestamps: bool | str = False,
        abstain: bool = True,
        phrases: PhraseIndex | None = None,
        **limits: float,
    ) -> dict[str, Any]:
        """Converts the model's output for one clip to the pipeline's result."""
        if phrases is not None:
            return _phrase_result(outputs, phrases, bool(return_timestamps), abstain)
        limits, mask = self._limits(limits), outputs["keypoints_mask"]
        config, speed, heads = self.model.config, outputs["lip_speed"][0].item(), outputs.get("heads")
        if heads is not None:
            heads = heads[0, :, : clip_lengths(mask, heads[:, 0])[0]]
        speed, seldom_seen = None if np.isnan(speed) else speed, bool(outputs["seldom_seen"][0])
        video = {"speed": speed, "has_face": bool(mask.any()), "seldom_seen": seldom_seen}
        tokens, words = outputs["sequences"][0].tolist(), None
        text = self.processor.decode(tokens, skip_special_tokens=True)
        if "token_log_probs" in outputs:
            words = word_evidence(self.processor, config, tokens, outputs["token_log_probs"][0].tolist(), heads)
        scores, reason = assess(text, words, limits, config.calibration, **video)
        reason = reason if abstain else None
        result: dict[str, Any] = {"text": text} if reason is None else {"text": "", "reason": reason}
        if return_timestamps:
            result["chunks"] = [] if reason else _chunks(words, scores, outputs["frame_times"][0].tolist())
        return result

    def _limits(self, given: dict[str, float]) -> dict[str, float]:
        """Returns the limits of the configuration, replaced by those given."""
        return {**(self.model.config.abstention or {}), **given}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and processor to one folder; `kwargs` are those of their `save_pretrained`."""
        self.model.save_pretrained(save_directory, **kwargs)
        kwargs.pop("include_base", None)
        self.processor.save_pretrained(save_directory, **kwargs)


def _phrase_result(
    outputs: dict[str, torch.Tensor], phrases: PhraseIndex, return_timestamps: bool, abstain: bool
) -> dict[str, Any]:
    """Returns the most similar phrase, or the reason why there is none."""
    start, end = outputs["spoken"][0].tolist()
    matches, reason = phrases.match(outputs["embeddings"][0, start : max(end, start + 1)].numpy(), 3), None
    if not outputs["keypoints_mask"].any():
        reason = NO_FACE
    elif not end:
        reason = STILL_LIPS
    elif abstain and matches[0].score < ACCEPTED:
        reason = UNKNOWN_PHRASE
    best = matches[0]
    result: dict[str, Any] = (
        {"text": best.text, "score": best.score} if reason is None else {"text": "", "reason": reason}
    )
    if return_timestamps:
        times = outputs["frame_times"][0]
        timestamp = round(times[start].item(), 3), round(times[end].item(), 3)
        result["chunks"] = [{"text": best.text, "timestamp": timestamp, "score": best.score}] if reason is None else []
    result["phrases"] = [{"text": match.text, "score": match.score} for match in matches] if end else []
    return result


def _chunks(words: list[WordEvidence], scores: list[float], times: list[float]) -> list[dict[str, Any]]:
    chunks = []
    for word, score in zip(words, scores, strict=True):
        timestamp = (None, None)
        if word.frames is not None:
            timestamp = tuple(round(times[frame], 3) for frame in word.frames)
        chunks.append({"text": word.text, "timestamp": timestamp, "score": score})
    return chunks


__all__ = ["PIPELINE_TASK", "LipReadingPipeline"]
