# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Runs the commands and the Python of the documents as they stand, and parses those that cannot be run here.

    make docs-check
    python -m docs.check README.md docs/training.md     # these alone
    python -m docs.check --parse                        # nothing is run: seconds

Each document gets a folder in which the names it uses are there: clips and corpora of the synthetic talker, a reader,
a small language model under SmolLM2's name on a Hub of its own (tests/helpers/hub_server.py). Training gets small
settings after those of the command. What was only parsed is listed with the reason, and so is what the tests run.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .commands import DOCUMENTS, REPOSITORY, Command, Refused, check, commands, redirected

LANGUAGE_MODEL = "HuggingFaceTB/SmolLM2-135M"
SMALL = (
    "--restart --max_steps 2 --logging_steps 1 --save_strategy steps --save_steps 1 --eval_strategy steps "
    "--eval_steps 1 --max_eval_clips 2 --per_device_train_batch_size 4 --hidden_size 32 --kp_temporal_layers 1 "
    "--kp_heads 2 --config_overrides adapter_heads=2,adapter_head_dim=8 --lm_vocab_size 300 --seq_len 60 "
    "--eval_max_new_tokens 6"
)
# By a pattern of the command: why it is not run. Whatever fits none of these is.
PARSED_ONLY = {
    r"^make|^PIP_EXTRA": "the demo and the tests are run by themselves",
    r"^pip |^python3 -m venv": "changes the environment, from the network",
    r"^tensorboard": "a server, which does not end",
    r"^hf ": "asks for a token",
    r"^ffmpeg": "a program of others",
    r"^lipread live(?! --source \S+\.mp4)": "needs a camera",
    r"^python app\.py": "a server, which does not end; tests/test_app.py",
    r"benchmarks\.": "minutes of quiet processors; benchmarks/ has tests of its own",
    r"fsdp2\.yaml|deepspeed\.yaml": "needs GPUs; tests/data/training/test_distributed.py runs FSDP2 on processors",
    r"data\.prepare merge": "needs what an array of jobs left; tests/data/preparation/test_prepare_shards.py",
    r"--engine ray|RAY_ADDRESS": "needs Ray; tests/data/preparation/test_prepare_ray.py",
    r"data\.embed|modeling_lipread/grid_reader": "works on the reader in the package itself",
    r"^export ": "a setting of the shell",
}
# Documents whose commands are run elsewhere, each with its own corpus and with what must come of it.
RUN_BY_TESTS = {"docs/corpora.md": r"data\.prepare", "CONTRIBUTING.md": r"data\.prepare|Folder"}
# What has to be there before a block of Python that goes on from what a reader of the page already has.
READER = 'from transformers import pipeline\nreader = pipeline(model="runs/grid", trust_remote_code=True)\n'
BEFORE = {"docs/confidence.md": READER}


class Outcome(NamedTuple):
    """What became of a command: `ran`, `parsed` with the reason, or `failed` with what was said."""

    command: Command
    kind: str
    words: str = ""
    seconds: float = 0.0


