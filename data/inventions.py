# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""From how many clips in which nobody speaks a reader reads words all the same, and what its silence costs elsewhere.

    python -m data.inventions runs/a corpus/test --videos grid/test.jsonl

The clips are made of the split's own (`data.unspoken`): the average face, frames that stand still, faces that nod,
tremble, gape or chew, people before and after their sentence; and, seen by MediaPipe, real frames through a camera's
noise (with `--videos`, the manifest that the split was prepared from) and the talker with its mouth closed. They are
read by the pipeline as anyone would use it, and so is the split itself.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoProcessor
from transformers.utils import logging as transformers_logging

import modeling_lipread  # noqa: F401  (registers the reader)
from modeling_lipread.pipeline_lipread import LipReadingPipeline
from modeling_lipread.video_lipread import VideoError

from .manifest import read_manifest
from .metrics import ReadingErrorRate
from .opening import open_split
from .records import SourceError
from .schema import CorpusError, decode_row
from .unspoken import UnspokenClip, landmark_clips, video_clips


def clips_without_speech(
    source: str, count: int, videos: Path | None = None, split: str | None = None
) -> Iterator[UnspokenClip]:
    """The clips without speech, `count` of each kind.

    Raises:
        CorpusError, SourceError, VideoError: If split, manifest or videos cannot be read.
    """
    files = {} if videos is None else {record.id: Path(record.media) for record in read_manifest(videos)[0]}
    # Other draws than those that a reader is calibrated on, should it be the same split.
    yield from landmark_clips(open_split(source, split), count, seed=1)
    yield from video_clips(files, count, seed=1)


def inventions(reader: LipReadingPipeline, clips: Iterable[UnspokenClip], **options: Any) -> dict[str, dict[str, Any]]:
    """Reads clips without speech.

    Args:
        reader: The pipeline.
        clips: The clips.
        options: Arguments of the pipeline.

    Returns:
        For each kind how many `clips` there are, from how many words were read without abstention (`unchecked`) and
        with it (`invented`), the `reasons` for silence with how many, and the `texts` that were read all the same.
    """
    kinds: dict[str, dict[str, Any]] = {}
    for clip in clips:
        row = kinds.setdefault(
            clip.kind, {"clips": 0, "unchecked": 0, "invented": 0, "reasons": Counter(), "texts": []}
        )
        row["clips"] += 1
        row["unchecked"] += bool(reader(clip.sequence, **{**options, "abstain": False})["text"])
        result = reader(clip.sequence, **options)
        if result["text"]:
            row["invented"] += 1
            row["texts"].append(result["text"])
        else:
            row["reasons"][result.get("reason", "nothing was written")] += 1
    return kinds


def cost(reader: LipReadingPipeline, source: str, split: str | None = None, **options: Any) -> dict[str, Any]:
    """Reads the split itself, in which people speak.

    Returns:
        How many `clips` there are, from how many nothing is read (`given_up`), for which `reasons`, and the word error
        rate of what the pipeline reads (`wer`) and of what it would read without abstention (`unchecked_wer`).
    """
    rows = open_split(source, split)
    checked, unchecked, texts, reasons = [], [], [], Counter()
    for index in range(len(rows)):
        row = rows[index]
        sequence = decode_row(row)
        result = reader(sequence, **options)
        texts.append(str(row["text"]))
        checked.append(result["text"])
        # What it did not say is what it would have said otherwise.
        spoken = reader(sequence, **{**options, "abstain": False}) if "reason" in result else result
        unchecked.append(spoken["text"])
        if "reason" in result:
            reasons[result["reason"]] += 1
    rates = [ReadingErrorRate().compute(predictions=read, references=texts)["wer"] for read in (checked, unchecked)]
    return {
        "clips": len(texts),
        "given_up": sum(reasons.values()),
        "reasons": reasons,
        "wer": rates[0],
        "unchecked_wer": rates[1],
    }


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.inventions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reader", help="folder or Hub id of a trained reader")
    parser.add_argument("source", help="folder of a prepared split, or a data set's id")
    parser.add_argument("--split", help="split of a source that has several")
    parser.add_argument("--videos", type=Path, help="manifest of the split's videos")
    parser.add_argument("--clips", type=int, default=15, help="clips made of each kind (default: 15)")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    options = parser.parse_args(arguments)
    transformers_logging.set_verbosity_error()
    try:
        model, processor = (Auto.from_pretrained(options.reader) for Auto in (AutoModel, AutoProcessor))
        reader = LipReadingPipeline(
            model=model, processor=processor, device=options.device, num_beams=options.num_beams
        )
        spoken = cost(reader, options.source, options.split)
        kinds = inventions(reader, clips_without_speech(options.source, options.clips, options.videos, options.split))
    except (CorpusError, SourceError, VideoError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print("| nobody speaks | clips | words without abstention | words invented | why nothing was read |")
    print("|---|---|---|---|---|")
    for kind, row in kinds.items():
        reasons = ", ".join(f"{reason}: {count}" for reason, count in row["reasons"].most_common())
        print(f"| {kind} | {row['clips']} | {row['unchecked']} | {row['invented']} | {reasons} |")
    for kind, row in kinds.items():
        for text in row["texts"]:
            print(f"invented, {kind}: {text}")
    given_up = ", ".join(f"{reason}: {count}" for reason, count in spoken["reasons"].most_common())
    print(
        f"with speech: nothing read from {spoken['given_up']} of {spoken['clips']} clips"
        f"{given_up and f' ({given_up})'}, WER {spoken['wer']:.3f}, without abstention {spoken['unchecked_wer']:.3f}"
    )
    totals = [sum(row[name] for row in kinds.values()) for name in ("invented", "clips", "unchecked")]
    print("without speech: words invented in {} of {} clips, without abstention in {}".format(*totals))


if __name__ == "__main__":
    main()
