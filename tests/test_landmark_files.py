# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Landmark files of other pipelines: every layout of floats is read, all else refused, and nothing executed."""

import io
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest

from modeling_lipread import landmark_files_lipread
from modeling_lipread.landmark_files_lipread import LandmarkFileError, read_landmark_file

GOOD = np.random.default_rng(0).normal(size=(10, 478, 3)).astype(np.float32)


class Bomb:
    """Unpickled, it leaves a folder behind."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def header(shape: str, descr: str = "'<f4'", version: bytes = b"\x01\x00", fortran_order: str = "False") -> bytes:
    """The beginning of a .npy file that says what one likes."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}"
    length = 2 if version == b"\x01\x00" else 4
    text += " " * (-(6 + 2 + length + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(length, "little") + text.encode()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_layout_of_floats_is_read(tmp_path, dtype, order):
    np.save(tmp_path / "a.npy", np.asarray(GOOD, dtype=dtype, order=order))
    sequence = read_landmark_file(tmp_path / "a.npy", 50)
    assert sequence.keypoints.dtype == np.float32 and sequence.keypoints.flags.c_contiguous
    np.testing.assert_array_equal(sequence.keypoints, GOOD.astype(dtype).astype(np.float32))
    assert sequence.present.all() and (sequence.width, sequence.height, sequence.frame_rate) == (0, 0, 50)
    np.testing.assert_allclose(sequence.timestamps, np.arange(10) / 50)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(tmp_path, version):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, GOOD, version=version)
    np.testing.assert_array_equal(read_landmark_file(tmp_path / "a.npy").keypoints, GOOD)


def test_a_span_is_what_is_read(tmp_path):
    np.save(tmp_path / "a.npy", GOOD)
    sequence = read_landmark_file(tmp_path / "a.npy", 10, start=0.25, end=0.6)
    np.testing.assert_array_equal(sequence.keypoints, GOOD[3:6])
    np.testing.assert_allclose(sequence.timestamps, (0.05, 0.15, 0.25))
    for span in ({"start": 1}, {"start": 0.32, "end": 0.38}, {"end": 0}):
        with pytest.raises(LandmarkFileError, match=r"a.npy: no frame in the span; the file lasts 1.00 s"):
            read_landmark_file(tmp_path / "a.npy", 10, **span)


def test_only_the_span_of_a_large_file_is_loaded(tmp_path):
    """Two hours of landmarks, 1 GB, of which the file system stores next to nothing."""
    path = tmp_path / "long.npy"
    frames = 180_000
    with open(path, "wb") as file:
        file.write(header(f"({frames}, 478, 3)"))
        start = file.tell()
        file.truncate(start + frames * 478 * 3 * 4)
        file.seek(start + 90_000 * 478 * 3 * 4)
        file.write(GOOD.tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sequence = read_landmark_file(path, 25, start=3600, end=3600.4)
    np.testing.assert_array_equal(sequence.keypoints, GOOD)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_frames_without_a_face(tmp_path):
    keypoints = GOOD.copy()
    keypoints[2], keypoints[5] = 0.0, np.nan
    np.save(tmp_path / "a.npy", keypoints)
    sequence = read_landmark_file(tmp_path / "a.npy")
    assert np.flatnonzero(~sequence.present).tolist() == [2, 5]
    assert not sequence.keypoints[[2, 5]].any() and np.isfinite(sequence.keypoints).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (GOOD[:, :468], r"holds shape \(10, 468, 3\); expected floats \(frames, 478, 3\)"),
        (GOOD[..., :2], r"holds shape \(10, 478, 2\)"),
        (GOOD.reshape(10, -1), r"holds shape \(10, 1434\)"),
        (GOOD[None], r"holds shape \(1, 10, 478, 3\)"),
        (np.float32(1), r"holds shape \(\)"),
        (GOOD.astype(np.int32), r'holds int32; expected floats .* save array.astype\("float32"\)'),
        (GOOD.astype(np.uint8), "holds uint8"),
        (GOOD > 0, "holds bool"),
        (GOOD.astype(np.complex64), "holds complex64"),
        (GOOD.astype("S4"), r"holds \|S4"),
        (np.zeros((10, 478, 3), "datetime64[s]"), "holds datetime64"),
        (np.zeros((10, 478, 3), [("x", "<f4")]), "holds "),
        (GOOD[:0], "no frame in the span; the file lasts 0.00 s"),
        (np.where(np.arange(3) == 1, np.nan, GOOD), "frame 0 holds NaN beside numbers, or infinite values"),
        (np.where(np.arange(10)[:, None, None] == 7, np.inf * GOOD, GOOD * 1.0), "frame 7 holds NaN beside"),
        (GOOD.astype(np.float64) * 1e300, "frame 0 holds NaN beside"),
        (np.array([Bomb()]), "holds Python objects, which are never unpickled"),
        (np.full((10, 478, 3), 1.0, object), "holds Python objects, which are never unpickled"),
    ],
)
def test_other_arrays_are_refused(tmp_path, monkeypatch, array, reason):
    monkeypatch.chdir(tmp_path)
    if array.dtype == np.float64 and np.isinf(array).any():
        array[7, 0] = 0.0
    np.save("other.npy", array, allow_pickle=True)
    with pytest.raises(LandmarkFileError, match=f"other.npy: {reason}"):
        read_landmark_file("other.npy", num_landmarks=478)
    assert not os.path.exists("unpickled")


