# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread doctor`: whether everything that reading lips needs works here, and what to do where it does not.

Each check does the real thing in small: it encodes and decodes a video, finds a face's landmarks, computes on the
accelerator, opens the camera, reads. None needs a network.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement
from transformers import AutoModel, AutoProcessor

from .geometry_lipread import NUM_LANDMARKS, RIGID, RIGID_REFERENCE
from .landmarker_lipread import Landmarker, landmarker_path, quiet
from .landmarks_lipread import LandmarkSequence
from .pipeline_lipread import LipReadingPipeline
from .reader_options_lipread import EMBEDDED, READ, SOME_FAILED
from .video_lipread import read_frames, require

OK, NOTE, FAIL = "ok", "note", "FAIL"
CODECS = (("libx264", "mp4", "H.264"), ("mpeg4", "mov", "MPEG-4"), ("libvpx-vp9", "webm", "VP9"))
TINY = (96, 128, 12)  # height, width and frames of the video that is made
REINSTALL = "pip install --force-reinstall --no-deps lipread"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        state: `ok`, `note` (nothing is broken, but good to know) or `FAIL`.
        message: What was found.
        remedy: What to do about it.
    """

    state: str
    message: str
    remedy: str = ""


def add_doctor(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser("doctor", help="check the installation, and say what to do where something is wrong")
    parser.add_argument("--model", default=EMBEDDED, help="folder or Hub id of a reader (default: the package's own)")
    parser.add_argument("--camera", type=int, default=0, help="index of the camera to try (default: 0)")
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Prints a line for each check.

    Returns:
        The exit status: 0, or 1 if anything is broken.
    """
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": check_python,
        "packages": check_packages,
        "face model": check_face_model,
        "codecs": check_codecs,
        "landmarks": check_landmarks,
        "accelerator": check_accelerator,
        "reader": lambda: check_reader(arguments.model),
        "camera": lambda: check_camera(arguments.camera),
    }
    failed = 0
    for name, check in checks.items():
        for finding in _caught(check):
            failed += finding.state == FAIL
            remedy = f": {finding.remedy}" if finding.remedy else ""
            print(f"{finding.state:4}  {name:11}  {' '.join((finding.message + remedy).split())}", flush=True)
    print(f"{failed} checks failed" if failed else "lipread can read here")
    return SOME_FAILED if failed else READ


