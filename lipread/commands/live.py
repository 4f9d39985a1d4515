# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread live`: words from a camera while they are being said."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from .. import options
from ..settings import EVERY_FRAMES, MAX_PHRASE_SECONDS, SegmentSettings

positive_seconds = options.number(float, "a number of seconds above 0", lambda value: value > 0)


def add_live(commands: Any) -> None:
    settings = SegmentSettings()
    parents = [options.model_options(), options.phrase_options()]
    parser = commands.add_parser("live", parents=parents, help="read a camera while somebody speaks")
    parser.add_argument("--source", default="0", help="number of a camera, stream, or video file (default: 0)")
    form_help = "txt: an utterance a line, and on a terminal its words so far; json: an update a line (default: txt)"
    parser.add_argument("--format", "-f", choices=("txt", "json"), default="txt", help=form_help)
    every_help = f"frames between two hypotheses of the current utterance (default: {EVERY_FRAMES})"
    parser.add_argument("--every", type=options.positive_int, default=EVERY_FRAMES, metavar="FRAMES", help=every_help)
    end_help = f"rest of the lips that ends an utterance (default: {settings.end_seconds:g})"
    parser.add_argument("--end_seconds", type=positive_seconds, default=settings.end_seconds, help=end_help)
    parser.add_argument("--speak", action="store_true", help="say what is read, by the system's voice")
    confirm_help = "with --phrases: ask after each phrase, and add what you confirm to the book as a take"
    parser.add_argument("--confirm", action="store_true", help=confirm_help)
    parser.add_argument("--at_once", action="store_true", help="read a video file faster than its own speed")
    parser.set_defaults(run=live)


def live(arguments: argparse.Namespace) -> None:
    """Reads until the source ends or Ctrl-C is pressed, and prints the latencies.

    With `--confirm` it asks after each phrase instead of printing latencies.
    """
    end_seconds = arguments.end_seconds
    options.require_source(arguments.source)
    options.check_reading(arguments)
    if arguments.confirm:
        _check_confirm(arguments)

    pipeline = options.load_pipeline(arguments.model, arguments.device, arguments.phrases is not None)

    from ..live.session import Display, LiveSession, Update, warm_up
    from ..live.source import LiveSource
    from ..live.voice import Voice

    pause_seconds = min(end_seconds, SegmentSettings.pause_seconds)
    settings = SegmentSettings.for_model(pipeline.model.config, end_seconds=end_seconds, pause_seconds=pause_seconds)
    display, every = Display(arguments.format), arguments.every
    if arguments.phrases is not None:  # a phrase is known only when it is complete
        settings, every = replace(settings, max_seconds=MAX_PHRASE_SECONDS, pause_seconds=end_seconds), sys.maxsize
    voice = Voice() if arguments.speak else None

    def show(update: Update) -> None:
        display.show(update)
        if voice is not None and update.is_final and update.text:
            voice.say(update.text)

    session = LiveSession(pipeline, settings, every, show, **options.generation_arguments(arguments, pipeline.model))
    warm_up(pipeline)
    options.print_message(f"opening --source {arguments.source}; Ctrl-C ends")
    with closing(LiveSource(arguments.source, arguments.at_once)) as frames:
        if arguments.confirm:
            from ..phrases.book import PhraseBook
            from ..phrases.enroll import read_and_confirm

            book = PhraseBook(arguments.phrases, pipeline)
            with suppress(KeyboardInterrupt, EOFError):  # Ctrl-C and Ctrl-D
                for text in read_and_confirm(book, frames, arguments.face, settings):
                    if voice is not None:
                        voice.say(text)
            return
        try:
            with session, suppress(KeyboardInterrupt):  # after Ctrl-C the session still reads the last frames
                session.read(frames, pipeline.processor.keypoint_extractor, arguments.face, display.notice)
        finally:
            display.notice("")
    options.print_message(session.summary(frames))


def _check_confirm(arguments: argparse.Namespace) -> None:
    """Raises `UsageError` or ImportError if `--confirm` cannot ask, or cannot change a phrase book."""
    if arguments.phrases is None:
        raise options.UsageError("--confirm needs a phrase book; give it with --phrases FOLDER")
    if arguments.format != "txt" or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise options.UsageError(
            "--confirm asks on a terminal; run it in one, without --format json and without redirection"
        )

    from modeling_lipread.video_lipread import require

    require("datasets", "datasets", "A phrase book").disable_progress_bars()
