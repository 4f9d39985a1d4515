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
    reader_options,
    span_options,
    tell,
)


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
    reader = load_reader(arguments)
    try:
        span = {"start": arguments.start, "end": arguments.end}
        sequence = reader.processor.extract_landmarks(arguments.video, **span, face=arguments.face)[0]
        read = reader(sequence, **generation_arguments(arguments))
        write_overlay(arguments.video, sequence, arguments.output, text=read["text"] or None, **span)
    except (OSError, ValueError) as error:
        tell(error)
        return SOME_FAILED
    if read["text"]:
        print(read["text"])
    elif "reason" in read:
        tell(f"{arguments.video}: no words: {read['reason']}")
    print(arguments.output)
    return READ
