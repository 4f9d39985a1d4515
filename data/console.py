# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the scripts print to: UTF-8 on every system, and progress bars on terminals alone."""

from __future__ import annotations

import os
import sys

from lipread.options import use_utf8


def set_up_console() -> None:
    """Makes every text printable, and keeps the bars of `datasets` and the Hub out of log files.

    These two libraries read the variables when they are loaded.
    """
    use_utf8()
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
