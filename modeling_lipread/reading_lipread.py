# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Reading videos of any length in flat memory: landmarks are found, cut into segments, read and stitched as they come.

```python
transcript = read_video(reader, "talk.mp4", face="all")
for utterance in transcript.utterances:
    print(utterance.speaker, utterance.start, utterance.text)
```
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .geometry_lipread import lip_motion
from .landmarks_lipread import FACES, ONLY_PERSON, LandmarkSequence, NoFaceError, StreamedFrame, read_landmark_file
from .pipeline_lipread import LipReadingPipeline
from .processing_lipread import LipReadProcessor
from .segmentation_lipread import LONGEST_GAP, Segment, Segmenter, SegmentSettings
from .stitching_lipread import Word, stitch
from .transcript_lipread import Transcript, Unread, Utterance

READABLE_FACES = (*FACES, "all")


def read_video(
    reader: LipReadingPipeline,
    path: str | os.PathLike,
    start: float | None = None,
    end: float | None = None,
    face: str = "largest",
    settings: SegmentSettings | None = None,
    batch_size: int = 1,
    watch: Callable[[float], None] | None = None,
    **generation: Any,
) -> Transcript:
    """Reads a video, however long.

    Args:
        reader: A [`LipReadingPipeline`].
        path: The video, or a `.npy` file of landmarks.
        start: Seconds from the start of the file where reading begins.
        end: Seconds from the start of the file where reading ends.
        face: Whose lips are read: the `largest` face, the most `central`, the `speaking` one (at every moment the one
            whose lips move most), or `all`, each for itself.
        settings: How speech is cut into segments; by default into such as the reader learned from.
        batch_size: Segments read at a time.
        watch: Told how many seconds of the video have been looked at, after every frame.
        generation: Arguments of `generate`, for example `num_beams`.

    Returns:
        What is said, with times in seconds from the start of the file.

    Raises:
        VideoError, LandmarkFileError: The file cannot be read.
        NoFaceError: No frame shows a face.
        ValueError: `face` is none of the choices.
    """
    if _holds_landmarks(path):  # of one face: there is nobody to choose from
        face = "largest"
    faces = _frames(reader.processor, path, start, end, face)
    return read_faces(reader, faces, os.fspath(path), start or 0.0, face, settings, batch_size, watch, **generation)


def read_faces(
    reader: LipReadingPipeline,
    faces: Iterable[StreamedFrame],
    name: str,
    start: float = 0.0,
    face: str = "largest",
    settings: SegmentSettings | None = None,
    batch_size: int = 1,
    watch: Callable[[float], None] | None = None,
    **generation: Any,
) -> Transcript:
    """Reads faces that are found elsewhere, as `read_video` does; one frame after the other is asked for.

    Args:
        reader: As for `read_video`.
        faces: The faces of each frame.
        name: What the transcript and errors call the video.
        start: Seconds from the start of the file that times are counted from.
        face: As for `read_video`; for `speaking` all faces must be given.
        settings: As for `read_video`.
        batch_size: As for `read_video`.
        watch: As for `read_video`.
        generation: As for `read_video`.

    Returns:
        As `read_video`.

    Raises:
        NoFaceError: No frame shows a face.
    """
    settings = settings or SegmentSettings.of_reader(reader.model.config)
    frames = _Watched(faces, start, watch)
    segments: Iterable[Segment] = segment_people(frames, settings)
    if face == "speaking":
        segments = most_speaking(segments)
    utterances: list[Utterance] = []
    unread = frames.gaps
    latest: dict[int, tuple[Segment, Utterance]] = {}
    for segment, results in _read(reader, segments, batch_size, generation):
        words = words_of(results[0], segment)
        if results[0].get("reason"):  # the pipeline saw nothing to read in it
            unread.append(Unread(segment.start, segment.end, results[0]["reason"]))
        # A clip that is one segment is given as it was read; in a longer one, so many words in so little time are
        # those of a twitch.
        if words and not words[0].timed and frames.seconds > settings.max_seconds and reader.model.config.ctc_vocab:
            unread.append(Unread(segment.start, segment.end, "too short for the words that were read in it"))
            words = []
        utterance = Utterance(segment.start, segment.end, words, segment.person)
        if len(results) > 1:
            utterance.alternatives = [_alternative(result) for result in results]
        if segment.person in latest:
            _join(*latest[segment.person], segment, utterance, settings.overlap_seconds)
        latest[segment.person] = segment, utterance
        utterances.append(utterance)
    if not frames.found:
        raise NoFaceError(
            f"{name}: no face found in any of {frames.count} frames; the face must be lit, seen from the "
            "front and some 60 pixels wide: crop or enlarge the video around it"
        )
    said = [utterance for utterance in utterances if utterance.words]
    return Transcript(
        file=name,
        seconds=frames.seconds,
        utterances=sorted(said, key=lambda utterance: (utterance.start, utterance.person)),
        unread=sorted(unread, key=lambda stretch: stretch.start),
    )


