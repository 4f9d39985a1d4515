# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread doctor`: does a small piece of the real work for each check, without a network, and prints remedies.

A check imports what it needs, so that a broken package fails this check alone.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from contextlib import closing
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import options

CODECS = (("libx264", "mp4", "H.264"), ("mpeg4", "mov", "MPEG-4"), ("libvpx-vp9", "webm", "VP9"))
CAMERA_SECONDS, MIN_RATE = 4.0, 15  # pictures a second
TOO_SLOW = "The camera is slow. Turn on more light, and close other programs that use it."
CLEAR = "\r\x1b[K"  # the line of a terminal
REINSTALL = "pip install --force-reinstall --no-deps"


class Note(Exception):
    """The result of a check that found nothing broken, but something that limits what works."""


def add_doctor(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="check the installation, and print a remedy for each problem")
    model_help = "folder or Hub id of a reader (default: the package's)"
    parser.add_argument("--model", default=options.BUNDLED_MODEL, help=model_help)
    source_help = "number of a camera, stream, or video file to look at (default: 0)"
    parser.add_argument("--source", default="0", help=source_help)
    parser.set_defaults(run=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """Prints a line for each check. Returns the exit status: 0, or 1 if a check failed."""
    options.require_source(arguments.source)
    checks = (
        ("packages", check_packages, "in the checkout: pip install -c constraints.txt . && pip check"),
        ("codecs", check_codecs, f"{REINSTALL} av"),
        ("landmarks", check_landmarks, f"{REINSTALL} ai-edge-litert, then in the checkout {REINSTALL} ."),
        ("accelerator", check_accelerator, "update its driver, or give --device cpu"),
        ("reader", lambda: check_reader(arguments.model), f"check --model, or in the checkout {REINSTALL} ."),
        ("camera", lambda: check_camera(arguments.source), f"{REINSTALL} opencv-contrib-python"),
    )
    failed = 0
    for name, check, remedy in checks:
        try:
            state, message = "ok", check()
        except Note as note:
            state, message = "note", str(note)
        except Exception as error:  # a broken installation raises anything; the other checks still run
            state, message = "FAIL", f"{str(error) or type(error).__name__}: {remedy}"
            failed += 1
        print(f"{state:4}  {name:11}  {' '.join(message.split())}", flush=True)
    print(f"{failed} checks failed" if failed else "lipread can read here")
    return options.FAILURE if failed else options.SUCCESS


def check_packages() -> str:
    """Returns the versions that a report needs; `pip check` compares all of them with what is required."""
    named = ("torch", "transformers", "ai-edge-litert", "av")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in named)
    return f"{versions}; Python {platform.python_version()} on {platform.platform()}"


def check_codecs() -> str:
    """Encodes a picture that grows brighter with each codec, and decodes it again."""
    import numpy as np

    from modeling_lipread.video_lipread import read_frames, require

    av = require("av", "av", "Reading a video")
    available = [codec for codec in CODECS if codec[0] in av.codecs_available]
    if not available:
        raise RuntimeError("PyAV has no encoder to make a video with")
    pictures = [np.full((96, 128, 3), 20 + 16 * index, np.uint8) for index in range(12)]
    for encoder, suffix, name in available:
        with TemporaryDirectory(prefix="lipread-doctor-") as folder:
            path = Path(folder, f"clip.{suffix}")
            with av.open(str(path), "w") as container:
                stream = container.add_stream(encoder, rate=25, height=96, width=128, pix_fmt="yuv420p")
                for picture in pictures:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode())
            frames = [frame for _, frame in read_frames(path)]
        if np.shape(frames) != np.shape(pictures) or np.diff(np.mean(frames, axis=(1, 2, 3))).min() <= 0:
            raise RuntimeError(f"{name} decodes to other frames than were encoded")
    return f"{', '.join(name for *_, name in available)} encoded and decoded"


