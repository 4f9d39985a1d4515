# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures video to stored landmarks against MediaPipe's landmarker alone.

    OMP_NUM_THREADS=1 python -m benchmarks.extraction FOLDER_OF_VIDEOS --output benchmark-extraction.json

Three ways through the same clips, in turns clip by clip:

- the landmarker alone: MediaPipe's FaceLandmarker over frames decoded beforehand, its results discarded;
- ours: what a worker of `data.prepare` does with a clip, from the video to the written part;
- the classic loop: OpenCV's VideoCapture, a new FaceLandmarker for every clip, landmarks to numpy.

Figures are frames per second of processor time, all threads together: what one core yields where there are as many
workers as cores. Other work on the machine changes processor time far less than elapsed time.
"""

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import mediapipe
import numpy as np
import torch
from tqdm.auto import tqdm

from data.preparation.extraction import Chunk, extract_clip, write_part
from data.preparation.settings import ExtractionSettings
from data.sources.records import Record
from lipread.video_files import VIDEO_SUFFIXES
from modeling_lipread.landmarker_lipread import landmarker_path
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from modeling_lipread.video_lipread import read_frames

from .measure import Row
from .run import machine, table, write


def make_landmarker():
    """Creates MediaPipe's landmarker as its guide does for video."""
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


class LandmarkerAlone:
    """One landmarker over a clip's frames in memory."""

    def __init__(self):
        self.landmarker, self.milliseconds = make_landmarker(), 0

    def __call__(self, frames: list[np.ndarray]) -> None:
        for frame in frames:
            self.milliseconds += 40
            self.landmarker.detect_for_video(to_image(frame), self.milliseconds)


def extract(video: Path, extractor: Face3DKeypointExtractor) -> None:
    """Writes the part of a chunk of one clip, as `data.prepare` does; its own chunks hold several."""
    record = Record("videos.jsonl", 1, video.stem, "bin blue", video.name, video, False)
    settings = ExtractionSettings()
    with tempfile.TemporaryDirectory() as folder:
        chunk = Chunk([record], Path(folder, "part.arrow"), settings)
        write_part(chunk, [extract_clip(record, settings, extractor)])


def classic_loop(video: Path) -> None:
    """Reads a clip as most scripts do."""
    capture, landmarker, keypoints = cv2.VideoCapture(str(video)), make_landmarker(), []
    while True:
        found, frame = capture.read()
        if not found:
            break
        result = landmarker.detect_for_video(to_image(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)), 40 * len(keypoints))
        face = result.face_landmarks[0] if result.face_landmarks else []
        keypoints.append(np.array([[point.x, point.y, point.z] for point in face]))
    capture.release()
    landmarker.close()


def measure(videos: list[Path]) -> dict[str, float]:
    """Returns each way's frames per second of processor time, the median over the videos."""
    alone, extractor = LandmarkerAlone(), Face3DKeypointExtractor()
    rates: dict[str, list[float]] = {"landmarker alone": [], "ours": [], "classic loop": []}
    for index, video in enumerate(tqdm([videos[0], *videos], unit="clip")):  # the first one warms up
        frames = [np.ascontiguousarray(frame) for _, frame in read_frames(video)]
        ways = {
            "landmarker alone": partial(alone, frames),
            "ours": partial(extract, video, extractor),
            "classic loop": partial(classic_loop, video),
        }
        for name in list(ways)[:: 1 if index % 2 else -1]:
            start = time.process_time()
            ways[name]()
            if index:
                rates[name].append(len(frames) / (time.process_time() - start))
    return {name: statistics.median(found) for name, found in rates.items()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder of videos, searched to its depth")
    parser.add_argument("--num_clips", type=int, default=32, help="clips of them; the median counts (default: 32)")
    parser.add_argument("--output", default="benchmark-extraction.json", help="JSON file to write")
    options = parser.parse_args(arguments)
    videos = sorted(path for path in options.videos.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        parser.error(f"{options.videos}: holds no video")
    videos = videos[:: max(1, len(videos) // options.num_clips)][: options.num_clips]
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rates = measure(videos)
    ours = rates.pop("ours")
    goals = {"landmarker alone": 0.8}
    rows = [Row(f"beside the {name}", rate, ours, "frames/s", goals.get(name)) for name, rate in rates.items()]
    found = {**machine(torch.device("cpu")), "clips": len(videos)}
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n")
    print(table(rows))
    write(options.output, {"machine": found, "rows": [row.as_dict() for row in rows]})
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
