# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread doctor`: passes where the tests run, and finds each kind of damage and names a remedy."""

import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lipread.commands import doctor as doctor_module
from lipread.options import BUNDLED_MODEL
from modeling_lipread import video_lipread
from modeling_lipread.landmarker_lipread import landmarker_path
from modeling_lipread.video_lipread import read_frames
from tests.helpers.clips import PORTRAIT, portrait_on, write_video


@pytest.fixture
def doctor(lipread):
    """Runs the command; returns its exit status and the state and message of each check."""

    def run(*arguments: object) -> tuple[int, dict[str, tuple[str, str]]]:
        status, out, _ = lipread("doctor", *arguments)
        return status, {line[6:17].strip(): (line[:4].strip(), line[19:]) for line in out.splitlines()[:-1]}

    return run


def test_all_checks_pass_where_the_tests_pass(doctor):
    status, found = doctor("--source", "63")
    assert status == 0
    assert list(found) == ["packages", "codecs", "landmarks", "accelerator", "reader", "camera"]
    assert all(found[name][0] == "ok" for name in ("codecs", "landmarks", "reader")), found
    assert {state for state, _ in found.values()} <= {"ok", "note"}
    assert "H.264" in found["codecs"][1] and "camera 63 cannot be opened" in found["camera"][1]


def test_the_camera_is_judged_by_light_distance_and_rate(tmp_path):
    video = str(write_video(tmp_path / "camera.mp4", [PORTRAIT] * 10))
    assert f"{video}: 360x288, 25 pictures a second" in doctor_module.check_camera(video)
    dark, far = (PORTRAIT * 0.1).astype(np.uint8), portrait_on(288, 360, [(0.2, 150, 100)])
    for picture, rate, said in ((dark, 25, "too dark"), (far, 25, "Come nearer"), (PORTRAIT, 8, "is slow")):
        write_video(tmp_path / "camera.mp4", [picture] * 10, rate)
        with pytest.raises(doctor_module.Note, match=said):
            doctor_module.check_camera(video)


@pytest.mark.parametrize(
    "missing, check",
    [("av", "codecs"), ("ai_edge_litert.interpreter", "landmarks"), ("cv2", "camera")],
)
def test_a_missing_package_fails_its_check_and_no_other(doctor, monkeypatch, missing, check):
    monkeypatch.setitem(sys.modules, missing, None)
    status, found = doctor()
    assert status == 1 and found["reader"][0] == "ok"
    assert found[check][0] == "FAIL" and "pip install" in found[check][1]


def test_damaged_files_and_wrong_frames_fail(doctor, monkeypatch, tmp_path):
    task = tmp_path / "face_landmarker.task"
    task.write_bytes(landmarker_path().read_bytes()[:-1])
    monkeypatch.setattr("modeling_lipread.landmarker_lipread.landmarker_path", partial(landmarker_path, task))
    monkeypatch.setattr(video_lipread, "read_frames", lambda path: reversed(list(read_frames(path))))
    weights = next(Path(shutil.copytree(BUNDLED_MODEL, tmp_path / "model")).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    status, found = doctor("--model", tmp_path / "model")
    assert status == 1
    for name, text in (("codecs", "H.264 decodes"), ("landmarks", "pip install"), ("reader", "check --model")):
        assert found[name][0] == "FAIL" and text in found[name][1]
