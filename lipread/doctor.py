# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread doctor`: checks that reading lips works on this machine, and prints a remedy where it does not.

Each check does a small piece of the real work. None needs a network.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement

from modeling_lipread.geometry_lipread import NUM_LANDMARKS, RIGID, RIGID_REFERENCE
from modeling_lipread.landmarker_lipread import Landmarker, landmarker_path, quiet
from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.video_lipread import read_frames, require

from .options import BUNDLED_MODEL, FAILURE, SUCCESS, load_pipeline

CODECS = (("libx264", "mp4", "H.264"), ("mpeg4", "mov", "MPEG-4"), ("libvpx-vp9", "webm", "VP9"))
HEIGHT, WIDTH, FRAMES = 96, 128, 12  # of the videos that the codec check writes


class Note(Exception):
    """A check's result that breaks nothing but is worth knowing."""


def add_doctor(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser("doctor", help="check the installation, and print a remedy for each problem")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="folder or Hub id of a reader (default: the package's)")
    parser.add_argument("--camera", type=int, default=0, help="number of the camera to try (default: 0)")
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Prints a line for each check.

    Returns:
        The exit status: 0, or 1 if a check failed.
    """
    reinstall = "pip install --force-reinstall --no-deps"
    checks = (
        ("packages", check_packages, (), "pip install --upgrade lipread"),
        ("codecs", check_codecs, (), f"{reinstall} av"),
        ("landmarks", check_landmarks, (), f"{reinstall} lipread mediapipe"),
        ("accelerator", check_accelerator, (), "update its driver, or give --device cpu"),
        ("reader", check_reader, (arguments.model,), f"check --model, or {reinstall} lipread"),
        ("camera", check_camera, (arguments.camera,), f"{reinstall} opencv-contrib-python"),
    )
    failed = 0
    for name, check, values, remedy in checks:
        try:
            state, message = "ok", check(*values)
        except Note as note:
            state, message = "note", str(note)
        except Exception as error:  # a broken installation raises anything; the other checks still run
            state, message = "FAIL", f"{str(error) or type(error).__name__}: {remedy}"
            failed += 1
        print(f"{state:4}  {name:11}  {' '.join(message.split())}", flush=True)
    print(f"{failed} checks failed" if failed else "lipread can read here")
    return FAILURE if failed else SUCCESS


def check_packages() -> str:
    """Compares the installed versions with those that lipread requires."""
    try:
        lines = importlib.metadata.requires("lipread") or []
    except importlib.metadata.PackageNotFoundError:
        raise Note("lipread is not installed, so versions cannot be compared: pip install .") from None
    required = [Requirement(line) for line in lines]
    required = [item for item in required if item.marker is None or item.marker.evaluate({"extra": ""})]
    wrong = [
        f"{item} (found {version})"
        for item in required
        if (version := _version(item.name)) is None or not item.specifier.contains(version, prereleases=True)
    ]
    if wrong:
        raise RuntimeError(f"lipread needs {', '.join(wrong)}")
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", "transformers", "mediapipe", "av"))
    return f"{versions}; Python {platform.python_version()} on {platform.platform()}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_codecs() -> str:
    """Encodes a picture that grows brighter with each codec, and decodes it again."""
    av = require("av", "av", "Reading a video")
    available = [codec for codec in CODECS if codec[0] in av.codecs_available]
    for encoder, suffix, name in available:
        with TemporaryDirectory(prefix="lipread-doctor-") as folder:
            path = Path(folder, f"clip.{suffix}")
            with av.open(str(path), "w") as container:
                stream = container.add_stream(encoder, rate=25)
                stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
                for index in range(FRAMES):
                    picture = np.full((HEIGHT, WIDTH, 3), 20 + 16 * index, np.uint8)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
            frames = [frame for _, frame in read_frames(path)]
        brightness = [frame.mean() for frame in frames]
        if len(frames) != FRAMES or frames[0].shape != (HEIGHT, WIDTH, 3) or min(np.diff(brightness)) <= 0:
            raise RuntimeError(f"{name} decodes to other frames than were encoded")
    if not available:
        raise RuntimeError("PyAV has no encoder to make a video with")
    return f"{', '.join(name for *_, name in available)} encoded and decoded"


def check_landmarks() -> str:
    """Runs MediaPipe's landmarker on a picture without a face, after checking its model file."""
    picture, frames = np.full((240, 320, 3), 90, np.uint8), 20
    landmarker = Landmarker(landmarker_path(), video=True, num_faces=1)
    try:
        start = time.perf_counter()
        faces = sum(len(landmarker.detect(picture, (0, 0, 320, 240), index / 25)) for index in range(frames))
        rate = frames / (time.perf_counter() - start)
    finally:
        landmarker.close()
    if faces:
        raise RuntimeError("MediaPipe finds a face in a grey picture")
    return f"MediaPipe searches {rate:.0f} frames a second for faces"


def check_accelerator() -> str:
    """Multiplies two matrices on the device that PyTorch would use."""
    if not torch.accelerator.is_available():
        remedy = "if there is one, install PyTorch as https://pytorch.org/get-started says"
        raise Note(
            f"PyTorch {torch.__version__} finds no GPU and uses {torch.get_num_threads()} CPU threads: {remedy}"
        )
    device = torch.accelerator.current_accelerator()
    ones = torch.ones(64, 64, device=device)
    if not bool(((ones @ ones) == 64).all()):
        raise RuntimeError(f"{device} computes wrong products")
    return f"{torch.cuda.get_device_name() if device.type == 'cuda' else device.type} ({device.type}) computes"


def check_reader(model: str) -> str:
    """Reads three seconds of a synthetic face whose lips open and close."""
    frames = 75
    face = np.random.default_rng(0).normal(size=(NUM_LANDMARKS, 3))
    face *= np.array([7.0, 9.0, 6.0]) / np.linalg.norm(face, axis=-1, keepdims=True)
    face[list(RIGID)] = RIGID_REFERENCE
    keypoints = np.repeat(face[None], frames, axis=0).astype(np.float32)
    opening = 1 - np.cos(np.arange(frames) / 3)
    keypoints[:, [13, 14], 1] += np.stack([opening, -opening], axis=1)
    clip = LandmarkSequence(keypoints, np.ones(frames, bool), np.arange(frames) / 25, 0, 0, 25.0)
    pipeline = load_pipeline(model)
    start = time.perf_counter()
    words = pipeline(clip)["text"].split()
    seconds = time.perf_counter() - start
    if not all(parameter.isfinite().all() for parameter in pipeline.model.parameters()):
        raise RuntimeError(f"{model} has weights that are not finite")
    return f"{model} reads 3 s of a synthetic face in {seconds:.2f} s ({len(words)} words)"


def check_camera(number: int) -> str:
    """Takes a picture. Without a camera, videos can still be read."""
    cv2 = require("cv2", "opencv-contrib-python", "Opening a camera")
    with quiet():  # OpenCV prints an error for each interface it tries
        camera = cv2.VideoCapture(number)
        opened = camera.isOpened()
        taken, picture = camera.read() if opened else (False, None)
        camera.release()
    if taken:
        return f"camera {number} gives pictures of {picture.shape[1]}x{picture.shape[0]}"
    if opened:
        raise Note(f"camera {number} gives no picture: close other programs that use it, and allow the terminal to")
    raise Note(f"there is no camera {number}; videos can still be read: plug one in, or try --camera 1")
