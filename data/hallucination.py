# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures hallucination: for how many clips without speech a reader writes words, with and without abstention.

    python -m data.hallucination runs/a corpus/test --videos grid/test.jsonl

The clips are made from those of the split (`data.evaluation.hallucination`): the average face, frozen frames, faces
that nod, tremble, gape or chew, people before and after their sentence; and, through MediaPipe, real frames with
camera noise (with `--videos`, the manifest from which the split was prepared) and the talker with a closed mouth.
evaluate_hf.py measures the cost of abstention for clips with speech.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from .console import exit_on_error, make_parser
from .sources.manifest import read_manifest

SEED = 1  # data.calibrate makes other clips from the same split


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = make_parser("python -m data.hallucination", __doc__)
    parser.add_argument("checkpoint", help="folder or Hub id of a trained reader")
    parser.add_argument("source", help="folder of a prepared split, or a data set's id")
    parser.add_argument("--split", help="split of a source that has several")
    parser.add_argument("--videos", type=Path, help="manifest of the split's videos")
    parser.add_argument("--clips", type=int, default=15, help="clips to make of each kind (default: 15)")
    parser.add_argument("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    options = parser.parse_args(arguments)

    from transformers import AutoModel, AutoProcessor
    from transformers.utils import logging as transformers_logging

    from modeling_lipread import LipReadingPipeline

    from .dataset import open_split
    from .evaluation.hallucination import hallucinations, landmark_clips, video_clips

    transformers_logging.set_verbosity_error()
    with exit_on_error():
        model, processor = (Auto.from_pretrained(options.checkpoint) for Auto in (AutoModel, AutoProcessor))
        settings = {"device": options.device, "num_beams": options.num_beams}
        pipeline = LipReadingPipeline(model=model, processor=processor, **settings)
        rows = open_split(options.source, options.split)
        records = read_manifest(options.videos)[0] if options.videos else []
        videos = {record.id: record.media for record in records}
        clips = chain(landmark_clips(rows, options.clips, SEED), video_clips(videos, options.clips, SEED))
        kinds = hallucinations(pipeline, clips)
    print("| kind of clip | clips | words without abstention | words with abstention | reasons to abstain |")
    print("|---|---|---|---|---|")
    for kind, row in kinds.items():
        reasons = ", ".join(f"{reason}: {count}" for reason, count in row["reasons"].most_common())
        print(f"| {kind} | {row['clips']} | {row['without_abstention']} | {row['hallucinated']} | {reasons} |")
    for kind, row in kinds.items():
        for text in row["texts"]:
            print(f"hallucinated, {kind}: {text}")
    totals = [sum(row[name] for row in kinds.values()) for name in ("hallucinated", "clips", "without_abstention")]
    print("without speech: words hallucinated in {} of {} clips, without abstention in {}".format(*totals))


if __name__ == "__main__":
    main()
