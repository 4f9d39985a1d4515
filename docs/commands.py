# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finds the commands of the documents and parses each of them with the parser of the program that it starts.

Bash itself reads the shell blocks: it runs them with an empty search path, and its handler for unknown commands writes
down every command with its arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from data.training.arguments import parse_arguments

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "model_card.md", "modeling_lipread/grid_reader/README.md"]
DOCUMENTS += sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:python3?|lipread|accelerate launch|torchrun) [^`]+)`(?!`)")
PLACEHOLDER = re.compile(r"\[|\b[A-Z]{2,}\b(?!=)")  # `lipread export READER --output DIR`
RECORD = (
    'exec 3>&{0}; PATH=/nowhere; source() {{ :; }}; srun() {{ command_not_found_handle "$@"; }}; '
    "command_not_found_handle() {{ printf '%s\\0' ${{BASH_LINENO[-1]}} \"$@\" '' >&3; }}\n"
)
VARIABLES = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": "2"}
# Programs of other projects. Their arguments are not checked.
FOREIGN = {"pip", "tensorboard", "hf", "ffmpeg", "curl", "docker"}


class Refused(ValueError):
    """Raised for a command that its program would not accept, or a block that does not parse."""


class Command(NamedTuple):
    """A command or block of a document."""

    document: str  # path in the repository
    line: int  # of the document, from 1
    language: str  # bash, python, json, yaml, or inline for a command inside a sentence
    text: str  # the block, or the command as one line of shell


def commands(document: str) -> list[Command]:
    """Returns the commands and blocks of a document in their order; raises Refused if bash cannot parse a block."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    found = []
    for block in FENCE.finditer(text):
        language, code = block.groups()
        line = text[: block.start(2)].count("\n") + 1
        if language == "bash":
            found += [Command(document, line + offset, "bash", shlex.join(words)) for offset, words in shell(code)]
        elif language:
            found.append(Command(document, line, language, code))
    blank = FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    for inline in INLINE.finditer(blank):
        line = blank[: inline.start()].count("\n") + 1
        found.append(Command(document, line, "inline", " ".join(inline[1].split())))
    return sorted(found, key=lambda command: command.line)


def shell(code: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the line (from 0) and the words of every command that a block of shell would start; see `commands`."""
    read, write = os.pipe()
    with tempfile.TemporaryDirectory() as folder, open(read, encoding="utf-8") as records:
        settings = {"cwd": folder, "env": os.environ | VARIABLES, "pass_fds": [write]}
        done = subprocess.run(["bash", "-c", RECORD.format(write) + code], capture_output=True, text=True, **settings)
        os.close(write)
        if done.stderr:
            raise Refused(done.stderr.strip())
        for record in records.read().split("\0\0")[:-1]:
            line, *words = record.split("\0")
            yield int(line) - 2, words


def check(command: Command) -> None:
    """Parses a command or block without running it; raises Refused if its program would not accept it."""
    try:
        if command.language == "python":
            compile(command.text, f"{command.document}:{command.line}", "exec")
        elif command.language == "json":
            [json.loads(line) for line in command.text.splitlines()]
        elif command.language == "yaml":
            list(yaml.safe_load_all(command.text))
        elif command.language == "bash" or not PLACEHOLDER.search(command.text):
            _check_words(*shlex.split(command.text))
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        # A sentence may name a command without all of its arguments.
        if command.language != "inline" or "arguments are required" not in str(error):
            raise Refused(str(error)) from error


def _check_words(program: str, *arguments: str) -> None:
    if program in ("python", "python3"):
        _check_program(*arguments[arguments[0] == "-m" :])
    elif program in ("accelerate", "torchrun"):
        parser = launch_command_parser() if program == "accelerate" else get_args_parser()
        taken = _parse(parser.parse_args, arguments[program == "accelerate" :])  # without `launch`
        config = getattr(taken, "config_file", None)
        if config and not (REPOSITORY / config).is_file():
            raise Refused(f"there is no file {config}")
        _check_program(taken.training_script, *taken.training_script_args)
    elif program == "lipread":
        (command,) = entry_points(group="console_scripts", name="lipread")
        _check_program(command.module, *arguments)
    elif program == "make":
        done = subprocess.run(["make", "--dry-run", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stderr.strip())
    elif program not in FOREIGN:
        raise Refused(f"the documents may not name the program {program}")


def _check_program(name: str, *arguments: str) -> None:
    """Checks a module, or a script by its path, of this repository."""
    module = name.removesuffix(".py").replace("/", ".")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise Refused(f"there is no {name}")
    if module == "train_hf":  # it reads the recipe of --config, too
        _parse(parse_arguments, [*arguments, "--use_cpu"])
    # Scripts of other projects are not checked; ours of these names take paths by position, without a parser.
    elif Path(found.origin or "").is_relative_to(REPOSITORY) and not module.startswith("examples."):
        parse_and_stop = mock.patch.object(argparse.ArgumentParser, "parse_args", _parse_and_stop)
        with mock.patch.object(sys, "argv", [name, *arguments]), parse_and_stop:
            _parse(lambda _: runpy.run_module(module, run_name="__main__"), arguments)


class _Parsed(BaseException):
    """Stops a program after it has parsed its arguments."""


def _parse_and_stop(parser: argparse.ArgumentParser, args=None, namespace=None):
    _, unknown = parser.parse_known_args(args, namespace)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    raise _Parsed


def _parse(parse: Callable[[Sequence[str]], Any], arguments: Sequence[str]) -> Any:
    """Returns `parse(arguments)`; raises Refused with the parser's message."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            return parse(arguments)
    except _Parsed:
        return None
    except (SystemExit, ValueError) as error:
        if isinstance(error, SystemExit) and error.code == 0:
            return None  # --help
        raise Refused((errors.getvalue().strip() or str(error)).splitlines()[-1]) from error
