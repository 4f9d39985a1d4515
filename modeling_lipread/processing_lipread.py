# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Videos and text to the model's inputs: face landmarks, their features, and the language model's tokenizer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.utils import cached_file, logging

from .feature_extraction_lipread import LipReadFeatureExtractor
from .landmarks_lipread import (
    LANDMARKER_FILE,
    Face3DKeypointExtractor,
    LandmarkSequence,
    NoFaceError,
    landmarker_path,
    read_landmark_file,
)

logger = logging.get_logger(__name__)

LOW_COVERAGE = 0.8  # below it a reader is told that the face was lost in many frames
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class LipReadProcessor(ProcessorMixin):
    """Prepares videos and text for `LipReadForConditionalGeneration`.

    MediaPipe's model file is saved beside the settings, so that a saved processor is complete.

    Args:
        feature_extractor: Turns landmarks into the encoder's input.
        tokenizer: The language model's tokenizer.
    """

    def __init__(self, feature_extractor: LipReadFeatureExtractor, tokenizer: Any):
        super().__init__(feature_extractor, tokenizer)
        self.landmarker_path: str | None = None  # None means the one that lies beside this code
        self._keypoint_extractor: Face3DKeypointExtractor | None = None

    @property
    def keypoint_extractor(self) -> Face3DKeypointExtractor:
        """The landmark extractor for videos, made on first use."""
        if self._keypoint_extractor is None:
            self._keypoint_extractor = Face3DKeypointExtractor(self.landmarker_path)
        return self._keypoint_extractor

    def __call__(
        self,
        videos: Any = None,
        text: str | list[str] | None = None,
        start: float | Sequence[float | None] | None = None,
        end: float | Sequence[float | None] | None = None,
        frame_rate: float | None = None,
        face: str = "largest",
        padding: bool = True,
        return_tensors: str | None = None,
        **tokenizer_arguments: Any,
    ) -> BatchFeature:
        """Prepares a batch of videos, of texts, or of both.

        Args:
            videos: One clip or a list of clips. A clip is the path of a video; the path of a `.npy` file of landmarks;
                frames, RGB uint8 `(frames, height, width, 3)`; landmarks, floats `(frames, 478, 3)`; or a
                `LandmarkSequence`.
            text: One text or a list of texts, to be tokenised.
            start: Seconds from the start of a file where its clip begins; one for all or one for each.
            end: Seconds from the start of a file where its clip ends; one for all or one for each.
            frame_rate: Frames a second of `.npy` files and of frames and landmarks given as arrays; the feature
                extractor's by default.
            face: Which of several faces in a video is read: the `largest`, the most `central`, or the `speaking` one
                (see `Face3DKeypointExtractor`). It is asked for with each video, not saved with the reader.
            padding: Pads clips and texts to the longest of the batch.
            return_tensors: `pt` or `np`.
            **tokenizer_arguments: Passed on to the tokenizer, e.g. `truncation` or `add_special_tokens`.

        Returns:
            With videos, `keypoints` float32 `(batch, frames, landmarks, 3)` and `keypoints_mask` int64
            `(batch, frames)`, 1 where a face is; with text, what the tokenizer returns (`input_ids`,
            `attention_mask`).

        Raises:
            VideoError: A video cannot be read, or holds no frame between `start` and `end`.
            LandmarkFileError: A `.npy` file cannot be read, or holds no frame between `start` and `end`.
            NoFaceError: No frame of a clip shows a face.
            ValueError: There is neither video nor text, one of them is none of these forms, or `face` is unknown.
        """
        if videos is None and text is None:
            raise ValueError("Give videos, text, or both.")
        data = {}
        if text is not None:
            data.update(self.tokenizer(text, padding=padding, return_tensors=return_tensors, **tokenizer_arguments))
        if videos is not None:
            sequences = self.extract_landmarks(videos, start, end, frame_rate, face)
            data.update(self.feature_extractor(sequences, return_tensors, padding, frame_rate))
        return BatchFeature(data)

    def extract_landmarks(
        self,
        videos: Any,
        start: float | Sequence[float | None] | None = None,
        end: float | Sequence[float | None] | None = None,
        frame_rate: float | None = None,
        face: str = "largest",
    ) -> list[LandmarkSequence]:
        """Finds the faces in videos: the first, slow half of calling the processor.

        Args:
            videos: As for `__call__`.
            start: As for `__call__`.
            end: As for `__call__`.
            frame_rate: As for `__call__`.
            face: As for `__call__`.

        Returns:
            A `LandmarkSequence` for each clip (of landmarks given as an array, width and height are 0: not known). The
            feature extractor takes the list as it is; `coverage` says in what share of the frames a face was found.

        Raises:
            VideoError: A video cannot be read, or holds no frame between `start` and `end`.
            LandmarkFileError: A `.npy` file cannot be read, or holds no frame between `start` and `end`.
            NoFaceError: No frame of a clip shows a face.
            ValueError: A clip is none of the forms, `start` and `end` come with one that is no file, or `face` is
                unknown.
        """
        clips = _as_list(videos)
        spans = zip(_for_each(start, len(clips), "start"), _for_each(end, len(clips), "end"), strict=True)
        rate = frame_rate or self.feature_extractor.frame_rate or 25.0
        return [
            self._read(clip, index, *span, rate, face)
            for index, (clip, span) in enumerate(zip(clips, spans, strict=True))
        ]

    def _read(
        self, clip: Any, index: int, start: float | None, end: float | None, frame_rate: float, face: str
    ) -> LandmarkSequence:
        name = f"clip {index}"
        if isinstance(clip, (str, os.PathLike)):
            name = os.fspath(clip)
            if name.endswith(".npy"):
                return _check_coverage(read_landmark_file(name, frame_rate, start, end), name)
            return _check_coverage(self.keypoint_extractor.extract_video(clip, start, end, face), name)
        if start is not None or end is not None:
            raise ValueError(f"{name}: start and end are for files; cut frames or landmarks before giving them")
        if hasattr(clip, "keypoints"):
            return _check_coverage(clip, name)
        array = np.asarray(clip)
        if array.dtype == np.uint8 and array.ndim == 4:
            return _check_coverage(self.keypoint_extractor.extract_frames(array, frame_rate, face), name)
        if np.issubdtype(array.dtype, np.floating) and array.ndim == 3 and array.shape[-1] == 3:
            return _check_coverage(_from_landmarks(array, frame_rate), name)
        raise ValueError(
            f"{name}: neither frames, uint8 (frames, height, width, 3), nor landmarks, floats (frames, 478, 3), but "
            f"{array.dtype} {array.shape}"
        )

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Saves settings, tokenizer, code and MediaPipe's model file to a folder.

        Args:
            save_directory: The folder, made if need be.
            push_to_hub: Uploads everything to the Hub as well.
            **kwargs: For the upload: `repo_id` (the folder's name by default), `token`, `private`, `commit_message`.

        Returns:
            The paths of the settings and of the model file.
        """
        source = landmarker_path(self.landmarker_path)
        files = super().save_pretrained(save_directory)
        target = Path(save_directory) / LANDMARKER_FILE
        unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, unfinished)
        os.replace(unfinished, target)
        if push_to_hub:  # by its own method, which uploads the model file too; the inherited saving would miss it
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return [*files, str(target)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> LipReadProcessor:
        """Loads a processor from a folder or from the Hub, MediaPipe's model file with it.

        Args:
            pretrained_model_name_or_path: A folder or the id of a repository.
            **kwargs: As for `transformers.ProcessorMixin.from_pretrained`.

        Returns:
            The processor.
        """
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        hub_arguments = {key: kwargs[key] for key in _HUB_ARGUMENTS if key in kwargs}
        # A repository without the file, of whatever origin, falls back on the packaged one.
        processor.landmarker_path = cached_file(
            pretrained_model_name_or_path,
            LANDMARKER_FILE,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **hub_arguments,
        )
        return processor


def _as_list(videos: Any) -> list[Any]:
    """A list of clips of whatever was given: one clip, or many in a list or in one array."""
    if isinstance(videos, (list, tuple)):
        is_frames = bool(videos) and all(getattr(frame, "ndim", 0) == 3 and _is_uint8(frame) for frame in videos)
        return [np.stack(videos)] if is_frames else list(videos)
    batch_dimensions = 5 if _is_uint8(videos) else 4
    return list(videos) if getattr(videos, "ndim", 0) == batch_dimensions else [videos]


def _is_uint8(array: Any) -> bool:
    return str(getattr(array, "dtype", "")).endswith("uint8")  # numpy's or torch's


def _for_each(seconds: float | Sequence[float | None] | None, count: int, name: str) -> list[float | None]:
    if seconds is None or np.isscalar(seconds):
        return [seconds] * count
    if len(seconds) != count:
        raise ValueError(f"{name} has {len(seconds)} entries for {count} clips; give one for all or one for each")
    return list(seconds)


def _from_landmarks(keypoints: np.ndarray, frame_rate: float) -> LandmarkSequence:
    return LandmarkSequence(
        keypoints=keypoints.astype(np.float32),
        present=np.isfinite(keypoints).all(axis=(1, 2)) & keypoints.any(axis=(1, 2)),
        timestamps=np.arange(len(keypoints)) / frame_rate,
        width=0,
        height=0,
        frame_rate=frame_rate,
    )


def _check_coverage(sequence: LandmarkSequence, name: str) -> LandmarkSequence:
    found, frames = int(np.sum(sequence.present)), len(sequence.present)
    if not found:
        raise NoFaceError(
            f"{name}: no face found in any of {frames} frames; the face must be lit, seen from the front and some 60 "
            "pixels wide: crop or enlarge the video around it"
        )
    if found < LOW_COVERAGE * frames:
        logger.warning(f"{name}: a face was found in only {found} of {frames} frames; the others are read as absent")
    return sequence


LipReadProcessor.register_for_auto_class()
