# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread transcribe`: what is said in videos."""

from __future__ import annotations

import argparse
from typing import Any

from .reader_options_lipread import (
    READ,
    SOME_FAILED,
    generation_arguments,
    load_reader,
    reader_options,
    span_options,
    tell,
)


def add_transcribe(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser(
        "transcribe", parents=[reader_options(), span_options()], help="print what is said in videos"
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video file")
    parser.set_defaults(run=transcribe)


def transcribe(arguments: argparse.Namespace) -> int:
    """Prints what is said in each video; a video that cannot be read is named on the error stream.

    Returns:
        The exit status: 0, or 1 if any video could not be read.
    """
    reader = load_reader(arguments)
    failed = False
    for video in arguments.videos:
        try:
            span = {"start": arguments.start, "end": arguments.end}
            text = reader(video, **span, face=arguments.face, **generation_arguments(arguments))["text"]
        except (OSError, ValueError) as error:
            tell(error)
            failed = True
            continue
        print(f"{video}\t{text}" if len(arguments.videos) > 1 else text, flush=True)
    return SOME_FAILED if failed else READ
