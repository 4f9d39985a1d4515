# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Word alignments of the GRID corpus: ``start end word`` a line, 25,000 units a second, ``sil``/``sp`` for silence.

Source: Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", 2006.
"""

from __future__ import annotations

from pathlib import Path

UNITS_PER_SECOND = 25_000
SILENCES = frozenset({"sil", "sp"})


class AlignmentError(ValueError):
    """An alignment file that cannot be used; the message names the file and the line."""


def read_alignment(path: str | Path) -> list[dict[str, str | float]]:
    """Words of a GRID ``.align`` file with their times.

    Args:
        path (`str` or `Path`): The alignment file.

    Returns:
        `list[dict]`: ``{"word", "start", "end"}`` in speaking order, times in seconds from the start of the video.

    Raises:
        AlignmentError: If the file cannot be read, a line is not ``start end word``, or times run backwards.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AlignmentError(f"{path}: cannot read the alignment: {error}") from error
    words, previous_end = [], 0.0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            start, end, word = line.split()
            start, end = int(start) / UNITS_PER_SECOND, int(end) / UNITS_PER_SECOND
        except ValueError:
            raise AlignmentError(f"{path} line {number}: expected 'start end word', found {line!r}") from None
        if not previous_end <= start <= end:
            raise AlignmentError(f"{path} line {number}: times run backwards in {line!r}")
        previous_end = end
        if word not in SILENCES:
            words.append({"word": word, "start": start, "end": end})
    if not words:
        raise AlignmentError(f"{path}: the alignment holds no word")
    return words
