# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread overlay`: a video with its landmarks and the words drawn on it."""

from __future__ import annotations

import argparse
from typing import Any

from .overlay_lipread import write_overlay
from .reader_options_lipread import (
    READ,
    SOME_FAILED,
    generation_arguments,
    load_reader,
    output_file,
    reader_options,
    span_options,
    tell,
)
from .reading_lipread import faces_of, read_faces


def add_overlay(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser(
        "overlay", parents=[reader_options(), span_options()], help="draw landmarks and words on a video"
    )
    parser.add_argument("video", metavar="VIDEO", help="video file")
    parser.add_argument("--output", required=True, help="mp4 file to write")
    parser.set_defaults(run=overlay)


def overlay(arguments: argparse.Namespace) -> int:
    """Writes the video, and prints what is said, if anything, and where it was written.

    Returns:
        The exit status: 0, or 1 if the video could not be read.
    """
    output = output_file(arguments.output, ".mp4", arguments.video)
    reader = load_reader(arguments)
    try:
        span = {"start": arguments.start, "end": arguments.end}
        sequence = reader.processor.extract_landmarks(arguments.video, **span, face=arguments.face)[0]
        since = arguments.start or 0.0
        read = read_faces(reader, faces_of(sequence), arguments.video, since, **generation_arguments(arguments))
        write_overlay(arguments.video, sequence, output, words=read.words(since) or None, **span)
    except (OSError, ValueError) as error:
        tell(error)
        return SOME_FAILED
    if read.text:
        print(read.text)
    else:
        tell(f"{arguments.video}: no words: {read.why_nothing}")
    print(output)
    return READ
