# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Segments a long stream of landmarks where the lips pause.

Models are trained on clips of a few seconds, mostly one utterance each. Speech is therefore cut where the lips rest,
and long rests are dropped. Speech without a rest is cut at its calmest moment; the two segments then overlap, so that
a word at the cut is complete in one of them, and `stitching` merges their words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from modeling_lipread.geometry_lipread import (
    AVERAGE_SECONDS,
    LONGEST_STEP,
    NUM_LANDMARKS,
    REST_SPEED,
    SPEED_SECONDS,
    average_energy,
    lip_energy,
    runs,
)
from modeling_lipread.landmarks_lipread import LandmarkSequence

from ..settings import SegmentSettings

MAX_GAP_SECONDS = 0.2  # a longer time without a face or a frame counts as a rest
MIN_FACE_SECONDS = 0.1  # a segment that shows a face for less holds no word
CHECK_SECONDS = 0.1  # between two searches for speech and pauses


@dataclass(frozen=True)
class Segment:
    """A stretch of one person's speech."""

    sequence: LandmarkSequence  # timestamps are seconds from the start of the file
    cut_before: float | None = None  # time of a cut through speech before the segment; None at a rest
    cut_after: float | None = None
    person: int = 0  # number of the person, from 1; 0 if only one face is followed

    @property
    def start(self) -> float:
        return float(self.sequence.timestamps[0])

    @property
    def end(self) -> float:
        return float(self.sequence.timestamps[-1])


class Segmenter:
    """Segments one person's landmarks as they arrive. Holds only the frames of the open segment.

    If `live`, segments end as soon as the lips rest. Otherwise a video of up to `max_seconds` stays whole.
    """

    def __init__(self, settings: SegmentSettings, person: int = 0, live: bool = False):
        self.settings, self.person = settings, person
        self._times: list[float] = []
        self._faces: list[np.ndarray | None] = []
        self._size = (0, 0)
        self._cut_before: float | None = None
        self._is_long, self._is_speaking = live, False
        self._has_lips = True  # only MediaPipe's 478 landmarks have known lip indices
        self._next_check = 0.0

    def push(self, time: float, face: np.ndarray | None, size: tuple[int, int] = (0, 0)) -> Iterator[Segment]:
        """Adds a frame, and yields the segments that it completes, usually none.

        Args:
            time: Seconds from the start of the file, increasing.
            face: Landmarks `(478, 3)`, or None without a face. Other numbers of landmarks are never cut.
            size: Width and height of the frame in pixels.
        """
        step = time - self._times[-1] if self._times else 0.0
        if self._is_long and step > max(self.settings.end_seconds, max_step(self._times)):
            yield from self.flush()
            self._cut_before = None
        self._times.append(time)
        self._faces.append(face)
        if face is not None:
            self._size = size
            self._has_lips = self._has_lips and len(face) == NUM_LANDMARKS
        if not self._is_long and self._has_lips:
            self._is_long = time - self._times[0] > self.settings.max_seconds
        if self._is_long and time >= self._next_check:
            self._next_check = time + CHECK_SECONDS
            yield from self._complete(at_end=False)

    def partial(self) -> Segment | None:
        """Returns the open segment so far; None while nobody speaks."""
        return self._segment(len(self._times)) if self._is_speaking else None

    def flush(self) -> Iterator[Segment]:
        """Yields the remaining segments at the end of the video or before a hole in its timestamps."""
        yield from self._complete(at_end=True) if self._is_long else self._take(len(self._times))
        self._times, self._faces, self._is_speaking = [], [], False

    def _complete(self, at_end: bool) -> Iterator[Segment]:
        settings = self.settings
        while self._times:
            times = np.array(self._times)
            energy = average_lip_energy(self._faces, times)
            resting = energy < REST_SPEED**2
            settled = len(times)
            if not at_end:  # later frames still change the energy of the last ones
                settled = int(np.searchsorted(times, times[-1] - SPEED_SECONDS - AVERAGE_SECONDS))
            if self._cut_before is not None:  # the overlap with the previous segment counts as speech
                resting[: np.searchsorted(times, self._cut_before + settings.overlap_seconds)] = False
            moving = np.flatnonzero(~resting[:settled])
            self._is_speaking = bool(len(moving))
            first_kept = (times[moving[0]] if len(moving) else times[-1]) - settings.margin_seconds
            first = int(np.searchsorted(times[:settled], first_kept))
            if not len(moving):
                self._drop(settled if at_end else first)
                return
            if first:
                self._drop(first)
                continue
            may_grow = not at_end and times[settled - 1] - times[0] <= settings.max_seconds + settings.overlap_seconds
            pause = _find_pause(resting[:settled], times, int(moving[0]), settings, at_end, may_grow)
            if pause is not None:
                yield from self._take(pause)
                self._drop(pause)
            elif may_grow:
                return
            elif times[-1] - times[0] > settings.max_seconds + settings.overlap_seconds:
                yield from self._cut_speech(times, energy)
            else:
                yield from self._take(len(times))
                return

    def _cut_speech(self, times: np.ndarray, energy: np.ndarray) -> Iterator[Segment]:
        """Cuts at the calmest moment of the second half of the longest allowed segment."""
        settings = self.settings
        low, high = np.searchsorted(times, times[0] + np.array([0.5, 1.0]) * settings.max_seconds)
        if low == high:  # no frame in that half: the hole is a rest
            yield from self._take(int(low))
            self._drop(int(low))
            return
        cut = float(times[low + int(np.argmin(energy[low:high]))])
        yield from self._take(int(np.searchsorted(times, cut + settings.overlap_seconds)), cut)
        self._drop(int(np.searchsorted(times, cut - settings.overlap_seconds)))
        self._cut_before = cut

    def _take(self, count: int, cut_after: float | None = None) -> Iterator[Segment]:
        """Yields the first frames as a segment, and notes that no cut precedes the next one."""
        segment = self._segment(count, cut_after)
        self._cut_before = None
        if segment is not None:
            yield segment

    def _segment(self, count: int, cut_after: float | None = None) -> Segment | None:
        """Returns the first frames as a segment; None if they show a face too briefly."""
        faces, times = self._faces[:count], np.array(self._times[:count])
        interval = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        if sum(face is not None for face in faces) * interval < MIN_FACE_SECONDS:
            return None
        sequence = LandmarkSequence.from_faces(faces, times, self._size)
        return Segment(sequence, self._cut_before, cut_after, self.person)

    def _drop(self, count: int) -> None:
        del self._times[:count], self._faces[:count]


