# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread transcribe`: videos to text, subtitles, JSON or a table."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import options
from ..output_files import write_atomically
from ..settings import FORMATS, CueSettings, SegmentSettings
from ..video_files import find_videos

MAX_LISTED = 8  # videos that a message lists by name
FRAMES_AHEAD = 100  # of the first video
Outputs = dict[str, Path]  # the file of each format


def add_transcribe(commands: Any) -> None:
    parents = [options.model_options("all"), options.clip_options(), options.phrase_options()]
    parser = commands.add_parser(
        "transcribe", parents=parents, help="write the words of videos: text, subtitles, JSON"
    )
    segments, cues = SegmentSettings(), CueSettings()
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="file, folder, or pattern such as 'talks/**/*.mp4'")
    format_help = "output format (default: txt); all writes a file of each"
    add("--output_format", "--format", "-f", choices=(*FORMATS, "all"), default="txt", help=format_help)
    output_help = "folder for the files of each video (default: everything to standard output)"
    add("--output_dir", "--output", "-o", type=Path, help=output_help)
    add("--overwrite", action="store_true", help="read videos again whose output files exist")
    add("--batch_size", type=options.positive_int, default=1, help="segments read at once (default: 1)")
    long = parser.add_argument_group("long videos")
    max_help = (
        "longest segment; longer speech is cut where the lips pause (default: the length of the clips that the "
        f"reader was trained on, or {segments.max_seconds:g})"
    )
    long.add_argument("--max_seconds", type=options.seconds, default=argparse.SUPPRESS, help=max_help)
    pause_help = f"shortest pause of the lips to cut at (default: {segments.pause_seconds:g})"
    long.add_argument("--pause_seconds", type=options.seconds, default=segments.pause_seconds, help=pause_help)
    subtitles = parser.add_argument_group("subtitles")
    subtitles.add_argument("--by_word", action="store_true", help="put as few words in a cue as can be read in time")
    width_help = f"most characters a line, full-width ones count as two (default: {cues.max_line_width})"
    subtitles.add_argument("--max_line_width", type=options.positive_int, default=cues.max_line_width, help=width_help)
    lines_help = f"most lines a cue (default: {cues.max_line_count})"
    subtitles.add_argument("--max_line_count", type=options.positive_int, default=cues.max_line_count, help=lines_help)
    parser.set_defaults(run=transcribe)


