# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lipread` command.

lipread transcribe clip.mp4
lipread transcribe clip.mp4 --model runs/a
lipread transcribe *.mp4 --model you/lipread-grid --num_beams 4
lipread overlay clip.mp4 --model runs/a --output overlay.mp4
lipread publish runs/a --repo_id you/lipread-grid
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from transformers import AutoModel, AutoProcessor
from transformers.utils import logging as transformers_logging

from .landmarks_lipread import FACES
from .overlay_lipread import write_overlay
from .pipeline_lipread import LipReadingPipeline
from .publish_lipread import add_publish_arguments, publish

EMBEDDED = str(Path(__file__).with_name("grid_reader"))
EMBEDDED_NOTE = (
    "lipread: no --model given: reading with the package's own, which knows the 51 words of the GRID corpus "
    '("bin blue at f two now") and mostly one speaker; train your own for other words and faces'
)


def _load_reader(arguments: argparse.Namespace) -> LipReadingPipeline:
    reader = arguments.model or EMBEDDED
    if arguments.model is None:
        print(EMBEDDED_NOTE, file=sys.stderr)
    try:
        processor = AutoProcessor.from_pretrained(reader)
        model = AutoModel.from_pretrained(reader)
    except (OSError, ValueError) as error:
        sys.exit(f"lipread: --model {reader}: {error}")
    return LipReadingPipeline(model=model, processor=processor, device=arguments.device)


def _generation(arguments: argparse.Namespace) -> dict[str, float]:
    """Arguments of `generate`; what is not given is as the reader was saved."""
    generation = {"num_beams": arguments.num_beams}
    if arguments.ctc_decoding_weight is not None:
        generation["ctc_decoding_weight"] = arguments.ctc_decoding_weight
    return generation


def _transcribe(arguments: argparse.Namespace) -> int:
    """Prints what is said in each video; a video that cannot be read is named on the error stream.

    Returns:
        The exit status: 0, or 1 if any video could not be read.
    """
    reader = _load_reader(arguments)
    failed = 0
    for video in arguments.videos:
        try:
            span = {"start": arguments.start, "end": arguments.end}
            text = reader(video, **span, face=arguments.face, **_generation(arguments))["text"]
        except (OSError, ValueError) as error:
            print(f"lipread: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{video}\t{text}" if len(arguments.videos) > 1 else text, flush=True)
    return int(failed > 0)


def _overlay(arguments: argparse.Namespace) -> int:
    """Writes a video with its landmarks and the words drawn on it.

    Returns:
        The exit status: 0, or 1 if the video could not be read.
    """
    reader = _load_reader(arguments)
    try:
        span = {"start": arguments.start, "end": arguments.end}
        sequence = reader.processor.extract_landmarks(arguments.video, **span, face=arguments.face)[0]
        text = reader(sequence, **_generation(arguments))["text"]
        write_overlay(arguments.video, sequence, arguments.output, text=text, **span)
    except (OSError, ValueError) as error:
        print(f"lipread: {error}", file=sys.stderr)
        return 1
    print(f"{text}\n{arguments.output}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--model",
        help="folder or Hub id of a trained reader (default: the small one of GRID's 51 words in the package)",
    )
    common.add_argument("--start", type=float, help="read from this second on")
    common.add_argument("--end", type=float, help="read up to this second")
    common.add_argument(
        "--face", choices=FACES, default="largest", help="which of several faces to read (default: largest)"
    )
    common.add_argument("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    common.add_argument(
        "--ctc_decoding_weight",
        type=float,
        help="weight of the CTC head beside the language model, 0 to 1 (default: the reader's own)",
    )
    common.add_argument("--device", help="torch device, for example cuda:0 (default: a GPU if there is one)")
    parser = argparse.ArgumentParser(prog="lipread", description="Reads lips.")
    commands = parser.add_subparsers(dest="command", required=True)
    transcribe = commands.add_parser("transcribe", parents=[common], help="print what is said in videos")
    transcribe.add_argument("videos", nargs="+", metavar="VIDEO", help="video file")
    transcribe.set_defaults(run=_transcribe)
    overlay = commands.add_parser("overlay", parents=[common], help="draw landmarks and words on a video")
    overlay.add_argument("video", metavar="VIDEO", help="video file")
    overlay.add_argument("--output", required=True, help="mp4 file to write")
    overlay.set_defaults(run=_overlay)
    publishing = commands.add_parser("publish", help="put a trained reader on the Hugging Face Hub")
    add_publish_arguments(publishing)
    publishing.set_defaults(run=publish)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = build_parser().parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return options.run(options)
    except ImportError as error:  # of a package that this reader, or reading video, needs; it says which
        print(f"lipread: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
