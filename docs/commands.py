# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Finds the commands of the documents and parses each of them with the parser of the program that it starts.

Bash itself reads the shell blocks: it runs them with an empty search path, and its handler for unknown commands writes
down every command with its arguments. Loops, variables, quotes and redirections need no code here.
"""

from __future__ import annotations

import argparse
import configparser
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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import yaml

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
FOREIGN = {"pip", "tensorboard", "hf", "ffmpeg"}


class Refused(ValueError):
    """A command that its program would not accept, or a block that does not parse."""


class Command(NamedTuple):
    """One command or block of a document.

    Args:
        document: Path in the repository.
        line: Line of the document where it begins, from 1.
        language: `bash`, `python`, `json`, `yaml`, or `inline` for a command inside a sentence.
        text: The block, or the command as one line of shell.
    """

    document: str
    line: int
    language: str
    text: str


def commands(document: str) -> list[Command]:
    """Returns the commands and blocks of a document in their order.

    Args:
        document: Path in the repository.

    Raises:
        Refused: Bash cannot parse a block.
    """
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
    """Yields the line (from 0) and the words of every command that a block of shell would start.

    Raises:
        Refused: Bash cannot parse the block.
    """
    read, write = os.pipe()
    with tempfile.TemporaryDirectory() as folder, open(read, encoding="utf-8") as records:
        done = subprocess.run(
            ["bash", "-c", RECORD.format(write) + code], cwd=folder, env=os.environ | VARIABLES, pass_fds=[write],
            capture_output=True, text=True,
        )  # fmt: skip
        os.close(write)
        if done.stderr:
            raise Refused(done.stderr.strip())
        for record in records.read().split("\0\0")[:-1]:
            line, *words = record.split("\0")
            yield int(line) - 2, words


def check(command: Command) -> None:
    """Parses a command or block without running it.

    Raises:
        Refused: The program does not accept the arguments, a file is missing, or the block does not parse.
    """
    try:
        if command.language == "python":
            compile(command.text, f"{command.document}:{command.line}", "exec")
        elif command.language == "json":
            [json.loads(line) for line in command.text.splitlines()]
        elif command.language == "yaml":
            list(yaml.safe_load_all(command.text))
        elif command.language == "bash":
            _check_words(shlex.split(command.text))
        elif not PLACEHOLDER.search(command.text):
            _check_words(shlex.split(command.text))
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        # A sentence may name a command without all of its arguments.
        if command.language != "inline" or "arguments are required" not in str(error):
            raise Refused(str(error)) from error


def _check_words(words: list[str]) -> None:
    program, *arguments = words
    if program in ("python", "python3") and arguments[0] == "-m":
        _check_program(*arguments[1:])
    elif program in ("python", "python3"):
        _check_program(*arguments)
    elif program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        taken = _parse(launch_command_parser().parse_args, arguments[1:])
        if taken.config_file and not (REPOSITORY / taken.config_file).is_file():
            raise Refused(f"there is no file {taken.config_file}")
        _check_program(taken.training_script, *taken.training_script_args)
    elif program == "torchrun":
        from torch.distributed.run import get_args_parser

        taken = _parse(get_args_parser().parse_args, arguments)
        _check_program(taken.training_script, *taken.training_script_args)
    elif program == "lipread":
        setup = configparser.ConfigParser()
        setup.read(REPOSITORY / "setup.cfg")
        _check_program(
            setup["options.entry_points"]["console_scripts"].split("=")[1].split(":")[0].strip(), *arguments
        )
    elif program == "make":
        done = subprocess.run(["make", "--dry-run", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stderr.strip())
    elif program not in FOREIGN:
        raise Refused(f"the documents may not name the program {program}")


def _check_program(name: str, *arguments: str) -> None:
    """Checks a module, or a script by its path, of this repository."""
    if name == "train_hf.py":  # it reads the recipe of --config, too
        parse = runpy.run_path(str(REPOSITORY / name), run_name="train_hf")["parse_arguments"]
        _parse(parse, [*arguments, "--use_cpu"])
        return
    module = name.removesuffix(".py").replace("/", ".")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise Refused(f"there is no {name}")
    ours = found.origin is None or Path(found.origin).is_relative_to(REPOSITORY)
    # The scripts of these names take paths by position, without a parser.
    if ours and not module.startswith(("docs.plot", "docs.draw", "examples.")):
        with mock.patch.object(sys, "argv", [name, *arguments]):
            _parse(lambda _: runpy.run_module(module, run_name="__main__"), arguments, stop=True)


class _Parsed(BaseException):
    """Stops a program after it has parsed its arguments."""


def _parse(parse, arguments, stop: bool = False):
    """Calls `parse(arguments)`; turns an error of the parser into `Refused` with the parser's message."""
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(*args, **kwargs):
        real(*args, **kwargs)
        raise _Parsed

    errors = io.StringIO()
    patch = mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop if stop else real)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors), patch:
            return parse(arguments)
    except _Parsed:
        return None
    except (SystemExit, ValueError) as error:
        if isinstance(error, SystemExit) and error.code == 0:
            return None  # --help
        raise Refused((errors.getvalue().strip() or str(error)).splitlines()[-1]) from error
