# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lipread` command. Each subcommand is a module that registers its options and runs it.

lipread transcribe clip.mp4
lipread transcribe talks/ --model runs/a --format srt --output subtitles/
lipread live --source 0
lipread enroll phrases.txt --output my_phrases/
lipread phrases my_phrases/
lipread overlay clip.mp4 --model runs/a --output overlay.mp4
lipread replay clip.mp4 --output replay.html
lipread export runs/a --output onnx/
lipread publish runs/a --repo_id you/lipread-grid
lipread doctor
"""

from __future__ import annotations

import argparse
import os
import sys

from huggingface_hub.errors import HTTPError
from transformers.utils import logging as transformers_logging

from .doctor import add_doctor
from .export import add_export
from .hub.publish import add_publish
from .live.session import add_live
from .options import FAILURE, SUCCESS, USAGE_ERROR, UsageError, print_message
from .overlay import add_overlay
from .phrases.command import add_phrases
from .phrases.enroll import add_enroll
from .replay import add_replay
from .transcribe import add_transcribe

# Each adds a subparser whose default `run` is a function from the parsed arguments to the exit status.
COMMANDS = (
    add_transcribe,
    add_live,
    add_enroll,
    add_phrases,
    add_overlay,
    add_replay,
    add_export,
    add_publish,
    add_doctor,
)
INTERRUPTED = 130  # the status that shells give a program stopped by Ctrl-C


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all subcommands."""
    parser = argparse.ArgumentParser(prog="lipread", description="Reads lips.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add_command in COMMANDS:
        add_command(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status. Expected errors become one line on standard error."""
    options = build_parser().parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return options.run(options)
    except UsageError as error:
        print_message(error)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `lipread ... | head`; without the redirection Python reports it again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS
    except (ImportError, OSError, ValueError, RuntimeError, HTTPError) as error:  # RuntimeError: GPU out of memory
        print_message(error)
        return FAILURE


if __name__ == "__main__":
    sys.exit(main())
