# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lipread` command: each of its commands is a module, which says what it takes and does it.

lipread transcribe clip.mp4
lipread transcribe talks/ --model runs/a --format srt --output subtitles/
lipread live --source 0
lipread overlay clip.mp4 --model runs/a --output overlay.mp4
lipread replay clip.mp4 --output replay.html
lipread publish runs/a --repo_id you/lipread-grid
lipread doctor
"""

from __future__ import annotations

import argparse
import os
import sys

from transformers.utils import logging as transformers_logging

from .doctor_lipread import add_doctor
from .live_lipread import add_live
from .overlay_command_lipread import add_overlay
from .publish_lipread import add_publish
from .reader_options_lipread import READ, SOME_FAILED, tell
from .replay_lipread import add_replay
from .transcribe_lipread import add_transcribe

# Each adds its command to the subparsers, with `run` set to a function of the arguments that returns an exit status.
COMMANDS = (add_transcribe, add_live, add_overlay, add_replay, add_publish, add_doctor)
INTERRUPTED = 130  # as shells report a program that was stopped by Ctrl-C


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="lipread", description="Reads lips.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command line; no mistake of a user ends in a traceback."""
    options = build_parser().parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        return options.run(options)
    except ImportError as error:  # of a package that this reader, or reading video, needs; it says which
        tell(error)
        return SOME_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # of `lipread ... | head`; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READ


if __name__ == "__main__":
    sys.exit(main())
