# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures video to stored landmarks against MediaPipe's landmarker alone.

    OMP_NUM_THREADS=1 python -m benchmarks.extraction FOLDER_OF_VIDEOS --output benchmark-extraction.json

Four ways alternate on the same clips: MediaPipe's FaceLandmarker alone on decoded frames; our landmarks of the same
frames; a worker of `data.prepare`, from the video to the written part; the classic loop, OpenCV and a new
FaceLandmarker for every clip.
Figures are frames per second of processor time of all threads, which other load hardly changes.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
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

from .measure import Row, make_parser, report


def make_landmarker():
    """Returns MediaPipe's landmarker in video mode, as in its guide."""
    vision = mediapipe.tasks.vision
    base = mediapipe.tasks.BaseOptions(model_asset_buffer=landmarker_path().read_bytes())
    options = vision.FaceLandmarkerOptions(base_options=base, running_mode=vision.RunningMode.VIDEO, num_faces=1)
    return vision.FaceLandmarker.create_from_options(options)


def landmarks(landmarker, frame: np.ndarray, number: int) -> list:
    """Returns the landmarks of each face in a frame; frames must come in order."""
    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
    return landmarker.detect_for_video(image, 40 * number).face_landmarks


def extract(video: Path, extractor: Face3DKeypointExtractor) -> None:
    """Extracts a clip and writes it as a part, as `data.prepare` does."""
    record = Record("videos.jsonl line 1", 1, video.stem, "bin blue", video.name, video, False)
    settings = ExtractionSettings()
    with tempfile.TemporaryDirectory() as folder:
        chunk = Chunk([record], Path(folder, "part.arrow"), settings)
        write_part(chunk, [extract_clip(record, settings, extractor)])


def classic_loop(video: Path) -> None:
    """Extracts a clip as most scripts do."""
    capture, landmarker, keypoints = cv2.VideoCapture(str(video)), make_landmarker(), []
    while (read := capture.read())[0]:
        faces = landmarks(landmarker, cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), len(keypoints))
        keypoints.append(np.array([[point.x, point.y, point.z] for point in (faces[0] if faces else [])]))
    capture.release()
    landmarker.close()


def measure(videos: list[Path]) -> dict[str, float]:
    """Returns the frames per second of processor time of each way, the median over the videos."""
    landmarker, extractor, numbers = make_landmarker(), Face3DKeypointExtractor(), itertools.count()
    rates = defaultdict(list)
    for index, video in enumerate(tqdm([videos[0], *videos], unit="clip")):  # the first one warms up
        frames = [np.ascontiguousarray(frame) for _, frame in read_frames(video)]
        ways = {
            "landmarker alone": lambda: [landmarks(landmarker, frame, next(numbers)) for frame in frames],  # noqa: B023
            "landmarks": partial(extractor.extract_frames, frames, 25),
            "worker": partial(extract, video, extractor),
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
    parser = make_parser(__doc__, "benchmark-extraction.json")
    parser.add_argument("videos", type=Path, help="folder of videos, searched to its depth")
    parser.add_argument("--num_clips", type=int, default=32, help="clips of them; the median counts (default: 32)")
    options = parser.parse_args(arguments)
    videos = sorted(path for path in options.videos.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        parser.error(f"{options.videos}: holds no video")
    videos = videos[:: max(1, len(videos) // options.num_clips)][: options.num_clips]
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rates = measure(videos)
    rows = [
        Row(f"{ours} beside the {other}", rates[other], rates[ours], "frames/s", goal)
        for ours, other, goal in (
            ("landmarks", "landmarker alone", 1.3),
            ("worker", "landmarker alone", 1.0),
            ("worker", "classic loop", None),
        )
    ]
    return report(rows, torch.device("cpu"), options.output, clips=len(videos))


if __name__ == "__main__":
    sys.exit(main())
