# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A prepared corpus to a data set that others can load, or back to a manifest of landmarks:

    python -m data.export corpus/ --parquet dataset/ --license cc-by-4.0 --source_name GRID --attribution "M. Cooke"
    python -m data.export corpus/ --push_to_hub you/name --private --license cc-by-4.0 --source_name GRID
    python -m data.export corpus/ --npy landmarks/

The first writes sharded Parquet as the Hub lays it out, with a data set card; the second puts the same on the Hub, in
one commit; `load_dataset` and `train_hf.py --dataset` read both. The third writes a JSONL manifest a split and a
``.npy`` of float32 `(frames, 478, 3)` a clip, which `data.prepare` reads again. Landmarks are personal data: whose
they are, and what the source's licence says, decides whether they may be given away.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.parquet as pq
from datasets import Dataset, load_from_disk
from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from tqdm import tqdm

from .preparation.dataset_card import CardOptions, SplitStatistics, statistics, write_card
from .preparation.write import CORPUS_MARK, REPORT, read_json
from .schema import CorpusError, decode_row, load_split

# A row group is what streaming reads at once: 64 clips of 3 s are about 10 MB.
ROW_GROUP = 64
SHARD_BYTES = 500_000_000
KEYPOINTS = "keypoints.list.element"  # as Parquet names the column
# Written last into every folder that is exported to, so that a later run knows it may replace the folder.
EXPORT_MARK = ".lipread_export.json"
Result = TypeVar("Result")


class ExportError(ValueError):
    """A corpus that cannot be exported; the message names the remedy."""


def split_names(corpus: Path) -> list[str]:
    """The splits of a prepared corpus.

    Raises:
        CorpusError: If the folder is no finished corpus.
    """
    if not (corpus / CORPUS_MARK).is_file():
        load_split(corpus)  # says what is wrong with it
        raise CorpusError(f"{corpus}: this is the folder of one split; give the folder above it")
    return json.loads((corpus / CORPUS_MARK).read_text(encoding="utf-8"))["splits"]


def export_parquet(
    corpus: str | Path,
    output: str | Path,
    card: CardOptions,
    *,
    shard_bytes: int = SHARD_BYTES,
    overwrite: bool = False,
) -> list[SplitStatistics]:
    """Writes a corpus as sharded Parquet with a data set card; the folder appears whole or not at all.

    Args:
        corpus (`str` or `Path`): Folder that `data.prepare` wrote.
        output (`str` or `Path`): Folder of the data set.
        card (`CardOptions`): What the card says of source and licence.
        shard_bytes (`int`): Most bytes of rows in a file, before compression.
        overwrite (`bool`): Replace an earlier export.

    Returns:
        `list[SplitStatistics]`: What is in each split.

    Raises:
        CorpusError, ExportError: If the corpus is none, or the output folder holds something else.
    """
    corpus, output = Path(corpus), Path(output)
    splits = {split: load_from_disk(str(corpus / split)) for split in split_names(corpus) if load_split(corpus, split)}

    def write(folder: Path) -> list[SplitStatistics]:
        (folder / "data").mkdir()
        for split, rows in splits.items():
            _write_shards(rows, folder / "data", split, shard_bytes)
        found = [statistics(split, rows) for split, rows in splits.items()]
        write_card(folder, splits, found, card, read_json(corpus / REPORT))
        return found

    return _whole(output, write, overwrite)


def _write_shards(rows: Dataset, folder: Path, split: str, shard_bytes: int) -> None:
    """Files of nearly equal size, in row groups of `ROW_GROUP`."""
    shards = min(len(rows), max(1, math.ceil(rows.data.nbytes / shard_bytes)))
    rows, schema = rows.with_format("arrow"), rows.features.arrow_schema
    bounds = np.linspace(0, len(rows), shards + 1).astype(int).tolist()
    with tqdm(total=len(rows), unit="clip", desc=f"Writing {split}") as progress:
        for shard, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
            path = folder / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            # Bytes of equal rank side by side make landmarks a third smaller; they repeat nothing, so no dictionary.
            layout = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": [KEYPOINTS]}
            with pq.ParquetWriter(path, schema, **layout) as writer:
                for start in range(first, last, ROW_GROUP):
                    table = rows[start : min(start + ROW_GROUP, last)]
                    writer.write_table(table.cast(schema).combine_chunks(), row_group_size=ROW_GROUP)
                    progress.update(len(table))


