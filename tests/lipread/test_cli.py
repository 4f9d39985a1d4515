# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The command as a process: what it imports for help and mistakes, the encoding of its output, interruptions."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from lipread.commands import COMMANDS
from lipread.options import use_utf8
from lipread.settings import FACES
from modeling_lipread import face_tracking_lipread
from tests.helpers.training import REPOSITORY

HEAVY = "torch transformers numpy mediapipe av cv2 PIL huggingface_hub modeling_lipread webvtt icu4py regex tqdm"


def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess:
    """Runs the command as a process; its output is bytes."""
    command = [sys.executable, "-m", "lipread.cli", *map(str, arguments)]
    environment = {**os.environ, **settings.pop("env", {})}
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, env=environment, **settings)


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
    """Held by the names of modules, since times depend on the machine."""
    code = (
        "import sys; import lipread.cli; before = set(sys.modules)\n"
        f"try: status = lipread.cli.main({arguments.split()!r})\n"
        "except SystemExit as end: status = end.code or 0\n"
        f"loaded = set({HEAVY.split()!r}) & sys.modules.keys()\n"
        "print(f'status {status}, loaded {sorted(loaded)}', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    *messages, last = done.stderr.splitlines()
    assert last == f"status {status}, loaded []"
    assert len(messages) == (status > 0) and all(message.startswith("lipread: ") for message in messages)


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


@pytest.fixture(scope="module")
def named(grid_dir, tmp_path_factory):
    """A clip under a name in Japanese, one under bytes that are not UTF-8, and one more."""
    folder = tmp_path_factory.mktemp("named")
    clip = next((grid_dir / "video" / "s1").iterdir())
    for name in ("日本語.mp4", os.fsdecode(b"caf\xe9.mp4"), "z.mp4"):
        shutil.copyfile(clip, folder / name)
    return folder


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
def test_output_and_files_are_utf8_whatever_the_system_has(named, tmp_path):
    system = {"env": {"PYTHONIOENCODING": "cp1252"}}
    done = run("transcribe", named, "--device", "cpu", "-f", "json", **system)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    files = [json.loads(line)["file"] for line in done.stdout.decode("utf-8").splitlines()]
    assert sorted(files) == sorted(map(os.fspath, named.iterdir())), "an escape in JSON is the name itself"
    done = run("transcribe", named, "--device", "cpu", "-f", "all", "-o", tmp_path, **system)
    assert done.returncode == 0, done.stderr
    written = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
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
def test_an_interruption_is_no_traceback(named, module):
    """Ctrl-C while a module is imported."""
    command = [sys.executable, "-c", INTERRUPTED, module, str(named / "z.mp4")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
