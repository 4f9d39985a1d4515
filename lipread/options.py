# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: options, exit statuses, error messages, and loading a checkpoint."""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoProcessor

from modeling_lipread.face_tracking_lipread import FACES
from modeling_lipread.phrases_lipread import PhraseIndex
from modeling_lipread.pipeline_lipread import LipReadingPipeline

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2  # exit statuses
BUNDLED_MODEL = str(Path(inspect.getfile(LipReadingPipeline)).with_name("grid_reader"))
BUNDLED_MODEL_NOTE = (
    "no --model given: using the reader in the package, which knows the 51 words of the GRID corpus "
    '("bin blue at f two now") and mostly one speaker; train your own for other words and faces'
)


class UsageError(Exception):
    """Wrong command-line options that argparse cannot detect. The command prints the message and exits with 2."""


def print_message(message: object) -> None:
    """Prints a message to standard error as one line."""
    print(f"lipread: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


def positive_int(text: str) -> int:
    """Parses a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {number}")
    return number


def reader_options(faces: tuple[str, ...] = FACES) -> argparse.ArgumentParser:
    """Returns a parent parser with the options for the model, the face (one of `faces`) and the device."""
    parser = argparse.ArgumentParser(add_help=False)
    model_help = "folder or Hub id of a trained reader (default: the small one of GRID's 51 words in the package)"
    parser.add_argument("--model", help=model_help)
    parser.add_argument("--face", choices=faces, default="largest", help="which face to read (default: largest)")
    device_help = "torch device, for example cuda:0 (default: auto, a GPU if there is one)"
    parser.add_argument("--device", default="auto", help=device_help)
    return parser


def model_options(faces: tuple[str, ...] = FACES) -> argparse.ArgumentParser:
    """Returns a parent parser with the options of `reader_options`, of the search and of abstention."""
    parser = argparse.ArgumentParser(add_help=False, parents=[reader_options(faces)])
    parser.add_argument(
        "--num_beams", "--beams", type=positive_int, default=1, help="beams of the search; 1 is greedy (default: 1)"
    )
    weight_help = "weight of the CTC head beside the language model, 0 to 1 (default: the one saved with the reader)"
    parser.add_argument("--ctc_decoding_weight", type=float, help=weight_help)
    abstain_help = "also write hypotheses that the reader would reject, for example of lips that do not move"
    parser.add_argument("--no_abstain", dest="abstain", action="store_false", help=abstain_help)
    return parser


def clip_options() -> argparse.ArgumentParser:
    """Returns a parent parser with the options for the part of a video to read."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--start", type=float, metavar="SECONDS", help="where to start reading")
    parser.add_argument("--end", type=float, metavar="SECONDS", help="where to stop reading")
    return parser


def phrase_options() -> argparse.ArgumentParser:
    """Returns a parent parser with the option for a phrase book."""
    parser = argparse.ArgumentParser(add_help=False)
    phrases_help = "phrase book (lipread enroll): read its phrases instead of words"
    parser.add_argument("--phrases", metavar="FOLDER", help=phrases_help)
    return parser


def generation_arguments(arguments: argparse.Namespace, model: Any = None) -> dict[str, Any]:
    """Returns the keyword arguments of the pipeline's call that `model_options` and `phrase_options` set.

    A phrase book is loaded for the `model`.
    """
    generation: dict[str, Any] = {"num_beams": arguments.num_beams, "abstain": arguments.abstain}
    if getattr(arguments, "phrases", None) is not None:
        generation["phrases"] = PhraseIndex.load(arguments.phrases, model)
    if arguments.ctc_decoding_weight is not None:
        generation["ctc_decoding_weight"] = arguments.ctc_decoding_weight
    return generation


def output_file(path: str | Path, suffix: str, video: str | Path | None = None) -> Path:
    """Returns the path in `--output`. Raises `UsageError` for another suffix, a folder, or the input video."""
    path = Path(path)
    if path.suffix.lower() != suffix:
        raise UsageError(f"--output {path}: the file must end in {suffix}")
    if path.is_dir():
        raise UsageError(f"--output {path}: is a folder; name a file in it")
    if video is not None and path.exists() and Path(video).exists() and path.samefile(video):
        raise UsageError(f"--output {path}: is the input video; choose another name")
    return path


def load_pipeline(
    model: str | None = None, device: str | None = "auto", phrases_only: bool = False
) -> LipReadingPipeline:
    """Loads a checkpoint into a pipeline, by default that in the package.

    A note says which words that can read, unless it is to read phrases only.

    Raises:
        UsageError: There is no such checkpoint or device, or the checkpoint was never trained to read.
    """
    if model is None:
        model = BUNDLED_MODEL
        if not phrases_only:
            print_message(BUNDLED_MODEL_NOTE)
    try:
        processor, network = AutoProcessor.from_pretrained(model), AutoModel.from_pretrained(model)
    except (OSError, ValueError) as error:
        message, folder = str(error), Path(model)
        if folder.is_dir() and not (folder / "config.json").is_file():
            message = "the folder holds no reader; train_hf.py writes one to its --output_dir"
        elif not folder.exists():
            message = f"no such folder here, check the path; and from the Hub: {error}"
        raise UsageError(f"--model {model}: {message}") from error
    if not network.uses_video:
        raise UsageError(f"--model {model}: is only an encoder; train a reader from it with --encoder {model}")
    try:
        return LipReadingPipeline(model=network, processor=processor, device=None if device == "auto" else device)
    except (RuntimeError, ValueError, AssertionError) as error:  # torch raises any of these for a wrong device
        raise UsageError(f"--device {device}: {error}; leave --device out to use the best one") from error
