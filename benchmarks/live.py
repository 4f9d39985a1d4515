# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How soon words are there while somebody speaks, and how much faster than speech all of it is.

    OMP_NUM_THREADS=1 python -m benchmarks.live grid/validation.jsonl --num_clips 20
    python -m benchmarks.live                                                          # the talking head

Each clip is played at its own speed, as a camera would, to what `lipread live` runs. The latency of a partial reading
is the time from the arrival of the newest frame it saw (decoded, no face looked for in it yet) to the words having
been handed out. The real-time factor is measured by itself, one thing after the other, with no partial reading left
out. Beside them stand how good the words are: the word error rate of the complete utterances, and how many of the
words shown as agreed on are in the complete one at the same place. What the talking head says is not doubted: the
reader in the package does not know its words.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModel, AutoProcessor

from data.evaluation.metrics import edit_counts, error_rate
from data.sources.manifest import read_manifest
from data.talker import TalkingHead, sentences
from lipread.live.session import LiveSession, warm_up
from lipread.live.source import LiveSource
from lipread.live.windows import EVERY_FRAMES, LiveTranscript, LiveWindows, Update
from lipread.long_form.segmentation import SegmentSettings
from lipread.long_form.streaming import stream_frames
from lipread.options import BUNDLED_MODEL
from modeling_lipread.pipeline_lipread import LipReadingPipeline
from modeling_lipread.video_lipread import read_frames

from .measure import Row
from .run import machine, table, write

LIMIT_MS = 300.0


class Clips:
    """Videos with what is said in them.

    Args:
        manifest: A manifest of videos; None makes clips of the talking head.
        count: How many clips.
        folder: Where the talking head's clips are written.
    """

    def __init__(self, manifest: Path | None, count: int, folder: Path):
        if manifest is None:
            self.texts = sentences(count, seed=1)
            self.videos = [folder / f"{index}.mp4" for index in range(count)]
            head = TalkingHead()
            for seed, (text, video) in enumerate(zip(self.texts, self.videos, strict=True)):
                head.render(text, video, seed=seed)
            return
        records, _ = read_manifest(manifest)
        chosen = [records[index] for index in range(0, len(records), max(1, len(records) // count))][:count]
        self.texts, self.videos = [record.text for record in chosen], [Path(record.media) for record in chosen]


def play(reader: LipReadingPipeline, clips: Clips, **arguments: bool) -> tuple[LiveSession, list[list[Update]], int]:
    """Plays each clip at its own speed.

    Returns:
        A session with the latencies of all, the updates of each clip, and how many frames were left out.
    """
    total, updates, left_out = LiveSession(reader, SegmentSettings(), EVERY_FRAMES, print), [], 0
    for video in clips.videos:
        found: list[Update] = []
        source = LiveSource(str(video))
        with LiveSession(reader, SegmentSettings(), EVERY_FRAMES, found.append, **arguments) as session:
            session.read(source, reader.processor.keypoint_extractor, "largest", lambda text: None)
        source.close()
        updates.append(found)
        total.latencies += session.latencies
        total.final_latencies += session.final_latencies
        total.dropped += session.dropped
        left_out += source.dropped
    return total, updates, left_out


def real_time_factor(reader: LipReadingPipeline, clips: Clips, **arguments: bool) -> tuple[float, float]:
    """Seconds of work for a second of video: of all, and of landmarks alone; one thing after the other."""
    settings, finding, reading, seconds = SegmentSettings(), 0.0, 0.0, 0.0
    for video in clips.videos:
        windows, transcript = LiveWindows(settings), LiveTranscript(settings)
        begun, reading_before, last = time.perf_counter(), reading, 0.0

        def read(found, transcript=transcript) -> float:
            before = time.perf_counter()
            for window in found:
                list(transcript.update(window, reader(window.segment.sequence, return_timestamps="word", **arguments)))
            return time.perf_counter() - before

        for frame in stream_frames(reader.processor.keypoint_extractor, read_frames(video), "largest"):
            last = frame.time
            reading += read(list(windows.push(frame, 0.0)))
        reading += read(list(windows.flush()))
        finding += time.perf_counter() - begun - (reading - reading_before)
        seconds += last
    return (finding + reading) / seconds, finding / seconds


def agreed_and_kept(updates: list[list[Update]]) -> float:
    """The share of words shown as agreed on that the complete utterance has at the same place."""
    kept = shown = 0
    for found in updates:
        waiting: list[list[str]] = []
        for update in found:
            words = [word.text for word in update.words]
            if not update.is_final:
                waiting.append(words[: update.agreed])
                continue
            shown += sum(map(len, waiting))
            kept += sum(a == b for agreed in waiting for a, b in zip(agreed, words, strict=False))
            waiting = []
    return kept / max(shown, 1)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="?", help="manifest of videos (default: the talking head)")
    parser.add_argument("--model", default=BUNDLED_MODEL, help="reader (default: the one in the package)")
    parser.add_argument("--num_clips", type=int, default=10, help="clips (default: 10)")
    parser.add_argument("--device", default="cpu", type=torch.device, help="torch device (default: cpu)")
    parser.add_argument("--output", default="benchmark-live.json", help="JSON file to write")
    options = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    reader = LipReadingPipeline(
        model=AutoModel.from_pretrained(options.model),
        processor=AutoProcessor.from_pretrained(options.model),
        device=options.device,
    )
    with tempfile.TemporaryDirectory() as folder:
        clips = Clips(options.manifest, options.num_clips, Path(folder))
        warm_up(reader)
        session, updates, left_out = play(reader, clips, abstain=options.manifest is not None)
        factor, finding = real_time_factor(reader, clips, abstain=options.manifest is not None)
    said = [" ".join(update.text for update in found if update.is_final) for found in updates]
    latencies = session.latencies or [float("inf")]
    rows = [
        Row("partial words after their newest frame, median", LIMIT_MS, 1000 * statistics.median(latencies), goal=1),
        Row("the same, 95th percentile", LIMIT_MS, 1000 * float(np.quantile(latencies, 0.95)), goal=1),
        Row("video read in a second, nothing left out", 1.0, 1 / factor, "s/s", goal=1),
        Row("video in which a face is followed in a second", 1.0, 1 / finding, "s/s"),
    ]
    found = {
        **machine(options.device),
        "clips": len(clips.videos),
        "partial_readings": len(session.latencies),
        "partial_left_out": session.dropped,
        "frames_left_out": left_out,
        "real_time_factor": round(factor, 3),
        "wer": round(error_rate(*edit_counts(said, clips.texts)), 3),
        "agreed_and_kept": round(agreed_and_kept(updates), 3),
    }
    print(", ".join(f"{key} {value}" for key, value in found.items()), end="\n\n")
    print(table(rows).replace("| | baseline |", "| | limit |"))
    write(options.output, {"machine": found, "rows": [row.as_dict() for row in rows]})
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
