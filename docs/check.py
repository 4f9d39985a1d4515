# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Parses every command and every Python block of the documents, and runs those that can run on any machine.

    make docs-check
    python -m docs.check README.md docs/training.md     # these documents only

Each document gets its own folder with the files that its commands name: clips and corpora of the synthetic talker, a
trained model, and a Hub on this machine (`tests/helpers/hub_server.py`) that holds a small language model under the
name of SmolLM2. Training commands get a few small settings appended. Commands that are only parsed are listed with the
reason.
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
from pathlib import Path

from tests.helpers.hub_server import HubServer
from tests.helpers.readers import write_language_model

from .commands import DOCUMENTS, REPOSITORY, Command, Refused, check, commands

LANGUAGE_MODEL = "HuggingFaceTB/SmolLM2-135M"
SMALL = (
    "--restart --max_steps 2 --logging_steps 1 --save_strategy steps --save_steps 1 --per_device_train_batch_size 4 "
    "--seq_len 60"
)
SMALL_CLIPS = " --eval_strategy steps --eval_steps 1 --max_eval_clips 2 --eval_max_new_tokens 6"
SMALL_READER = (  # not for a reader to go on from
    " --hidden_size 32 --kp_temporal_layers 1 --kp_heads 2 --config_overrides adapter_heads=2,adapter_head_dim=8 "
    "--lm_vocab_size 300"
)
# Why a command that matches the pattern is only parsed. Every other command runs.
PARSED_ONLY = {
    r"^make ": "the demo and the tests run on their own",
    r"^pip |^python3 -m venv": "changes the environment over the network",
    r"^tensorboard|^python app\.py": "a server, which does not end",
    r"^hf ": "asks for a token",
    r"^ffmpeg|^docker": "a program of another project",
    r"^curl": "needs a running server",
    r"^lipread live(?! --source \S+\.mp4)": "needs a camera",
    r"my_phrases": "needs takes of a person; the tests of phrases run it",
    r"benchmarks\.": "needs minutes on idle processors; the tests of benchmarks/ run them on small inputs",
    r"data\.prepare merge|--shard": "needs a job array; the tests prepare and merge shards",
    r"--engine ray": "needs Ray; the tests run it",
    r"make_grid_reader|modeling_lipread/grid_reader": "works on the checkpoint in the package itself",
    r"data\.prepare '?(corpora/|lectures|interviews|clips/|mylab)": "tests/test_documents.py runs it",
}
# What every document's folder holds. The checkpoint in the package stands for runs/grid and you/lipread-grid.
FOLDER = """
ln -s {repository}/{{train_hf.py,evaluate_hf.py,configs,accelerate_configs,data,examples,lipread,modeling_lipread}} .
cp -r {repository}/docs . && mkdir -p talks more/late runs
python -m data.talker --output grid --num_clips 6 --num_test 2
cp grid/test.jsonl grid/validation.jsonl && cp grid/test.jsonl grid/unseen_speakers.jsonl
cp -r grid/* . && cp test.jsonl clips.jsonl
for name in clip.mp4 portrait.mp4 talk.mp4 interview.mp4 talks/monday.mp4 more/late/a.mkv; do
    cp "$(ls video/test* | head -n 1)" $name
done
yes "set red with q four please" | head -n 40 > transcripts.txt
python -m data.prepare {{train,validation,test,unseen_speakers}}.jsonl --output corpora/grid --num_proc 0
cp -r corpora/grid corpus && cp -r corpora/grid mine && mkdir prepared
for name in grid lrs3 lrs3-test; do cp -r corpora/grid prepared/$name; done
lipread publish modeling_lipread/grid_reader --repo_id you/lipread-grid --dry_run --output runs/grid
python train_hf.py --dataset corpus --model_id {language_model} --output_dir runs/a {small}
"""
# Code that a block continues from.
PIPELINE = 'from transformers import pipeline\nreader = pipeline(model="runs/grid", trust_remote_code=True)\n'


