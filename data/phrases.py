# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Trains the phrase head of a reader, by which it tells new phrases of new people apart from one to three takes.

    python -m data.phrases runs/a corpora/grid/train corpora/more --output runs/a_phrases

The corpora have word times. Stretches of one to three words are the phrases; their takes come from several speakers,
from augmented copies of the clips, and from sentences with words of other clips. The head is a linear map of the
encoder's states. It begins as the whitening of what differs between takes of a word, and a contrastive loss refines
it. The encoder stays as it is; its states of all copies are kept in memory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .console import set_up_console


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    set_up_console()
    parser = argparse.ArgumentParser(
        prog="python -m data.phrases", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reader", help="folder or Hub id of a trained reader")
    parser.add_argument("corpora", nargs="+", help="folders of prepared splits with word times")
    parser.add_argument("--output", type=Path, required=True, help="folder for the reader with its phrase head")
    parser.add_argument("--steps", type=int, default=300, help="steps of the training (default: 300)")
    parser.add_argument("--copies", type=int, default=8, help="augmented copies of a clip (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")
    options = parser.parse_args(arguments)

    from transformers import AutoModel, AutoProcessor
    from transformers.utils import logging as transformers_logging

    from modeling_lipread import register

    from .dataset import open_split
    from .training.phrase_head import train_phrase_head

    register()
    transformers_logging.set_verbosity_error()
    try:
        model, processor = (Auto.from_pretrained(options.reader) for Auto in (AutoModel, AutoProcessor))
        corpora = [open_split(corpus) for corpus in options.corpora]
        train_phrase_head(model.eval(), processor, corpora, options.steps, options.copies, options.seed)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    model.save_pretrained(options.output, include_base=model.config.base_model_name_or_path is None)
    processor.save_pretrained(options.output)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
