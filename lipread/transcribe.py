# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread transcribe`: videos to text, subtitles, JSON or a table.

lipread transcribe talk.mp4
lipread transcribe talks/ --model runs/a --format srt --output subtitles/
lipread transcribe 'talks/**/*.mp4' --format json --num_beams 4 --nbest 4 --output read/
lipread transcribe interview.mp4 --face all --format vtt > interview.vtt
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from modeling_lipread.video_lipread import require, video_seconds

from .long_form.segmentation import SegmentSettings
from .long_form.transcription import DAMAGED, TRANSCRIPTION_FACES, transcribe_video
from .options import (
    FAILURE,
    SUCCESS,
    UsageError,
    clip_options,
    generation_arguments,
    load_pipeline,
    model_options,
    phrase_options,
    positive_int,
    print_message,
)
from .transcript import Transcript
from .video_files import find_videos
from .writers import (
    FORMATS,
    TSV_HEADER,
    CueSettings,
    OutputFolder,
    format_transcript,
    format_tsv,
    transcript_dict,
    tsv_rows,
)

MAX_LISTED = 8  # videos that a message lists by name


def add_transcribe(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parents = [model_options(TRANSCRIPTION_FACES), clip_options(), phrase_options()]
    parser = commands.add_parser(
        "transcribe", parents=parents, help="write the words of videos: text, subtitles, JSON"
    )
    segments, cues = SegmentSettings(), CueSettings()
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, folder, or pattern such as 'talks/**/*.mp4'")
    parser.add_argument("--format", choices=FORMATS, default="txt", help="output format (default: txt)")
    output_help = "folder for one file a video (default: everything to standard output)"
    parser.add_argument("--output", type=Path, help=output_help)
    parser.add_argument("--overwrite", action="store_true", help="read videos again whose output file exists")
    nbest_help = "hypotheses of each segment, in JSON; at least as many beams"
    parser.add_argument("--nbest", type=positive_int, default=1, help=nbest_help)
    parser.add_argument("--batch_size", type=positive_int, default=1, help="segments read at once (default: 1)")
    long = parser.add_argument_group("long videos")
    max_help = (
        "longest segment; longer speech is cut where the lips pause (default: the length of the clips that the "
        f"reader was trained on, or {segments.max_seconds:g})"
    )
    long.add_argument("--max_seconds", type=float, default=argparse.SUPPRESS, help=max_help)
    pause_help = f"shortest pause of the lips to cut at (default: {segments.pause_seconds:g})"
    long.add_argument("--pause_seconds", type=float, default=segments.pause_seconds, help=pause_help)
    subtitles = parser.add_argument_group("subtitles")
    subtitles.add_argument("--by_word", action="store_true", help="make a cue of every word")
    for name, meaning in (("line_length", "most characters a line"), ("lines", "most lines a cue")):
        help_text = f"{meaning} (default: {getattr(cues, name)})"
        subtitles.add_argument(f"--{name}", type=positive_int, default=getattr(cues, name), help=help_text)
    parser.set_defaults(run=transcribe)


def transcribe(arguments: argparse.Namespace) -> int:
    """Writes the transcript of each video. Returns the exit status: 0, or 1 if a video could not be read."""
    _check_options(arguments)
    segment_options, cues = _options_of(SegmentSettings, arguments), CueSettings(**_options_of(CueSettings, arguments))
    try:
        SegmentSettings(**segment_options)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    videos, errors = find_videos(arguments.videos)
    if arguments.output is None and arguments.format in ("srt", "vtt") and len(videos) > 1:
        raise UsageError(f"{len(videos)} videos need --output with --format {arguments.format}: one file a video")
    folder, pending = None, [(file, None) for file, _ in videos]
    if arguments.output is not None:
        folder = OutputFolder(arguments.output)
        pending, conflicts = _pending_videos(videos, arguments, folder)
        errors += conflicts
    for error in errors:
        print_message(error)
    failed = len(errors)
    if not pending:
        return FAILURE if failed else SUCCESS
    pipeline = load_pipeline(arguments.model, arguments.device, arguments.phrases is not None)
    settings = SegmentSettings.for_model(pipeline.model.config, **segment_options)
    if folder is None and arguments.format == "tsv":
        sys.stdout.write(format_tsv([TSV_HEADER]))
    reading = {"start": arguments.start, "end": arguments.end, "face": arguments.face, "settings": settings}
    reading |= {"batch_size": arguments.batch_size, "num_return_sequences": arguments.nbest}
    reading |= generation_arguments(arguments, pipeline.model)
    with closing(ProgressBar([file for file, _ in pending], arguments.start, arguments.end)) as progress:
        for file, output in pending:
            progress.start(file)
            try:
                transcript = transcribe_video(pipeline, file, on_progress=progress.update, **reading)
                if folder is not None:
                    folder.write(output, format_transcript(transcript, arguments.format, cues), file)
            except Exception as error:  # the next videos may be readable
                with tqdm.external_write_mode(file=sys.stderr):
                    print_message(error if str(file) in str(error) else f"{file}: {type(error).__name__}: {error}")
                failed += 1
                continue
            with tqdm.external_write_mode(file=sys.stdout):
                damaged = [span for span in transcript.unread if span.reason == DAMAGED]
                if damaged:
                    listed = ", ".join(f"{span.start:.1f} to {span.end:.1f}" for span in damaged)
                    print_message(f"{file}: {DAMAGED}: nothing was read from {listed} seconds")
                if not transcript.text:  # not a failure, but explains an empty file
                    print_message(f"{file}: no words: {transcript.unread_reasons}")
                if folder is None:
                    sys.stdout.write(_format_for_stdout(transcript, arguments.format, cues, single=len(videos) == 1))
                    sys.stdout.flush()
    return FAILURE if failed else SUCCESS


def _check_options(arguments: argparse.Namespace) -> None:
    """Rejects options that contradict each other, before anything is loaded."""
    output = arguments.output
    if arguments.nbest > 1 and arguments.format != "json":
        raise UsageError(f"--nbest {arguments.nbest} needs --format json; {arguments.format} holds one hypothesis")
    arguments.num_beams = max(arguments.num_beams, arguments.nbest)
    if arguments.format in ("srt", "vtt"):
        require("webvtt", "webvtt-py", "Writing subtitles")
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: is a file; give a folder")
    if output is not None and output.suffix.lower() in {f".{name}" for name in FORMATS}:
        raise UsageError(f"--output {output}: must be a folder; to write one file, use > {output} instead")


def _options_of(settings: type, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments that are fields of a settings class."""
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in vars(arguments).items() if name in names}


def _pending_videos(
    videos: list[tuple[Path, Path]], arguments: argparse.Namespace, folder: OutputFolder
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Returns the videos without an output file, each with its path, and errors for files made from other videos."""
    pending, done, errors = [], [], []
    sources = folder.sources()
    for file, name in videos:
        output = folder.folder / name.with_name(f"{name.name}.{arguments.format}")
        source = sources.get(output)
        if arguments.overwrite or not output.exists():
            pending.append((file, output))
        elif source in (None, os.path.realpath(file)):
            done.append(str(file))
        else:
            errors.append(f"{file}: {output} was read from {source}; give another --output, or --overwrite")
    if done:
        listed = done[:MAX_LISTED] + [f"and {len(done) - MAX_LISTED} more"] * (len(done) > MAX_LISTED)
        message = f"{len(done)} of {len(videos)} videos are in {folder.folder}; --overwrite reads them again: "
        print_message(message + ", ".join(listed))
    return pending, errors


def _format_for_stdout(transcript: Transcript, kind: str, cues: CueSettings, single: bool) -> str:
    """Formats one of several transcripts for the same stream, a line each where possible."""
    if kind == "tsv":
        return format_tsv(tsv_rows(transcript))
    if single:
        return format_transcript(transcript, kind, cues)
    if kind == "json":
        return json.dumps(transcript_dict(transcript), ensure_ascii=False) + "\n"
    return f"{transcript.file}\t{transcript.text}\n"


class ProgressBar:
    """A bar over the seconds from `start` to `end` of all videos. It shows on a terminal only."""

    def __init__(self, files: list[Path], start: float | None, end: float | None):
        shown = sys.stderr.isatty()
        self._seconds = dict.fromkeys(files, 0.0)
        for file in filter(Path.is_file, files if shown else []):
            self._seconds[file] = max(0.0, min(video_seconds(file), end or float("inf")) - (start or 0.0))
        self._file: Path | None = None
        self._done = 0.0  # seconds of the videos before the current one
        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of video [{elapsed}<{remaining}]"
        total = sum(self._seconds.values())
        self._bar = tqdm(total=total, disable=not shown, file=sys.stderr, bar_format=form, leave=False)

    def start(self, file: Path) -> None:
        """Moves to the start of a video."""
        self._done += self._seconds.get(self._file, 0.0)
        self._file = file
        self._bar.set_description(file.name, refresh=False)

    def update(self, seconds: float) -> None:
        """Moves to a time within the current video."""
        self._bar.update(self._done + min(seconds, self._seconds[self._file]) - self._bar.n)

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()
