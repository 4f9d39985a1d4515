# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: options, exit statuses, messages, and loading a checkpoint."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output_files import check_writable
from .start_up import quick_imports
from .video_files import problem_of

if TYPE_CHECKING:  # importing it takes seconds
    from modeling_lipread import LipReadingPipeline

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2  # exit statuses
BUNDLED_MODEL = str(Path(find_spec("modeling_lipread").origin).with_name("grid_reader"))
BUNDLED_MODEL_NOTE = (
    'the reader in the package knows the 51 words of the GRID corpus ("bin blue at f two now") and mostly one '
    "speaker; give another one with --model"
)


class UsageError(Exception):
    """Wrong command-line options. The command prints the message and exits with 2."""


def use_utf8() -> None:
    """Makes standard output and error print every text: UTF-8 in files and pipes, a terminal's own encoding on it.

    Characters that cannot be encoded become escapes, among them the bytes of a file name that is not UTF-8. In JSON
    these escapes are valid.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def print_message(message: object) -> None:
    """Prints a message to standard error as one line."""
    print(f"lipread: {' '.join(str(message).split())}", file=sys.stderr, flush=True)


def number(kind: type, meaning: str, allowed: Callable[[Any], bool]) -> Callable[[str], Any]:
    """Returns a parser of an option's value, a finite number that `allowed` accepts, for `add_argument(type=...)`."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and allowed(value)):
            raise argparse.ArgumentTypeError(f"must be {meaning}, not {text}")
        return value

    return parse


positive_int = number(int, "a whole number, 1 or more", lambda value: value >= 1)
seconds = number(float, "a number of seconds, 0 or more", lambda value: value >= 0)
unit_interval = number(float, "a number from 0 to 1", lambda value: 0 <= value <= 1)


def reader_options(*more_faces: str) -> argparse.ArgumentParser:
    """Returns a parent parser with the options for the model, the face (also `more_faces`) and the device."""
    parser = argparse.ArgumentParser(add_help=False)
    model_help = "folder or Hub id of a trained reader (default: the small one of GRID's 51 words in the package)"
    parser.add_argument("--model", help=model_help)
    face_help = "which face to read (default: largest)"
    parser.add_argument("--face", choices=("largest", "central", *more_faces), default="largest", help=face_help)
    device_help = "torch device, for example cuda:0 (default: auto, a GPU if there is one)"
    parser.add_argument("--device", default="auto", help=device_help)
    return parser


def model_options(*more_faces: str) -> argparse.ArgumentParser:
    """Returns a parent parser with the options of `reader_options`, of the search and of abstention."""
    parser = argparse.ArgumentParser(add_help=False, parents=[reader_options(*more_faces)])
    beams_help = "beams of the search; 1 is greedy (default: 1)"
    parser.add_argument("--num_beams", "--beams", "--beam_size", type=positive_int, default=1, help=beams_help)
    weight_help = "weight of the CTC head beside the language model, 0 to 1 (default: the one saved with the reader)"
    parser.add_argument("--ctc_decoding_weight", type=unit_interval, help=weight_help)
    abstain_help = "also write hypotheses that the reader would reject, for example of lips that do not move"
    parser.add_argument("--no_abstain", dest="abstain", action="store_false", help=abstain_help)
    return parser


def output_options(what: str) -> argparse.ArgumentParser:
    """Returns a parent parser with the options for one file to write."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--output", "-o", required=True, type=Path, help=f"{what} to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    return parser


def clip_options() -> argparse.ArgumentParser:
    """Returns a parent parser with the options for the part of a video to read."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--start", type=seconds, metavar="SECONDS", help="where to start reading")
    parser.add_argument("--end", type=seconds, metavar="SECONDS", help="where to stop reading")
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
        from modeling_lipread.phrases_lipread import PhraseIndex

        generation["phrases"] = PhraseIndex.load(arguments.phrases, model)
    if arguments.ctc_decoding_weight is not None:
        generation["ctc_decoding_weight"] = arguments.ctc_decoding_weight
    return generation


def check_reading(arguments: argparse.Namespace) -> None:
    """Raises `UsageError` for a span that is none, or a --model that is no reader, as far as files show."""
    start, end = getattr(arguments, "start", None), getattr(arguments, "end", None)
    if end is not None and end <= (start or 0.0):
        raise UsageError(f"--end {end:g}: must be after --start {start or 0.0:g}")
    if arguments.model is None:
        return
    folder = Path(arguments.model)
    if folder.is_dir() and not (folder / "config.json").is_file():
        message = "the folder holds no reader; train_hf.py writes one to its --output_dir"
    elif folder.is_file():
        message = "is a file; give the folder of the reader"
    elif not folder.exists() and (len(folder.parts) > 2 or arguments.model[:1] in (".", "~", "/")):
        message = "no such folder; check the path"
    else:
        return
    raise UsageError(f"--model {arguments.model}: {message}")


def require_video(name: str) -> None:
    """Raises OSError, with the reason, if a name given for a video names no file."""
    if problem := problem_of(name):
        raise OSError(problem)


def require_source(name: str) -> None:
    """Raises OSError, with the reason, if the value of `--source` is no camera, no stream and no file."""
    name = name.removeprefix("file://")
    if not name.removeprefix("/dev/video").isdecimal() and "://" not in name:
        require_video(name)


def output_file(arguments: argparse.Namespace, suffix: str) -> Path:
    """Returns the path in `--output`, in a folder that can be written.

    Raises UsageError for another suffix, the input video, or a file that exists without `--overwrite`.
    """
    path = arguments.output
    if path.suffix.lower() != suffix:
        raise UsageError(f"--output {path}: the file must end in {suffix}")
    if path.exists() and path.samefile(arguments.video):
        raise UsageError(f"--output {path}: is the input video; choose another name")
    if path.exists() and not arguments.overwrite:
        raise UsageError(f"--output {path}: exists; choose another name, or replace it with --overwrite")
    require_writable(path.parent, path)
    return path


def require_writable(folder: Path, output: Path) -> None:
    """Creates the folder of `--output`; raises `UsageError` if no file can be written there."""
    try:
        check_writable(folder)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot be written ({error.strerror}); choose another folder") from error


def load_pipeline(
    model: str | None = None, device: str | None = "auto", phrases_only: bool = False
) -> LipReadingPipeline:
    """Loads a checkpoint into a pipeline, by default that in the package.

    On a terminal, a note says which words that can read, unless it is to read phrases only. Raises UsageError for no
    such checkpoint or device, or for a checkpoint that was never trained to read.
    """
    with quick_imports():
        from transformers import AutoModel, AutoProcessor

        from modeling_lipread import LipReadingPipeline

    if model is None:
        model = BUNDLED_MODEL
        if not phrases_only and sys.stderr.isatty():
            print_message(BUNDLED_MODEL_NOTE)
    try:
        processor, network = AutoProcessor.from_pretrained(model), AutoModel.from_pretrained(model)
    except (OSError, ValueError) as error:
        missing = "" if Path(model).exists() else "no such folder here, check the path; and from the Hub: "
        raise UsageError(f"--model {model}: {missing}{error}") from error
    if not network.uses_video:
        raise UsageError(f"--model {model}: is only an encoder; train a reader from it with --encoder {model}")
    try:
        return LipReadingPipeline(model=network, processor=processor, device=None if device == "auto" else device)
    except (RuntimeError, ValueError, AssertionError) as error:  # torch raises any of these for a wrong device
        raise UsageError(f"--device {device}: {error}; leave --device out to use the best one") from error