def transcribe(arguments: argparse.Namespace) -> int:
    """Writes the transcript of each video. Returns the exit status: 0, or 1 if a video could not be read."""
    _check_options(arguments)
    segment_options, cues = _options_of(SegmentSettings, arguments), CueSettings(**_options_of(CueSettings, arguments))
    try:
        SegmentSettings(**segment_options)
    except ValueError as error:
        raise options.UsageError(f"--{error}") from error
    kind = arguments.output_format
    videos, errors = find_videos(arguments.videos)
    pending: list[tuple[Path, Outputs]] = [(file, {}) for file, _ in videos]
    if arguments.output_dir is not None:
        options.require_writable(arguments.output_dir, arguments.output_dir)
        pending = _pending_videos(videos, arguments)
    elif kind in ("srt", "vtt", "tsv") and len(videos) > 1:
        raise options.UsageError(f"{len(videos)} videos need --output_dir for {kind}: one file a video")
    for error in errors:
        options.print_message(error)
    failed = len(errors)
    if not pending:
        return options.FAILURE if failed else options.SUCCESS

    # The faces of the first video are found while the libraries and the model are loaded.
    from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
    from modeling_lipread.video_lipread import read_ahead, video_seconds

    from ..long_form.streaming import stream_video

    frames, span, first = None, {"start": arguments.start, "end": arguments.end}, pending[0][0]
    if first.suffix != ".npy":
        frames = read_ahead(stream_video(Face3DKeypointExtractor(), first, arguments.face, **span), FRAMES_AHEAD)

    pipeline = options.load_pipeline(arguments.model, arguments.device, arguments.phrases is not None)

    from tqdm import tqdm

    from ..diagnosis import why_unread
    from ..long_form.transcription import DAMAGED, transcribe_video
    from ..writers import format_line, format_transcript

    settings = SegmentSettings.for_model(pipeline.model.config, **segment_options)
    reading = {**span, "face": arguments.face, "settings": settings}
    reading |= {"batch_size": arguments.batch_size, **options.generation_arguments(arguments, pipeline.model)}
    for number, (file, outputs) in enumerate(pending, start=1):
        try:
            total = min(video_seconds(file), arguments.end or math.inf) - (arguments.start or 0.0)
            title = f"{file.name} ({number} of {len(pending)})"
            with tqdm(total=max(0.0, total), desc=title, unit="s", unit_scale=True, disable=None, leave=False) as bar:
                reading["on_progress"] = lambda seconds, bar=bar: bar.update(seconds - bar.n)
                transcript = transcribe_video(pipeline, file, frames=frames, **reading)
            for form, output in outputs.items():
                write_atomically(output, format_transcript(transcript, form, cues))
        except Exception as error:  # whatever a damaged video breaks, the next one is read
            options.print_message(_describe(error, file))
            failed += 1
            continue
        finally:
            frames = None
        damaged = [span for span in transcript.unread if span.reason == DAMAGED]
        if damaged:
            listed = ", ".join(f"{span.start:.1f} to {span.end:.1f}" for span in damaged)
            options.print_message(f"{file}: {DAMAGED}: nothing was read from {listed} seconds")
        if not transcript.text:  # not a failure, but explains an empty file
            why = why_unread(file, arguments.start, arguments.end)
            options.print_message(f"{file}: no words: {transcript.unread_reasons}{why and f'. {why}' or ''}")
        if not outputs:
            single = len(videos) == 1
            text = format_transcript(transcript, kind, cues) if single else format_line(transcript, kind)
            print(text, end="", flush=True)
    return options.FAILURE if failed else options.SUCCESS


def _describe(error: Exception, file: Path) -> str:
    """Returns the message of an error that names its file, and its kind where the message alone says little."""
    known = isinstance(error, (OSError, ValueError, RuntimeError)) and str(error)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    return message if str(file) in message else f"{file}: {message}"


def _check_options(arguments: argparse.Namespace) -> None:
    """Rejects options that contradict each other, before anything is loaded."""
    output, kind = arguments.output_dir, arguments.output_format
    options.check_reading(arguments)
    if kind == "all" and output is None:
        raise options.UsageError("--output_format all writes several files: give --output_dir, such as --output_dir .")
    if output is not None and output.suffix.lower() in {f".{name}" for name in FORMATS}:
        raise options.UsageError(f"--output_dir {output}: is a folder, for a file a video; for one write > {output}")


def _options_of(settings: type, arguments: argparse.Namespace) -> dict[str, Any]:
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in vars(arguments).items() if name in names}


def _pending_videos(videos: list[tuple[Path, Path]], arguments: argparse.Namespace) -> list[tuple[Path, Outputs]]:
    """Returns the videos that lack an output file, each with its files."""
    pending, done = [], []
    formats = FORMATS if arguments.output_format == "all" else (arguments.output_format,)
    for file, name in videos:
        outputs = {form: arguments.output_dir / name.with_name(f"{name.name}.{form}") for form in formats}
        missing = {form: path for form, path in outputs.items() if arguments.overwrite or not path.exists()}
        if missing:
            pending.append((file, missing))
        else:
            done.append(str(file))
    if done:
        listed = done[:MAX_LISTED] + [f"and {len(done) - MAX_LISTED} more"] * (len(done) > MAX_LISTED)
        message = f"{len(done)} of {len(videos)} have files in {arguments.output_dir}; --overwrite reads them again: "
        options.print_message(message + ", ".join(listed))
    return pending