class Workplace:
    """Folders in which the documents' commands find what they name, and the Hub they speak to.

    Args:
        folder: An empty folder.
        hub: The Hub.
    """

    def __init__(self, folder: Path, hub):
        self.folder, self.hub, self.count = folder, hub, 0
        self.first = folder / "first"
        self.first.mkdir()
        binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **hub.environment(folder / "hf_home"),
            "PATH": binaries,
            "PYTHONPATH": str(REPOSITORY),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._fill()

    def _fill(self) -> None:
        from data.talker import make_corpus
        from tests.helpers.readers import write_language_model

        at = self.first
        for name in ("train_hf.py", "evaluate_hf.py", "configs", "accelerate_configs", "data", "modeling_lipread"):
            (at / name).symlink_to(REPOSITORY / name)
        shutil.copytree(REPOSITORY / "docs", at / "docs", ignore=shutil.ignore_patterns("__pycache__"))
        self.hub.add(LANGUAGE_MODEL, write_language_model(self.folder / "language_model"))
        made = self.folder / "talker"
        make_corpus(made, num_clips=6, num_test=2)
        for name in ("train", "test"):
            rows = (made / f"{name}.jsonl").read_text(encoding="utf-8")
            for copy in {"train": ["train"], "test": ["test", "validation", "unseen_speakers"]}[name]:
                for folder in (at, at / "grid"):
                    folder.mkdir(exist_ok=True)
                    (folder / f"{copy}.jsonl").write_text(rows, encoding="utf-8")
        for folder in (at, at / "grid"):
            shutil.copytree(made / "video", folder / "video")
        shutil.copyfile(at / "test.jsonl", at / "clips.jsonl")
        clip = next((made / "video").glob("test*.mp4"))
        for name in ("clip.mp4", "portrait.mp4", "talk.mp4", "interview.mp4", "talks/monday.mp4", "more/late/a.mkv"):
            (at / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(clip, at / name)
        (at / "transcripts.txt").write_text(
            "bin blue at f two now\nset red with q four please\n" * 20, encoding="utf-8"
        )
        python = [sys.executable, "-m"]
        self._do([*python, "data.prepare", *(f"grid/{name}.jsonl" for name in ("train", "validation", "test"))]
                 + ["grid/unseen_speakers.jsonl", "--output", "corpora/grid", "--num_proc", "0"], at)  # fmt: skip
        shutil.copytree(at / "corpora" / "grid", at / "corpus")
        shutil.copytree(at / "corpora" / "grid", at / "prepared" / "grid")
        # The reader in the package, with its code beside it, as one that training left.
        publish = ["lipread.cli", "publish", "modeling_lipread/grid_reader", "--repo_id", "you/lipread-grid"]
        self._do([*python, *publish, "--dry_run", "--output", "runs/grid"], at)
        self.hub.add("you/lipread-grid", at / "runs" / "grid")
        train = ["train_hf.py", "--dataset", "corpus", "--model_id", LANGUAGE_MODEL, "--output_dir", "runs/a"]
        self._do([sys.executable, *train, *shlex.split(SMALL)], at)

    def _do(self, words: list[str], at: Path) -> None:
        done = self.run(words, at)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")

    def run(self, words: list[str], at: Path, **variables: str) -> subprocess.CompletedProcess:
        """Runs a program there, with this Python's programs found first."""
        words, target = redirected(words)
        program = shutil.which(words[0], path=self.environment["PATH"]) or words[0]
        done = subprocess.run(
            [program, *words[1:]], cwd=at, env={**self.environment, **variables}, capture_output=True, text=True,
            timeout=600,
        )  # fmt: skip
        if target is not None:
            (at / target).write_text(done.stdout, encoding="utf-8")
        return done

    def fresh(self) -> Path:
        """A folder for a document, in which nothing has been done yet."""
        self.count += 1
        return shutil.copytree(self.first, self.folder / str(self.count), symlinks=True)


def as_run(command: Command) -> tuple[dict[str, str], list[str]]:
    """The variables and the words of a command as they are run here: small where it trains, a few processes."""
    words = shlex.split(command.text)
    variables = {}
    while re.fullmatch(r"\w+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    if "train_hf.py" in words:
        given = "" if any(each in words for each in ("--model_id", "--lm_config", "--config")) else LANGUAGE_MODEL
        more = ["--model_id", given, "--output_dir", "runs/more"] if given else []
        more += [] if "--dataset" in words or "--train_text" in words else ["--dataset", "corpus/"]
        words = [word for word in words if word != "..."] + more + shlex.split(SMALL)
    if "--num_processes" in words:
        words[words.index("--num_processes") + 1] = "2"
    if "data.prepare" in words:  # into folders that a reader of the page may have, too
        words += ["--num_proc", "0", "--overwrite"]
    return variables, words


def reason_not_to_run(command: Command) -> str | None:
    """Why a command is only parsed; `None` if it is run."""
    if command.language == "inline":
        return "in a sentence"
    if command.language in ("script", "json", "yaml"):
        return {
            "script": "a script, whose own commands are parsed",
            "json": "no command, but JSON",
            "yaml": "no command, but YAML",
        }[command.language]
    if re.search(RUN_BY_TESTS.get(command.document, "$^"), command.text):
        return "tests/test_documents.py runs it"
    return next((reason for pattern, reason in PARSED_ONLY.items() if re.search(pattern, command.text)), None)


def run_document(document: str, workplace: Workplace | None) -> Iterator[Outcome]:
    """Checks everything in a document, and runs what can be run, in order, in a folder of its own."""
    at = None
    for command in commands(document):
        try:
            check(command)
        except Refused as refused:
            yield Outcome(command, "failed", str(refused))
            continue
        reason = reason_not_to_run(command) or ("nothing was to be run" if workplace is None else None)
        if reason:
            yield Outcome(command, "parsed", reason)
            continue
        at = at or workplace.fresh()
        if command.language == "python":
            variables, words = {}, [sys.executable, "-c", BEFORE.get(document, "") + command.text]
        else:
            variables, words = as_run(command)
        start = time.perf_counter()
        try:
            done = workplace.run(words, at, **variables)
            said = done.stderr[-3000:] if done.returncode else ""
            kind = "failed" if done.returncode else "ran"
        except (OSError, subprocess.TimeoutExpired) as error:
            kind, said = "failed", str(error)
        yield Outcome(command, kind, said, time.perf_counter() - start)


def show(outcome: Outcome) -> str:
    """A line of what became of a command, and what it said if it failed."""
    text = outcome.command.text.strip().splitlines()[0]
    if outcome.kind == "failed":
        return f"failed {outcome.command.place:<32} {text}\n{outcome.words}"
    note = f"{outcome.seconds:.0f} s" if outcome.kind == "ran" else outcome.words
    return f"{outcome.kind:<6} {outcome.command.place:<32} {text[:90]}  [{note}]"


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description="Runs or parses every command of the documents.")
    parser.add_argument("documents", nargs="*", help="paths in the repository (default: all)")
    parser.add_argument("--parse", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    os.chdir(REPOSITORY)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        workplace = None
        if not options.parse:
            from tests.helpers.hub_server import TOKEN, HubServer

            hub = HubServer({TOKEN: "you"}).__enter__()
            workplace = Workplace(Path(folder), hub)
        for document in options.documents or DOCUMENTS:
            for outcome in run_document(document, workplace):
                outcomes.append(outcome)
                print(show(outcome), flush=True)
        if workplace is not None:
            hub.__exit__()
    count = {kind: sum(outcome.kind == kind for outcome in outcomes) for kind in ("ran", "parsed", "failed")}
    print(f"{count['ran']} ran, {count['parsed']} were only parsed, {count['failed']} failed")
    return int(count["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
