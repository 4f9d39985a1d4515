# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A trained reader on the Hub: code, weights, processor and a model card of what was measured, in one commit.

lipread publish runs/a --repo_id you/lipread-grid --license apache-2.0 --language en
lipread publish runs/a --repo_id you/lipread-grid --dry_run --output staged/
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from .configuration_lipread import LipReadConfig
from .model_card_lipread import CardDetails, build_card, read_evaluations
from .processing_lipread import LipReadProcessor
from .published_base_lipread import find_on_hub, name_base, settle_base
from .staging_lipread import PublishError, checked_weights, read_config, stage_reader

CARD = "README.md"
# Files that a publication writes and an earlier one may have left: beside new weights, old ones would be loaded.
OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|\w+_lipread\.py")


def stage(
    reader: Path,
    staging: Path,
    repo_id: str,
    *,
    details: CardDetails | None = None,
    base_model_id: str | None = None,
    base_model_revision: str | None = None,
    include_base: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> list[str]:
    """Writes a folder that holds what others need to load a reader, and its model card.

    Args:
        reader: What `train_hf.py --output_dir` left, which stays as it is.
        staging: The folder to fill.
        repo_id: The repository it is meant for.
        details: What the card is to say beyond what the folder tells.
        base_model_id: The language model on the Hub, if the reader names a folder.
        base_model_revision: Its branch, tag or commit; the commit is what the published reader names.
        include_base: Whether to publish the language model's weights inside the reader.
        revision: The branch it is meant for.
        token: For reading the language model.

    Returns:
        What the publisher should know.

    Raises:
        PublishError: The reader cannot be published so; the message names the remedy.
    """
    config = read_config(reader)
    weights = checked_weights(reader)
    processor = _load_processor(reader)
    base, notes = settle_base(config, reader, base_model_id, base_model_revision, include_base, token)
    evaluations, left_out = read_evaluations(reader, weights)
    stage_reader(reader, staging, processor, include_base)
    if not base.included:
        name_base(staging, base)
    details = details or CardDetails()
    card = build_card(reader, repo_id, config, processor, evaluations, base, details, revision)
    card.save(staging / CARD)
    notes += left_out
    if not evaluations:
        notes.append(f"nothing was measured, and the card says so: python evaluate_hf.py {reader} CORPUS/test")
    if details.license is None:
        notes.append("the card states no licence for the weights: give --license")
    return notes


def _load_processor(reader: Path) -> LipReadProcessor:
    try:
        return LipReadProcessor.from_pretrained(reader)
    except (OSError, ValueError) as error:
        raise PublishError(f"{reader}: its processor cannot be loaded: {error}") from error


def push(
    staging: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    keep_card: bool = False,
    token: str | None = None,
) -> CommitInfo:
    """Uploads a staged folder in one commit: until that is made, the repository stays as it was.

    Args:
        staging: The folder that `stage` filled.
        repo_id: The repository, made if need be.
        private: Whether it is to be private.
        revision: The branch, made if need be.
        commit_message: The commit's first line.
        keep_card: Whether to leave a card that is there already.
        token: The saved login by default.

    Raises:
        PublishError: The repository is public and was to be private, or the language model cannot be fetched.
        OSError, ValueError, RuntimeError: The Hub refused, or could not be reached.
    """
    api = HfApi(token=token)
    try:
        secret = api.model_info(repo_id).private
    except RepositoryNotFoundError:
        secret = bool(private)
    if private and not secret:
        raise PublishError(
            f"{repo_id} is there already and is public: make it private in its settings, or leave --private out"
        )
    config = LipReadConfig.from_pretrained(staging)
    if config.base_model_name_or_path is not None:
        base = find_on_hub(config.base_model_name_or_path, config.base_model_revision, token)
        if base.private and not secret:
            raise PublishError(
                f"the language model {base.id} is private, so nobody else could load the reader: make it public, or "
                "give --include_base, or --private"
            )
    api.create_repo(repo_id, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    head = api.model_info(repo_id, revision=revision)
    there = {file.rfilename for file in head.siblings}
    staged = {path.relative_to(staging).as_posix(): path for path in sorted(staging.rglob("*")) if path.is_file()}
    if keep_card and CARD in there:
        staged.pop(CARD)
    left_over = [name for name in sorted(there) if OURS.fullmatch(name) and name not in staged]
    return api.create_commit(
        repo_id,
        [
            *(CommitOperationDelete(name) for name in left_over),
            *(CommitOperationAdd(name, path) for name, path in staged.items()),
        ],
        commit_message=commit_message or "Publish the reader",
        revision=revision,
        parent_commit=head.sha,
    )


def check_repo_id(repo_id: str) -> None:
    """Makes sure that a repository's name can be one.

    Raises:
        PublishError: It cannot.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(f"--repo_id {repo_id}: {error}") from error
    if "/" not in repo_id:
        raise PublishError(f"--repo_id {repo_id}: give your name on the Hub too: you/{repo_id}")


def check_login(token: str | None) -> None:
    """Makes sure that the Hub knows who publishes, before anything is written.

    Raises:
        PublishError: It does not.
    """
    try:
        HfApi(token=token).whoami()
    except LocalTokenNotFoundError as error:
        raise PublishError("not logged in: run `hf auth login`, set HF_TOKEN, or give --token") from error
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise PublishError("the Hub does not know this token: run `hf auth login`, or give another --token") from error


@contextmanager
def staging_folder(reader: Path, output: Path | None) -> Iterator[Path]:
    """A folder to stage in: thrown away, or kept as `output` if all went well.

    Raises:
        PublishError: `output` is not empty, or lies in the reader's own folder.
    """
    if output is None:
        with TemporaryDirectory(prefix="lipread-publish-") as folder:
            yield Path(folder, "reader")
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise PublishError(f"--output {output}: is not an empty folder; give a new one")
    if reader.resolve() in (output.resolve(), *output.resolve().parents):
        raise PublishError(f"--output {output}: lies in {reader}, which is left as it is; give a folder elsewhere")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as folder:
        yield Path(folder, "reader")
        if output.exists():
            output.rmdir()
        os.replace(Path(folder, "reader"), output)


def add_publish(commands: Any) -> None:
    """Registers `lipread publish` with the subparsers of `lipread`."""
    parser = commands.add_parser("publish", help="put a trained reader on the Hugging Face Hub")
    parser.set_defaults(run=publish)
    parser.add_argument("reader", metavar="DIR", type=Path, help="folder that train_hf.py --output_dir left")
    parser.add_argument("--repo_id", required=True, help="repository on the Hub, made if need be: you/name")
    parser.add_argument("--private", action="store_true", default=None, help="make the repository private")
    parser.add_argument("--revision", help="branch to publish to, made if need be (default: the main one)")
    parser.add_argument("--commit_message", help="the commit's first line")
    parser.add_argument("--token", help="access token (default: that of `hf auth login`, or HF_TOKEN)")
    parser.add_argument("--dry_run", action="store_true", help="upload nothing; list what would be")
    parser.add_argument("--output", type=Path, help="new folder to keep what was, or would be, uploaded in")
    parser.add_argument("--keep_card", action="store_true", help="leave the README.md that the repository has")
    base = parser.add_argument_group("language model")
    base.add_argument("--base_model_id", help="id on the Hub of the language model that DIR names by a folder")
    base.add_argument("--base_model_revision", help="its branch, tag or commit; the commit is written down")
    base.add_argument("--include_base", action="store_true", help="publish the language model's weights too")
    card = parser.add_argument_group("model card")
    card.add_argument("--language", nargs="+", help="codes of the languages it reads: en")
    card.add_argument("--license", help="licence of the weights by the Hub's name for it: apache-2.0")
    card.add_argument("--dataset_id", help="the training corpus's id on the Hub")
    card.add_argument("--dataset_name", help="the training corpus's name")
    card.add_argument("--dataset_license", help="the training corpus's licence")
    card.add_argument("--dataset_attribution", help="whom to name for the training corpus, and how")


def publish(arguments: argparse.Namespace) -> int:
    """`lipread publish`: prints the address, and the lines of Python that load the reader from there.

    Returns:
        The exit status: 0, or 1 if the reader could not be published.
    """
    repo_id, revision, token = arguments.repo_id, arguments.revision, arguments.token
    details = CardDetails(**{field.name: getattr(arguments, field.name) for field in fields(CardDetails)})
    base = {key: getattr(arguments, key) for key in ("base_model_id", "base_model_revision", "include_base")}
    try:
        check_repo_id(repo_id)
        if not arguments.dry_run:
            check_login(token)
        with staging_folder(arguments.reader, arguments.output) as staging:
            notes = stage(arguments.reader, staging, repo_id, details=details, revision=revision, token=token, **base)
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
            if arguments.dry_run:
                _list_files(staging)
            else:
                keys = ("private", "revision", "commit_message", "keep_card", "token")
                push(staging, repo_id, **{key: getattr(arguments, key) for key in keys})
    except (PublishError, OSError, ValueError, RuntimeError, ImportError, HTTPError) as error:
        print(f"lipread publish: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    if not arguments.dry_run:
        branch, argument = (f"/tree/{revision}", f', revision="{revision}"') if revision else ("", "")
        print(f"{HfApi().endpoint}/{repo_id}{branch}")
        for name in ("processor = AutoProcessor", "model = AutoModel"):
            print(f'{name}.from_pretrained("{repo_id}"{argument}, trust_remote_code=True)')
    return 0


def _list_files(staging: Path) -> None:
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>13,} {path.relative_to(staging).as_posix()}")