def _frames(
    processor: LipReadProcessor, path: str | os.PathLike, start: float | None, end: float | None, face: str
) -> Iterator[StreamedFrame]:
    """The frames of a file as they are found, times counted from `start`."""
    if _holds_landmarks(path):
        rate = processor.feature_extractor.frame_rate or 25.0
        sequence = read_landmark_file(os.fspath(path), rate, start, end)
        yield from faces_of(sequence)
        return
    followed = "all" if face == "speaking" else face
    yield from processor.keypoint_extractor.stream_video(path, start, end, followed)


def faces_of(sequence: LandmarkSequence) -> Iterator[StreamedFrame]:
    """Landmarks that are all there already, as `read_faces` takes them."""
    for time, landmarks, present in zip(sequence.timestamps, sequence.keypoints, sequence.present, strict=True):
        yield StreamedFrame(
            float(time), {ONLY_PERSON: landmarks} if present else {}, (sequence.width, sequence.height)
        )


def _holds_landmarks(path: str | os.PathLike) -> bool:
    """Whether a file holds the landmarks of one face rather than pictures."""
    return os.fspath(path).endswith(".npy")


class _Watched:
    """Frames with times from the start of the file, and what is to be said of all of them together.

    Attributes:
        seconds: How long they last so far.
        count: How many they are so far.
        found: How many of them show a face.
        gaps: Stretches without a face, longer than `LONGEST_GAP`.
    """

    def __init__(self, frames: Iterable[StreamedFrame], start: float, watch: Callable[[float], None] | None):
        self.seconds, self.count, self.found = 0.0, 0, 0
        self.gaps: list[Unread] = []
        self._frames, self._start, self._watch = frames, start, watch
        self._since: float | None = None  # when the face was lost

    def __iter__(self) -> Iterator[StreamedFrame]:
        for frame in self._frames:
            self.seconds = frame.time
            self.count += 1
            self.found += bool(frame.faces)
            frame.time += self._start
            if frame.faces:
                self._end_gap(frame.time)
            elif self._since is None:
                self._since = frame.time
            if self._watch is not None:
                self._watch(self.seconds)
            yield frame
        self._end_gap(self._start + self.seconds)

    def _end_gap(self, time: float) -> None:
        if self._since is not None and time - self._since > LONGEST_GAP:
            self.gaps.append(Unread(self._since, time, "no face"))
        self._since = None


def segment_people(frames: Iterable[StreamedFrame], settings: SegmentSettings) -> Iterator[Segment]:
    """The segments of everybody's speech, each person's in order, as soon as they are complete.

    Args:
        frames: Faces by person, times from the start of the file.
        settings: How speech is cut.

    Yields:
        Segments.
    """
    segmenters: dict[int, Segmenter] = {}
    for frame in frames:
        for person in frame.faces:
            segmenters.setdefault(person, Segmenter(settings, person))
        for person, segmenter in segmenters.items():
            yield from segmenter.push(frame.time, frame.faces.get(person), frame.size)
    for segmenter in segmenters.values():
        yield from segmenter.flush()


