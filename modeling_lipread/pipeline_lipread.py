# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lip-reading` pipeline: video in, words out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import Pipeline

from .alignment_lipread import align_words

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
    ```

    What comes back has the form of the speech recognition pipeline: `text`, and with `return_timestamps` `chunks`,
    each with its `text`, its `timestamp` (seconds of its start and end in the video; `None` where the video is too
    short to say so much) and its `score`, the probability that the model gives those words after the ones before.
    With `num_return_sequences` it is a list of these, the likeliest first.
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
        generation = {**parameters, **(generate_kwargs or {})}
        timestamps = {}
        if return_timestamps is not None:
            if return_timestamps not in (True, False, "word"):
                raise ValueError(f'return_timestamps must be True, False or "word", not {return_timestamps!r}')
            if return_timestamps and not self.model.config.ctc_vocab:
                raise ValueError("this reader has no CTC head, which says when a word is said: no return_timestamps")
            timestamps["return_timestamps"] = return_timestamps
        return reading, {**generation, **timestamps}, timestamps

    def preprocess(self, clip: Any, **reading: Any) -> dict[str, torch.Tensor]:
        """One clip to the model's input, and when its frames begin and the last ends, seconds `(1, frames + 1)`."""
        if isinstance(clip, Mapping):
            unknown = sorted(set(clip) - {"video", *CLIP_ARGUMENTS})
            if unknown or "video" not in clip:
                raise ValueError(
                    f"a clip given as a mapping has video, {', '.join(CLIP_ARGUMENTS)}, not {', '.join(clip)}"
                )
            clip = dict(clip)
            clip, reading = clip.pop("video"), {**reading, **clip}
        sequence = self.processor.extract_landmarks([clip], **reading)[0]
        features = self.processor.feature_extractor([sequence], return_tensors="pt")
        rate = self.processor.feature_extractor.frame_rate
        if rate is None:
            times = np.asarray(sequence.timestamps)
            interval = np.median(np.diff(times)) if len(times) > 1 else 0.0
            times = np.append(times, times[-1] + interval)
        else:
            times = sequence.timestamps[0] + np.arange(features["keypoints"].shape[1] + 1) / rate
        times = torch.tensor(times + (reading.get("start") or 0.0), dtype=torch.float32)
        return {**features, "frame_times": times[None]}

    def _forward(
        self, inputs: dict[str, torch.Tensor], return_timestamps: bool | str = False, **generation: Any
    ) -> dict[str, torch.Tensor]:
        model = self.model
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
        outputs = {"sequences": written[:, prefix:].unflatten(0, (clips, -1))}
        if return_timestamps:
            logits = model(input_ids=written, conditioning=conditioning).logits[:, prefix - 1 : -1]
            scores = logits.float().log_softmax(-1).gather(-1, written[:, prefix:, None])[..., 0]
            outputs["token_scores"] = scores.unflatten(0, (clips, -1))
            outputs["ctc_log_probs"] = encoded.ctc_logits.float().log_softmax(-1)
            outputs |= {key: inputs[key] for key in ("keypoints_mask", "frame_times")}
        return outputs

    def postprocess(self, outputs: dict[str, torch.Tensor], return_timestamps: bool | str = False) -> Any:
        """The texts of a clip, and when they were said."""
        results = []
        for index, tokens in enumerate(outputs["sequences"][0].tolist()):
            result: dict[str, Any] = {"text": self._decode(tokens).strip()}
            if return_timestamps:
                chunks = self._words(tokens, outputs["token_scores"][0, index].tolist(), outputs)
                result["chunks"] = chunks if return_timestamps == "word" else _joined(result["text"], chunks)
            results.append(result)
        return results[0] if len(results) == 1 else results

    def _decode(self, tokens: list[int]) -> str:
        return self.processor.decode(tokens, skip_special_tokens=True)

    def _words(self, tokens: list[int], scores: list[float], outputs: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
        """A chunk for each word that stands between spaces."""
        special = set(self.processor.tokenizer.all_special_ids)
        words: list[str] = []
        log_probs: list[float] = []
        for count, (token, score) in enumerate(zip(tokens, scores, strict=True), start=1):
            if token in special:
                continue
            words = self._decode(tokens[:count]).split()
            log_probs += [0.0] * (len(words) - len(log_probs))
            if log_probs:
                log_probs[-1] += score
        # As in training, a clip ends with its last frame that has a face.
        frames = outputs["keypoints_mask"][0].nonzero().amax().item() + 1
        spans = align_words(outputs["ctc_log_probs"][0, :frames].numpy(), words, self.model.config.ctc_vocab)
        times = outputs["frame_times"][0].tolist()
        chunks = []
        for index, (word, log_prob) in enumerate(zip(words, log_probs, strict=True)):
            timestamp = (None, None)
            if spans is not None:
                first, after = spans[index].tolist()
                timestamp = (round(times[first], 3), round(times[after], 3))
            chunks.append({"text": word, "timestamp": timestamp, "score": float(np.exp(log_prob))})
        return chunks

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Saves model and processor to one folder, from which `pipeline` makes the same pipeline again.

        Args:
            save_directory: The folder, made if need be.
            kwargs: Passed on to the `save_pretrained` of both.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def _joined(text: str, words: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One chunk from the first word to the last."""
    if not words:
        return []
    timestamp = (words[0]["timestamp"][0], words[-1]["timestamp"][1])
    return [{"text": text, "timestamp": timestamp, "score": float(np.prod([word["score"] for word in words]))}]


__all__ = ["PIPELINE_TASK", "LipReadingPipeline"]
