# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What is lost when clips are read as one long video instead of one by one, and how much memory a long one takes.

    python -m benchmarks.long_videos grid/validation.jsonl --clips 50
    python -m benchmarks.long_videos grid/validation.jsonl --clips 50 --tight 0.2 --max_seconds 4

The clips are put one after another into one file, as they are or with the silence at their ends cut off but for
`--tight` seconds (which needs word times in the manifest). Then the file is repeated, to see whether memory grows.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import jiwer
import numpy as np
import psutil
import transformers
from transformers import AutoModel, AutoProcessor

from data.corpora.grid import read_words
from data.sources.manifest import read_manifest
from lipread.long_form.segmentation import SegmentSettings
from lipread.long_form.transcription import transcribe_video
from lipread.options import BUNDLED_MODEL
from modeling_lipread.pipeline_lipread import LipReadingPipeline
from modeling_lipread.video_lipread import read_frames


def frames_of(clips: list, tight: float | None) -> Iterator[np.ndarray]:
    """The frames of clips one after another."""
    for clip in clips:
        start, end = 0.0, float("inf")
        if tight is not None:
            words = clip.words or read_words(clip.alignment)
            start, end = words[0].start - tight, words[-1].end + tight
        yield from (frame for moment, frame in read_frames(clip.media) if start <= moment <= end)


def write_video(path: Path, frames: Iterator[np.ndarray]) -> float:
    """Encodes frames at 25 a second; returns their seconds."""
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            count += 1
            if count == 1:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return count / 25


def memory() -> float:
    """Of this process, in MiB."""
    return psutil.Process().memory_info().rss / 2**20


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", help="clips of one speaker, with texts")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="reader (default: the one in the package)")
    parser.add_argument("--clips", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--tight", type=float, help="seconds of silence left before and after the words of a clip")
    parser.add_argument("--max_seconds", type=float, help="longest segment (default: as the reader learned)")
    parser.add_argument("--repeat", type=int, default=3, help="times the video is repeated for memory (default: 3)")
    options = parser.parse_args(arguments)
    transformers.utils.logging.disable_progress_bar()
    clips = list(read_manifest(options.manifest)[0])[: options.clips]
    truth = [clip.text for clip in clips]
    processor, model = AutoProcessor.from_pretrained(options.model), AutoModel.from_pretrained(options.model)
    given = {} if options.max_seconds is None else {"max_seconds": options.max_seconds}
    settings = SegmentSettings.for_model(model.config, **given)
    reader = LipReadingPipeline(model=model, processor=processor)
    single = [reader(str(clip.media))["text"] for clip in clips]
    with TemporaryDirectory() as folder:
        path, repeated = Path(folder, "long.mp4"), Path(folder, "repeated.mp4")
        seconds = write_video(path, frames_of(clips, options.tight))
        begun = time.perf_counter()
        long = transcribe_video(reader, path, settings=settings, batch_size=8)
        speed = seconds / (time.perf_counter() - begun)
        repeats = write_video(repeated, (frame for _ in range(options.repeat) for _, frame in read_frames(path)))
        held: list[float] = []

        def watch(moment: float) -> None:
            if moment >= 60 * len(held):
                held.append(round(memory(), 1))

        transcribe_video(reader, repeated, settings=settings, batch_size=8, on_progress=watch)
    found = {
        "clips": len(clips),
        "seconds": seconds,
        "wer_single": jiwer.wer(truth, single),
        "wer_long": jiwer.wer(" ".join(truth), long.text),
        "long_against_single": jiwer.wer(" ".join(single), long.text),
        "utterances": len(long.utterances),
        "times_real_time": round(speed, 1),
        "repeated_seconds": repeats,
        "memory_mib_by_minute": held,
    }
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