def max_step(times: Sequence[float]) -> float:
    """Returns the longest time between two frames without a missing frame, in seconds."""
    return max(MAX_GAP_SECONDS, 2 * float(np.median(np.diff(times)))) if len(times) > 1 else MAX_GAP_SECONDS


def average_lip_energy(faces: list[np.ndarray | None], times: np.ndarray) -> np.ndarray:
    """Returns `lip_energy` averaged over `AVERAGE_SECONDS`, float64 `(frames,)`.

    It is 0 in gaps without a face longer than `MAX_GAP_SECONDS` and in the last frame before a hole in the timestamps,
    and infinite, so never a rest, if the faces are too far apart in time to compute a speed.
    """
    present = np.array([face is not None for face in faces])
    energy = np.zeros(len(faces))
    if present.sum() < 3:
        return energy
    known = lip_energy(np.stack([face for face in faces if face is not None]), times[present])
    energy[present] = np.where(np.isfinite(known), known, 0.0)
    energy = np.interp(times, times[present], energy[present])
    interval = float(np.median(np.diff(times)))
    if np.median(np.diff(times[present])) > LONGEST_STEP:
        average = np.full(len(faces), np.inf)
    else:
        # The speed of a frame spans the next SPEED_SECONDS; a shift by half of that centres it.
        average = average_energy(energy, interval, shift=round(SPEED_SECONDS / 2 / interval))
    for first, last in runs(~present):
        end = times[last] if last < len(times) else times[-1] + interval
        if end - times[first] > MAX_GAP_SECONDS:
            average[first:last] = 0.0
    average[:-1][np.diff(times) > max_step(times)] = 0.0
    return average


def _find_pause(
    resting: np.ndarray, times: np.ndarray, speech: int, settings: SegmentSettings, at_end: bool, may_grow: bool
) -> int | None:
    """Returns the number of frames up to the longest sufficient rest after the first frame of speech."""
    longest, found = 0.0, None
    for first, last in runs(resting):
        start = times[first]
        if first < speech or start - times[0] > settings.max_seconds:
            continue
        is_over = last < len(resting)
        length = times[min(last, len(times) - 1)] - start
        end = int(np.searchsorted(times, start + min(settings.margin_seconds, length / 2 if is_over else length)))
        if length >= max(settings.end_seconds, settings.pause_seconds) or (at_end and not is_over):
            return end
        if length >= settings.pause_seconds and length > longest:
            longest, found = length, end
    return None if may_grow else found
