# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread replay`: a page that turns and plays a clip's landmarks, with the words and the frames they attend to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import options


def add_replay(commands: Any) -> None:
    help_text = "write a page that plays the landmarks, with the words and the frames each attends to"
    parents = [options.model_options(), options.clip_options(), options.output_options("HTML file")]
    parser = commands.add_parser("replay", parents=parents, help=help_text)
    parser.add_argument("video", metavar="VIDEO", help="video, or .npy file of landmarks")
    parser.set_defaults(run=replay)


def replay(arguments: argparse.Namespace) -> None:
    """Writes the page and prints the words and the path of the file."""
    options.check_reading(arguments)
    options.require_video(arguments.video)
    output = options.output_file(arguments.output, ".html", arguments.video, arguments.overwrite)

    pipeline = options.load_pipeline(arguments.model, arguments.device)

    from modeling_lipread.text_normalizer_lipread import join_words

    from ..replay import describe_clip, write_replay

    reading = {name: getattr(arguments, name) for name in ("start", "end", "face")}
    sequence = pipeline.processor.extract_clip(arguments.video, **reading, skip_damage=True)
    clip = describe_clip(pipeline, sequence, Path(arguments.video).name, **options.generation_arguments(arguments))
    write_replay(output, clip)
    print(f"{join_words(word['text'] for word in clip['words'])}\n{output}")