class Workplace:
    """Makes folders with the files that the documents' commands name, in an empty `folder`, and runs them there."""

    def __init__(self, folder: Path, hub: HubServer):
        self.first, programs = folder / "0", folder / "bin"
        self.first.mkdir()
        programs.mkdir()
        for name in ("python", "python3"):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = {
            **hub.environment(folder / "hf_home"),
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(REPOSITORY),
            "TOKENIZERS_PARALLELISM": "false",
        }
        hub.add(LANGUAGE_MODEL, write_language_model(folder / "language_model"))
        script = FOLDER.format(
            repository=REPOSITORY, language_model=LANGUAGE_MODEL, small=SMALL + SMALL_CLIPS + SMALL_READER
        )
        self.run(["bash", "-ec", script], self.first).check_returncode()
        hub.add("you/lipread-grid", self.first / "runs" / "grid")

    def run(self, words: list[str], folder: Path) -> subprocess.CompletedProcess:
        """Runs a program in a folder."""
        program = shutil.which(words[0], path=self.environment["PATH"]) or words[0]
        options = {"cwd": folder, "env": self.environment, "timeout": 900}
        return subprocess.run([program, *words[1:]], capture_output=True, text=True, **options)

    def copy(self, document: str) -> Path:
        """Returns a copy of the folder for a document."""
        return shutil.copytree(self.first, self.first.with_name(document.replace("/", "-")), symlinks=True)


def as_run(command: Command) -> list[str]:
    """Returns the words of a command as they run here: with a small model, few steps and few processes."""
    if command.language == "python":
        return ["python", "-c", command.text if "import" in command.text else PIPELINE + command.text]
    words = shlex.split(command.text)
    if "train_hf.py" in words:
        small = SMALL if "--train_text" in words else SMALL + SMALL_CLIPS
        words += shlex.split(small if {"--train_text", "--init_from"} & {*words} else small + SMALL_READER)
    if "--num_processes" in words:
        words[words.index("--num_processes") + 1] = "2"
    if "data.prepare" in words:
        words += ["--num_proc", "0", "--overwrite"]
    return words


def reason_not_to_run(command: Command) -> str | None:
    """Returns why a command is only parsed, or `None` if it runs."""
    if command.language in ("inline", "json", "yaml"):
        return "in a sentence" if command.language == "inline" else "data"
    if command.document == "CONTRIBUTING.md" and command.language == "python":
        return "tests/test_documents.py runs it"
    return next((reason for pattern, reason in PARSED_ONLY.items() if re.search(pattern, command.text)), None)


def main(arguments: list[str] | None = None) -> int:
    """Checks documents, prints a line for each command, and returns the exit status: 1 if a command failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", nargs="*", default=DOCUMENTS, help="paths in the repository (default: all)")
    options = parser.parse_args(arguments)
    os.chdir(REPOSITORY)
    count = {"ran": 0, "parsed": 0, "failed": 0}
    with tempfile.TemporaryDirectory() as folder, HubServer(user="you") as hub:
        workplace = Workplace(Path(folder), hub)
        for document in options.documents:
            place = workplace.copy(document)
            for command in commands(document):
                outcome, note = check_or_run(command, workplace, place)
                count[outcome] += 1
                text = command.text.strip().splitlines()[0][:90]
                print(f"{outcome:<6} {document}:{command.line:<4} {text}  [{note}]", flush=True)
    print(", ".join(f"{number} {outcome}" for outcome, number in count.items()))
    return int(count["failed"] > 0)


def check_or_run(command: Command, workplace: Workplace, folder: Path) -> tuple[str, str]:
    """Returns the outcome (`ran`, `parsed` or `failed`) and a note: the time, the reason or the error."""
    try:
        check(command)
        if reason := reason_not_to_run(command):
            return "parsed", reason
        start = time.perf_counter()
        done = workplace.run(as_run(command), folder)
        return ("failed", done.stderr[-3000:]) if done.returncode else ("ran", f"{time.perf_counter() - start:.0f} s")
    except (Refused, OSError, subprocess.TimeoutExpired) as error:
        return "failed", str(error)


if __name__ == "__main__":
    sys.exit(main())
