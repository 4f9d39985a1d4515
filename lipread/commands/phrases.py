# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread phrases`: what is in a phrase book, and what is mistaken for what."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .. import options


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
