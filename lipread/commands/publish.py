# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread publish`: uploads code, weights, processor and model card of a checkpoint to the Hub in one commit."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..options import UsageError, print_message, require_writable


def add_publish(commands: Any) -> None:
    parser = commands.add_parser("publish", help="upload a trained reader to the Hugging Face Hub")
    parser.add_argument("checkpoint", metavar="DIR", type=Path, help="the --output_dir of train_hf.py")
    parser.add_argument("--repo_id", required=True, help="repository on the Hub, created if missing: you/name")
    parser.add_argument("--private", action="store_true", default=None, help="make the repository private")
    parser.add_argument("--revision", help="branch to publish to, created if missing (default: the main branch)")
    parser.add_argument("--dry_run", action="store_true", help="list the files instead of uploading them")
    parser.add_argument("--output", "-o", type=Path, help="new folder that keeps the files of the upload")
    include_help = "upload the weights of a frozen language model too"
    parser.add_argument("--include_base", action="store_true", help=include_help)
    card = parser.add_argument_group("model card")
    card.add_argument("--language", nargs="+", help="codes of the languages, such as en")
    card.add_argument("--license", help="license of the weights, by the Hub's name for it, such as apache-2.0")
    card.add_argument("--dataset_id", help="Hub id of the training corpus")
    card.add_argument("--dataset_name", help="name of the training corpus")
    card.add_argument("--dataset_license", help="license of the training corpus")
    card.add_argument("--dataset_attribution", help="attribution that the training corpus requires")
    parser.set_defaults(run=publish)


def publish(arguments: argparse.Namespace) -> None:
    """Publishes a checkpoint and prints its address and the Python code that loads it."""
    repo_id, revision, output = arguments.repo_id, arguments.revision, arguments.output
    if not arguments.checkpoint.is_dir():
        raise UsageError(f"{arguments.checkpoint}: no such folder; give the --output_dir of train_hf.py")
    if repo_id.count("/") != 1:
        raise UsageError(f"--repo_id {repo_id}: give your name on the Hub and the reader's, such as you/reader")
    if output is not None:
        if output.exists():
            raise UsageError(f"--output {output}: exists; give a new folder")
        require_writable(output.parent, output)

    from huggingface_hub import HfApi

    from ..hub.model_card import CardDetails
    from ..hub.publish import push, stage, upload_files

    details = CardDetails(**{field.name: getattr(arguments, field.name) for field in fields(CardDetails)})
    if not arguments.dry_run:
        HfApi().whoami()  # an error before anything is made
    with TemporaryDirectory(dir=output and output.parent, prefix=".lipread-publish-") as folder:
        staging = Path(folder, "reader")
        settings = {"details": details, "include_base": arguments.include_base, "revision": revision}
        for note in stage(arguments.checkpoint, staging, repo_id, **settings):
            print_message(f"note: {note}")
        if arguments.dry_run:
            for name, path in upload_files(staging).items():
                print(f"{path.stat().st_size:>13,} {name}")
        else:
            push(staging, repo_id, private=arguments.private, revision=revision)
        if output is not None:
            os.replace(staging, output)
    if arguments.dry_run:
        return
    branch, argument = (f"/tree/{revision}", f', revision="{revision}"') if revision else ("", "")
    print(f"{HfApi().endpoint}/{repo_id}{branch}")
    for name in ("processor = AutoProcessor", "model = AutoModel"):
        print(f'{name}.from_pretrained("{repo_id}"{argument}, trust_remote_code=True)')
