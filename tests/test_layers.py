# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Imports run one way, train_hf.py, evaluate_hf.py, app.py -> data -> lipread -> modeling_lipread."""

from tests.helpers.training import run_python


def test_imports_run_one_way_and_without_a_circle():
    run_python("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")