def _caught(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; one that breaks has found something too."""
    try:
        yield from check()
    except Exception as error:  # whatever is broken here, the other checks go on
        yield Finding(FAIL, f"{type(error).__name__}: {error}", "see the packages above")


def check_python() -> Iterator[Finding]:
    """The interpreter and the system, for a report."""
    yield Finding(OK, f"{platform.python_version()} on {platform.platform()}")


def check_packages() -> Iterator[Finding]:
    """The versions that the installed package asks for."""
    try:
        version, required = importlib.metadata.version("lipread"), importlib.metadata.requires("lipread") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(NOTE, "lipread is not installed, so that versions cannot be compared", "pip install .")
        return
    required = [Requirement(line) for line in required]
    required = [item for item in required if item.marker is None or item.marker.evaluate({"extra": ""})]
    wrong = [(item, found) for item in required if not _satisfied(item, found := _installed(item.name))]
    for item, found in wrong:
        state = "is missing" if found is None else f"is {found}"
        yield Finding(FAIL, f"{item.name} {state}, {item.specifier} is needed", f"pip install --upgrade '{item}'")
    if not wrong:
        named = ("torch", "transformers", "mediapipe", "av")
        versions = ", ".join(f"{name} {_installed(name)}" for name in named)
        yield Finding(OK, f"lipread {version} and the {len(required)} packages it needs ({versions})")
    twins = [name for name in ("opencv-python", "opencv-python-headless") if _installed(name)]
    for name in twins:  # they write the same files
        remedy = f"pip uninstall {name}, then pip install --force-reinstall --no-deps opencv-contrib-python"
        yield Finding(NOTE, f"{name} and opencv-contrib-python are both installed and overwrite each other", remedy)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _satisfied(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def check_face_model() -> Iterator[Finding]:
    """MediaPipe's model file, to the bit."""
    try:
        path = landmarker_path()
    except (OSError, ValueError) as error:
        yield Finding(FAIL, str(error), REINSTALL)
        return
    yield Finding(OK, f"{path.name}, {path.stat().st_size / 1e6:.1f} MB, as it was published")


def check_codecs() -> Iterator[Finding]:
    """Videos encoded, and decoded again."""
    require("av", "av", "Reading a video")
    read, absent = [], []
    with TemporaryDirectory(prefix="lipread-doctor-") as folder:
        for encoder, suffix, name in CODECS:
            path = Path(folder, f"tiny.{suffix}")
            if not _encode_tiny(path, encoder):
                absent.append(name)
                continue
            frames = [frame for _, frame in read_frames(path)]
            brightness = [float(frame.mean()) for frame in frames]
            rises = len(frames) == TINY[2] and all(np.diff(brightness) > 0) and frames[0].shape[:2] == TINY[:2]
            if not rises:
                yield Finding(FAIL, f"{name} does not come back as it was written", "pip install --force-reinstall av")
                return
            read.append(name)
    if not read:
        yield Finding(FAIL, "no encoder to make a video with", "pip install --force-reinstall av")
        return
    lacking = f" (no encoder to try {', '.join(absent)} with)" if absent else ""
    yield Finding(OK, f"{', '.join(read)} written and read back{lacking}")


def _encode_tiny(path: Path, encoder: str) -> bool:
    """Writes a picture that grows brighter from frame to frame; False if there is no such encoder."""
    av = require("av", "av", "Writing a video")
    if encoder not in av.codecs_available:
        return False
    height, width, count = TINY
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(count):
            picture = np.full((height, width, 3), 20 + 16 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return True


def check_landmarks() -> Iterator[Finding]:
    """MediaPipe's landmarker, on a picture without a face."""
    path, picture = landmarker_path(), np.full((240, 320, 3), 90, np.uint8)
    landmarker = Landmarker(path, video=True, num_faces=1)
    try:
        begun, frames = time.perf_counter(), 20
        found = sum(len(landmarker.detect(picture, (0, 0, 320, 240), index / 25)) for index in range(frames))
        rate = frames / (time.perf_counter() - begun)
    finally:
        landmarker.close()
    if found:
        yield Finding(FAIL, "MediaPipe sees a face where none is", "pip install --force-reinstall mediapipe")
    else:
        yield Finding(OK, f"MediaPipe looks for faces in {rate:.0f} frames a second")


def check_accelerator() -> Iterator[Finding]:
    """What torch computes on, by computing on it."""
    threads = torch.get_num_threads()
    if not torch.accelerator.is_available():
        built_without = torch.version.cuda is None and torch.version.hip is None
        why = "this torch is built for none" if built_without else "torch is built for one and sees none"
        remedy = "if there is one, install torch as https://pytorch.org/get-started says" if built_without else ""
        yield Finding(NOTE, f"no GPU ({why}), reading on the processor with {threads} threads", remedy)
        return
    device = torch.accelerator.current_accelerator()
    try:
        ones = torch.ones(64, 64, device=device)
        right = bool(((ones @ ones) == 64).all())
    except RuntimeError as error:
        yield Finding(FAIL, f"{device} is there but does not compute: {error}", "update its driver, or --device cpu")
        return
    if not right:
        yield Finding(FAIL, f"{device} computes wrongly", "give --device cpu, and have the hardware checked")
        return
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    yield Finding(OK, f"{name} ({device.type}) computes")


def check_reader(model: str) -> Iterator[Finding]:
    """A reader, by having it read: the lips of a made-up face open and close."""
    remedy = REINSTALL if model == EMBEDDED else f"check --model {model}"
    try:
        processor, network = AutoProcessor.from_pretrained(model), AutoModel.from_pretrained(model)
        reader = LipReadingPipeline(model=network, processor=processor)
        begun = time.perf_counter()
        text = reader(_moving_face())["text"]
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        yield Finding(FAIL, str(error), remedy)
        return
    name = "the package's own reader" if model == EMBEDDED else model
    if not torch.isfinite(torch.stack([weight.abs().sum() for weight in network.parameters()])).all():
        yield Finding(FAIL, f"{name} has weights that are not finite", remedy)
        return
    seconds = time.perf_counter() - begun
    yield Finding(OK, f"{name} reads 3 s of a made-up face in {seconds:.2f} s ({len(text.split())} words)")


def _moving_face(frames: int = 75) -> LandmarkSequence:
    """Landmarks on an ellipsoid of a head's size, in centimetres, the eyes and nose where they belong."""
    random = np.random.default_rng(0)
    face = random.normal(size=(NUM_LANDMARKS, 3))
    face *= np.array([7.0, 9.0, 6.0]) / np.linalg.norm(face, axis=-1, keepdims=True)
    face[list(RIGID)] = RIGID_REFERENCE
    keypoints = np.repeat(face[None], frames, axis=0).astype(np.float32)
    opening = 1 - np.cos(np.arange(frames) / 3)
    keypoints[:, 13, 1] += opening
    keypoints[:, 14, 1] -= opening
    return LandmarkSequence(keypoints, np.ones(frames, bool), np.arange(frames) / 25, 0, 0, 25.0)


def check_camera(index: int) -> Iterator[Finding]:
    """A picture from a camera; that there is none is no failure."""
    cv2 = require("cv2", "opencv-contrib-python", "Opening a camera")
    with quiet():  # OpenCV tries one interface after another and complains of each
        camera = cv2.VideoCapture(index)
        opened = camera.isOpened()
        taken, picture = camera.read() if opened else (False, None)
        camera.release()
    if taken:
        yield Finding(OK, f"camera {index} gives pictures of {picture.shape[1]}x{picture.shape[0]}")
    elif opened:
        remedy = "close other programs that use it, and allow the terminal to in the system's settings"
        yield Finding(NOTE, f"camera {index} opens but gives no picture", remedy)
    else:
        yield Finding(NOTE, f"no camera {index}; videos are read all the same", "plug one in, or try --camera 1")
