# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread overlay` draws landmarks and words on a video; `lipread replay` writes a page that turns and plays them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import options


def add_overlay(commands: Any) -> None:
    parents = [options.model_options("all"), options.clip_options(), options.output_options("mp4 file")]
    parser = commands.add_parser("overlay", parents=parents, help="draw landmarks and words on a video")
    parser.add_argument("video", metavar="VIDEO", help="video file")
    parser.set_defaults(run=overlay)


def overlay(arguments: argparse.Namespace) -> None:
    """Writes the video and prints the words and the path of the file."""
    output, pipeline = _begin(arguments, ".mp4")

    from ..long_form.streaming import people_sequences, stream_video
    from ..long_form.transcription import sequence_frames, transcribe_frames
    from ..overlay import write_overlay

    video, origin, clip = arguments.video, arguments.start or 0.0, {"start": arguments.start, "end": arguments.end}
    if arguments.face == "all":
        frames = list(stream_video(pipeline.processor.keypoint_extractor, video, **clip, face="all"))
        people = people_sequences(frames, video)
    else:
        people = [pipeline.processor.extract_clip(video, **clip, face=arguments.face, skip_damage=True)]
        frames = sequence_frames(people[0])
    transcript = transcribe_frames(pipeline, frames, video, origin, **options.generation_arguments(arguments))
    write_overlay(video, people, output, words=transcript.words(origin), **clip)
    _print_words(transcript, output)


def _begin(arguments: argparse.Namespace, suffix: str) -> tuple[Path, Any]:
    """Checks the arguments, and returns the path of the output and the pipeline."""
    options.check_reading(arguments)
    options.require_video(arguments.video)
    output = options.output_file(arguments, suffix)
    return output, options.load_pipeline(arguments.model, arguments.device)


def _print_words(transcript: Any, output: Path) -> None:
    """Prints the words of a `Transcript`, or why there are none, and the path of the file that shows them."""
    from ..writers import format_transcript

    print(format_transcript(transcript, "txt"), end="")
    if not transcript.text:
        options.print_message(f"{transcript.file}: no words: {transcript.unread_reasons}")
    print(output)


def add_replay(commands: Any) -> None:
    help_text = "write a page that turns and plays the landmarks, with the words"
    parents = [options.model_options(), options.clip_options(), options.output_options("HTML file")]
    parser = commands.add_parser("replay", parents=parents, help=help_text)
    parser.add_argument("video", metavar="VIDEO", help="video, or .npy file of landmarks")
    parser.set_defaults(run=replay)


def replay(arguments: argparse.Namespace) -> None:
    """Writes the page and prints the words and the path of the file."""
    output, pipeline = _begin(arguments, ".html")

    from ..long_form.transcription import sequence_frames, transcribe_frames
    from ..replay import write_replay

    video, generation = arguments.video, options.generation_arguments(arguments)
    reading = {name: getattr(arguments, name) for name in ("start", "end", "face")}
    sequence = pipeline.processor.extract_clip(video, **reading, skip_damage=True)
    transcript = transcribe_frames(pipeline, sequence_frames(sequence), video, **generation)
    write_replay(output, sequence, transcript)
    _print_words(transcript, output)
