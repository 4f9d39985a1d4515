# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Settings of segments, subtitles and live reading, which the command line shows without importing their code."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

FACES = ("largest", "central", "speaking")  # equal to those of `modeling_lipread`
FORMATS = ("txt", "vtt", "srt", "tsv", "json")
MAX_PHRASE_SECONDS = 8.0  # longest phrase of a phrase book
EVERY_FRAMES = 5  # between two hypotheses of `lipread live`, 0.2 seconds at 25 frames a second


@dataclass(frozen=True)
class SegmentSettings:
    """How speech is segmented. A segment ends at the longest rest of the lips within `max_seconds`.

    Raises:
        ValueError: A value is negative or not finite, or `max_seconds` is too short for the margins and overlaps.
    """

    max_seconds: float = 4.0  # longest segment, without its overlap with the next one; a shorter video stays whole
    pause_seconds: float = 0.25  # shortest rest of the lips at which a segment may end
    end_seconds: float = 0.8  # a rest of this length, and at least `pause_seconds`, always ends a segment
    margin_seconds: float = 0.5  # rest that a segment keeps before and after its speech, at most half of the rest
    overlap_seconds: float = 0.5  # by which segments extend beyond a cut through speech

    @classmethod
    def for_model(cls, config: Any, **settings: float) -> SegmentSettings:
        """Returns settings with segments as long as the clips of the training, by the model's configuration.

        A `max_seconds` in `settings` overrides that length.
        """
        chosen = cls(**settings)
        if "max_seconds" in settings or config.clip_seconds is None:
            return chosen
        return replace(chosen, max_seconds=max(config.clip_seconds, chosen._min_max_seconds))

    @property
    def _min_max_seconds(self) -> float:
        return 2 * (self.overlap_seconds + self.margin_seconds)

    def __post_init__(self) -> None:
        for name, seconds in asdict(self).items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name} must be a number of seconds, 0 or more, not {seconds:g}")
        if not self.pause_seconds:
            raise ValueError("pause_seconds must be more than 0")
        if self.max_seconds < self._min_max_seconds:
            raise ValueError(f"max_seconds must be at least {self._min_max_seconds:g}, not {self.max_seconds:g}")


@dataclass(frozen=True)
class CueSettings:
    """How utterances are split into subtitle cues. Widths are in columns: a full-width character takes two."""

    max_line_width: int = 42  # widest line; a wider word without a place to break gets a line of its own
    max_line_count: int = 2  # most lines a cue
    seconds: float = 6.0  # longest duration of a cue
    cue_pause_seconds: float = 1.0  # pause between two words that ends a cue
    by_word: bool = False  # whether a cue has as few words as can be read in its time
