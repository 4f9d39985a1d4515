# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Disks that are full: what is said, that nothing half-written stays, and that the same command goes on."""

import errno
import resource
import shutil
from contextlib import contextmanager

import pytest

from data.files import disk_full
from data.prepare import PrepareError, prepare
from tests.helpers.corpora import all_files, landmark_lines, start_prepare, write_manifest


@contextmanager
def longest_file(size):
    """Writes beyond this size fail, for root too; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def manifest(tmp_path):
    """Five parts of 190 kB, a split of 940 kB and, for its unusable lines, a report of 1.7 MB."""
    return write_manifest(tmp_path, "test.jsonl", landmark_lines(tmp_path, 80) + ["x"] * 12_000)


# What the longest file may be, how far the run gets, and how many parts are done by then.
STAGES = {"a part": (100_000, 0), "a split": (600_000, 5), "the report": (1_200_000, 5)}


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_may_not_fit(manifest, tmp_path, stage):
    size, done = STAGES[stage]
    output = tmp_path / "corpus"
    undisturbed = prepare([manifest], tmp_path / "undisturbed")
    with longest_file(size):
        with pytest.raises(PrepareError, match=r"corpus: a file became longer than .* run the same command again"):
            prepare([manifest], output)
    parts = sorted((output / ".parts").glob("*.arrow"))
    assert len(parts) == done
    assert {*(output / ".parts").iterdir()} - {*parts} <= {output / ".parts" / "lock", output / ".parts" / "run.json"}
    assert [path.name for path in output.iterdir()] == [".parts"]
    times = [path.stat().st_mtime_ns for path in parts]
    with longest_file(size), pytest.raises(PrepareError):
        prepare([manifest], output)
    assert [path.stat().st_mtime_ns for path in parts] == times, "finished parts are kept"
    assert prepare([manifest], output) == undisturbed
    assert all_files(output) == all_files(tmp_path / "undisturbed")


@pytest.mark.slow
def test_an_older_corpus_survives_and_the_command_says_why_it_ended(manifest, tmp_path):
    """The real command, whose workers inherit the limit."""
    output = tmp_path / "corpus"
    prepare([manifest], output, min_coverage=0.1)
    before = all_files(output)
    with longest_file(100_000):
        process = start_prepare(manifest, "--output", output, "--num_proc", "2", "--overwrite")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"error: {output}: a file became longer than")
    shutil.rmtree(output / ".parts")
    assert all_files(output) == before


def test_a_full_disk_is_said_with_the_room_needed(tmp_path):
    said = str(disk_full(OSError(errno.ENOSPC, "no room"), tmp_path / "corpus", 5_000_000))
    assert said.startswith(f"{tmp_path / 'corpus'}: the disk is full (about 5.0 MB more are needed and ")
    assert "free space there and run the same command again" in said
