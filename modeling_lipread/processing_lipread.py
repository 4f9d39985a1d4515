# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The processor: from videos and texts to the model's inputs, with feature extractor and tokenizer."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.utils import cached_file, logging

from .feature_extraction_lipread import LipReadFeatureExtractor
from .landmarker_lipread import LANDMARKER_FILE, landmarker_path
from .landmarks_lipread import Face3DKeypointExtractor, LandmarkSequence, NoFaceError, read_landmark_file

logger = logging.get_logger(__name__)

CLIP_ARGUMENTS = ("start", "end", "frame_rate", "face")
COMMON_ARGUMENTS = ("padding", "return_tensors")
LOW_COVERAGE = 0.8  # share of frames with a face below which the processor warns
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class LipReadProcessor(ProcessorMixin):
    """Prepares videos and text for `LipReadForConditionalGeneration`; it saves MediaPipe's model file too.

    Args:
        feature_extractor: Converts landmarks to the encoder's input.
        tokenizer: The language model's tokenizer.
    """

    def __init__(self, feature_extractor: LipReadFeatureExtractor, tokenizer: Any):
        super().__init__(feature_extractor, tokenizer)
        self.landmarker_path: str | None = None  # None for the file beside this module
        self._keypoint_extractor: Face3DKeypointExtractor | None = None

    @property
    def keypoint_extractor(self) -> Face3DKeypointExtractor:
        """The landmark extractor for videos, created on first use."""
        if self._keypoint_extractor is None:
            self._keypoint_extractor = Face3DKeypointExtractor(self.landmarker_path)
        return self._keypoint_extractor

    def __call__(self, videos: Any = None, text: str | list[str] | None = None, **kwargs: Any) -> BatchFeature:
        """Prepares a batch of videos, of texts, or of both.

        Args:
            videos: One clip or a list of clips. A clip is the path of a video or of a `.npy` file of landmarks; RGB
                frames, uint8 `(frames, height, width, 3)` or `(frames, 3, height, width)`; a list of frames: arrays,
                PIL images or PyAV's; a decoder of torchcodec, or a container that PyAV opened from a file; landmarks,
                floats `(frames, 478, 3)`; or a `LandmarkSequence`.
            text: One text or a list of texts.
            start, end: Seconds from the start of each file at which its clip begins and ends.
            frame_rate: Frames a second of `.npy` files and of frames and landmarks in arrays; by default that of the
                feature extractor.
            face: The face of a video to track: the `largest`, the most `central`, or the `speaking` one (see
                `Face3DKeypointExtractor`). It is not saved.
            padding: Pads clips and texts to the longest of the batch; `True` by default.
            return_tensors: `pt` or `np`.
            **kwargs: The arguments above, and those of the tokenizer, such as `truncation` or `add_special_tokens`;
                also in `text_kwargs` for the texts, `videos_kwargs` for the videos, and `common_kwargs` for both.

        Returns:
            For videos, `keypoints` float32 `(batch, frames, landmarks, 3)` and `keypoints_mask` int64 `(batch,
            frames)`, 1 for frames with a face; for text, the output of the tokenizer.

        Raises:
            TypeError: An argument is unknown.
            VideoError: A video cannot be read, or has no frame between `start` and `end`.
            LandmarkFileError: A `.npy` file cannot be read, or has no frame between `start` and `end`.
            NoFaceError: No frame of a clip has a face.
            ValueError: There is neither video nor text, an argument is given twice, a clip is none of these forms,
                `start` or `end` is given for a clip that is no file, `face` is unknown, or a face is to be chosen in
                landmarks, which have only one.
        """
        text_names = {*signature(self.tokenizer.__call__).parameters, *COMMON_ARGUMENTS} - {"text", "kwargs"}
        video_names = {*CLIP_ARGUMENTS, *COMMON_ARGUMENTS}
        allowed = {"text_kwargs": text_names, "videos_kwargs": video_names, "common_kwargs": {*COMMON_ARGUMENTS}}
        groups = {name: kwargs.pop(name, None) or {} for name in allowed}
        for name, given in (("the processor", kwargs), *groups.items()):
            known = allowed.get(name, text_names | video_names)
            if unknown := sorted(set(given) - known):
                raise TypeError(f"{name} has no argument {', '.join(unknown)}; there are {', '.join(sorted(known))}")
            if given is not kwargs and (twice := sorted(set(given) & set(kwargs))):
                raise ValueError(f"{', '.join(twice)} is given directly and in {name}; give it once")
        if videos is None and text is None:
            raise ValueError("Give videos, text, or both.")
        shared = {"padding": True, "return_tensors": None, **kwargs, **groups["common_kwargs"]}
        data = {}
        if text is not None:
            arguments = {**shared, **groups["text_kwargs"]}
            data.update(self.tokenizer(text, **{key: arguments[key] for key in arguments if key in text_names}))
        if videos is not None:
            arguments = {**shared, **groups["videos_kwargs"]}
            clips = {key: arguments[key] for key in CLIP_ARGUMENTS if key in arguments}
            sequences = self.extract_landmarks(videos, **clips)
            data.update(self.feature_extractor(sequences, arguments["return_tensors"], arguments["padding"]))
        return BatchFeature(data)

    def extract_landmarks(self, videos: Any, **reading: Any) -> list[LandmarkSequence]:
        """Extracts the landmarks of clips, the slow step of `__call__`, with the same arguments and errors."""
        if not (clips := _as_list(videos)):
            raise ValueError("videos is empty; give at least one clip")
        return [self.extract_clip(clip, **reading, name=f"clip {index}") for index, clip in enumerate(clips)]

    def extract_clip(
        self,
        clip: Any,
        start: float | None = None,
        end: float | None = None,
        frame_rate: float | None = None,
        face: str = "largest",
        name: str = "clip",
        require_face: bool = True,
        skip_damage: bool = False,
    ) -> LandmarkSequence:
        """Extracts the landmarks of one clip, with arguments and errors as for `__call__`.

        `name` is that of the clip in errors, unless it is a file. Without `require_face`, a clip may have no face.
        With `skip_damage`, damaged frames of a video are left out instead.
        """
        rate = frame_rate or self.feature_extractor.frame_rate
        if hasattr(clip, "demux"):  # a container of PyAV; only its file can be read from the start
            clip = clip.name
        if isinstance(clip, (str, os.PathLike)):
            name = os.fspath(clip)
            if "://" in name:
                raise ValueError(f"{name}: addresses are not read; download the video and give the path of the file")
            if name.endswith(".npy"):
                check_one_face(name, face)
                sequence = read_landmark_file(name, rate, start, end)
            else:
                sequence = self.keypoint_extractor.extract_video(
                    clip, face, start=start, end=end, skip_damage=skip_damage
                )
        elif start is not None or end is not None:
            raise ValueError(f"{name}: start and end are for files; cut frames or landmarks before giving them")
        elif hasattr(clip, "keypoints"):
            check_one_face(name, face)
            sequence = clip
        else:
            sequence = self._read_array(clip, name, rate, face)
        found, frames = int(np.sum(sequence.present)), len(sequence.present)
        if not found and require_face:
            raise NoFaceError(
                f"{name}: no face found in any of {frames} frames; the face must be upright, lit, seen from the front "
                "and some 60 pixels wide: crop or enlarge the video around it"
            )
        if 0 < found < LOW_COVERAGE * frames:
            logger.warning(
                f"{name}: a face was found in only {found} of {frames} frames; the others are read as absent"
            )
        return sequence

    def _read_array(self, clip: Any, name: str, frame_rate: float, face: str) -> LandmarkSequence:
        """Extracts the landmarks of frames, or converts landmarks."""
        if isinstance(clip, (bytes, bytearray, memoryview)) or hasattr(clip, "read"):
            raise ValueError(f"{name}: bytes and open files are not read; write a video file and give its path")
        timestamps = None
        if hasattr(clip, "get_all_frames"):  # a decoder of torchcodec
            batch = clip.get_all_frames()
            clip, timestamps = batch.data, np.asarray(batch.pts_seconds, np.float64)
        elif is_frame_list(clip):
            clip = [_frame_array(frame) for frame in clip]
            if len({frame.shape for frame in clip}) > 1:
                raise ValueError(f"{name}: its frames differ in size; scale them to one size")
        array = np.asarray(clip)
        if array.ndim == 4 and array.shape[-1] != 3 and array.shape[1] == 3:
            array = np.moveaxis(array, 1, -1)  # torch's (frames, channels, height, width)
        if array.dtype == np.uint8 and array.ndim == 4:
            return self.keypoint_extractor.extract_frames(array, frame_rate, face, timestamps)
        if np.issubdtype(array.dtype, np.floating) and array.ndim == 3 and array.shape[-1] == 3:
            check_one_face(name, face)
            return LandmarkSequence.from_array(array, frame_rate)
        raise ValueError(
            f"{name}: neither frames, uint8 (frames, height, width, 3), nor landmarks, floats (frames, 478, 3), but "
            f"{array.dtype} {array.shape}; give the frames of a clip as one list or array"
        )

    def decode(self, *args: Any, **kwargs: Any) -> str | list[str]:
        """Decodes tokens as the tokenizer does, without spaces before the first word and after the last."""
        text = super().decode(*args, **kwargs)
        return text.strip() if isinstance(text, str) else [row.strip() for row in text]

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Decodes a batch of tokens as `decode` does."""
        return [text.strip() for text in super().batch_decode(*args, **kwargs)]

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Saves settings, tokenizer, code and MediaPipe's model file, as `ProcessorMixin.save_pretrained`."""
        source = landmarker_path(self.landmarker_path)
        files = super().save_pretrained(save_directory, **kwargs)
        target = Path(save_directory) / LANDMARKER_FILE
        unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, unfinished)
        os.replace(unfinished, target)
        if push_to_hub:  # not by the inherited `save_pretrained`, which would not upload the model file
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return [*files, str(target)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> LipReadProcessor:
        """Loads a processor and MediaPipe's model file, as `ProcessorMixin.from_pretrained`."""
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        hub_arguments = {key: kwargs[key] for key in _HUB_ARGUMENTS if key in kwargs}
        with suppress(OSError):  # without the file in the folder, the file beside this module
            processor.landmarker_path = cached_file(pretrained_model_name_or_path, LANDMARKER_FILE, **hub_arguments)
        return processor


def check_one_face(name: str, face: str) -> None:
    """Refuses the choice of a face in a clip of landmarks, which holds those of one face."""
    if face != "largest":
        raise ValueError(f"{name}: landmarks are of one face, so face={face!r} has no effect; leave face out")


def is_frame_list(clip: Any) -> bool:
    """Returns whether a clip is a list of frames: arrays, PIL images or frames of PyAV."""
    return isinstance(clip, (list, tuple)) and bool(clip) and all(map(_is_frame, clip))


def _is_frame(frame: Any) -> bool:
    is_array = getattr(frame, "ndim", 0) == 3 and _is_uint8(frame)
    return is_array or hasattr(frame, "convert") or hasattr(frame, "to_ndarray")


def _frame_array(frame: Any) -> np.ndarray:
    if hasattr(frame, "to_ndarray"):  # PyAV
        return frame.to_ndarray(format="rgb24")
    return np.asarray(frame.convert("RGB") if hasattr(frame, "convert") else frame)


def is_array_of_clips(videos: Any) -> bool:
    """Returns whether an array holds several clips: frames with five dimensions, or landmarks with four."""
    return getattr(videos, "ndim", 0) == (5 if _is_uint8(videos) else 4)


def _as_list(videos: Any) -> list[Any]:
    """Returns a list of clips from one clip, a list of clips, or an array of clips."""
    is_list = isinstance(videos, (list, tuple)) and not is_frame_list(videos)
    return list(videos) if is_list or is_array_of_clips(videos) else [videos]


def _is_uint8(array: Any) -> bool:
    return str(getattr(array, "dtype", "")).endswith("uint8")  # numpy's or torch's


LipReadProcessor.register_for_auto_class()
