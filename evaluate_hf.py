# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Evaluates a trained reader on every clip of a corpus or of a video manifest.

    python evaluate_hf.py runs/a corpus/test
    python evaluate_hf.py you/lipread-grid videos.jsonl --num_beams 8 --output results.json

It writes a JSON file with the metrics, their 95% bootstrap intervals and every hypothesis, and an HTML page beside it.
The last line that it prints is:

    WER 0.123 CER 0.051 | blank video WER 0.871 | shuffled video WER 0.812 | 50 clips

or, for a reader of a script without spaces, the same with CER first.

A clip that cannot be read (no face, damaged file) counts as one with an empty hypothesis. Such clips, and lines of the
manifest that describe no clip, are listed with the reason.
"""

from __future__ import annotations

from pathlib import Path

from data.console import exit_on_error, make_parser
from data.files import write_json
from lipread.output_files import check_writable
from lipread.settings import FACES


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = make_parser("evaluate_hf.py", __doc__)
    add = parser.add_argument
    add("checkpoint", help="folder or Hub id of a trained reader")
    add("source", help="folder of a prepared split, a manifest of videos, or a data set in Parquet (folder or Hub id)")
    add("--split", help="split of a source that has several")
    add("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    add(
        "--ctc_decoding_weight",
        type=float,
        help="weight of the CTC head beside the language model, 0 to 1 (default: the reader's own)",
    )
    add("--batch_size", type=int, default=16, help="clips in a batch (default: 16)")
    add("--num_proc", type=int, help="processes that extract landmarks from a manifest's videos (default: all cores)")
    outside = "also read files outside the manifest's folder"
    add("--allow_outside", action="store_true", default=None, help=outside)
    add("--face", choices=FACES, help="which of several faces in a manifest's video is read (default: largest)")
    add("--device", help="torch device (default: a GPU if there is one)")
    add("--show", type=int, default=0, help="clips whose reference and hypothesis are printed (default: 0)")
    add("--output", help="JSON file to write, with a page beside it (default: CHECKPOINT/evaluation-SOURCE.json)")
    options = vars(parser.parse_args(arguments))

    from data.evaluation import RATE_OF_UNIT, closing_line
    from data.evaluation.evaluate import evaluate
    from data.evaluation.page import write_evaluation

    output, show = options.pop("output"), options.pop("show")
    folder = Path(options["checkpoint"]) if Path(options["checkpoint"]).is_dir() else Path()
    source = Path(options["source"])
    name = options["split"] or (source.stem if source.suffix == ".jsonl" else source.name)
    path = Path(output) if output else folder / f"evaluation-{name}.json"
    with exit_on_error():
        check_writable(path.parent)  # before the work
        result = evaluate(**options)
    write_json(path, result)
    page = write_evaluation(result, path.with_suffix(".html"))
    for row in result["predictions"][:show]:
        print(f"reference:  {row['reference']}\nhypothesis: {row['hypothesis']}\n")
    for skip in result["skipped"]:
        print(f"not read: {skip['where']}: {skip['reason']}")
    unit = result["text_unit"]
    low, high = result["metrics"][f"{RATE_OF_UNIT[unit]}_interval"]
    print(f"95% interval of the {unit} error rate {low:.3f} to {high:.3f}; every hypothesis is in {path}")
    print(f"report: {page} (open it in a browser)")
    print(closing_line(result["metrics"], unit))


if __name__ == "__main__":
    main()
