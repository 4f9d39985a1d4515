# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Commands and scripts as processes: what they load for help and mistakes, threads, encoding, interruptions."""

import gc
import io
import json
import os
import shutil
import subprocess
import sys

import pytest

import modeling_lipread
from lipread.commands import COMMANDS
from lipread.options import use_utf8
from lipread.settings import FACES
from lipread.start_up import MAX_THREADS, SPIN_COUNT, quick_imports, usable_cores
from modeling_lipread import face_tracking_lipread
from tests.helpers.clips import EXAMPLE
from tests.helpers.training import REPOSITORY, run_python

HEAVY = "torch transformers numpy mediapipe av cv2 PIL huggingface_hub modeling_lipread webvtt icu4py regex tqdm"


@pytest.mark.parametrize(
    "arguments, status",
    [
        ("--help", 0),
        ("--version", 0),
        *((f"{add_command.__name__.removeprefix('add_')} --help", 0) for add_command in COMMANDS),
        ("transcribe", 2),
        ("transcribe setup.cfg --beam_size 0", 2),
        ("transcribe setup.cfg --output_format all", 2),
        ("transcribe setup.cfg --model /nowhere/reader", 2),
        ("transcribe setup.cfg --end 0", 2),
        ("transcribe missing.mp4", 1),
        ("transcribe https://example.org/clip.mp4?size=1", 1),
        ("overlay missing.mp4 --output overlay.mp4", 1),
        ("replay setup.cfg --output setup.cfg", 2),
        *((f"{command} --source missing.mp4", 1) for command in ("live", "doctor", "enroll README.md --output book")),
        ("publish missing --repo_id you/reader", 2),
    ],
)
def test_help_and_mistakes_load_no_library(arguments, status):
    found, messages, modules = run_and_list_modules("lipread.cli", *arguments.split())
    assert found == status and not modules & set(HEAVY.split())
    assert len(messages) == (status > 0) and all(message.startswith("lipread: ") for message in messages)


def test_a_clip_is_read_without_libraries_of_training_and_drawing():
    status, messages, modules = run_and_list_modules("lipread.cli", "transcribe", "examples/clip.mp4")
    assert (status, messages) == (0, []) and {"torch", "ai_edge_litert", "av"} <= modules
    assert not modules & {"mediapipe", "matplotlib", "torchvision", "datasets", "pyarrow", "pandas", "sklearn", "peft"}


def run_and_list_modules(script: str, *arguments: str) -> tuple[int, list[str], set[str]]:
    """Returns the status, the messages and the loaded modules of a script; times would depend on the machine."""
    code = (
        f"import runpy, sys; sys.argv = {[script, *arguments]!r}\n"
        f"try: runpy.run_module({script!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: print(end.code or 0, *sys.modules, file=sys.stderr)"
    )
    *messages, last = run_python("-c", code).stderr.splitlines()
    status, *modules = last.split()
    return int(status), messages, set(modules)


def test_faces_are_those_of_the_model():
    assert FACES == face_tracking_lipread.FACES


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_named(unbuffered):
    command, environment = [sys.executable, "-m", "lipread.cli", "--version"], {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:
        pipes = {"stdout": full, "stderr": subprocess.PIPE, "env": os.environ | environment}
        done = subprocess.run(command, cwd=REPOSITORY, text=True, **pipes)
    said = "lipread: standard output: No space left on device; a part of it is lost\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_every_text_prints(encoding, monkeypatch):
    """To a file or pipe as UTF-8, to a terminal in its own encoding, with escapes for what it cannot show."""
    for is_terminal in (False, True):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(stream, "isatty", lambda shown=is_terminal: shown, raising=False)
        monkeypatch.setattr(sys, "stdout", stream)
        use_utf8()
        print("日本語 é caf\udce9.mp4", flush=True)
        monkeypatch.undo()
        printed = stream.buffer.getvalue().decode(encoding if is_terminal else "utf-8")
        assert printed.endswith(" caf\\udce9.mp4\n")
        assert printed.startswith("日本語 é" if not is_terminal or encoding == "utf-8" else "\\u65e5\\u672c")


@pytest.mark.slow
def test_output_and_files_are_utf8_whatever_the_system_has(tmp_path, monkeypatch):
    """With a clip under a name in Japanese, one under bytes that are not UTF-8, and one more."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    clips = [tmp_path / name for name in ("日本語.mp4", os.fsdecode(b"caf\xe9.mp4"), "z.mp4")]
    for clip in clips:
        shutil.copyfile(EXAMPLE, clip)
    done = run_python("-m", "lipread.cli", "transcribe", tmp_path, "--device", "cpu", "-f", "json")
    assert "Traceback" not in done.stderr
    files = [json.loads(line)["file"] for line in done.stdout.splitlines()]
    assert sorted(files) == sorted(map(os.fspath, clips)), "an escape in JSON is the name itself"
    output = tmp_path / "output"
    run_python("-m", "lipread.cli", "transcribe", tmp_path, "--device", "cpu", "-f", "all", "-o", output)
    written = [path for path in output.iterdir() if not path.name.startswith(".")]
    assert len(written) == 3 * 5 and all(path.read_text(encoding="utf-8") for path in written)


INTERRUPTED = """
import importlib.abc, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
class Interruption(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interruption())
from lipread.cli import main
sys.exit(main(["transcribe", sys.argv[2], "--device", "cpu"]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to oneself")
@pytest.mark.parametrize("module", ["lipread.commands", pytest.param("transformers", marks=pytest.mark.slow)])
def test_an_interruption_is_no_traceback(module):
    """Ctrl-C while a module is imported."""
    assert "Traceback" not in run_python("-c", INTERRUPTED, module, EXAMPLE, status=130).stderr


VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
DATA_COMMANDS = ("calibrate", "export", "hallucination", "prepare", "report", "talker")
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
    for option, status in ("--help", 0), ("--nonsense", 2):
        found, _, modules = run_and_list_modules(command, option)
        assert found == status and not modules & {"torch", "transformers", "mediapipe"}
        assert "datasets" not in modules or command in ("data.export", "data.report")  # one file each


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
