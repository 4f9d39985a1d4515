# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Compares clips in one long video with the same clips one by one, and measures memory on a longer video.

    python -m benchmarks.long_videos grid/validation.jsonl --clips 50
    python -m benchmarks.long_videos grid/validation.jsonl --clips 50 --tight 0.2 --max_seconds 4

The clips are concatenated into one file, as they are or with all silence at their ends but `--tight` seconds removed,
which needs word times in the manifest. Then the file is repeated, to see whether memory grows.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import psutil

from data.corpora import read_alignment
from data.evaluation.metrics import edit_counts, error_rate
from data.sources.manifest import read_manifest
from lipread.long_form.segmentation import SegmentSettings
from lipread.long_form.transcription import transcribe_video
from lipread.options import BUNDLED_MODEL, load_pipeline
from modeling_lipread.video_lipread import read_frames


def concatenated(clips: list, tight: float | None) -> Iterator[np.ndarray]:
    """Yields the frames of clips one after another."""
    for clip in clips:
        words = (clip.words or read_alignment(clip.alignment)) if tight is not None else []
        start, end = (words[0].start - tight, words[-1].end + tight) if words else (0.0, float("inf"))
        yield from (frame for moment, frame in read_frames(clip.media) if start <= moment <= end)


def write_video(path: Path, frames: Iterator[np.ndarray]) -> float:
    """Encodes frames at 25 a second; returns the seconds."""
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            if not count:
                stream.height, stream.width = frame.shape[:2]
            count += 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return count / 25


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", help="clips of one speaker, with texts")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="model (default: the one in the package)")
    parser.add_argument("--clips", type=int, default=50, help="number of clips (default: 50)")
    parser.add_argument("--tight", type=float, help="seconds of silence left before and after the words of a clip")
    parser.add_argument("--max_seconds", type=float, help="longest segment (default: of the model's training clips)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of the video for memory (default: 3)")
    options = parser.parse_args(arguments)
    clips = list(read_manifest(options.manifest)[0])[: options.clips]
    references = [clip.text for clip in clips]
    pipeline = load_pipeline(options.model, "cpu")
    given = {} if options.max_seconds is None else {"max_seconds": options.max_seconds}
    settings = SegmentSettings.for_model(pipeline.model.config, **given)
    single = [pipeline(str(clip.media))["text"] for clip in clips]
    memory: list[float] = []

    def record_memory(moment: float) -> None:
        if moment >= 60 * len(memory):
            memory.append(round(psutil.Process().memory_info().rss / 2**20, 1))

    with TemporaryDirectory() as folder:
        path, repeated = Path(folder, "long.mp4"), Path(folder, "repeated.mp4")
        seconds = write_video(path, concatenated(clips, options.tight))
        begun = time.perf_counter()
        long = transcribe_video(pipeline, path, settings=settings, batch_size=8)
        speed = seconds / (time.perf_counter() - begun)
        frames = (frame for _ in range(options.repeat) for _, frame in read_frames(path))
        repeated_seconds = write_video(repeated, frames)
        transcribe_video(pipeline, repeated, settings=settings, batch_size=8, on_progress=record_memory)
    result = {
        "clips": len(clips),
        "seconds": seconds,
        "wer_single": error_rate(*edit_counts(single, references)),
        "wer_long": error_rate(*edit_counts([long.text], [" ".join(references)])),
        "utterances": len(long.utterances),
        "times_real_time": round(speed, 1),
        "repeated_seconds": repeated_seconds,
        "memory_mib_by_minute": memory,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
