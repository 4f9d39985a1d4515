# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures latency and real-time factor of live transcription.

    OMP_NUM_THREADS=1 python -m benchmarks.live grid/validation.jsonl --num_clips 20
    python -m benchmarks.live                                                          # the talking head

Each clip is played at its own speed. The latency of a partial hypothesis is the time from the arrival of its newest
frame, before face detection, to the output of its words. The real-time factor is measured sequentially and without
skipped hypotheses. On the talking head the model does not abstain.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from data.evaluation.metrics import edit_counts, error_rate
from data.sources.manifest import read_manifest
from data.talker import TalkingHead, sentences
from lipread.live.session import LiveSession, warm_up
from lipread.live.source import LiveSource
from lipread.live.windows import EVERY_FRAMES, LiveTranscript, LiveWindows, Update
from lipread.long_form.segmentation import SegmentSettings
from lipread.long_form.streaming import stream_frames
from lipread.options import BUNDLED_MODEL, load_pipeline
from modeling_lipread import LipReadingPipeline
from modeling_lipread.video_lipread import read_frames

from .measure import Row, make_parser, report


def make_clips(manifest: Path | None, count: int, folder: Path) -> tuple[list[str], list[Path]]:
    """Returns the texts and videos of a manifest, or of the talking head, whose clips are written to `folder`."""
    if manifest is not None:
        records, _ = read_manifest(manifest)
        chosen = [records[index] for index in range(0, len(records), max(1, len(records) // count))][:count]
        return [record.text for record in chosen], [Path(record.media) for record in chosen]
    texts, videos, head = sentences(count, seed=1), [folder / f"{index}.mp4" for index in range(count)], TalkingHead()
    for seed, (text, video) in enumerate(zip(texts, videos, strict=True)):
        head.render(text, video, seed=seed)
    return texts, videos


def play(pipeline: LipReadingPipeline, video: Path, **arguments: bool) -> tuple[list[Update], LiveSession, int]:
    """Plays a video at its own speed; returns its updates, the session, and the number of skipped frames."""
    updates: list[Update] = []
    source = LiveSource(str(video))
    with LiveSession(pipeline, SegmentSettings(), EVERY_FRAMES, updates.append, **arguments) as session:
        session.read(source, pipeline.processor.keypoint_extractor, "largest", lambda text: None)
    source.close()
    return updates, session, source.dropped


def real_time_factor(pipeline: LipReadingPipeline, videos: list[Path], **arguments: bool) -> tuple[float, float]:
    """Returns the seconds of work per second of video, of all of it and of the landmarks alone."""
    settings, total, transcribing, seconds = SegmentSettings(), 0.0, 0.0, 0.0
    for video in videos:
        windows, transcript = LiveWindows(settings), LiveTranscript(settings)

        def transcribe(found, transcript=transcript) -> float:
            begun = time.perf_counter()
            for window in found:
                result = pipeline(window.segment.sequence, return_timestamps="word", **arguments)
                list(transcript.update(window, result))
            return time.perf_counter() - begun

        begun, last = time.perf_counter(), 0.0
        for frame in stream_frames(pipeline.processor.keypoint_extractor, read_frames(video), "largest"):
            last = frame.time
            transcribing += transcribe(list(windows.push(frame, 0.0)))
        transcribing += transcribe(list(windows.flush()))
        total += time.perf_counter() - begun
        seconds += last
    return total / seconds, (total - transcribing) / seconds


def first_word_delays(updates: list[Update]) -> list[float]:
    """Returns the seconds from the end of the first word of each utterance to the update that shows it first."""
    delays, earlier = [], []
    for update in updates:
        earlier.append(update)
        if update.is_final:
            if update.words:
                word = update.words[0]
                shown = next(found for found in earlier if found.words and found.words[0].text == word.text)
                delays.append(max(0.001, shown.end + shown.latency - word.end))  # some are shown before their end
            earlier = []
    return delays


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status is 1 if a goal was missed."""
    parser = make_parser(__doc__, "benchmark-live.json")
    parser.add_argument("manifest", type=Path, nargs="?", help="manifest of videos (default: the talking head)")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="model (default: the one in the package)")
    parser.add_argument("--num_clips", type=int, default=10, help="number of clips (default: 10)")
    parser.add_argument("--device", default="cpu", type=torch.device, help="torch device (default: cpu)")
    options = parser.parse_args(arguments)
    pipeline = load_pipeline(options.model, options.device)
    with tempfile.TemporaryDirectory() as folder:
        texts, videos = make_clips(options.manifest, options.num_clips, Path(folder))
        warm_up(pipeline)
        played = [play(pipeline, video, abstain=options.manifest is not None) for video in videos]
        factor, finding = real_time_factor(pipeline, videos, abstain=options.manifest is not None)
    updates, sessions, skipped = zip(*played, strict=True)
    hypotheses = [" ".join(update.text for update in found if update.is_final) for found in updates]
    latencies = [latency for session in sessions for latency in session.latencies]
    delays = [delay for found in updates for delay in first_word_delays(found)]
    rows = [
        Row("first word of an utterance after its end, median", 1000.0, 1000 * statistics.median(delays), goal=1),
        Row("the same, 95th percentile", 1000.0, 1000 * float(np.quantile(delays, 0.95)), goal=1),
        Row("partial words after their newest frame, median", 300.0, 1000 * statistics.median(latencies), goal=1),
        Row("the same, 95th percentile", 300.0, 1000 * float(np.quantile(latencies, 0.95)), goal=1),
        Row("video read in a second, nothing left out", 1.0, 1 / factor, "s/s", goal=1),
        Row("video in which a face is followed in a second", 1.0, 1 / finding, "s/s"),
    ]
    facts = {
        "clips": len(videos),
        "partial_hypotheses": len(latencies),
        "partial_skipped": sum(session.dropped for session in sessions),
        "frames_skipped": sum(skipped),
        "real_time_factor": round(factor, 3),
        "wer": round(error_rate(*edit_counts(hypotheses, texts)), 3),
    }
    return report(rows, options.device, options.output, baseline="limit", **facts)


if __name__ == "__main__":
    sys.exit(main())
