# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Helpers for tests of publishing: the command, and a fresh process that loads readers from the Hub."""

import json
import subprocess
import sys
from inspect import getsource
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.helpers.hub_server import HubServer
from tests.helpers.readers import run_elsewhere
from tests.helpers.training import REPOSITORY, TEXTS, make_clip

# Takes one command line after the other: importing torch anew for each would take seconds.
COMMANDS = """
import contextlib, io, json, sys
from lipread.cli import main
replies = sys.stdout
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(json.loads(line))
    print(json.dumps([status, out.getvalue(), err.getvalue()]), file=replies, flush=True)
"""


def read_clip(reader: Path | str, clip: Path | str, **where) -> dict:
    """Returns the tokens and some logits of a reader for a clip, and where its landmarker and language model are."""
    from transformers import AutoModel, AutoProcessor  # here, since `READ` holds this function alone

    processor = AutoProcessor.from_pretrained(reader, **where)
    model = AutoModel.from_pretrained(reader, **where)
    inputs = processor(videos=str(clip), return_tensors="pt")
    ids = model.generate(**inputs)
    found = {"ids": ids.tolist(), "scores": model(**inputs, input_ids=ids).logits[0, -1, :5].tolist()}
    return {**found, "landmarker": processor.landmarker_path, "base_revision": model.config.base_model_revision}


READ = f"""
import json
from pathlib import Path

{getsource(read_clip)}
found = {{}}
for reader in sys.argv[2:]:
    id, _, revision = reader.partition("@")
    try:
        found[reader] = read_clip(id, sys.argv[1], revision=revision or None, trust_remote_code=True)
    except (OSError, ValueError) as error:
        found[reader] = {{"error": str(error)}}
print(json.dumps(found))
"""


class Result(NamedTuple):
    status: int
    out: str
    err: str


class Lipread:
    """Runs `lipread` commands in one process that uses a Hub and is logged in."""

    def __init__(self, hub: HubServer, home: Path):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        command = [sys.executable, "-c", COMMANDS]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, env=hub.environment(home), **pipes)

    def __call__(self, *arguments: object) -> Result:
        print(json.dumps([str(argument) for argument in arguments]), file=self._process.stdin, flush=True)
        return Result(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def write_clip(folder: Path) -> Path:
    """Writes landmarks of a face that speaks."""
    np.save(folder / "clip.npy", make_clip(TEXTS[0], seed=7).keypoints)
    return folder / "clip.npy"


def read_from_hub(hub: HubServer, folder: Path, clip: Path, *repositories: str) -> dict[str, dict]:
    """Returns the results of readers on the Hub (`id` or `id@revision`) for a clip, without packages or a cache."""
    variables = {**hub.environment(folder / "hf", None), "HF_HUB_OFFLINE": "0"}
    return json.loads(run_elsewhere(folder, READ, clip, *repositories, **variables).splitlines()[-1])
