# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the tests of `data.prepare` share."""

import json
import time

from datasets import load_from_disk


def write_manifest(folder, name, lines):
    path = folder / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def all_rows(corpus):
    """Every row of every split as Arrow tables."""
    return {split: dataset.with_format("arrow")[:] for split, dataset in load_from_disk(corpus).items()}


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