def most_speaking(segments: Iterable[Segment], patience: int = 16) -> Iterator[Segment]:
    """Leaves out segments in which somebody else's lips move more at the same time.

    Args:
        segments: Of several people, each one's in order.
        patience: How many segments are waited for that may overlap with one.

    Yields:
        Of those that overlap by more than half of the shorter one, the one with more lip motion.
    """
    waiting: deque[tuple[Segment, float]] = deque()
    kept: deque[tuple[Segment, float]] = deque(maxlen=patience)

    def beaten(segment: Segment, motion: float) -> bool:
        return any(
            other.person != segment.person and _overlap(segment, other) > 0.5 and other_motion > motion
            for other, other_motion in (*kept, *waiting)
        )

    def settle() -> Iterator[Segment]:
        segment, motion = waiting.popleft()
        if not beaten(segment, motion):
            kept.append((segment, motion))
            yield segment

    for segment in segments:
        present = segment.sequence.present
        motion = lip_motion(segment.sequence.keypoints[present], segment.sequence.timestamps[present])
        waiting.append((segment, motion or 0.0))
        if len(waiting) > patience:
            yield from settle()
    while waiting:
        yield from settle()


def _overlap(segment: Segment, other: Segment) -> float:
    """The share of the shorter one in which both are."""
    shared = min(segment.end, other.end) - max(segment.start, other.start)
    return shared / max(min(segment.end - segment.start, other.end - other.start), 1e-9)


def _read(
    reader: LipReadingPipeline, segments: Iterable[Segment], batch_size: int, generation: dict[str, Any]
) -> Iterator[tuple[Segment, list[dict[str, Any]]]]:
    """Segments with their readings, in the order of the search; no more are in memory than are read at a time."""
    timestamps = "word" if reader.model.config.ctc_vocab else False
    read: deque[Segment] = deque()

    def sequences() -> Iterator[Any]:
        for segment in segments:
            read.append(segment)
            yield segment.sequence

    for result in reader(sequences(), batch_size=batch_size, return_timestamps=timestamps, **generation):
        yield read.popleft(), result if isinstance(result, list) else [result]


def join_at_cut(before: Utterance, after: Utterance, cut: float, reach: float) -> None:
    """Shares out the words of two utterances of one person that overlap about a cut through speech.

    Args:
        before: Ends `reach` seconds after the cut; changed in place.
        after: Begins so long before it; changed in place.
        cut: Seconds from the start of the file.
        reach: Seconds.
    """
    before.words, after.words = stitch(before.words, after.words, cut, reach)
    before.end = after.start = cut
    before.goes_on = bool(after.words)


def words_of(result: dict[str, Any], segment: Segment) -> list[Word]:
    """The words of a reading; such without times share those of their segment out evenly."""
    chunks = result.get("chunks")
    if chunks is None:
        chunks = [{"text": word, "timestamp": (None, None), "score": None} for word in result["text"].split()]
    edges = np.linspace(segment.start, segment.end, len(chunks) + 1).round(3).tolist()
    words = []
    for chunk, begin, finish in zip(chunks, edges, edges[1:], strict=False):
        timed = chunk["timestamp"][0] is not None
        first, last = chunk["timestamp"] if timed else (begin, finish)
        words.append(Word(chunk["text"], first, last, chunk["score"], timed))
    return words


def _join(before: Segment, said: Utterance, segment: Segment, utterance: Utterance, reach: float) -> None:
    """Joins two utterances if their segments are those on either side of a cut."""
    cut = segment.cut_before
    if cut is not None and before.cut_after == cut:  # others may have been left out between the two
        join_at_cut(said, utterance, cut, reach)


def _alternative(result: dict[str, Any]) -> dict[str, Any]:
    """A reading with the chance that all its words are right; None without words, or if nobody can tell."""
    chunks = result.get("chunks")
    score = None if not chunks else float(np.prod([chunk["score"] for chunk in chunks]))
    return {"text": result["text"], "score": score}
