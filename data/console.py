# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the scripts print to: UTF-8 on every system, and progress bars on terminals alone."""

from __future__ import annotations

import sys

import datasets
from huggingface_hub.utils import disable_progress_bars

from lipread.options import use_utf8


def set_up_console() -> None:
    """Makes every text printable, and keeps the bars of `datasets` and the Hub out of log files."""
    use_utf8()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        disable_progress_bars()
