# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Imports run one way, train_hf.py, evaluate_hf.py, app.py -> data -> lipread -> modeling_lipread."""

import subprocess
import sys

from tests.helpers.training import REPOSITORY


def test_imports_run_one_way_and_without_a_circle():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
