# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the commands that read lips have in common: the arguments that choose a reader, and loading it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from transformers import AutoModel, AutoProcessor

from .landmarks_lipread import FACES
from .pipeline_lipread import LipReadingPipeline

READ, SOME_FAILED, USAGE = 0, 1, 2  # exit statuses
EMBEDDED = str(Path(__file__).with_name("grid_reader"))
EMBEDDED_NOTE = (
    "no --model given: reading with the package's own, which knows the 51 words of the GRID corpus "
    '("bin blue at f two now") and mostly one speaker; train your own for other words and faces'
)


def tell(message: object) -> None:
    """One line on the error stream, whatever the message holds."""
    print(f"lipread: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


def refuse(message: object) -> NoReturn:
    """Ends the command with the exit status of wrong usage, for what argparse cannot check."""
    tell(message)
    raise SystemExit(USAGE)


def reader_options(faces: tuple[str, ...] = FACES) -> argparse.ArgumentParser:
    """A parent parser: which reader, of which face, how it searches, on which device.

    Args:
        faces: Choices of `--face`.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--model",
        help="folder or Hub id of a trained reader (default: the small one of GRID's 51 words in the package)",
    )
    parser.add_argument("--face", choices=faces, default="largest", help="whose lips are read (default: largest)")
    parser.add_argument(
        "--num_beams", "--beams", type=positive, default=1, help="beams of the search; 1 is greedy (default: 1)"
    )
    parser.add_argument(
        "--ctc_decoding_weight",
        type=float,
        help="weight of the CTC head beside the language model, 0 to 1 (default: the reader's own)",
    )
    parser.add_argument(
        "--no_abstain",
        dest="abstain",
        action="store_false",
        help="write what the model makes of stretches in which it saw nothing to read",
    )
    parser.add_argument(
        "--device", default="auto", help="torch device, for example cuda:0 (default: auto, a GPU if there is one)"
    )
    return parser


def span_options() -> argparse.ArgumentParser:
    """A parent parser: the part of a video that is read."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--start", type=float, help="read from this second on")
    parser.add_argument("--end", type=float, help="read up to this second")
    return parser


def positive(text: str) -> int:
    """An argument that must be a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def output_file(path: str | Path, suffix: str, video: str | Path | None = None) -> Path:
    """The one file that a command writes.

    Args:
        path: As it was given by `--output`.
        suffix: The ending it must have.
        video: What is read, and so must not be written over.

    Raises:
        SystemExit: It has another ending, is a folder, or is the video.
    """
    path = Path(path)
    if path.suffix.lower() != suffix:
        refuse(f"--output {path}: the file must end in {suffix}")
    if path.is_dir():
        refuse(f"--output {path}: is a folder; name a file in it")
    if video is not None and path.exists() and Path(video).exists() and path.samefile(video):
        refuse(f"--output {path}: is the video that is read; choose another name")
    return path


def load_reader(arguments: argparse.Namespace) -> LipReadingPipeline:
    """The reader that the arguments of `reader_options` name.

    Raises:
        SystemExit: There is no such reader, it was never trained to read, or there is no such device.
    """
    if arguments.model is None:
        tell(EMBEDDED_NOTE)
    reader = arguments.model or EMBEDDED
    try:
        processor = AutoProcessor.from_pretrained(reader)
        model = AutoModel.from_pretrained(reader)
    except (OSError, ValueError) as error:
        folder = Path(reader)
        if folder.is_dir() and not (folder / "config.json").is_file():
            refuse(f"--model {reader}: the folder holds no reader; train_hf.py writes one to its --output_dir")
        if folder.exists():
            refuse(f"--model {reader}: {error}")
        refuse(f"--model {reader}: no such folder here, check the path; and from the Hub: {error}")
    if not model.sees:
        refuse(
            f"--model {reader}: an encoder alone, which writes no words; train a reader from it: --encoder {reader}"
        )
    device = None if arguments.device == "auto" else arguments.device
    try:
        return LipReadingPipeline(model=model, processor=processor, device=device)
    except (RuntimeError, ValueError, AssertionError) as error:  # torch says it in any of these ways
        refuse(f"--device {arguments.device}: {error}; without --device the best one is taken")


def generation_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a reader's call; what is not given is as the reader was saved."""
    generation: dict[str, Any] = {"num_beams": arguments.num_beams, "abstain": arguments.abstain}
    if arguments.ctc_decoding_weight is not None:
        generation["ctc_decoding_weight"] = arguments.ctc_decoding_weight
    return generation
