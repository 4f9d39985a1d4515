# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Draws the share of correct words by score, from the JSON file of evaluate_hf.py:

python -m docs.plot_reliability runs/grid/evaluation-test.json docs/reliability.png
"""

import json
import sys
from pathlib import Path

from data.evaluation import plots


def main(evaluation: str, output: str) -> None:
    """Draws the plot.

    Args:
        evaluation: JSON file that evaluate_hf.py wrote.
        output: PNG file to write.
    """
    found = json.loads(Path(evaluation).read_text(encoding="utf-8"))["reliability"]
    plots.reliability(found).savefig(output, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
