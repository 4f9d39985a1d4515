# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the scripts share: their parser, UTF-8 on every system, progress bars on terminals alone, and errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lipread.options import use_utf8


def set_up_console() -> None:
    """Makes every text printable, and keeps the bars of `datasets` and the Hub out of log files."""
    use_utf8()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def show_help(path: str) -> None:
    """Prints a help text, stored in the repository's folder, if the command line asks for help, and exits."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        use_utf8()
        print((Path(__file__).parent.parent / path).read_text(encoding="utf-8"), end="")
        sys.exit()


def make_parser(program: str, description: str | None, **more: Any) -> argparse.ArgumentParser:
    """Sets up the console; returns the parser of a program whose docstring is `description`."""
    set_up_console()
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=program, description=description, formatter_class=layout, **more)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Context in which an error that the user can mend ends the program with its message."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
