# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread overlay`: a video with the landmarks and the words drawn on it."""

from __future__ import annotations

import argparse
from typing import Any

from .. import options


def add_overlay(commands: Any) -> None:
    parents = [options.model_options("all"), options.clip_options(), options.output_options("mp4 file")]
    parser = commands.add_parser("overlay", parents=parents, help="draw landmarks and words on a video")
    parser.add_argument("video", metavar="VIDEO", help="video file")
    parser.set_defaults(run=overlay)


def overlay(arguments: argparse.Namespace) -> None:
    """Writes the video and prints the words and the path of the file."""
    options.check_reading(arguments)
    options.require_video(arguments.video)
    output = options.output_file(arguments.output, ".mp4", arguments.video, arguments.overwrite)

    pipeline = options.load_pipeline(arguments.model, arguments.device)

    from ..long_form.streaming import people_sequences, stream_video
    from ..long_form.transcription import sequence_frames, transcribe_frames
    from ..overlay import write_overlay
    from ..writers import format_transcript

    video, origin, clip = arguments.video, arguments.start or 0.0, {"start": arguments.start, "end": arguments.end}
    if arguments.face == "all":
        frames = list(stream_video(pipeline.processor.keypoint_extractor, video, **clip, face="all"))
        people = people_sequences(frames, video)
    else:
        people = [pipeline.processor.extract_clip(video, **clip, face=arguments.face, skip_damage=True)]
        frames = sequence_frames(people[0])
    transcript = transcribe_frames(pipeline, frames, video, origin, **options.generation_arguments(arguments))
    write_overlay(video, people, output, words=transcript.words(origin), **clip)
    if transcript.text:
        print(format_transcript(transcript, "txt"), end="")
    else:
        options.print_message(f"{video}: no words: {transcript.unread_reasons}")
    print(output)
