# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A split to train on or to read, in whichever form it is kept: prepared here, exported to Parquet, or on the Hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from datasets import load_dataset, load_dataset_builder
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from pyarrow import ArrowInvalid

from .clips import ClipTable
from .schema import CLIP_COLUMNS, CorpusError, features, load_split
from .streaming import ClipStream

Clips = ClipTable | ClipStream


def is_parquet(source: str | Path) -> bool:
    """Whether a source is a folder of Parquet files or a data set's id on the Hub, and not a prepared corpus."""
    path = Path(source)
    if path.exists():
        return path.is_dir() and (any(path.glob("*.parquet")) or any(path.glob("data/*.parquet")))
    if path.suffix in (".jsonl", ".json"):
        return False
    try:
        validate_repo_id(str(source))
    except HFValidationError:
        return False
    return str(source).count("/") == 1


def has_split(source: str | Path, split: str) -> bool:
    """Whether a source has that split."""
    return split in _files(source) if is_parquet(source) else (Path(source) / split).is_dir()


def open_split(source: str | Path, split: str | None = None, streaming: bool = False) -> Clips:
    """A split's clips with `CLIP_COLUMNS`, ready for `LipReadCollator`.

    Args:
        source (`str` or `Path`): A folder that ``data.prepare`` or ``data.export --parquet`` wrote, or a data set's id
            on the Hub.
        split (`str`, *optional*): Which split; may be left out when there is one only.
        streaming (`bool`): Read Parquet from where it lies, in place of a copy on disk that is made first.

    Returns:
        `ClipTable` or `ClipStream`: Clips by their index; either has `select`, `column` and `spread`.

    Raises:
        CorpusError: If there is no such split, or its columns are not those of a prepared corpus.
    """
    if not is_parquet(source):
        clips = load_split(source, split)
        if streaming:
            raise CorpusError(
                f"{source}: a prepared corpus is on disk already, and read in place; leave --streaming out, or stream "
                "what `python -m data.export --parquet` wrote"
            )
        return ClipTable(clips)
    files = _files(source)
    if split is None and len(files) == 1:
        split = next(iter(files))
    if split not in files:
        asked = "no split was named" if split is None else f"there is no split {split!r}"
        raise CorpusError(f"{source}: {asked}; the data set has {', '.join(files)}")
    try:
        if streaming:
            clips = ClipStream(files[split], split)
            found = dict(zip(clips.schema.names, clips.schema.types, strict=True))
        else:
            clips = load_dataset(str(source), split=split)
            found = {field.name: field.type for field in clips.features.arrow_schema}
    except (ArrowInvalid, DatasetGenerationError) as error:
        error = error.__cause__ or error
        raise CorpusError(
            f"{source}: a file of split {split!r} is no whole Parquet ({error}); export it again"
        ) from error
    expected = {name: feature for name, feature in features().items() if name in CLIP_COLUMNS}
    wrong = [field.name for field in type(features())(expected).arrow_schema if found.get(field.name) != field.type]
    if wrong:
        raise CorpusError(
            f"{source}: columns {', '.join(wrong)} are missing or of another type; this is no data set that "
            "`python -m data.export --parquet` of this version wrote"
        )
    return clips if streaming else ClipTable(clips)


def seconds_of(clips: Clips) -> np.ndarray:
    """How long each clip is, in seconds, `(clips,)`."""
    return np.asarray(clips.column("num_frames")) / np.asarray(clips.column("frame_rate"))


def _files(source: str | Path) -> dict[str, list[str]]:
    """The Parquet files of each split, by their paths or addresses."""
    try:
        found = load_dataset_builder(str(source)).config.data_files
    except OSError as error:  # datasets' own, of what is not found, are among them
        place = "" if Path(source).exists() else "neither a folder here, nor a data set on the Hub that can be read: "
        raise CorpusError(f"{source}: {place}{error}") from error
    return {str(split): [str(file) for file in files] for split, files in (found or {}).items()}
