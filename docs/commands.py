# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The commands and Python of the documents: where they stand, and whether the programs they name would take them.

A command is parsed by the very parser of the program that it starts, which is stopped before it does anything.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "model_card.md", "modeling_lipread/grid_reader/README.md"]
DOCUMENTS += sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:python3?|lipread|accelerate launch|torchrun) [^`]+)`(?!`)")
PATTERN = re.compile(r"\[|\b[A-Z]{2,}\b(?!=)|\bFILE\b")  # `python -m data.prepare SOURCE [SOURCE ...]` is none
ASSIGNMENT = re.compile(r"\w+=.*")
# Programs of others, which only have to be ones that the documents may name.
KNOWN = {"pip", "tensorboard", "hf", "ffmpeg", "export", "conda", "docker"}


@dataclass(frozen=True)
class Command:
    """Something to run: a line of a shell, a whole script of one, or a block of Python.

    Args:
        document: Its path in the repository.
        line: The line where it begins, from 1.
        text: As it stands, comments and continued lines put together.
        language: `bash`, `script` (shell that is more than commands), `python`, or `inline` (a shell command in a
            sentence).
    """

    document: str
    line: int
    text: str
    language: str

    @property
    def place(self) -> str:
        """Where it stands."""
        return f"{self.document}:{self.line}"


class Refused(ValueError):
    """What the program that a command starts says of its arguments."""


class _Parsed(BaseException):
    """Raised once the arguments have been taken, before anything is done."""


def commands(document: str) -> list[Command]:
    """Everything that a document asks its reader to run, in order.

    Args:
        document: Path in the repository.

    Raises:
        ValueError: A fence of a language that nothing here checks.
    """
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    found = []
    for fence in FENCE.finditer(text):
        language, code = fence.groups()
        line = text[: fence.start(2)].count("\n") + 1
        if language == "bash" and re.search(r"^#!|^(for|while|if) ", code, re.MULTILINE):
            found.append(Command(document, line, code, "script"))
        elif language == "bash":
            found += [Command(document, line + offset, each, "bash") for offset, each in shell_lines(code)]
        elif language == "python":
            found.append(Command(document, line, code, "python"))
        elif language in ("json", "yaml"):
            found.append(Command(document, line, code, language))
        elif language:
            raise ValueError(f"{document}:{line}: nothing checks blocks of {language}")
    fenced = [fence.span() for fence in FENCE.finditer(text)]
    for inline in INLINE.finditer(text):
        if not any(start <= inline.start() < end for start, end in fenced):
            line = text[: inline.start()].count("\n") + 1
            found.append(Command(document, line, " ".join(inline[1].split()), "inline"))
    return sorted(found, key=lambda command: command.line)


def shell_lines(code: str) -> Iterator[tuple[int, str]]:
    """Commands of a block of shell with the lines they begin in, from 0; lines that go on are put together."""
    first, parts = 0, []
    for number, line in enumerate(code.splitlines()):
        first = first if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            words = shlex.split(" ".join(parts), comments=True)
            if words:
                yield first, shlex.join(words)
            parts = []


def check(command: Command) -> None:
    """Makes sure that a command could be run.

    Args:
        command: Any.

    Raises:
        Refused: If a program, a file or an argument that it names is not there, or its code does not parse.
    """
    if command.language == "python":
        try:
            compile(command.text, command.place, "exec")
        except SyntaxError as error:
            raise Refused(str(error)) from error
    elif command.language == "json":
        for line in command.text.splitlines():
            json.loads(line)
    elif command.language == "yaml":
        list(yaml.safe_load_all(command.text))
    elif command.language == "script":
        bash = shutil.which("bash")
        done = bash and subprocess.run([bash, "-n"], input=command.text, capture_output=True, text=True)
        if done and done.returncode:
            raise Refused(done.stderr.strip())
        for each in inner_commands(command.text):
            check_words(shlex.split(each))
    elif command.language == "bash":
        check_words(shlex.split(command.text))
    elif not PATTERN.search(command.text):
        try:
            check_words(shlex.split(command.text))
        except Refused as refused:  # a sentence may name a command without all of its arguments
            if "arguments are required" not in str(refused):
                raise


def inner_commands(script: str) -> list[str]:
    """The commands of a script that start something of ours, with the first value of each of its loops."""
    script = script.replace("\\\n", " ")
    for name, values in re.findall(r"for (\w+) in (.*?); do", script):
        script = script.replace(f"${name}", shlex.split(values)[0])
    script = re.sub(r'"?\$\w+(/16)?"?', lambda found: "1" + (found[1] or ""), script)
    lines = [line.strip().removeprefix("srun ") for line in script.splitlines()]
    return [line for line in lines if re.match(r"python3? |lipread |accelerate |torchrun ", line)]


def check_words(words: list[str]) -> None:
    """Parses a command by the program that it names.

    Raises:
        Refused: If that would not take it.
    """
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    words, _ = redirected([word for word in words if word != "..."])
    program, arguments = words[0], words[1:]
    if program in ("python", "python3"):
        if arguments[0] == "-m":
            _parse_module(arguments[1], arguments[2:])
        else:
            _parse_script(arguments[0], arguments[1:])
    elif program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        taken = _parse(launch_command_parser().parse_args, arguments[1:])
        if taken.config_file:
            _is_there(taken.config_file)
        _parse_script(taken.training_script, taken.training_script_args)
    elif program == "torchrun":
        from torch.distributed.run import get_args_parser

        taken = _parse(get_args_parser().parse_args, arguments)
        _parse_script(taken.training_script, taken.training_script_args)
    elif program == "lipread":
        _parse_module("lipread.cli", arguments)
    elif program == "make":
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        for target in (word for word in arguments if "=" not in word):
            if not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE):
                raise Refused(f"the Makefile has no target {target}")
    elif program not in KNOWN:
        raise Refused(f"nobody knows the program {program}")


def redirected(words: list[str]) -> tuple[list[str], str | None]:
    """A command without `> FILE` at its end, and the file."""
    return (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, None)


def _is_there(path: str) -> None:
    if not (REPOSITORY / path).is_file():
        raise Refused(f"there is no {path}")


def _parse_script(path: str, arguments: list[str]) -> None:
    _is_there(path)
    if path == "train_hf.py":
        from data.training.arguments import parse_arguments

        _parse(parse_arguments, [*arguments, "--use_cpu"])
    else:
        _parse_module(path.removesuffix(".py").replace("/", "."), arguments)


def _parse_module(name: str, arguments: list[str]) -> None:
    if importlib.util.find_spec(name) is None:
        raise Refused(f"there is no module {name}")
    package = importlib.util.find_spec(name).submodule_search_locations is not None
    source = importlib.util.find_spec(f"{name}.__main__" if package else name)
    if source is None:
        raise Refused(f"the module {name} is no program")
    if "argparse" not in Path(source.origin).read_text(encoding="utf-8"):
        return  # a script that takes paths by their place
    with mock.patch.object(sys, "argv", [source.origin, *arguments]):
        _parse(lambda _: runpy.run_module(name, run_name="__main__"), arguments, stop=True)


def _parse(parse: Callable, arguments: list[str], stop: bool = False) -> Any:
    """Lets a program take its arguments and stops it there; what its parser prints becomes the error."""
    real = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *args, **kwargs):
        real(parser, *args, **kwargs)
        raise _Parsed

    said = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(said))
        if stop:
            stack.enter_context(mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop))
        try:
            return parse(arguments)
        except _Parsed:
            return None
        except (SystemExit, ValueError) as error:
            if isinstance(error, SystemExit) and error.code == 0:
                return None  # --help
            printed = said.getvalue().strip().splitlines() or [str(error)]
            raise Refused(printed[-1]) from error
