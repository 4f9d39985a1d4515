# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes a replay, as `lipread replay` does, of a clip in a prepared corpus, with its reference transcript.

python -m data.replay corpora/grid/validation --row 3 --output replay.html
"""

from __future__ import annotations

import sys

from lipread import options as common
from modeling_lipread.text_normalizer_lipread import join_words

from .console import make_parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status, which is 1 if the row cannot be read."""
    parents = [common.model_options(), common.output_options("HTML file")]
    parser = make_parser("python -m data.replay", __doc__, parents=parents)
    parser.add_argument("source", help="split of a prepared corpus, or a data set of one split")
    parser.add_argument("--split", help="split of a corpus that has several")
    parser.add_argument("--row", type=int, default=0, help="index of the row in the split (default: 0)")
    options = parser.parse_args(arguments)
    try:
        output = common.output_file(options.output, ".html", overwrite=options.overwrite)

        from lipread.landmark_rows import decode_row
        from lipread.replay import describe_clip, write_replay

        from .dataset import open_split
        from .schema import CorpusError

        rows = open_split(options.source, options.split)
        if not 0 <= options.row < len(rows):
            raise CorpusError(f"{options.source}: no row {options.row}; there are {len(rows)} rows, counted from 0")
        row = rows[options.row]
        pipeline = common.load_pipeline(options.model, options.device)
        generation = common.generation_arguments(options)
        name = f"{options.source} row {options.row}"
        clip = describe_clip(pipeline, decode_row(row), name, text=row["text"], **generation)
        write_replay(output, clip)
    except (common.UsageError, OSError, ValueError) as error:
        common.print_message(error)
        return common.USAGE_ERROR if isinstance(error, common.UsageError) else common.FAILURE
    print(f"{join_words(word['text'] for word in clip['words'])}\n{output}")
    return common.SUCCESS


if __name__ == "__main__":
    sys.exit(main())
