# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the scripts print to: UTF-8 on every system, and progress bars on terminals alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lipread.options import use_utf8


def set_up_console() -> None:
    """Makes every text printable, and keeps the bars of `datasets` and the Hub out of log files.

    These two libraries read the variables when they are loaded.
    """
    use_utf8()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def show_help(path: str) -> None:
    """Prints a help text that was stored before, if the command line asks for help, and exits.

    Args:
        path: The text, from the repository's folder.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        use_utf8()
        print((Path(__file__).parent.parent / path).read_text(encoding="utf-8"), end="")
        sys.exit()
