# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Clips that the tests make: a face from scikit-image's example pictures, encoded with PyAV, and GRID clips joined."""

import json
import re
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.spatial.transform import Rotation
from skimage.data import astronaut

from modeling_lipread.geometry_lipread import RIGID, RIGID_REFERENCE
from modeling_lipread.video_lipread import read_frames

_REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = _REPOSITORY / "examples" / "clip.mp4"
# What the reader in the package reads in it, as the README says.
EXAMPLE_WORDS = re.search(r"transcribe examples/clip.mp4 +# (.*)", (_REPOSITORY / "README.md").read_text())[1]

# 360 pixels wide, as GRID's: the width whose decoded frames are not contiguous.
PORTRAIT = np.ascontiguousarray(astronaut()[:288, 40:400])
FACE = PORTRAIT[:, 84:284]


def rotation_from_angles(yaw: float | np.ndarray, pitch: float | np.ndarray, roll: float | np.ndarray) -> np.ndarray:
    """Rotations `(..., 3, 3)` of heads that roll, then pitch, then yaw, by angles in degrees."""
    yaw, pitch, roll = np.broadcast_arrays(yaw, pitch, roll)
    return Rotation.from_euler("YXZ", np.stack([yaw, -pitch, roll], axis=-1), degrees=True).as_matrix()


def center(face: np.ndarray) -> np.ndarray:
    """Where the landmarks of a face lie in the picture, `(2,)`."""
    return face[:, :2].mean(axis=0)


def moving_portrait(frames: int = 8) -> list[np.ndarray]:
    """The portrait, shifted by two pixels a frame."""
    return [np.roll(PORTRAIT, 2 * index, axis=1) for index in range(frames)]


def portrait_on(height: int, width: int, placed: Sequence[tuple[float, int, int]]) -> np.ndarray:
    """The face on a grey picture, once or more, each `(scale, left, top)`."""
    picture = np.full((height, width, 3), 90, np.uint8)
    for scale, left, top in placed:
        small = cv2.resize(FACE, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    frame_rate: Fraction | int = 25,
    milliseconds: Sequence[int] | None = None,
    reorder: bool = True,
    pixel_width: int = 1,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    codec_options: dict[str, str] | None = None,
    display: tuple | None = None,
    **options: str,
) -> Path:
    """Encodes frames (RGB, RGBA or grey), evenly or at given times; options are the container's.

    `reorder` stores them in another order than they are shown in; `display` (degrees against the clock, mirrored
    sideways, upside down) says how they are to be shown.
    """
    layout = {2: "gray", 3: "rgb24", 4: "rgba"}[frames[0].shape[-1] if frames[0].ndim == 3 else 2]
    with av.open(str(path), "w", options=options) as container:
        chosen = {"crf": "10", "bf": "3" if reorder else "0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=frame_rate, options=chosen | (codec_options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        if pixel_width != 1:
            stream.codec_context.sample_aspect_ratio = Fraction(pixel_width)
        if display is not None:
            stream.set_display_rotation(*display)
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=layout)
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_song(path: Path) -> Path:
    """A moment of silence with a picture for its cover."""
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1, width=360, height=288, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        for stream, frame in ((cover, av.VideoFrame(360, 288, "yuvj420p")), (sound, silence)):
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return path


def without_durations(path: Path) -> Path:
    """Rewrites an mp4 so that all frames last no time, as some muxers leave them."""
    data = bytearray(path.read_bytes())
    table = data.index(b"stts") + 8
    (runs,) = struct.unpack_from(">I", data, table)
    for run in range(runs):
        struct.pack_into(">I", data, table + 8 + 8 * run, 0)
    path.write_bytes(data)
    return path


def without_frame_rate(path: Path) -> Path:
    """Rewrites an AVI whose headers give a frame rate so that they all say 0."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8, 0)  # microseconds a frame
    struct.pack_into("<II", data, data.index(b"strh") + 28, 0, 0)  # scale and rate
    path.write_bytes(data)
    return path


def made_up_face(seed: int = 0) -> np.ndarray:
    """Landmarks `(478, 3)` on a head-sized ellipsoid, frontal, in centimetres, rigid points where they belong."""
    random = np.random.default_rng(seed)
    face = random.normal(size=(478, 3))
    face = face / np.linalg.norm(face, axis=-1, keepdims=True) * (7.0, 9.0, 6.0)
    face[..., 2] = np.abs(face[..., 2])
    face[list(RIGID)] = RIGID_REFERENCE
    return face


def grid_lines(grid_dir: Path, split: str, speaker: str, count: int) -> list[dict]:
    lines = [json.loads(line) for line in (grid_dir / f"{split}.jsonl").read_text().splitlines()]
    return [line for line in lines if line["speaker"] == speaker][:count]


def grid_frames(grid_dir: Path, lines: Sequence[dict]) -> list[np.ndarray]:
    return [frame for line in lines for _, frame in read_frames(grid_dir / line["video"])]


def one_after_another(grid_dir: Path, lines: Sequence[dict], path: Path) -> Path:
    return write_video(path, grid_frames(grid_dir, lines))
