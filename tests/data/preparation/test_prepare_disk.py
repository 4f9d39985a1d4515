# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Disks that are full: what is said, that nothing half-written stays, and that the same command goes on."""

import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest

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
    assert {path.name for path in (output / ".parts").iterdir()} <= {
        "lock",
        "run.json",
        *(path.name for path in parts),
    }
    assert [path.name for path in output.iterdir()] == [".parts"]
    times = [path.stat().st_mtime_ns for path in parts]
    with longest_file(size), pytest.raises(PrepareError):
        prepare([manifest], output)
    assert [path.stat().st_mtime_ns for path in parts] == times, "finished parts are kept"
    assert prepare([manifest], output) == undisturbed
    assert all_files(output) == all_files(tmp_path / "undisturbed")


def test_an_older_corpus_survives_a_full_disk(manifest, tmp_path):
    output = tmp_path / "corpus"
    prepare([manifest], output, min_coverage=0.1)
    before = all_files(output)
    with longest_file(600_000), pytest.raises(PrepareError):
        prepare([manifest], output, overwrite=True)
    shutil.rmtree(output / ".parts")
    assert all_files(output) == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and how to enlarge it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size, options="size"):
        command = ["mount", "-t", "tmpfs", "-o", f"{options}={size}", "lipread", str(folder)]
        return subprocess.run(command, capture_output=True, text=True)

    if shutil.which("mount") is None or (failure := mount("1200k")).returncode:
        pytest.skip(f"no file system can be mounted here: {failure.stderr.strip()}")
    yield folder, lambda size: mount(size, "remount,size").check_returncode()
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(tmp_path, small_disk):
    """The real command on a disk that has no room for the parts, which workers write, and then none for the splits."""
    folder, enlarge = small_disk
    manifest = write_manifest(tmp_path, "test.jsonl", landmark_lines(tmp_path, 160))
    prepare([manifest], tmp_path / "undisturbed")
    seen = []
    for workers, size in ((2, "2400k"), (0, "16m")):
        process = start_prepare(manifest, "--output", folder / "corpus", "--num_proc", workers)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        *_, last = errors.splitlines()
        assert last.startswith(f"error: {folder / 'corpus'}: the disk is full (about ") and "MB are free" in last
        assert "free space there and run the same command again" in last and "Traceback" not in errors
        files = {path.suffix or path.name for path in folder.rglob("*") if path.is_file()}
        assert files == {".arrow", ".json", "lock"}, "parts and the mark of the run"
        seen.append(len(list(folder.rglob("*.arrow"))))
        enlarge(size)
    assert 0 < seen[0] < seen[1] == 10
    prepare([manifest], folder / "corpus")
    assert all_files(folder / "corpus") == all_files(tmp_path / "undisturbed")
