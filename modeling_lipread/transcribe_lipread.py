# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread transcribe`: what is said in videos, as text, subtitles, JSON or a table.

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .reader_options_lipread import (
    READ,
    SOME_FAILED,
    generation_arguments,
    load_reader,
    positive,
    reader_options,
    refuse,
    span_options,
    tell,
)
from .reading_lipread import READABLE_FACES, read_video
from .segmentation_lipread import SegmentSettings
from .subtitles_lipread import CueSettings
from .transcript_files_lipread import (
    FORMATS,
    TABLE_HEAD,
    OutputFolder,
    as_dictionary,
    format_transcript,
    table,
    table_rows,
)
from .transcript_lipread import Transcript
from .video_files_lipread import find_videos
from .video_lipread import require, video_seconds

NAMED = 8  # videos on one line of what was not read again


def add_transcribe(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser(
        "transcribe",
        parents=[reader_options(READABLE_FACES), span_options()],
        help="write what is said in videos: text, subtitles, JSON",
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, folder, or pattern such as 'talks/**/*.mp4'")
    parser.add_argument("--format", choices=FORMATS, default="txt", help="what is written (default: txt)")
    parser.add_argument(
        "--output", type=Path, help="folder for a file a video (default: everything to standard output)"
    )
    parser.add_argument("--overwrite", action="store_true", help="read videos again whose output is there already")
    parser.add_argument(
        "--nbest", type=positive, default=1, help="readings of each utterance, in JSON (default: 1; as many beams)"
    )
    parser.add_argument("--batch_size", type=positive, default=1, help="utterances read at a time (default: 1)")
    cutting, cues = SegmentSettings(), CueSettings()
    long = parser.add_argument_group("long videos")
    long.add_argument(
        "--max_seconds",
        type=float,
        default=argparse.SUPPRESS,
        help="longest stretch read at once; longer ones are cut where lips pause (default: as long as the clips that "
        f"the reader learned from, or {cutting.max_seconds:g})",
    )
    long.add_argument(
        "--pause_seconds",
        type=float,
        default=cutting.pause_seconds,
        help=f"shortest pause of the lips to cut at (default: {cutting.pause_seconds:g})",
    )
    subtitles = parser.add_argument_group("subtitles")
    subtitles.add_argument("--by_word", action="store_true", help="a cue for every word")
    subtitles.add_argument(
        "--line_length", type=positive, default=cues.line_length, help=f"characters (default: {cues.line_length})"
    )
    subtitles.add_argument("--lines", type=positive, default=cues.lines, help=f"lines a cue (default: {cues.lines})")
    parser.set_defaults(run=transcribe)


def transcribe(arguments: argparse.Namespace) -> int:
    """Writes what is said in each video; one that cannot be read is named on the error stream.

    Returns:
        The exit status: 0, or 1 if any video could not be read.

    Raises:
        SystemExit: The arguments do not go together (2).
    """
    cutting, cues = _checked(arguments)
    videos, errors = find_videos(arguments.videos)
    if arguments.output is None and arguments.format in ("srt", "vtt") and len(videos) > 1:
        refuse(f"{len(videos)} videos need --output with --format {arguments.format}: a subtitle file is of one video")
    folder = None if arguments.output is None else OutputFolder(arguments.output)
    wanted = [(file, None) for file, _ in videos]
    if folder is not None:
        wanted, others = _unwritten(videos, arguments, folder)
        errors += others
    for error in errors:
        tell(error)
    failed = len(errors)
    if not wanted:
        return SOME_FAILED if failed else READ
    reader = load_reader(arguments)
    settings = SegmentSettings.of_reader(reader.model.config, **cutting)
    generation = generation_arguments(arguments)
    generation["num_return_sequences"] = arguments.nbest
    if arguments.output is None and arguments.format == "tsv":
        sys.stdout.write(table([TABLE_HEAD]))
    with _progress([file for file, _ in wanted], arguments) as watch:
        for file, output in wanted:
            try:
                transcript = read_video(
                    reader,
                    file,
                    start=arguments.start,
                    end=arguments.end,
                    face=arguments.face,
                    settings=settings,
                    batch_size=arguments.batch_size,
                    watch=watch(file),
                    **generation,
                )
                if output is not None:
                    folder.write(output, format_transcript(transcript, arguments.format, cues), file)
            except (OSError, ValueError, RuntimeError) as error:  # the last: memory of a GPU
                with tqdm.external_write_mode(file=sys.stderr):
                    tell(error if str(file) in str(error) else f"{file}: {error}")
                failed += 1
                continue
            if not transcript.text:  # which is no failure, but a script that sees an empty file may wonder
                with tqdm.external_write_mode(file=sys.stderr):
                    tell(f"{file}: no words: {transcript.why_nothing}")
            if output is None:
                with tqdm.external_write_mode(file=sys.stdout):
                    sys.stdout.write(_for_screen(transcript, arguments.format, cues, single=len(videos) == 1))
                    sys.stdout.flush()
    return SOME_FAILED if failed else READ


def _checked(arguments: argparse.Namespace) -> tuple[dict[str, float], CueSettings]:
    """Settings of the arguments, those that do not go together refused before anything is loaded."""
    if arguments.nbest > 1 and arguments.format != "json":
        refuse(f"--nbest {arguments.nbest} needs --format json; {arguments.format} has room for one reading")
    arguments.num_beams = max(arguments.num_beams, arguments.nbest)
    if arguments.format in ("srt", "vtt"):
        require("webvtt", "webvtt-py", "Writing subtitles")
    if arguments.output is not None and arguments.output.exists() and not arguments.output.is_dir():
        refuse(f"--output {arguments.output}: is a file; give a folder")
    if arguments.output is not None and arguments.output.suffix.lower() in {f".{name}" for name in FORMATS}:
        refuse(f"--output {arguments.output}: names a folder; for one file give > {arguments.output} in its place")
    names = {field.name for field in fields(SegmentSettings)}
    cutting = {key: value for key, value in vars(arguments).items() if key in names}
    try:
        SegmentSettings(**cutting)
    except ValueError as error:
        refuse(f"--{error}")
    names = {field.name for field in fields(CueSettings)}
    return cutting, CueSettings(**{key: value for key, value in vars(arguments).items() if key in names})


def _unwritten(
    videos: list[tuple[Path, Path]], arguments: argparse.Namespace, folder: OutputFolder
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The videos to read, each with the file to write, and what is wrong with those whose file is another's.

    Those written before are left as they are, and named.
    """
    wanted, there, errors = [], [], []
    sources = folder.sources()
    for file, name in videos:
        output = arguments.output / name.with_name(f"{name.name}.{arguments.format}")
        source = sources.get(output)
        if arguments.overwrite or not output.exists():
            wanted.append((file, output))
        elif source in (None, os.path.realpath(file)):
            there.append(str(file))
        else:
            errors.append(f"{file}: {output} was read from {source}; give another --output, or --overwrite")
    if there:
        named = ", ".join(there[:NAMED]) + (f" and {len(there) - NAMED} more" if len(there) > NAMED else "")
        already = f"{len(there)} of {len(videos)} videos are in {arguments.output} already"
        tell(f"{already}, and --overwrite reads them again: {named}")
    return wanted, errors


def _for_screen(transcript: Transcript, kind: str, cues: CueSettings, single: bool) -> str:
    """What is printed of one of several videos: a line each where that is possible."""
    if kind == "tsv":
        return table(table_rows(transcript))
    if single:
        return format_transcript(transcript, kind, cues)
    if kind == "json":
        return json.dumps(as_dictionary(transcript), ensure_ascii=False) + "\n"
    return f"{transcript.file}\t{transcript.text}\n"


@contextmanager
def _progress(files: list[Path], arguments: argparse.Namespace) -> Iterator[Any]:
    """One bar over the seconds of all videos, on a terminal only; gives what to tell it for each of them."""
    shown = sys.stderr.isatty()
    seconds = {file: _span(file, arguments) if shown else 0.0 for file in files}
    total, before = sum(seconds.values()), 0.0
    form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of video [{elapsed}<{remaining}]"
    with tqdm(total=total, disable=not shown, file=sys.stderr, bar_format=form, leave=False) as bar:

        def watch(file: Path) -> Any:
            nonlocal before
            begun, before = before, before + seconds[file]
            bar.set_description(file.name, refresh=False)

            def seen(time: float) -> None:
                if shown:
                    bar.update(begun + min(time, seconds[file]) - bar.n)

            return seen

        yield watch


def _span(file: Path, arguments: argparse.Namespace) -> float:
    if not file.is_file():
        return 0.0
    start, end = arguments.start or 0.0, arguments.end or float("inf")
    return max(0.0, min(video_seconds(file), end) - start)
