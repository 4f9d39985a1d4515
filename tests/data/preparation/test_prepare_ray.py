# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Extraction on a real Ray cluster of two nodes on this machine."""

import os

import psutil
import pytest

from data.prepare import prepare
from tests.helpers.clips import moving_portrait, write_video
from tests.helpers.corpora import all_files, landmark_lines, readers_of, start_prepare, wait_for, write_manifest

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = pytest.mark.slow
OPTIONS = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **OPTIONS})
    yield cluster
    cluster.shutdown()


def test_a_node_killed_in_the_midst_costs_nothing(cluster, tmp_path):
    """Four chunks with a video each, two actors on two nodes, and all of one node killed while its actor is at a
    video: the other does the rest, and what is written is what this process writes without Ray."""
    lines = landmark_lines(tmp_path, 64)
    for index in range(3, 64, 16):
        write_video(tmp_path / f"{index}.mp4", moving_portrait(40) * 3)
        lines[index] = {"video": f"{index}.mp4", "text": f"video {index}"}
    lines[30] = {"kp_path": "npy/30.npy", "text": "too late", "start": 60.0}
    manifest = write_manifest(tmp_path, "test.jsonl", lines)
    prepare([manifest], tmp_path / "undisturbed")

    node = cluster.add_node(**OPTIONS)
    ((raylet,),) = node.all_processes.values()
    output = tmp_path / "corpus"
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    process = start_prepare(manifest, "--output", output, "--engine", "ray", env=environment)
    videos = sorted(tmp_path.glob("*.mp4"))

    def at_work():
        return [worker for video in videos for worker in readers_of(video, raylet.process.pid)]

    workers = wait_for(lambda: process.poll() is not None or at_work(), 180)
    assert process.poll() is None, process.communicate()
    cluster.remove_node(node, allow_graceful=False)
    assert not psutil.wait_procs(workers, timeout=60)[1], "workers end with their node"
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "test: 63 clips" in printed
    assert all_files(output) == all_files(tmp_path / "undisturbed")


def test_what_ends_an_actors_work_is_said_as_without_ray(cluster, tmp_path):
    """No actor can write its part: the folder of the parts is gone by then."""
    manifest = write_manifest(tmp_path, "test.jsonl", landmark_lines(tmp_path, 16))
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    process = start_prepare(manifest, "--output", tmp_path / "corpus", "--engine", "ray", env=environment)
    wait_for(lambda: process.poll() is not None or (tmp_path / "corpus" / ".parts" / "run.json").is_file(), 120)
    (tmp_path / "corpus" / ".parts").rename(tmp_path / "elsewhere")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: [Errno 2] No such file or directory" in errors and "Traceback" not in errors
