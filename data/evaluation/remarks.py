# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What an evaluation's figures mean, in words: does it read, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MANY_EMPTY = 0.02  # share of the clips
FEW_DISTINCT = 0.2  # of the different texts that were said
MANY_INSERTED = 0.1  # share of the words
FEW_CLIPS = 30

GOOD, BAD, NOTE = "good", "bad", "note"


def remarks(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader of the page should know first.

    Args:
        result: What `report` made.

    Returns:
        Kind (`good`, `bad` or `note`) and a sentence or two; the first says whether it reads from the face at all.
    """
    figures, edits = result["figures"], result["words"]["edits"]
    clips, distinct = figures["clips"], figures["distinct"]
    most = result["most_frequent"]["hypotheses"][0]["clips"]
    skipped = len(result.get("skipped", ()))
    low, high = figures["blank_gain_interval"]
    found = [_does_it_read(figures["blank_gain"], low, high)]
    # The rate is NaN, and so not above anything, where all clips say the same.
    if low > 0 and figures["shuffled_wer"] <= figures["wer_interval"][1]:
        found.append((BAD, "Another clip's video does as well as the clip's own: look at what it writes most often."))
    said = len({reading["reference"] for reading in result["readings"]})
    if 1 < said and distinct <= max(1, FEW_DISTINCT * said):
        found.append(
            (BAD, f"It wrote {distinct} different texts for {clips} clips, one of them for {most / clips:.0%}.")
        )
    if figures["empty"] > MANY_EMPTY * clips:
        found.append((BAD, f"From {figures['empty']} of {clips} clips nothing was read."))
    if figures["loops"]:
        loops = f"{figures['loops']} of {clips} hypotheses repeat a phrase"
        found.append((BAD, f"{loops}; repetition_penalty or fewer new tokens in its generation_config may help."))
    if edits["inserted"] > max(edits["deleted"], MANY_INSERTED * edits["said"]):
        words = f"It writes words that nobody said: {edits['inserted']}, against {edits['deleted']} left out"
        found.append((NOTE, f"{words}; a length_penalty may help with beams."))
    if figures["wer"] > 1:
        found.append((NOTE, "A word error rate above 100% means that it writes more wrong words than were said."))
    if clips < FEW_CLIPS:
        found.append((NOTE, f"{clips} clips are few: look at the intervals before the rates."))
    if skipped:
        found.append((NOTE, f"Lines of the manifest that could not be used: {skipped}, at the end of the page."))
    return found


def _does_it_read(gain: float, low: float, high: float) -> tuple[str, str]:
    if low > 0:
        return (
            GOOD,
            f"It reads from the face: with the clips' own video its word error rate is {100 * gain:.1f} points lower "
            f"than with a motionless face (95% interval {100 * low:.1f} to {100 * high:.1f}).",
        )
    return (
        BAD,
        "Nothing here shows that it reads from the face: with the clips' own video its word error rate is no lower "
        f"than with a motionless face, as far as these clips can tell (by {100 * gain:.1f} points, 95% interval "
        f"{100 * low:.1f} to {100 * high:.1f}). What it gets right it may know from the language alone.",
    )
