# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread enroll` records the takes of a phrase book; `lipread phrases` shows and changes it."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import options


def add_enroll(commands: Any) -> None:
    parents = [options.reader_options()]
    parser = commands.add_parser("enroll", parents=parents, help="record your own phrases, one to three times each")
    what = "text file with one phrase a line; or recordings: a folder with a folder a phrase, or a .jsonl manifest"
    parser.add_argument("phrases", type=Path, help=what)
    parser.add_argument(
        "--output", "-o", type=Path, required=True, help="folder of the phrase book, new or to be continued"
    )
    parser.add_argument("--takes", type=options.positive_int, default=3, help="takes of each phrase (default: 3)")
    parser.add_argument("--source", default="0", help="number of a camera, stream, or video file (default: 0)")
    parser.add_argument("--at_once", action="store_true", help="read a video file faster than its own speed")
    parser.set_defaults(run=enroll)


def enroll(arguments: argparse.Namespace) -> int:
    """Records the missing takes. Returns the exit status: 0, or 1 if takes are still missing."""
    source = arguments.phrases
    if not source.exists():
        raise options.UsageError(
            f"{source}: no such file or folder; give a text file with one phrase a line, or recordings"
        )
    from_files = source.is_dir() or source.suffix == ".jsonl"
    if not from_files:
        options.require_source(arguments.source)
    options.check_reading(arguments)
    options.require_writable(arguments.output.parent, arguments.output)

    from modeling_lipread.video_lipread import require

    require("datasets", "datasets", "A phrase book").disable_progress_bars()
    from ..live.source import LiveSource
    from ..phrases.book import PhraseBook
    from ..phrases.enroll import COUNTDOWN_SECONDS, add_recordings, record
    from ..phrases.takes import look_alikes, read_lines, recorded_takes

    if from_files:
        recordings = list(recorded_takes(source))
        texts = list(dict.fromkeys(take["text"] for take in recordings))
    else:
        texts = list(dict.fromkeys(filter(None, map(str.strip, read_lines(source)))))
    if not texts:
        raise options.UsageError(f"{source}: no phrases in it; write one phrase a line")
    for first, second in look_alikes(texts):
        options.print_message(
            f"{first!r} and {second!r} look alike on the lips; another wording of one of them is read better"
        )
    pipeline = options.load_pipeline(arguments.model, arguments.device, phrases_only=True)
    book = PhraseBook(arguments.output, pipeline)
    if from_files:
        missing = add_recordings(book, recordings, arguments.face)
    else:
        wanted = [text for take in range(arguments.takes) for text in texts if book.count(text) <= take]
        with closing(LiveSource(arguments.source, arguments.at_once)) as frames:
            waits = 0.0 if frames.is_file else COUNTDOWN_SECONDS
            missing = record(book, wanted, frames, arguments.face, waits)
    for confusion in book.confusions() if book.texts else []:
        options.print_message(
            f"{confusion.text!r} is mistaken for {confusion.other!r} in {confusion.takes} of {confusion.of} takes: "
            "record more takes, or choose another wording"
        )
    if missing:
        options.print_message(f"takes that are missing: {missing}; the same command goes on with them")
    options.print_message(f"{arguments.output}: {len(book.texts)} phrases, {len(book)} takes")
    return options.FAILURE if missing else options.SUCCESS


def add_phrases(commands: Any) -> None:
    parser = commands.add_parser("phrases", parents=[options.reader_options()], help="show and change a phrase book")
    parser.add_argument("book", type=Path, help="folder of the phrase book")
    parser.add_argument("--rename", nargs=2, metavar=("TEXT", "NEW"), help="give a phrase another text")
    parser.add_argument("--remove", metavar="TEXT", help="remove a phrase")
    parser.add_argument("--take", type=options.positive_int, help="with --remove: only this take of it, from 1")
    parser.set_defaults(run=phrases)


def phrases(arguments: argparse.Namespace) -> None:
    """Changes and prints the phrase book."""
    if not arguments.book.is_dir():
        raise options.UsageError(f"{arguments.book}: no such phrase book; record one with `lipread enroll`")
    if arguments.take is not None and arguments.remove is None:
        raise options.UsageError("--take needs --remove TEXT")
    options.check_reading(arguments)

    from modeling_lipread.video_lipread import require

    require("datasets", "datasets", "A phrase book").disable_progress_bars()
    from ..phrases.book import PhraseBook

    book = PhraseBook(arguments.book, options.load_pipeline(arguments.model, arguments.device, phrases_only=True))
    if arguments.rename is not None:
        book.rename(*arguments.rename)
    if arguments.remove is not None:
        book.remove(arguments.remove, arguments.take)
    mistaken = {confusion.text: confusion for confusion in reversed(book.confusions())} if book.texts else {}
    for text in book.texts:
        line = f"{text}\ttakes: {book.count(text)}"
        if text in mistaken:
            confusion = mistaken[text]
            line += f"\tmistaken for {confusion.other!r} in {confusion.takes} of {confusion.of}"
        print(line)
    if not mistaken and len(book.texts) > 1:
        options.print_message("no phrase is mistaken for another")
