# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Exports a prepared corpus: to a dataset that others can load, or back to a manifest of landmarks:

    python -m data.export corpus/ --parquet dataset/ --license cc-by-4.0 --source_name GRID --attribution "M. Cooke"
    python -m data.export corpus/ --push_to_hub you/name --private --license cc-by-4.0 --source_name GRID
    python -m data.export corpus/ --npy landmarks/

--parquet writes sharded Parquet in the Hub's layout with a dataset card, --push_to_hub uploads the same in one commit;
`load_dataset` and `train_hf.py --dataset` read both. --npy writes one JSONL manifest a split and one ``.npy`` a clip,
float32 `(frames, 478, 3)`, which `data.prepare` reads again. Landmarks are personal data: share them only if the
people in the videos and the source's licence allow it.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetDict, load_from_disk
from huggingface_hub import CommitInfo, DatasetCard, DatasetCardData, HfApi
from huggingface_hub.errors import HFValidationError, HTTPError
from tqdm import tqdm

from lipread.landmark_rows import decode_row
from lipread.options import positive_int

from .console import exit_on_error, make_parser
from .files import PrepareError, read_json, replacing_folder
from .preparation.write import REPORT
from .schema import SplitSize, duration, load_split, split_names, split_size

CARD_OPTIONS = ("source_name", "license", "attribution", "language")  # facts that a corpus does not contain
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
        _write_card(folder, sizes, card, more)
    return sizes


def export_npy(corpus: Path, output: Path, *, overwrite: bool = False) -> dict[str, int]:
    """Writes a corpus atomically as JSONL manifests, one a split, with a ``.npy`` a clip.

    Landmarks are in pixels, in the axes of `data.schema`, and zero in frames without a face. A manifest has one frame
    rate a clip: for frames at uneven intervals it is the average. Returns the number of clips of each split. Raises
    the errors of `export_parquet`.
    """
    names, counts = split_names(corpus), {}
    with _new_folder(output, overwrite) as folder:
        for split in names:
            rows, words = load_split(corpus, split), load_from_disk(str(corpus / split)).select_columns(["words"])
            (folder / split).mkdir()
            with open(folder / f"{split}.jsonl", "w", encoding="utf-8") as manifest:
                for index, row in enumerate(tqdm(rows, unit="clip", desc=f"Writing {split}", disable=None)):
                    sequence, path = decode_row(row), f"{split}/{index:07d}.npy"
                    np.save(folder / path, sequence.keypoints, allow_pickle=False)
                    line = {"kp_path": path, "text": str(row["text"]), "id": str(row["id"])}
                    line |= {} if row["speaker"] is None else {"speaker": str(row["speaker"])}
                    line |= {"fps": sequence.frame_rate}
                    line |= {"words": words[index]["words"]} if words[index]["words"] else {}
                    manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            counts[split] = len(rows)
    return counts


def _write_card(folder: Path, sizes: dict[str, SplitSize], card: dict[str, Any], more: dict[str, Any]) -> None:
    """Writes ``README.md`` beside the shards in ``data/``; `more` are further values for the template."""
    about = f"Face landmarks of {card['source_name']}" if card.get("source_name") else "Face landmarks of speech"
    data = DatasetCardData(
        language=card.get("language"),
        license=card.get("license"),
        pretty_name=about,
        tags=["lip-reading", "face-landmarks", "lipread"],
    )
    content = {"splits": sizes, "clips": sum(size.clips for size in sizes.values()), **card, **more}
    content["seconds"] = sum(size.seconds for size in sizes.values())
    written = DatasetCard.from_template(data, template_path=str(CARD), duration=duration, **content)
    written.save(folder / "README.md")


@contextmanager
def _new_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a folder that replaces `output` in the end, or is removed after an error."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not (output / EXPORT_MARK).is_file():
            raise PrepareError(f"{output}: holds something that is no export; give an empty or a new folder")
        if not overwrite:
            raise PrepareError(f"{output}: holds an earlier export; give --overwrite to replace it, or another folder")
    with replacing_folder(output) as building:
        yield building
        (building / EXPORT_MARK).write_text('{"written_by": "python -m data.export"}\n', encoding="utf-8")


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = make_parser("python -m data.export", __doc__)
    parser.add_argument("corpus", type=Path, help="folder that data.prepare wrote")
    parser.add_argument("--parquet", type=Path, metavar="FOLDER", help="write sharded Parquet with a card")
    parser.add_argument("--npy", type=Path, metavar="FOLDER", help="write manifests and .npy files")
    parser.add_argument("--push_to_hub", metavar="YOU/NAME", help="upload the Parquet dataset to the Hub")
    parser.add_argument("--private", action="store_true", help="make a new repository on the Hub private")
    parser.add_argument("--source_name", help="name of the corpus from which the landmarks come")
    parser.add_argument("--license", help="licence of that corpus, as the Hub spells it: cc-by-4.0")
    parser.add_argument("--attribution", help="attribution that the licence asks for")
    parser.add_argument("--language", nargs="+", help="codes of the languages spoken: en")
    shard_help = "largest file (default: 500,000,000)"
    parser.add_argument("--max_shard_size", type=positive_int, metavar="BYTES", help=shard_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    options = parser.parse_args(arguments)
    if not (options.parquet or options.npy or options.push_to_hub):
        parser.error("give --parquet FOLDER, --npy FOLDER or --push_to_hub YOU/NAME")
    targets = {name: ("parquet", "push_to_hub") for name in (*CARD_OPTIONS, "max_shard_size")}
    for name, needed in (targets | {"private": ("push_to_hub",), "overwrite": ("parquet", "npy")}).items():
        if getattr(options, name) and not any(getattr(options, target) for target in needed):
            parser.error(f"--{name} needs {' or '.join(f'--{target}' for target in needed)}")

    with exit_on_error():
        if options.npy:
            counts = export_npy(options.corpus, options.npy, overwrite=options.overwrite)
            print(f"{options.npy}: " + ", ".join(f"{split} {count:,} clips" for split, count in counts.items()))
        if options.parquet or options.push_to_hub:
            card = {name: getattr(options, name) for name in CARD_OPTIONS}
            settings = {"shard_bytes": options.max_shard_size or SHARD_BYTES, "overwrite": options.overwrite}
            with nullcontext() if options.parquet else tempfile.TemporaryDirectory() as temporary:
                folder = options.parquet or Path(temporary, "dataset")
                sizes = export_parquet(options.corpus, folder, card, options.push_to_hub, **settings)
                for split, size in sizes.items():
                    print(f"{split}: {size.clips:,} clips, {duration(size.seconds)}, {size.frames:,} frames")
                if options.parquet:
                    print(f"dataset: {folder} (read its README.md before you share it)")
                if options.push_to_hub:
                    print(f"pushed: {push(folder, options.push_to_hub, options.private).commit_url}")


if __name__ == "__main__":
    main()
