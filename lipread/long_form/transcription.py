# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Long-form transcription: videos of any length are segmented, read and stitched together in constant memory.

```python
transcript = transcribe_video(pipeline, "talk.mp4", face="all")
for utterance in transcript.utterances:
    print(utterance.speaker, utterance.start, utterance.text)
```
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from modeling_lipread import LipReadingPipeline
from modeling_lipread.confidence_lipread import NO_FACE, NO_WORDS, STILL_LIPS
from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.text_normalizer_lipread import split_units

from ..transcript import Transcript, UnreadSpan, Utterance, Word
from .segmentation import MAX_GAP_SECONDS, Segment, Segmenter, SegmentSettings, max_step
from .stitching import stitch
from .streaming import ONLY_PERSON, StreamedFrame, stream_video

DAMAGED, NO_PICTURE = "the video is damaged", "no picture"  # reasons of unread spans


def transcribe_video(
    pipeline: LipReadingPipeline,
    path: str | os.PathLike,
    start: float | None = None,
    end: float | None = None,
    face: str = "largest",
    frames: Iterable[StreamedFrame] | None = None,
    **options: Any,
) -> Transcript:
    """Transcribes a video of any length.

    Args:
        path: The video, or a `.npy` file of the landmarks of one face.
        start, end: Seconds of the file at which to start and to stop.
        face: Which face to read: the `largest`, the most `central`, or `all`, each separately.
        frames: What `stream_video` yields for this video and span, if it has begun.
        options: Those of `transcribe_frames`.

    Raises VideoError or LandmarkFileError if the file cannot be read.
    """
    name = os.fspath(path)
    if name.endswith(".npy"):
        frames = sequence_frames(pipeline.processor.extract_clip(name, start, end, face=face, require_face=False))
    elif frames is None:
        frames = stream_video(pipeline.processor.keypoint_extractor, path, face, start=start, end=end)
    return transcribe_frames(pipeline, frames, name, start or 0.0, **options)


def transcribe_frames(
    pipeline: LipReadingPipeline,
    frames: Iterable[StreamedFrame],
    name: str,
    start: float = 0.0,
    on_progress: Callable[[float], None] | None = None,
    settings: SegmentSettings | None = None,
    batch_size: int = 1,
    **generation: Any,
) -> Transcript:
    """Segments, reads and stitches the frames of a video, as `transcribe_video`.

    Args:
        name: Name of the video in the transcript.
        start, on_progress: As for `CountedFrames`.
        settings: How speech is segmented; by default into segments as long as the clips of the training.
        batch_size: Segments read at once.
        generation: Arguments of the pipeline, for example `num_beams`.
    """
    config, counted = pipeline.model.config, CountedFrames(frames, start, on_progress)
    settings = settings or SegmentSettings.for_model(config)
    segments = segment_people(counted, settings, live="phrases" in generation)  # one phrase a segment
    utterances, rejected = [], []
    previous: dict[int, tuple[Segment, Utterance]] = {}  # by person
    for segment, hypothesis in read_segments(pipeline, segments, batch_size, **generation):
        words, reason = segment_words(hypothesis, segment), hypothesis.get("reason")
        # In a long video, untimed words mean that the lips moved too briefly to say them.
        if words and not words[0].timed and counted.seconds > settings.max_seconds and config.ctc_vocab:
            words, reason = [], "too short for the words that were read in it"
        if reason:
            rejected.append(UnreadSpan(segment.start, segment.end, reason))
        utterance = Utterance(segment.start, segment.end, words, segment.person)
        before, said_before = previous.get(segment.person, (None, None))
        # The segment before the cut may show the face too briefly to be read.
        if before is not None and segment.cut_before is not None and segment.cut_before == before.cut_after:
            stitch_utterances(said_before, utterance, segment.cut_before, settings.overlap_seconds)
        previous[segment.person] = segment, utterance
        utterances.append(utterance)
    spoken = [utterance for utterance in utterances if utterance.words]
    unread = counted.gaps + rejected
    if not spoken and not unread:
        reason = NO_FACE if not counted.with_face else NO_WORDS if utterances else STILL_LIPS
        unread = [UnreadSpan(start, start + counted.seconds, reason)]
    return Transcript(
        file=name,
        seconds=counted.seconds,
        utterances=sorted(spoken, key=lambda utterance: (utterance.start, utterance.person)),
        unread=sorted(unread, key=lambda span: span.start),
    )


