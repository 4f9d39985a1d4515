# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Exports a prepared corpus: sharded Parquet with a card, or manifests with ``.npy`` files; `data.export` runs it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetDict, load_from_disk
from filelock import Timeout
from huggingface_hub import CommitInfo, DatasetCard, DatasetCardData, HfApi
from huggingface_hub.errors import HFValidationError, HTTPError
from tqdm import tqdm

from lipread.landmark_rows import decode_row

from ..files import PrepareError, read_json, replacing_folder
from ..schema import SplitSize, duration, load_split, split_names, split_size
from .write import REPORT

SHARD_BYTES = 500_000_000
# Streaming reads one row group at a time: 64 clips of 3 s are about 10 MB. Splitting bytes by rank makes landmarks a
# third smaller; their values do not repeat, so a dictionary is useless. `Dataset.to_parquet` does not take these.
PARQUET = {"row_group_size": 64, "compression": "zstd", "use_dictionary": False}
PARQUET["use_byte_stream_split"] = ["keypoints.list.element"]
# Values that cannot be null are read a quarter faster.
KEYPOINTS = pa.field("keypoints", pa.list_(pa.field("element", pa.float16(), nullable=False)))
# Written last into every exported folder: a later run may replace a folder that has it.
EXPORT_MARK = ".lipread_export.json"
CARD = Path(__file__).with_name("dataset_card.md")
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (float("inf"), "1M<n<10M"))


def export_parquet(
    corpus: Path,
    output: Path,
    card: Mapping[str, Any],
    repo_id: str | None = None,
    *,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> dict[str, SplitSize]:
    """Writes a corpus atomically as sharded Parquet with a dataset card; returns the size of each split.

    `card` holds the options of the command line that the card shows, a file rows of at most `shard_bytes`, before
    compression. `overwrite` replaces an earlier export. Raises CorpusError or PrepareError if `corpus` is no corpus,
    or the output folder holds something else.
    """
    for split in split_names(corpus):
        load_split(corpus, split)  # checks the columns
    splits = DatasetDict(load_from_disk(str(corpus)))
    with _new_folder(output, overwrite) as folder:
        (folder / "data").mkdir()
        for split, rows in splits.items():
            schema = rows.features.arrow_schema
            schema = schema.set(schema.get_field_index("keypoints"), KEYPOINTS)
            shards = min(len(rows), max(1, math.ceil(rows.data.nbytes / shard_bytes)))
            for shard in range(shards):
                path = folder / "data" / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
                table = rows.shard(shards, shard, contiguous=True).with_format("arrow")[:]
                pq.write_table(table.cast(schema), path, **PARQUET)
        sizes = {split: split_size(rows) for split, rows in splits.items()}
        skipped = read_json(corpus / REPORT).get("skipped")
        more = {"repo_id": repo_id, "skipped": None if skipped is None else len(skipped)}
        _write_card(folder, splits, sizes, card, more)
    return sizes


def export_npy(corpus: Path, output: Path, *, overwrite: bool = False) -> tuple[dict[str, int], int]:
    """Writes a corpus atomically as JSONL manifests, one a split, with a ``.npy`` a clip.

    Landmarks are in pixels, in the axes of `data.schema`, and zero in frames without a face. A manifest has one frame
    rate a clip: for frames at uneven intervals it is the average. Returns the number of clips of each split, and the
    number of clips with frames at uneven intervals. Raises the errors of `export_parquet`.
    """
    names, counts, uneven = split_names(corpus), {}, 0
    with _new_folder(output, overwrite) as folder:
        for split in names:
            rows, words = load_split(corpus, split), load_from_disk(str(corpus / split)).select_columns(["words"])
            (folder / split).mkdir()
            with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as manifest:
                for index, row in enumerate(tqdm(rows, unit="clip", desc=f"Writing {split}", disable=None)):
                    sequence, path = decode_row(row), f"{split}/{index:07d}.npy"
                    np.save(folder / path, sequence.keypoints, allow_pickle=False)
                    steady = np.arange(len(sequence.timestamps)) / sequence.frame_rate
                    uneven += not np.allclose(sequence.timestamps, steady, atol=0.5 / sequence.frame_rate)
                    line = {"kp_path": path, "text": str(row["text"]), "id": str(row["id"])}
                    line |= {} if row["speaker"] is None else {"speaker": str(row["speaker"])}
                    line |= {"fps": sequence.frame_rate}
                    line |= {"words": words[index]["words"]} if words[index]["words"] else {}
                    manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts[split] = len(rows)
    return counts, uneven


def _write_card(
    folder: Path, splits: DatasetDict, sizes: dict[str, SplitSize], card: dict[str, Any], more: dict[str, Any]
) -> None:
    """Writes ``README.md`` beside the shards in ``data/``; `more` are further values for the template."""
    clips = sum(size.clips for size in sizes.values())
    about = f"Face landmarks of {card['source_name']}" if card.get("source_name") else "Face landmarks of speech"
    rows = [{"name": name, "num_bytes": rows.data.nbytes, "num_examples": len(rows)} for name, rows in splits.items()]
    files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
    data = DatasetCardData(
        language=card.get("language"),
        license=card.get("license"),
        pretty_name=about,
        size_categories=[next(name for limit, name in SIZES if clips < limit)],
        tags=["lip-reading", "face-landmarks", "lipread"],
        dataset_info={
            "splits": rows,
            "download_size": sum(path.stat().st_size for path in (folder / "data").iterdir()),
            "dataset_size": sum(split["num_bytes"] for split in rows),
        },
        configs=[{"config_name": "default", "data_files": files}],
    )
    content = {"splits": sizes, "clips": clips, "seconds": sum(size.seconds for size in sizes.values())}
    DatasetCard.from_template(data, template_path=str(CARD), duration=duration, **content, **card, **more).save(
        folder / "README.md"
    )


@contextmanager
def _new_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a folder that replaces `output` in the end, or is removed after an error."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not (output / EXPORT_MARK).is_file():
            raise PrepareError(f"{output}: holds something that is no export; give an empty or a new folder")
        if not overwrite:
            raise PrepareError(f"{output}: holds an earlier export; give --overwrite to replace it, or another folder")
    try:
        with replacing_folder(output) as building:
            yield building
            (building / EXPORT_MARK).write_text('{"written_by": "python -m data.export"}\n', encoding="utf-8")
    except Timeout:
        raise PrepareError(f"{output}: another export writes to this folder; wait until it ends") from None


def push(folder: Path, repo_id: str, private: bool) -> CommitInfo:
    """Uploads an exported folder to the Hub in one commit that also deletes the shards of an earlier export.

    Raises `PrepareError` if the Hub refuses it or cannot be reached; until the commit, the repository is as it was.
    """
    api = HfApi()
    options = {"ignore_patterns": [EXPORT_MARK], "delete_patterns": ["data/*.parquet"]}
    options["commit_message"] = "Landmarks of a corpus, written by python -m data.export"
    try:
        repo_id = api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True).repo_id
        return api.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, **options)
    except (HTTPError, HFValidationError, RuntimeError) as error:  # RuntimeError: the upload of a file failed
        found = error.__cause__ if type(error) is RuntimeError else error  # that of a file's upload has the cause
        cause = " ".join(str(found or error).split())
        remedy = "Are you logged in (`hf auth login`)? The same command uploads the rest"
        raise PrepareError(f"{repo_id}: the upload failed ({cause}). {remedy}") from error
