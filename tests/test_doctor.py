# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread doctor`: everything works where the tests run, and what does not is found and named with a remedy."""

import importlib.metadata
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from modeling_lipread import doctor_lipread
from modeling_lipread.cli import main
from modeling_lipread.landmarker_lipread import landmarker_path
from modeling_lipread.reader_options_lipread import EMBEDDED
from modeling_lipread.video_lipread import read_frames

CHECKS = ["python", "packages", "face model", "codecs", "landmarks", "accelerator", "reader", "camera"]


@pytest.fixture
def doctor(capsys):
    """Runs the command; gives its exit status and the state and message of each check."""

    def run(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        status = main(["doctor", *arguments])
        *lines, _ = capsys.readouterr().out.splitlines()
        return status, {line[6:17].strip(): (line[:4].strip(), line[19:]) for line in lines}

    return run


def test_where_the_tests_pass_all_is_well(doctor):
    status, found = doctor()
    assert status == 0
    assert list(found) == CHECKS
    assert {state for state, _ in found.values()} <= {"ok", "note"}
    for name in ("packages", "face model", "codecs", "landmarks", "reader"):
        assert found[name][0] == "ok", found[name]
    assert "H.264" in found["codecs"][1]


def test_versions_are_compared_with_what_the_wheel_asks_for(doctor, monkeypatch):
    wanted = ["numpy>=2.2", "av>=999", "no-such-package>=1", "ray>=2; extra == 'ray'", "colorama>=999; os_name == 'x'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    findings = list(doctor_lipread.check_packages())
    assert [finding.state for finding in findings] == ["FAIL", "FAIL"]
    assert findings[0].remedy == "pip install --upgrade 'av>=999'"
    assert "no-such-package is missing" in findings[1].message
    assert doctor()[0] == 1


def test_a_damaged_face_model_is_found(doctor, monkeypatch, tmp_path):
    damaged = tmp_path / "face_landmarker.task"
    damaged.write_bytes(landmarker_path().read_bytes()[:-1])
    monkeypatch.setattr(doctor_lipread, "landmarker_path", partial(landmarker_path, damaged))
    status, found = doctor()
    assert status == 1
    assert found["face model"][0] == found["landmarks"][0] == "FAIL"
    assert "pip install" in found["face model"][1]
    assert found["reader"][0] == "ok"  # the other checks go on


@pytest.mark.parametrize("missing, check", [("av", "codecs"), ("mediapipe", "landmarks"), ("cv2", "camera")])
def test_a_missing_package_is_named(doctor, monkeypatch, missing, check):
    monkeypatch.setitem(sys.modules, missing, None)
    status, found = doctor()
    assert status == 1
    assert found[check][0] == "FAIL" and "pip install" in found[check][1]


def test_a_decoder_that_errs_is_found(monkeypatch):
    monkeypatch.setattr(doctor_lipread, "read_frames", lambda path: reversed(list(read_frames(path))))
    (finding,) = doctor_lipread.check_codecs()
    assert finding.state == "FAIL" and "H.264" in finding.message


def test_a_reader_whose_weights_are_cut_short_is_found(doctor, tmp_path):
    reader = shutil.copytree(EMBEDDED, tmp_path / "reader")
    weights = next(Path(reader).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    status, found = doctor("--model", str(reader))
    assert status == 1
    assert found["reader"][0] == "FAIL" and "--model" in found["reader"][1]


def test_no_camera_is_a_note(doctor):
    status, found = doctor("--camera", "63")
    assert status == 0
    assert found["camera"] == ("note", "no camera 63; videos are read all the same: plug one in, or try --camera 1")