def sequence_frames(sequence: LandmarkSequence) -> Iterator[StreamedFrame]:
    """Yields a sequence of landmarks as the frames that `transcribe_frames` takes."""
    for time, landmarks, present in zip(sequence.timestamps, sequence.keypoints, sequence.present, strict=True):
        faces = {ONLY_PERSON: landmarks} if present else {}
        yield StreamedFrame(float(time), faces, (sequence.width, sequence.height))


class CountedFrames:
    """Iterates over frames, changes their times to those of the file, which they begin at `start`, and keeps totals.

    The callback `on_progress` gets the seconds processed so far, after every frame.
    """

    def __init__(
        self, frames: Iterable[StreamedFrame], start: float = 0.0, on_progress: Callable[[float], None] | None = None
    ):
        self.seconds = 0.0  # of the last frame, relative to the first
        self.with_face = False  # whether any frame has one
        self.gaps: list[UnreadSpan] = []  # damaged spans; those without a face or frame longer than MAX_GAP_SECONDS
        self._frames, self._start, self._on_progress = frames, start, on_progress

    def __iter__(self) -> Iterator[StreamedFrame]:
        gap: UnreadSpan | None = None
        times: deque[float] = deque(maxlen=50)  # of the last frames
        for frame in self._frames:
            self.seconds = frame.time
            self.with_face = self.with_face or bool(frame.faces)
            frame.time += self._start
            last = times[-1] if times else self._start
            # The second frame may be late since there are few frames a second.
            if gap is None and len(times) != 1 and frame.time - last > max_step(times):
                self.gaps.append(UnreadSpan(last, frame.time, NO_PICTURE))
            times.append(frame.time)
            reason = DAMAGED if frame.damaged else None if frame.faces else NO_FACE
            if gap is not None:
                gap.end = frame.time
                if (gap.reason == DAMAGED or gap.end - gap.start > MAX_GAP_SECONDS) and gap not in self.gaps[-1:]:
                    self.gaps.append(gap)
            if gap is None or gap.reason != reason:
                gap = UnreadSpan(frame.time, frame.time, reason) if reason else None
            if self._on_progress is not None:
                self._on_progress(self.seconds)
            yield frame


def segment_people(
    frames: Iterable[StreamedFrame], settings: SegmentSettings, live: bool = False
) -> Iterator[Segment]:
    """Yields the segments of all people as soon as they are complete, those of each person in order."""
    segmenters: dict[int, Segmenter] = {}
    for frame in frames:
        for person in frame.faces:
            segmenters.setdefault(person, Segmenter(settings, person, live))
        for person, segmenter in segmenters.items():
            yield from segmenter.push(frame.time, frame.faces.get(person), frame.size)
    for segmenter in segmenters.values():
        yield from segmenter.flush()


def read_segments(
    pipeline: LipReadingPipeline, segments: Iterable[Segment], batch_size: int = 1, **generation: Any
) -> Iterator[tuple[Segment, dict[str, Any]]]:
    """Yields each segment with its hypothesis. Holds one batch of segments at a time."""
    timestamps = "word" if pipeline.model.config.ctc_vocab else False
    segments = iter(segments)
    while batch := list(islice(segments, batch_size)):
        sequences = [segment.sequence for segment in batch]
        results = pipeline(sequences, batch_size=batch_size, return_timestamps=timestamps, **generation)
        yield from zip(batch, results, strict=True)


def segment_words(result: dict[str, Any], segment: Segment) -> list[Word]:
    """Returns the words of a hypothesis. Words without times divide the segment evenly."""
    chunks, units = result.get("chunks"), split_units(result["text"])
    if chunks is None:
        chunks = [{"text": unit.text, "timestamp": (None, None), "score": None} for unit in units]
    edges = np.linspace(segment.start, segment.end, len(chunks) + 1).round(3).tolist()
    words = []
    for chunk, unit, begin, finish in zip(chunks, units, edges, edges[1:], strict=False):
        timed = chunk["timestamp"][0] is not None
        start, end = chunk["timestamp"] if timed else (begin, finish)
        words.append(Word(chunk["text"], start, end, chunk["score"], timed, unit.joined))
    return words


def stitch_utterances(before: Utterance, after: Utterance, cut: float, overlap: float) -> None:
    """Divides, in place, the words of two utterances of one person that extend `overlap` seconds beyond a cut."""
    before.words, after.words = stitch(before.words, after.words, cut, overlap)
    before.end = after.start = cut
    before.continues = bool(after.words)
