# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The subcommands of `lipread`: options, checks, and what they print. The work itself is in the other modules."""

from __future__ import annotations

import argparse
from importlib import metadata
from typing import Any, NoReturn

from ..options import UsageError
from .doctor import add_doctor
from .export import add_export
from .live import add_live
from .overlay import add_overlay, add_replay
from .phrases import add_enroll, add_phrases
from .publish import add_publish
from .transcribe import add_transcribe

# Each adds a subparser whose default `run` is a function from the parsed arguments to the exit status, or None for 0.
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


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, as the commands do, instead of with the list of all options."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message.removeprefix('argument ')} ({self.prog} --help lists the options)")


class _Version(argparse.Action):
    """Prints the version of the installed package; an error of standard output is raised, unlike by argparse's."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        versions = [found.version for found in metadata.distributions(name="lipread")]
        print("lipread", *versions[:1] or ["(not installed; pip install .)"], flush=True)
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all subcommands."""
    parser = _Parser(prog="lipread", description="Reads lips.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add_command in COMMANDS:
        add_command(commands)
    return parser
