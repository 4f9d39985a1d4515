# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A long stream of landmarks to segments short enough to read, cut where the lips pause.

A reader learns from clips of a few seconds, most of them one utterance. So speech is cut where the lips rest, and
what rests for long is not read at all. Where somebody speaks on for too long, the cut goes through the calmest moment
and the two segments overlap, so that a word it hits is whole in one of them: `stitching_lipread.py` makes one text of
what both say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from .configuration_lipread import LipReadConfig
from .geometry_lipread import LONGEST_STEP, NUM_LANDMARKS, SPEED_SECONDS, lip_energy, runs
from .landmarks_lipread import LandmarkSequence

# Lips that move less rest, in distances between the outer eye corners a second over CALM_SECONDS. In GRID's validation
# clips the median is 0.5 within words and 0.02 beside them.
REST_SPEED = 0.2
CALM_SECONDS = 0.2
LONGEST_GAP = 0.2  # seconds without a face, or without a frame; longer ones are rests: nothing can be read in them
LEAST_SECONDS = 0.1  # with a face; less holds no word
LOOK_EVERY = 0.4  # seconds between two looks for a pause


@dataclass(frozen=True)
class SegmentSettings:
    """How speech is cut.

    Args:
        max_seconds: The longest segment, but for what it shares with the next one. A video that is no longer is one
            segment as it stands.
        pause_seconds: The shortest rest of the lips at which a segment may end. Of several within `max_seconds` the
            longest is taken.
        end_seconds: A rest so long, and no shorter than `pause_seconds`, ends a segment whatever comes after it.
        margin_seconds: How much of the rest before and after its speech a segment takes along, at most half of it.
        overlap_seconds: How far segments reach beyond a cut through speech.

    Raises:
        ValueError: One of them is no such length of time, or they do not go together.
    """

    max_seconds: float = 4.0
    pause_seconds: float = 0.25
    end_seconds: float = 0.8
    margin_seconds: float = 0.5
    overlap_seconds: float = 0.5

    @classmethod
    def of_reader(cls, config: LipReadConfig, **given: float) -> SegmentSettings:
        """Settings for a reader: segments as long as the clips it learned from, where it knows.

        Args:
            config: The reader's configuration.
            given: Settings that are as they are given.

        Raises:
            ValueError: As for the class.
        """
        settings = cls(**given)
        if "max_seconds" in given or config.clip_seconds is None:
            return settings
        least = 2 * (settings.overlap_seconds + settings.margin_seconds)
        return replace(settings, max_seconds=max(config.clip_seconds, least))

    def __post_init__(self) -> None:
        for name, seconds in asdict(self).items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name} must be a number of seconds, 0 or more, not {seconds:g}")
        if not self.pause_seconds:
            raise ValueError("pause_seconds must be more than 0")
        if not self.max_seconds >= 2 * (self.overlap_seconds + self.margin_seconds):
            least = 2 * (self.overlap_seconds + self.margin_seconds)
            raise ValueError(f"max_seconds must be at least {least:g}, not {self.max_seconds:g}")


@dataclass(frozen=True)
class Segment:
    """A stretch of one person's speech.

    Attributes:
        sequence: Its landmarks; timestamps are seconds from the start of the file.
        cut_before: Where it was cut through speech from the segment before, seconds; None at a rest.
        cut_after: The same for the segment after it.
        person: Number of the person, from 1; 0 if only one face is followed.
    """

    sequence: LandmarkSequence
    cut_before: float | None = None
    cut_after: float | None = None
    person: int = 0

    @property
    def start(self) -> float:
        """Seconds from the start of the file."""
        return float(self.sequence.timestamps[0])

    @property
    def end(self) -> float:
        """Seconds at which its last frame was shown."""
        return float(self.sequence.timestamps[-1])