def test_any_number_of_landmarks_is_read_if_allowed(tmp_path):
    np.save(tmp_path / "a.npy", GOOD[:, :68])
    assert read_landmark_file(tmp_path / "a.npy").keypoints.shape == (10, 68, 3)


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, GOOD)
    return file.getvalue()


def zipped_pickle() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        bundle.writestr("keypoints.npy", pickle.dumps(Bomb()))
    return file.getvalue()


FILES = {
    "pickle": (lambda: pickle.dumps(Bomb()), "not a readable .npy file"),
    "archive": (archive, "an .npz archive in place of a .npy file"),
    "zipped pickle": (zipped_pickle, "an .npz archive"),
    "empty": (lambda: b"", r"the file is empty \(0 bytes\)"),
    "text": (lambda: b"x,y,z\n" * 100, "not a readable .npy file"),
    "magic alone": (lambda: b"\x93NUMPY", "not a readable .npy file"),
    "another version": (lambda: header("(10, 478, 3)", version=b"\x09\x00") + GOOD.tobytes(), "not a readable"),
    "cut off": (
        lambda: header("(10, 478, 3)") + GOOD.tobytes()[:-1],
        r"truncated or its header wrong.*57,359 are there",
    ),
    "ten gigabytes": (
        lambda: header("(1743375, 478, 3)") + bytes(1000),
        "needs 9,999,999,000 bytes, 1,000 are there",
    ),
    "beyond int64": (lambda: header(f"({2**62}, 478, 3)") + bytes(1000), "truncated or its header wrong"),
    "many dimensions": (lambda: header(f"({2**40}, {2**40}, 0, 3)") + bytes(1000), "holds shape|not a readable"),
    "negative": (lambda: header("(-10, 478, 3)") + GOOD.tobytes(), "truncated or its header wrong"),
    "negative twice": (lambda: header("(-10, -478, 3)") + GOOD.tobytes(), "truncated or its header wrong"),
    "a header of gigabytes": (
        lambda: b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + bytes(900),
        "not a readable",
    ),
    "a long header": (
        lambda: header("(10, 478, 3)" + " " * 20_000, version=b"\x02\x00") + GOOD.tobytes(),
        "not a readable",
    ),
    "deep brackets": (lambda: header("(" * 3000 + ")" * 3000) + GOOD.tobytes(), "not a readable"),
    "code": (lambda: header("__import__('os').mkdir('unpickled')") + GOOD.tobytes(), "not a readable"),
    "objects in fields": (lambda: header("(10, 478, 3)", "[('x', '|O')]") + bytes(10 * 478 * 3 * 8), "Python objects"),
    "no bytes each": (lambda: header("(10, 478, 3)", "'|V0'"), "holds |not a readable"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_arrays_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, reason = FILES[name]
    (tmp_path / "bad.npy").write_bytes(content())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LandmarkFileError, match=f"bad.npy: .*({reason})"):
        read_landmark_file(tmp_path / "bad.npy", num_landmarks=478)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB: nothing large was set aside
    assert not os.path.exists("unpickled")


def test_what_is_not_there_or_no_file_is_named(tmp_path):
    with pytest.raises(LandmarkFileError, match="absent.npy: no such file; check the path"):
        read_landmark_file(tmp_path / "absent.npy")
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(LandmarkFileError, match=r"folder.npy: cannot be read \(Is a directory\)"):
        read_landmark_file(tmp_path / "folder.npy")


def test_damage_anywhere_is_told_by_its_own_error_or_harmless(tmp_path):
    """Bytes of the header changed at random: an array of that shape comes back, or our own error."""
    random, path = np.random.default_rng(0), tmp_path / "damaged.npy"
    small = np.ones((2, 5, 3), np.float32)
    file = io.BytesIO()
    np.save(file, small)
    whole, refused = file.getvalue(), 0
    for _ in range(1500):
        data = bytearray(whole)
        for place in random.integers(0, 128, random.integers(1, 4)):
            data[place] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            assert read_landmark_file(path).keypoints.shape[2] == 3
        except LandmarkFileError:
            refused += 1
    assert 300 < refused < 1500


def test_there_is_one_reader():
    from data import extraction
    from modeling_lipread import processing_lipread

    reader = landmark_files_lipread.read_landmark_file
    assert extraction.read_landmark_file is reader and processing_lipread.read_landmark_file is reader
