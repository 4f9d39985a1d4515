# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Workers that die, runs that are killed, disks that are full: what is lost, what is said, and how to go on."""

import errno
import json
import resource
import signal
import time
from contextlib import contextmanager

import psutil
import pytest

from data.files import PrepareError, disk_full
from data.preparation.workers import _reason
from data.prepare import prepare
from data.schema import CorpusError, load_split
from tests.helpers.clips import PORTRAIT, moving_portrait, write_video
from tests.helpers.corpora import (
    all_files,
    all_rows,
    landmark_lines,
    readers_of,
    start_prepare,
    wait_for,
    write_manifest,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A manifest of short clips with two that take seconds, both in its second chunk of three, and what an undisturbed
    run in this process makes of it."""
    folder = tmp_path_factory.mktemp("talk")
    lines = landmark_lines(folder, 40)
    for index, name in ((18, "first"), (21, "second")):
        write_video(folder / f"{name}.mp4", moving_portrait(40) * 4)
        lines[index] = {"video": f"{name}.mp4", "text": f"slow {name}", "id": name}
    lines[30] = {"kp_path": "npy/30.npy", "text": "too late", "start": 60.0, "id": "skipped"}
    manifest = write_manifest(folder, "talk.jsonl", lines)
    report = prepare([manifest], folder / "undisturbed")
    assert [skip["id"] for skip in report["skipped"]] == ["skipped"]
    return manifest


def rows_by_id(corpus):
    return {row["id"]: row for split in all_rows(corpus).values() for row in split.to_pylist()}


def kill_readers(process, path, number, times):
    """Send a signal to a worker each time that it comes to a clip, up to so many times; the workers' ids."""
    killed = []
    while process.poll() is None and len(killed) < times:
        for worker in readers_of(path, process.pid):
            if worker.pid not in killed:
                worker.send_signal(number)
                killed.append(worker.pid)
        time.sleep(0.02)
    return killed


@pytest.mark.slow
def test_a_clip_that_kills_its_workers_is_skipped_alone(corpus, tmp_path):
    """One clip ends two workers by a fault as native code causes it, and is skipped; another in the same chunk, at
    which the kernel ends one worker as it does for want of memory, is kept."""
    process = start_prepare(corpus, "--output", tmp_path / "corpus", "--num_proc", "2")
    killed = kill_readers(process, corpus.parent / "first.mp4", signal.SIGSEGV, times=2)
    killed += kill_readers(process, corpus.parent / "second.mp4", signal.SIGKILL, times=1)
    printed, errors = process.communicate(timeout=300)
    assert len(set(killed)) == 3 and process.returncode == 0, errors

    report = json.loads((tmp_path / "corpus" / "report.json").read_text())
    undisturbed = json.loads((corpus.parent / "undisturbed" / "report.json").read_text())
    (first,) = (skip for skip in report["skipped"] if skip["id"] == "first")
    assert first["where"] == "talk.jsonl line 19" and "died (SIGSEGV) twice, of a fault in native" in first["reason"]
    assert [skip for skip in report["skipped"] if skip != first] == undisturbed["skipped"]
    assert report["warnings"] == undisturbed["warnings"] and report["fingerprint"] == undisturbed["fingerprint"]
    expected = rows_by_id(corpus.parent / "undisturbed")
    del expected["first"]
    found = rows_by_id(tmp_path / "corpus")
    assert found.keys() == expected.keys()
    assert all(repr(found[name]) == repr(expected[name]) for name in found)
    assert f"  {first['where']} (first): {first['reason']}" in printed
    assert "next: accelerate launch train_hf.py --dataset" in printed


def test_what_ended_a_worker_is_said_with_the_remedy():
    assert "most likely for want of memory; cut it into shorter clips" in _reason(-signal.SIGKILL, 60.0)
    assert "died (exit status 3) twice, of a fault in native code; encode the clip anew" in _reason(3, None)


def test_a_clip_that_takes_too_long_is_skipped(corpus, tmp_path):
    """Its worker hangs in native code for all that is known, so the kernel ends it."""
    report = prepare([corpus], tmp_path / "corpus", num_proc=1, clip_timeout=0.5)
    reasons = {skip["id"]: skip["reason"] for skip in report["skipped"]}
    assert reasons.keys() == {"first", "second", "skipped"}
    for name in ("first", "second"):
        assert "not read within 0.5 seconds, twice" in reasons[name] and "--clip_timeout" in reasons[name]
    assert sum(totals["clips"] for totals in report["splits"].values()) == 37


def test_a_machine_on_which_every_clip_ends_its_worker_is_found_soon(tmp_path):
    video = write_video(tmp_path / "talk.mp4", [PORTRAIT] * 50)
    lines = [{"video": video.name, "text": "hello", "start": 0.1 * n, "end": 0.1 * n + 1} for n in range(9)]
    manifest = write_manifest(tmp_path, "talk.jsonl", lines)
    with pytest.raises(PrepareError, match="each of the first 8 clips ended its worker process .SIGALRM., the last"):
        prepare([manifest], tmp_path / "corpus", num_proc=1, clip_timeout=0.001)


@pytest.mark.slow
def test_kill_and_continue(corpus, tmp_path):
    """SIGKILL of the real command while its workers are at clips, and again while the corpus is put together: workers
    end too, no chunk is done twice, and all files are those of an undisturbed run."""
    output, parts = tmp_path / "corpus", tmp_path / "corpus" / ".parts"
    arguments = (corpus, "--output", output, "--num_proc", "2")
    process = start_prepare(*arguments)
    wait_for(lambda: process.poll() is not None or readers_of(corpus.parent / "first.mp4", process.pid), 300)
    workers = psutil.Process(process.pid).children(recursive=True)
    wait_for(lambda: process.poll() is not None or list(parts.glob("*.arrow")), 300)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not psutil.wait_procs(workers, timeout=30)[1], "workers end with their parent"
    with pytest.raises(CorpusError, match="not finished"):
        load_split(output, "train")
    finished = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.arrow")}
    assert finished

    process = start_prepare(*arguments)
    wait_for(lambda: process.poll() is not None or (parts / "building").is_dir(), 300)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors  # on a busy machine it may end before it is killed
    now = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.arrow")}
    assert not now or finished.items() < now.items()

    assert start_prepare(*arguments).wait() == 0
    assert all_files(output) == all_files(corpus.parent / "undisturbed")


@contextmanager
def longest_file(size):
    """Writes beyond this size fail, for root too; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("size", "done"), [(100_000, 0), (600_000, 5)], ids=["a part", "a split"])
def test_every_file_that_may_not_fit(tmp_path, size, done):
    """Five parts of 190 kB and a split of 940 kB."""
    manifest = write_manifest(tmp_path, "test.jsonl", landmark_lines(tmp_path, 80) + ["x"] * 100)
    output, parts = tmp_path / "corpus", tmp_path / "corpus" / ".parts"
    undisturbed = prepare([manifest], tmp_path / "undisturbed")
    prepare([manifest], output, min_coverage=0.1)
    older, finished = all_files(output), []
    for _ in range(2):
        with longest_file(size), pytest.raises(PrepareError, match="corpus: File too large; .* run the same command"):
            prepare([manifest], output, overwrite=True)
        finished.append({path: path.stat().st_mtime_ns for path in parts.glob("*.arrow")})
        assert {*parts.iterdir()} - {*finished[0]} <= {parts / "lock", parts / "run.json"}
        assert {name: found for name, found in all_files(output).items() if not name.startswith(".parts")} == older
    assert finished[0] == finished[1] and len(finished[0]) == done, "finished parts are kept"
    assert prepare([manifest], output, overwrite=True) == undisturbed
    assert all_files(output) == all_files(tmp_path / "undisturbed")


def test_a_list_of_clips_that_does_not_fit_and_the_room_that_a_full_disk_needs(tmp_path):
    manifest = write_manifest(tmp_path, "test.jsonl", landmark_lines(tmp_path, 1) + ["x"] * 12_000)
    with longest_file(600_000), pytest.raises(PrepareError, match="cannot hold the list of clips .* set TMPDIR"):
        prepare([manifest], tmp_path / "corpus")
    said = str(disk_full(OSError(errno.ENOSPC, "no room"), tmp_path / "corpus", 5_000_000))
    assert said.startswith(f"{tmp_path / 'corpus'}: no room; about 5.0 MB more are needed and ")
