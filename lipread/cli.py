# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lipread` command. Each subcommand is a module in `commands` that registers its options and runs it.

Importing this module and the commands loads nothing but the standard library, so that help and wrong options are
answered at once. A command loads what it needs after it has checked its arguments.
"""

from __future__ import annotations

import errno
import logging
import os
import sys

_OUTPUT_ERRORS = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERRUPTED = 130  # the status that shells give a program stopped by Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit status. Expected errors become one line on standard error."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise Python reports it again on exit
        if isinstance(error, BrokenPipeError):  # `lipread ... | head`
            return 0
        print(f"lipread: standard output: {error.strerror}; a part of it is lost", file=sys.stderr)
        return 1


def _run(arguments: list[str] | None) -> int:
    from .commands import build_parser
    from .options import FAILURE, SUCCESS, USAGE_ERROR, UsageError, print_message, use_utf8
    from .start_up import MAX_THREADS, limit_threads, usable_cores

    use_utf8()
    logging.basicConfig(format="lipread: %(message)s", level=logging.ERROR)
    for package in ("lipread", "modeling_lipread"):
        logging.getLogger(package).setLevel(logging.WARNING)
    # A user who sets them sees the libraries' messages; they are read when the libraries are loaded.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        options = build_parser().parse_args(arguments)
        # `lipread live` leaves a core to the landmarks, which are found while the words are read.
        limit_threads(max(1, usable_cores() - 1) if options.command == "live" else MAX_THREADS)
        return options.run(options) or SUCCESS
    except UsageError as error:
        print_message(error)
        return USAGE_ERROR
    except Exception as error:
        if not _is_expected(error):
            raise
        print_message(error)
        return FAILURE


def _is_expected(error: Exception) -> bool:
    """Returns whether an error is the user's or the machine's rather than a mistake in the code."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_ERRORS:
        return False  # of standard output, since errors of files name them
    if isinstance(error, (ImportError, OSError, ValueError, RuntimeError)):  # the last: most often a full GPU
        return True

    from huggingface_hub.errors import HTTPError

    return isinstance(error, HTTPError)


if __name__ == "__main__":
    sys.exit(main())
