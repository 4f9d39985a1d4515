# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lip-reading` pipeline: video in, words out."""

from __future__ import annotations

from typing import Any

from transformers import Pipeline


class LipReadingPipeline(Pipeline):
    """Reads what is said in a video from the lips.

    Args:
        model: A [`LipReadForConditionalGeneration`].
        processor: Its [`LipReadProcessor`].
        kwargs: As for any [`Pipeline`]: `device`, `batch_size`, and arguments of `generate` such as `num_beams`.

    Example:

    ```python
    >>> reader = LipReadingPipeline(model=model, processor=processor)
    >>> reader("clip.mp4", num_beams=4)
    {'text': 'bin blue at f two now'}
    ```
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def _sanitize_parameters(self, **parameters: Any):
        # Only what is given: the rest stays as it was when the pipeline was made.
        spans = {key: parameters.pop(key) for key in ("start", "end") if key in parameters}
        return spans, parameters, {}

    def preprocess(self, video: Any, start: float | None = None, end: float | None = None) -> dict[str, Any]:
        """Video path, frames `(frames, height, width, 3)` or landmarks `(frames, 478, 3)` to the model's input."""
        return self.processor(videos=video, start=start, end=end, return_tensors="pt")

    def _forward(self, inputs: dict[str, Any], **generate_kwargs: Any) -> dict[str, Any]:
        return {"sequences": self.model.generate(**inputs, **generate_kwargs)}

    def postprocess(self, outputs: dict[str, Any]) -> dict[str, Any]:
        return {"text": self.processor.batch_decode(outputs["sequences"], skip_special_tokens=True)[0].strip()}


__all__ = ["LipReadingPipeline"]