class Segmenter:
    """Cuts one person's landmarks into segments as they come; it keeps no more than the segment being made.

    Args:
        settings: How it cuts.
        person: Number of the person, for the segments.
        live: Whether segments are wanted as soon as the lips rest. Otherwise a video that ends within `max_seconds`
            stays whole.
    """

    def __init__(self, settings: SegmentSettings, person: int = 0, live: bool = False):
        self.settings = settings
        self.person = person
        self._times: list[float] = []
        self._faces: list[np.ndarray | None] = []
        self._size = (0, 0)
        self._cut_before: float | None = None
        self._is_long = live
        self._is_speaking = False
        self._has_lips = True  # where MediaPipe's numbers say
        self._next_look = 0.0

    @property
    def start(self) -> float | None:
        """Where the segment being made begins, in seconds; None if there is none."""
        return self._times[0] if self._times else None

    def push(self, time: float, face: np.ndarray | None, size: tuple[int, int] = (0, 0)) -> Iterator[Segment]:
        """Takes the next frame.

        Args:
            time: Seconds from the start of the file, rising.
            face: Landmarks `(478, 3)`, or None where there is no face. Landmarks of another kind are not cut.
            size: Width and height of the frame in pixels.

        Yields:
            The segments that are complete, usually none.
        """
        rest = time - self._times[-1] if self._times else 0.0
        if self._is_long and rest > max(self.settings.end_seconds, longest_step(self._times)):
            yield from self.flush()
            self._cut_before = None
        self._times.append(time)
        self._faces.append(face)
        self._size = size
        if face is not None and len(face) != NUM_LANDMARKS:
            self._has_lips = False
        if not self._is_long and self._has_lips:
            self._is_long = time - self._times[0] > self.settings.max_seconds
        if self._is_long and time >= self._next_look:
            self._next_look = time + LOOK_EVERY
            yield from self._complete(at_end=False)

    def so_far(self) -> Segment | None:
        """The segment being made as far as it has come; None while nobody speaks."""
        return self._segment(0, len(self._times), None) if self._is_speaking else None

    def flush(self) -> Iterator[Segment]:
        """Yields the segments that are left at the end of the file, or before a hole in it."""
        if not self._is_long:  # a clip as readers know them
            yield from self._take(0, len(self._times), None)
        else:
            yield from self._complete(at_end=True)
        self._times, self._faces, self._is_speaking = [], [], False

    def _complete(self, at_end: bool) -> Iterator[Segment]:
        settings = self.settings
        while self._times:
            times = np.array(self._times)
            energy = calmness(self._faces, times)
            resting = energy < REST_SPEED**2
            # What is yet to come can change the last frames.
            settled = len(times) if at_end else int(np.searchsorted(times, times[-1] - SPEED_SECONDS - CALM_SECONDS))
            if self._cut_before is not None:  # what the segment before took along is this one's speech as well
                resting[: np.searchsorted(times, self._cut_before + settings.overlap_seconds)] = False
            moving = np.flatnonzero(~resting[:settled])
            self._is_speaking = bool(len(moving))
            wanted = times[moving[0]] - settings.margin_seconds if len(moving) else times[-1] - settings.margin_seconds
            first = int(np.searchsorted(times[:settled], wanted))
            if not len(moving):
                self._drop(settled if at_end else first)
                return
            if first:
                self._drop(first)
                continue
            may_grow = not at_end and times[settled - 1] - times[0] <= settings.max_seconds + settings.overlap_seconds
            pause = _pause(resting[:settled], times, int(moving[0]), settings, at_end, may_grow)
            if pause is not None:
                yield from self._take(0, pause, None)
                self._drop(pause)
                self._cut_before = None
            elif may_grow:
                return
            elif times[-1] - times[0] > settings.max_seconds + settings.overlap_seconds:
                yield from self._cut_through(times, energy)
            else:
                yield from self._take(0, len(times), None)
                return

    def _cut_through(self, times: np.ndarray, energy: np.ndarray) -> Iterator[Segment]:
        """Cuts at the calmest moment of the second half of the longest segment that may be."""
        settings = self.settings
        low, high = np.searchsorted(times, times[0] + np.array([0.5, 1.0]) * settings.max_seconds)
        if low == high:  # no frame was there to cut at: a rest after all
            yield from self._take(0, int(low), None)
            self._drop(int(low))
            self._cut_before = None
            return
        cut = float(times[low + int(np.argmin(energy[low:high]))])
        yield from self._take(0, int(np.searchsorted(times, cut + settings.overlap_seconds)), cut)
        self._drop(int(np.searchsorted(times, cut - settings.overlap_seconds)))
        self._cut_before = cut

    def _take(self, first: int, last: int, cut_after: float | None) -> Iterator[Segment]:
        segment = self._segment(first, last, cut_after)
        if segment is not None:
            yield segment

    def _segment(self, first: int, last: int, cut_after: float | None) -> Segment | None:
        """The segment of some frames; None if they show a face for too short a time to read."""
        faces, times = self._faces[first:last], np.array(self._times[first:last])
        interval = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        if sum(face is not None for face in faces) * interval < LEAST_SECONDS:
            return None
        sequence = LandmarkSequence.from_faces(faces, times, self._size)
        return Segment(sequence, self._cut_before, cut_after, self.person)

    def _drop(self, count: int) -> None:
        del self._times[:count], self._faces[:count]


def longest_step(times: Sequence[float]) -> float:
    """Seconds from one frame to the next beyond which some are missing."""
    return max(LONGEST_GAP, 2 * float(np.median(np.diff(times)))) if len(times) > 1 else LONGEST_GAP


def calmness(faces: list[np.ndarray | None], times: np.ndarray) -> np.ndarray:
    """How much the lips move about each frame.

    Args:
        faces: Landmarks `(478, 3)` a frame, None where there is no face.
        times: Seconds `(frames,)`, rising.

    Returns:
        `lip_energy` averaged over `CALM_SECONDS`, float64 `(frames,)`; 0 where there is no face for longer than
        `LONGEST_GAP`, and in the last frame before a hole in the timestamps. Of faces too far apart in time to tell
        their speed it is infinite: they are not said to rest.
    """
    present = np.array([face is not None for face in faces])
    energy = np.zeros(len(faces))
    if present.sum() < 3:
        return energy
    known = lip_energy(np.stack([face for face in faces if face is not None]), times[present])
    # The last frames have no later ones to tell their speed by: they go on as before.
    known = np.where(np.isfinite(known), known, 0.0)
    energy[present] = known
    energy = np.interp(times, times[present], energy[present])
    interval = float(np.median(np.diff(times)))
    if np.median(np.diff(times[present])) > LONGEST_STEP:
        average = np.full(len(faces), np.inf)
    else:
        average = _averaged(energy, interval)
    for first, last in runs(~present):
        end = times[last] if last < len(times) else times[-1] + interval
        if end - times[first] > LONGEST_GAP:
            average[first:last] = 0.0
    average[:-1][np.diff(times) > longest_step(times)] = 0.0
    return average


def _averaged(energy: np.ndarray, interval: float) -> np.ndarray:
    width = 2 * max(0, round(CALM_SECONDS / interval / 2)) + 1
    # A speed is that from a frame to SPEED_SECONDS later: half of that back, it stands where it was reached.
    shift = round(SPEED_SECONDS / 2 / interval)
    padded = np.pad(energy, (width // 2 + shift, width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")[: len(energy)]


def _pause(
    resting: np.ndarray, times: np.ndarray, speech: int, settings: SegmentSettings, at_end: bool, may_grow: bool
) -> int | None:
    """Where a segment ends, in frames: in the longest rest after its speech began, if one is long enough."""
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
