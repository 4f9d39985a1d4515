# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread replay`: a page that turns and plays a clip's landmarks, with the words and the frames they attend to.

lipread replay clip.mp4 --output replay.html
lipread replay talk.mp4 --model runs/a --start 12 --end 16 --output replay.html
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..options import (
    SUCCESS,
    check_reading,
    clip_options,
    generation_arguments,
    load_pipeline,
    model_options,
    output_file,
    output_options,
    require_video,
)


def add_replay(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    help_text = "write a page that plays the landmarks, with the words and the frames each attends to"
    parents = [model_options(), clip_options(), output_options("HTML file")]
    parser = commands.add_parser("replay", parents=parents, help=help_text)
    parser.add_argument("video", metavar="VIDEO", help="video, or .npy file of landmarks")
    parser.set_defaults(run=replay)


def replay(arguments: argparse.Namespace) -> int:
    """Writes the page, prints the words and the path of the file, and returns the exit status, 0."""
    check_reading(arguments)
    require_video(arguments.video)
    output = output_file(arguments.output, ".html", arguments.video, arguments.overwrite)

    pipeline = load_pipeline(arguments.model, arguments.device)

    from modeling_lipread.text_normalizer_lipread import join_words

    from ..replay import describe_clip, write_replay

    clip_span = {"start": arguments.start, "end": arguments.end}
    sequence = pipeline.processor.extract_landmarks(arguments.video, **clip_span, face=arguments.face)[0]
    clip = describe_clip(pipeline, sequence, Path(arguments.video).name, **generation_arguments(arguments))
    write_replay(output, clip)
    print(f"{join_words(word['text'] for word in clip['words'])}\n{output}")
    return SUCCESS
