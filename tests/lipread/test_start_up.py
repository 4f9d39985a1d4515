# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What commands and scripts do before they load the libraries, each in a process of its own."""

import gc
import os
import subprocess
import sys

import pytest

import modeling_lipread
from lipread.start_up import MAX_THREADS, SPIN_COUNT, quick_imports, usable_cores
from tests.helpers.training import REPOSITORY, run_python

VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
DATA_COMMANDS = ("calibrate", "export", "hallucination", "phrases", "prepare", "replay", "report", "talker")
# Prints the variables of the threads, and ends, where the first library is loaded that may read them.
WATCHED = f"""
import importlib.abc, os, runpy, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("torch", "numpy", "uvicorn"):
            print(*map(os.environ.get, {VARIABLES!r}), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
del sys.argv[0]
if sys.argv[0].endswith(".py"):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
THREADS = min(MAX_THREADS, usable_cores())


@pytest.mark.parametrize(
    "command, threads",
    [
        ("lipread.cli transcribe setup.cfg", THREADS),
        ("lipread.cli live --source setup.cfg", max(1, THREADS - 1)),
        ("app.py", 1),
        ("train_hf.py --nonsense", THREADS),
        ("evaluate_hf.py runs/none corpora/none", THREADS),
        ("data.calibrate runs/none corpora/none", THREADS),
        ("data.prepare missing.jsonl --output corpus", THREADS),
        ("benchmarks.run --help", THREADS),
    ],
)
def test_threads_are_limited_before_the_libraries_are_loaded(command, threads):
    chosen = {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"}
    for user, expected in (
        ({}, f"{threads} passive {SPIN_COUNT}"),
        (chosen, "3 active None"),
        ({"GOMP_SPINCOUNT": "7"}, f"{threads} None 7"),
    ):
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | user
        line = [sys.executable, "-c", WATCHED, *command.split()]
        done = subprocess.run(line, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.stdout.split("\n")[-2:] == [expected, ""], done.stderr


@pytest.mark.parametrize("command", ["evaluate_hf", *(f"data.{name}" for name in DATA_COMMANDS)])
def test_help_and_wrong_options_load_no_large_library(command):
    """Held by the names of modules, since times depend on the machine."""
    for options, status in (["--help"], 0), (["--nonsense"], 2):
        code = (
            "import runpy, sys\n"
            f"sys.argv = [{command!r}, *{options!r}]\n"
            f"try: runpy.run_module({command!r}, run_name='__main__', alter_sys=True)\n"
            "except SystemExit as end: status = end.code or 0\n"
            "print(status, {'torch', 'transformers', 'datasets', 'mediapipe'} & sys.modules.keys(), file=sys.stderr)"
        )
        assert run_python("-c", code).stderr.splitlines()[-1] == f"{status} set()"


def test_video_and_landmarks_need_no_torch():
    modules = "data.preparation.workers, lipread.live.source, lipread.overlay, modeling_lipread"
    code = f"import sys, {modules}; print({{'torch', 'transformers'}} & sys.modules.keys())"
    assert run_python("-c", code).stdout == "set()\n"


def test_the_package_has_what_it_names():
    assert all(getattr(modeling_lipread, name) is not None for name in modeling_lipread.__all__)
    with pytest.raises(AttributeError, match="'modeling_lipread' has no attribute 'Nonsense'"):
        modeling_lipread.Nonsense  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "import modeling_lipread; from transformers import AutoModel",
        "from transformers import AutoModel; import lipread, modeling_lipread",
        "import lipread, modeling_lipread; modeling_lipread.register(); from transformers import AutoModel",
        "import lipread; from modeling_lipread import LipReadConfig; from transformers import AutoModel",
    ],
)
@pytest.mark.slow
def test_a_reader_loads_after_registration(reader_dir, first):
    code = f"{first}; print(type(AutoModel.from_pretrained({str(reader_dir)!r})))"
    assert "LipReadForConditionalGeneration" in run_python("-c", code).stdout


def test_collection_is_off_during_imports_alone():
    assert gc.isenabled()
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count()
    gc.unfreeze()
