# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread doctor`: checks the installation by using each part, and prints remedies."""

from __future__ import annotations

import argparse
from typing import Any

from ..options import BUNDLED_MODEL, FAILURE, SUCCESS, require_source


def add_doctor(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="check the installation, and print a remedy for each problem")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="folder or Hub id of a reader (default: the package's)")
    source_help = "number of a camera, stream, or video file to look at (default: 0)"
    parser.add_argument("--source", default="0", help=source_help)
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Prints a line for each check. Returns the exit status: 0, or 1 if a check failed."""
    require_source(arguments.source)

    from ..doctor import run_checks

    return FAILURE if run_checks(arguments.model, arguments.source) else SUCCESS