def export_npy(corpus: str | Path, output: str | Path, *, overwrite: bool = False) -> dict[str, int]:
    """Writes a corpus as JSONL manifests, one a split, and a ``.npy`` a clip.

    Landmarks are in pixels, in the axes of `data.schema`, and zero in frames without a face. A manifest has one frame
    rate a clip: that of a clip whose frames come unevenly is its average.

    Returns:
        `dict[str, int]`: Clips of each split, and under ``"uneven"`` how many had frames that come unevenly.

    Raises:
        CorpusError, ExportError: If the corpus is none, or the output folder holds something else.
    """
    corpus, output = Path(corpus), Path(output)
    names = split_names(corpus)

    def write(folder: Path) -> dict[str, int]:
        counts = {"uneven": 0}
        for split in names:
            rows, words = load_split(corpus, split), load_from_disk(str(corpus / split)).select_columns(["words"])
            (folder / split).mkdir()
            with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as manifest:
                for index, row in enumerate(tqdm(rows, unit="clip", desc=f"Writing {split}")):
                    sequence, path = decode_row(row), f"{split}/{index:07d}.npy"
                    np.save(folder / path, sequence.keypoints, allow_pickle=False)
                    steady = np.arange(len(sequence.timestamps)) / sequence.frame_rate
                    counts["uneven"] += not np.allclose(sequence.timestamps, steady, atol=0.5 / sequence.frame_rate)
                    line = {"kp_path": path, "text": str(row["text"]), "id": str(row["id"])}
                    line |= {} if row["speaker"] is None else {"speaker": str(row["speaker"])}
                    line |= {"fps": sequence.frame_rate}
                    line |= {"words": words[index]["words"]} if words[index]["words"] else {}
                    manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts[split] = len(rows)
        return counts

    return _whole(output, write, overwrite)


def _whole(output: Path, write: Callable[[Path], Result], overwrite: bool) -> Result:
    """Writes a folder beside its place and moves it there."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not (output / EXPORT_MARK).is_file():
            raise ExportError(f"{output}: holds something that is no export; give an empty or a new folder")
        if not overwrite:
            raise ExportError(f"{output}: holds an earlier export; give --overwrite to replace it, or another folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        result = write(building)
        (building / EXPORT_MARK).write_text('{"written_by": "python -m data.export"}\n', encoding="utf-8")
        building.chmod(0o755)
        if output.exists():
            shutil.rmtree(output)
        os.replace(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return result


def push(folder: str | Path, repo_id: str, *, private: bool = False, token: str | None = None) -> CommitInfo:
    """Puts an exported folder on the Hub in one commit; shards of an earlier export go in the same.

    Raises:
        HFValidationError, HfHubHTTPError: If the id is none, or the Hub refuses.
    """
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id, repo_type="dataset", private=private or None, exist_ok=True).repo_id
    return api.upload_folder(
        repo_id=repo_id,
        repo_type="dataset",
        folder_path=folder,
        ignore_patterns=[EXPORT_MARK],
        delete_patterns=["data/*.parquet"],
        commit_message="Landmarks of a corpus, written by python -m data.export",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--parquet", metavar="FOLDER", help="write sharded Parquet with a card")
    parser.add_argument("--npy", metavar="FOLDER", help="write manifests and .npy files")
    parser.add_argument("--push_to_hub", metavar="YOU/NAME", help="put the Parquet data set on the Hub")
    parser.add_argument("--private", action="store_true", help="a new repository on the Hub is private")
    parser.add_argument("--source_name", help="name of the corpus the landmarks come from")
    parser.add_argument("--license", help="licence of that corpus, as the Hub spells it: cc-by-4.0")
    parser.add_argument("--attribution", help="whom the licence asks to name, and how to cite them")
    parser.add_argument("--language", nargs="+", help="languages spoken, as codes: en")
    parser.add_argument("--max_shard_size", type=_bytes, default=SHARD_BYTES, help="most bytes in a file (500MB)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    options = parser.parse_args(arguments)
    if not (options.parquet or options.npy or options.push_to_hub):
        parser.error("give --parquet FOLDER, --npy FOLDER or --push_to_hub YOU/NAME")
    try:
        if options.npy:
            counts = export_npy(options.corpus, options.npy, overwrite=options.overwrite)
            uneven = counts.pop("uneven")
            print(f"{options.npy}: " + ", ".join(f"{split} {count:,} clips" for split, count in counts.items()))
            if uneven:
                print(f"{uneven:,} clips have frames that come unevenly; their manifest has the average frame rate")
        if options.parquet or options.push_to_hub:
            _export_dataset(options)
    except HFValidationError as error:
        sys.exit(f"error: --push_to_hub {options.push_to_hub}: {error}")
    except HfHubHTTPError as error:
        sys.exit(f"error: the Hub refused {options.push_to_hub}: {error}. Are you logged in? See `hf auth login`.")
    except (CorpusError, ExportError, OSError) as error:
        sys.exit(f"error: {error}")


def _export_dataset(options: argparse.Namespace) -> None:
    card = CardOptions(
        repo_id=options.push_to_hub,
        source_name=options.source_name,
        license=options.license,
        attribution=options.attribution,
        language=options.language,
    )
    # Beside nothing that is to stay, an upload needs a folder only until it is there.
    with nullcontext() if options.parquet else tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.parquet or Path(temporary, "dataset"))
        settings = {"shard_bytes": options.max_shard_size, "overwrite": options.overwrite}
        for split in export_parquet(options.corpus, folder, card, **settings):
            print(split)
        if options.parquet:
            print(f"data set: {folder} (read its README.md before you give it away)")
        if options.push_to_hub:
            print(f"pushed: {push(folder, options.push_to_hub, private=options.private).commit_url}")


def _bytes(value: str) -> int:
    number = re.fullmatch(r"(\d+)\s*([KMG]?)B?", value.strip(), re.IGNORECASE)
    if number is None or int(number[1]) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is no size such as 500MB")
    return int(number[1]) * 1000 ** " KMG".index(number[2].upper() or " ")


if __name__ == "__main__":
    main()
