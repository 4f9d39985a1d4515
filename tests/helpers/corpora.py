# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the tests of `data.prepare` and of the formats of corpora share.

The formats' files are written here as the corpora write them, with sentences of our own.
"""

import hashlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import psutil
from datasets import load_from_disk

from data.corpora import read_source
from tests.helpers.training import REPOSITORY


def write_manifest(folder, name, lines):
    path = folder / name
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def landmark_lines(folder, count):
    """Manifest lines of so many clips of random landmarks, which need no MediaPipe; 16 are a part of 190 kB."""
    rng = np.random.default_rng(0)
    (folder / "npy").mkdir()
    for index in range(count):
        np.save(folder / "npy" / f"{index}.npy", rng.normal(size=(4, 478, 3)).astype(np.float32))
    return [{"kp_path": f"npy/{index}.npy", "text": f"text {index}"} for index in range(count)]


def all_rows(corpus):
    """Every row of every split as Arrow tables."""
    return {split: dataset.with_format("arrow")[:] for split, dataset in load_from_disk(corpus).items()}


def all_files(folder):
    """A hash of every file below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return found


def start_prepare(*arguments, **options):
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "data.prepare", *map(str, arguments)]
    options = {"cwd": REPOSITORY, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, **options)


def readers_of(path, pid):
    """Processes below `pid` that have a file open."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if any(os.path.samefile(file.path, path) for file in process.open_files()):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # it ended meanwhile
    return found


def fill(folder, files):
    """Writes text files (bytes as they are, None for a video whose content nobody looks at) and their folders."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video" if content is None else content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder, **settings):
    """The clips of a source, and the reasons of the others by place."""
    source = read_source(folder, **settings)
    return list(source.records), {skip.where.removeprefix(f"{source.name}/"): skip.reason for skip in source.skips}


def textgrid(tiers, form="long"):
    """A TextGrid as Praat writes it, of `(name, intervals)`; a tier whose entries have one time is one of points."""
    end = max((entry[-2] for _, entries in tiers for entry in entries), default=1.0)
    quoted = lambda label: '"' + label.replace('"', '""') + '"'  # noqa: E731
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    lines += ["xmin = 0 ", f"xmax = {end!r} ", "tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, entries) in enumerate(tiers, start=1):
        points = bool(entries) and len(entries[0]) == 2
        kind, word = ("TextTier", "points") if points else ("IntervalTier", "intervals")
        lines += [f"    item [{number}]:", f'        class = "{kind}" ', f"        name = {quoted(name)} "]
        lines += ["        xmin = 0 ", f"        xmax = {end!r} ", f"        {word}: size = {len(entries)} "]
        keys = ("number", "mark") if points else ("xmin", "xmax", "text")
        for place, (*times, label) in enumerate(entries, start=1):
            lines.append(f"        {word} [{place}]:")
            values = (*map(repr, times), quoted(label))
            lines += [f"            {key} = {value} " for key, value in zip(keys, values, strict=True)]
    if form == "short":  # the values alone
        lines[5] = "tiers = <exists> "
        lines[3:] = [line.split(" = ", 1)[1] for line in lines[3:] if " = " in line]
    return "\n".join(lines) + "\n"


def clock(seconds, mark="."):
    """``00:01:02.500``; SRT has a comma for `mark`."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{mark}{milliseconds % 1000:03}"


def srt(*cues):
    """A SubRip file of `(start, end, text)`."""
    return "".join(
        f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{text}\n\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    )


def vtt(*cues):
    """A WebVTT file of `(start, end, text)`, with all that may stand between cues."""
    head = "WEBVTT Kind: captions\n\nNOTE written for a test\n\nSTYLE\n::cue { color: white }\n"
    return head + "".join(
        f"\ncue {number}\n{clock(start)} --> {clock(end)} align:start position:0%\n{text}\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    )