def check_landmarks() -> str:
    """Detects and tracks faces in a picture without a face, after checking MediaPipe's model file."""
    import numpy as np

    from modeling_lipread.landmarker_lipread import Landmarker, landmarker_path

    picture = np.full((240, 320, 3), 90, np.uint8)
    landmarker = Landmarker(landmarker_path())
    faces = landmarker.detect(picture, (0, 0, 320, 240))
    previous = np.random.default_rng(0).uniform((80, -200, 0), (240, -40, 1), (478, 3)).astype(np.float32)
    start = time.perf_counter()
    tracked = [landmarker.find(picture, previous) for _ in range(20)]
    rate = len(tracked) / (time.perf_counter() - start)
    if faces or any(face is not None for face in tracked):
        raise RuntimeError("a face is found in a grey picture")
    return f"a face is tracked through {rate:.0f} frames a second"


def check_accelerator() -> str:
    """Multiplies two matrices on the device that PyTorch would use."""
    import torch

    if not torch.accelerator.is_available():
        raise Note(
            f"PyTorch {torch.__version__} finds no GPU and uses {torch.get_num_threads()} CPU threads: if there is "
            "one, install PyTorch as https://pytorch.org/get-started says"
        )
    device = torch.accelerator.current_accelerator()
    ones = torch.ones(64, 64, device=device)
    if not ((ones @ ones) == 64).all():
        raise RuntimeError(f"{device} computes wrong products")
    return f"{torch.cuda.get_device_name() if device.type == 'cuda' else device.type} ({device.type}) computes"


def check_reader(model: str) -> str:
    """Reads three seconds of a synthetic face whose lips open and close."""
    import numpy as np

    from modeling_lipread.geometry_lipread import NUM_LANDMARKS, RIGID, RIGID_REFERENCE
    from modeling_lipread.landmarks_lipread import LandmarkSequence

    face = np.random.default_rng(0).normal(scale=5.0, size=(NUM_LANDMARKS, 3))
    face[list(RIGID)] = RIGID_REFERENCE
    keypoints = np.repeat(face[None], 75, axis=0).astype(np.float32)
    opening = 1 - np.cos(np.arange(75) / 3)
    keypoints[:, [13, 14], 1] += np.stack([opening, -opening], axis=1)
    pipeline = options.load_pipeline(model)
    start = time.perf_counter()
    words = pipeline(LandmarkSequence.from_array(keypoints, 25.0))["text"].split()
    return f"{model} reads 3 s of a synthetic face in {time.perf_counter() - start:.2f} s ({len(words)} words)"


def check_camera(source: str) -> str:
    """Watches a camera, or a video in its place, for a few seconds: light, distance and direction of the face, rate.

    On a terminal, a line follows what it sees, so that the person can move.
    """
    import numpy as np

    from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
    from modeling_lipread.video_lipread import VideoError

    from ..diagnosis import brightness, find_problem
    from ..live.source import LiveSource

    problems, lights, widths, frames = [], [], [], LiveSource(source)
    try:
        with closing(frames), Face3DKeypointExtractor() as extractor:
            for seconds, picture in frames:
                if picture is None:  # where a video is damaged
                    continue
                face = extractor.extract(picture)
                problems.append(find_problem(picture, face))
                lights.append(brightness(picture))
                widths.append(0.0 if face is None else np.ptp(face[:, 0]))
                if sys.stdout.isatty():
                    print(f"{CLEAR}look  camera       {problems[-1] or 'Your face is well seen.'}", end="", flush=True)
                if seconds > CAMERA_SECONDS:
                    break
    except VideoError as error:
        raise Note(f"{error}; videos can be read without a camera") from None
    finally:
        if problems and sys.stdout.isatty():
            print(CLEAR, end="")
    rate = (len(problems) + frames.dropped - 1) / max(seconds, 1e-3)
    seen = (
        f"{source}: {picture.shape[1]}x{picture.shape[0]}, {rate:.0f} pictures a second; brightness "
        f"{np.mean(lights):.0f} of 255; the face is {np.median(widths):.0f} pixels wide"
    )
    problem = statistics.mode(problems) or (TOO_SLOW if rate < MIN_RATE else "")
    if problem:
        raise Note(f"{seen}. {problem}")
    return f"{seen} and well seen"
