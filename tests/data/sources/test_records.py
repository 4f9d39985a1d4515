# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Record files: the records are read back whole or in parts, in this process or another, in little memory."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from data.files import DiskList
from data.sources.records import Record, Word
from tests.helpers.training import run_python


def test_the_records_and_parts_of_them_are_read_back():
    word = Word("\u05e9\u05dc\u05d5\u05dd \U0001f600", 1 / 3, 1e-9)
    about = ("text\n\u2028", "a.mp4", Path("a.mp4"), False)
    plain = [Record("corpus", index, str(index), *about, words=(word,) * (index % 2)) for index in range(1000)]
    stored = DiskList(plain)
    assert len(stored) == 1000 and list(stored) == plain
    assert stored[-1] == plain[-1] and stored[255] == plain[255]
    with pytest.raises(IndexError):
        stored[1000]
    picked = np.array([900, 3, 3, 256])
    assert list(stored.select(picked)[1:].select(np.array([2, 0]))) == [plain[256], plain[3]]
    assert list(stored[::-1][10:900:7]) == plain[::-1][10:900:7] and len(stored[5:5]) == 0
    sent = pickle.dumps(stored[500:516])
    assert pickle.loads(sent) == tuple(plain[500:516]) and len(sent) < 10_000, "only the part goes to another process"


MEASURE = """
import resource, sys
from pathlib import Path
from data.preparation.plan import make_plan
from data.preparation.settings import ExtractionSettings
from data.corpora import read_source
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
source = read_source(sys.argv[1])
read = peak()
_, chunks = make_plan([source], Path("parts"), 0.1, 42, ExtractionSettings())
print(sum(len(chunk.records) for chunk in chunks), read - before, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize("usable", [1_000_000, 1])
def test_a_million_rows(tmp_path, usable):
    """Read and laid out in chunks, or all but one skipped; the peak of a process, in MiB above its imports."""
    (tmp_path / "clip.npy").touch()
    with open(tmp_path / "clips.jsonl", "w") as file:
        for index in range(1_000_000):
            line = {"kp_path": "clip.npy", "id": f"speaker{index % 500}/{index:07}", "speaker": f"s{index % 500}"}
            line["text"] = f"sentence number {index} of a corpus that is as large as any other" * (index < usable)
            file.write(json.dumps(line) + "\n")
    printed = run_python("-c", MEASURE, tmp_path / "clips.jsonl").stdout.split()
    print(f"reading: {printed[1]} MiB, with the plan: {printed[2]} MiB")
    assert int(printed[0]) == usable
    assert float(printed[1]) < 150 and float(printed[2]) < 300
