# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Replays of a prepared corpus' clips: as `lipread replay`, from stored landmarks, beside what was said.

python -m data.replay corpora/grid/validation --row 3 --output replay.html
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from modeling_lipread.reader_options_lipread import (
    generation_arguments,
    load_reader,
    output_file,
    reader_options,
    tell,
)
from modeling_lipread.replay_lipread import describe, write_replay

from .opening import open_split
from .schema import CorpusError, decode_row


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 if there is no such row, or it cannot be written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[reader_options()]
    )
    parser.add_argument("corpus", help="split of a prepared corpus, or a data set of one split")
    parser.add_argument("--split", help="which split, where there are several")
    parser.add_argument("--row", type=int, default=0, help="its number in the split (default: 0)")
    parser.add_argument("--output", type=Path, required=True, help="HTML file to write")
    options = parser.parse_args(arguments)
    output = output_file(options.output, ".html")
    try:
        clips = open_split(options.corpus, options.split)
        if not 0 <= options.row < len(clips):
            raise CorpusError(f"{options.corpus}: no row {options.row}; there are {len(clips)}, from 0 on")
        row = clips[options.row]
        reader = load_reader(options)
        sequence = decode_row(row)
        name = f"{options.corpus} row {options.row}"
        clip = describe(reader, sequence, name, text=row["text"], **generation_arguments(options))
        write_replay(output, clip)
    except (OSError, ValueError) as error:
        tell(error)
        return 1
    print(f"{' '.join(word['text'] for word in clip['words'])}\n{output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
