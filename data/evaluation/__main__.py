# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes the page of an evaluation again, from the JSON file that evaluate_hf.py wrote:

python -m data.evaluation runs/a/evaluation-test.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .page import write_evaluation


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.evaluation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluation", type=Path, help="JSON file that evaluate_hf.py wrote")
    parser.add_argument("--output", type=Path, help="where the page goes (default: beside it)")
    options = parser.parse_args(arguments)
    try:
        result = json.loads(options.evaluation.read_text(encoding="utf-8"))
        page = write_evaluation(result, options.output or options.evaluation.with_suffix(".html"))
    except OSError as error:
        sys.exit(f"error: {error}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"error: {options.evaluation} is not a result of this version's evaluate_hf.py ({error!r})")
    print(f"report: {page} (open it in a browser)")


if __name__ == "__main__":
    main()
