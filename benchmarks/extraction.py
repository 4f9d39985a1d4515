# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video to stored landmarks, as fast as the landmarker alone lets it be.

    python -m benchmarks.extraction FOLDER_OF_VIDEOS --output benchmark-extraction.json

Three ways through the same clips, each in two processes, start-up not counted. They take turns clip by clip, because a
machine that others use too changes its speed within seconds:

- the landmarker alone: MediaPipe's FaceLandmarker over frames that were decoded beforehand, its results thrown away;
- ours: what `data.prepare --num_proc 2` does with a chunk, from the video to the written part;
- the classic loop: OpenCV's VideoCapture, a new FaceLandmarker for every clip, landmarks to numpy. As it is mostly
  written, in one process, it stands beside too. In two nobody could be 1.5 times as fast: the landmarker is the most
  of it.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import mediapipe
import numpy as np
import torch
from tqdm.auto import trange

from data.extraction import Chunk, extract_clip, write_part
from data.records import Record
from data.settings import ExtractionSettings
from modeling_lipread.landmarker_lipread import landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from modeling_lipread.video_lipread import read_frames

from .measure import Row
from .run import machine, table, write

PROCESSES = 2


def make_landmarker():
    """MediaPipe's own, as its guide makes one for video."""
    tasks = mediapipe.tasks
    return tasks.vision.FaceLandmarker.create_from_options(
        tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=landmarker_path().read_bytes()),
            running_mode=tasks.vision.RunningMode.VIDEO,
            num_faces=1,
        )
    )


def to_image(frame: np.ndarray):
    return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)


def landmarker_alone(videos: list[Path]) -> Callable[[int], None]:
    """One landmarker over a clip's frames in memory."""
    clips = [[np.ascontiguousarray(frame) for _, frame in read_frames(video)] for video in videos]
    landmarker, milliseconds = make_landmarker(), 0

    def run(clip: int) -> None:
        nonlocal milliseconds
        for frame in clips[clip]:
            milliseconds += 40
            landmarker.detect_for_video(to_image(frame), milliseconds)

    return run


def ours(videos: list[Path]) -> Callable[[int], None]:
    """A chunk of `data.prepare`, of one clip: a part is written for each, where otherwise it is one for several."""
    extractor, settings = Face3DKeypointExtractor(), ExtractionSettings()
    records = [
        Record("videos.jsonl", line, video.stem, "bin blue", video.name, video, False)
        for line, video in enumerate(videos, start=1)
    ]

    def run(clip: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            chunk = Chunk([records[clip]], Path(folder, "part.arrow"), settings)
            write_part(chunk, [extract_clip(records[clip], settings, extractor)])

    return run


def classic_loop(videos: list[Path]) -> Callable[[int], None]:
    """As one would write it down."""

    def run(clip: int) -> None:
        capture, landmarker, keypoints = cv2.VideoCapture(str(videos[clip])), make_landmarker(), []
        while True:
            found, frame = capture.read()
            if not found:
                break
            image = to_image(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            result = landmarker.detect_for_video(image, 40 * len(keypoints))
            face = result.face_landmarks[0] if result.face_landmarks else []
            keypoints.append(np.array([[point.x, point.y, point.z] for point in face]))
        capture.release()
        landmarker.close()

    return run


WAYS = {"landmarker alone": landmarker_alone, "ours": ours, "classic loop": classic_loop}
# Each way and the processes it runs in; one alone takes its own share of the clips.
RUNS = {"landmarker alone": 2, "ours": 2, "classic loop": 2, "classic loop, one process": 1}


def work(videos: list[Path], pipe) -> None:
    """A process: takes the name of a way and the number of a clip, and answers how long the way took with the clip."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    runs = {name: way(videos) for name, way in WAYS.items()}
    pipe.send("ready")
    for name, clip in iter(pipe.recv, None):
        start = time.perf_counter()
        runs[name](clip)
        pipe.send(time.perf_counter() - start)


def measure(videos: list[Path], repeats: int) -> dict[str, float]:
    """Median frames a second of each of `RUNS`; two processes count until the slower one is done."""
    context = multiprocessing.get_context("spawn")
    shares = [videos[index::PROCESSES] for index in range(PROCESSES)]
    pipes, processes = [], []
    for share in shares:
        pipe, end = context.Pipe()
        processes.append(context.Process(target=work, args=(share, end), daemon=True))
        processes[-1].start()
        pipes.append(pipe)
    for pipe in pipes:
        pipe.recv()
    frames = [[sum(1 for _ in read_frames(video)) for video in share] for share in shares]
    rates: dict[str, list[float]] = {name: [] for name in RUNS}
    for repeat in trange(-1, repeats, unit="round", desc="Ways in turns"):  # the first warms up
        clips = [repeat % len(share) for share in shares]
        for name in list(RUNS)[:: 1 if repeat % 2 else -1]:
            at_work = pipes[: RUNS[name]]
            for pipe, clip in zip(at_work, clips, strict=False):
                pipe.send((name.split(",")[0], clip))
            slowest = max(pipe.recv() for pipe in at_work)
            if repeat >= 0:
                rates[name].append(
                    sum(share[clip] for share, clip in zip(frames[: len(at_work)], clips, strict=False)) / slowest
                )
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    return {name: statistics.median(found) for name, found in rates.items()}


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder of videos, searched to its depth")
    parser.add_argument("--num_clips", type=int, default=64, help="clips of them (default: 64)")
    parser.add_argument(
        "--repeats", type=int, default=80, help="rounds, of a clip each, of which the median counts (default: 80)"
    )
    parser.add_argument("--output", default="benchmark-extraction.json", help="JSON file to write")
    options = parser.parse_args(arguments)
    suffixes = {".mp4", ".mpg", ".mov", ".avi", ".mkv", ".webm"}
    videos = sorted(path for path in options.videos.rglob("*") if path.suffix.lower() in suffixes)
    if not videos:
        parser.error(f"{options.videos}: holds no video")
    videos = videos[:: max(1, len(videos) // options.num_clips)][: options.num_clips]
    rates = measure(videos, options.repeats)
    ours = rates.pop("ours")
    goals = {"landmarker alone": 0.95, "classic loop, one process": 1.5}
    rows = [Row(f"beside the {name}", rate, ours, "frames/s", goals.get(name)) for name, rate in rates.items()]
    found = {**machine(torch.device("cpu")), "clips": len(videos)}
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n")
    print(table(rows))
    write(options.output, {"machine": found, "rows": [row.as_dict() for row in rows]})
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
