# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Landmarks of other pipelines: `.npy` files of floats `(frames, landmarks, 3)`, read without trusting them.

The header is checked against the file before anything is allocated, nothing is ever unpickled, and only the frames
asked for are read from the disk.
"""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import numpy as np

from .landmarks_lipread import LandmarkSequence


class LandmarkFileError(ValueError):
    """A landmark file that cannot be read: missing, damaged, or holding something else; says what to do about it."""


def read_landmark_file(
    path: str | os.PathLike,
    frame_rate: float = 25.0,
    start: float | None = None,
    end: float | None = None,
    num_landmarks: int | None = None,
) -> LandmarkSequence:
    """Reads the landmarks of a clip, or of a span of it, at a steady frame rate.

    A frame of nothing but zeros or of nothing but NaN counts as one without a face. Halves, singles and doubles of
    either byte order, in C's or Fortran's order, are read; integers are not.

    Args:
        path: A `.npy` file as `numpy.save` writes it.
        frame_rate: Frames a second.
        start: Seconds from the start of the file; earlier frames are left out.
        end: Seconds from the start of the file; frames from there on are left out.
        num_landmarks: How many landmarks a frame must have; any number by default.

    Returns:
        The clip, width and height 0 (not known).

    Raises:
        LandmarkFileError: The file is missing, is no such array, is shorter than its header says, holds a frame that
            is finite in part or infinite, or no frame between `start` and `end`.
    """
    name = os.fspath(path)
    stored = _open(name)
    wanted = "landmarks" if num_landmarks is None else str(num_landmarks)
    is_clip = stored.ndim == 3 and stored.shape[2] == 3 and stored.shape[1] > 0
    if not is_clip or num_landmarks not in (None, stored.shape[1]):
        raise LandmarkFileError(f"{name}: holds shape {stored.shape}; expected floats (frames, {wanted}, 3)")
    if stored.dtype.kind != "f":
        raise LandmarkFileError(
            f'{name}: holds {stored.dtype}; expected floats (frames, {wanted}, 3): save array.astype("float32")'
        )
    timestamps = np.arange(len(stored)) / frame_rate
    first, last = np.searchsorted(timestamps, [start or 0.0, np.inf if end is None else end]).tolist()
    if first >= last:
        raise LandmarkFileError(f"{name}: no frame in the span; the file lasts {len(stored) / frame_rate:.2f} s")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        keypoints = np.array(stored[first:last], dtype=np.float32, order="C")
    finite = np.isfinite(keypoints)
    present = ~np.isnan(keypoints).all(axis=(1, 2)) & keypoints.any(axis=(1, 2))
    if not finite[present].all():
        frame = first + int(np.flatnonzero(present & ~finite.all(axis=(1, 2)))[0])
        raise LandmarkFileError(
            f"{name}: frame {frame} holds NaN beside numbers, or infinite values; extract the clip again, or write "
            "NaN throughout a frame without a face"
        )
    keypoints[~present] = 0.0
    return LandmarkSequence(
        keypoints=keypoints,
        present=present,
        timestamps=timestamps[first:last] - (start or 0.0),
        width=0,
        height=0,
        frame_rate=frame_rate,
    )


def _open(name: str) -> np.ndarray:
    """The file's array, mapped into memory, after a look at whether the file can be what its header says."""
    try:
        with open(name, "rb") as file:
            return _map(file, name)
    except OSError as error:
        raise LandmarkFileError(f"{name}: {_os_reason(error)}; check the path") from error
    except LandmarkFileError:
        raise
    except Exception as error:  # numpy parses a damaged header with whatever exception comes of it
        raise LandmarkFileError(
            f"{name}: not a readable .npy file of plain numbers ({error}); save it with numpy.save"
        ) from error


def _map(file: BinaryIO, name: str) -> np.ndarray:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise LandmarkFileError(f"{name}: the file is empty (0 bytes); copy or extract it again")
    if file.read(4) == b"PK\x03\x04":
        raise LandmarkFileError(f"{name}: an .npz archive in place of a .npy file; save one array with numpy.save")
    file.seek(0)
    shape, fortran_order, dtype = _read_header(file)
    if dtype.hasobject:
        raise LandmarkFileError(
            f"{name}: holds Python objects, which are never unpickled; save an array of floats (frames, landmarks, 3)"
        )
    declared, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or declared > held:
        raise LandmarkFileError(
            f"{name}: the file is truncated or its header wrong: shape {shape} of {dtype} needs {declared:,} bytes, "
            f"{held:,} are there; copy or extract it again"
        )
    if not declared:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, mode="r", offset=file.tell(), shape=shape, order="F" if fortran_order else "C")


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version not in ((2, 0), (3, 0)):
        raise ValueError(f"version {version} of the format")
    # Version 3 differs from 2 only in field names beyond latin-1, which plain numbers have not.
    return np.lib.format.read_array_header_2_0(file)


def _os_reason(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
