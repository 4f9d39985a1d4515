# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint evaluated on a corpus, or on a manifest of videos."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoProcessor

import modeling_lipread
from lipread.hub.model_card import weights_sha256
from modeling_lipread.language_model_lipread import checkpoint_files

from ..dataset import is_parquet, open_split
from ..prepare import prepare
from ..schema import split_names
from ..sources.manifest import read_manifest
from . import Prediction, predict, report

modeling_lipread.register()


def prepared_clips(source: Path, folder: Path, split: str | None, **extraction: Any):
    """Opens the clips of a prepared corpus (`split`), or prepares those of a manifest (`extraction`) in `folder`.

    Returns rows of `data.schema`, an empty prediction for every clip of the manifest that could not be read, and the
    lines that were left out. Raises ValueError for an option that is not for this kind of source.
    """
    is_corpus = source.is_dir() or is_parquet(source)
    given = extraction if is_corpus else {"split": split}
    if unused := [name for name, value in given.items() if value is not None]:
        kind, other = ("corpus", "manifests of videos") if is_corpus else ("manifest", "prepared corpora")
        raise ValueError(f"{source}: is a {kind}, and --{unused[0]} is for {other}; leave it out")
    if is_corpus:
        return open_split(source, split), [], []
    extraction = {"num_proc": os.cpu_count(), "allow_outside": False, "face": "largest"} | {
        name: value for name, value in extraction.items() if value is not None
    }
    records, _ = read_manifest(source, extraction["allow_outside"])
    limits = {"val_ratio": 0.0, "min_coverage": 0.0, "max_seconds": None}
    skipped = prepare([source], folder, **limits, **extraction)["skipped"]
    clips = open_split(folder)
    readable = set(clips.column("id"))
    lost = [record for record in records if record.id not in readable]
    return clips, [Prediction(record.id, record.speaker, record.text, "", "") for record in lost], skipped


def source_names(source: Path, split: str | None = None) -> dict[str, str | None]:
    """Returns the names of the corpus and of its split for the model card; a manifest has no corpus."""
    if is_parquet(source):
        return {"corpus": source.resolve().name if source.exists() else str(source), "split": split}
    if (source / "dataset_dict.json").is_file():
        return {"corpus": source.resolve().name, "split": split or split_names(source)[0]}
    corpus = source.resolve().parent
    return {"corpus": corpus.name if (corpus / "dataset_dict.json").is_file() else None, "split": source.stem}


def evaluate(
    checkpoint: str,
    source: str,
    *,
    split: str | None = None,
    num_beams: int = 1,
    ctc_decoding_weight: float | None = None,
    batch_size: int = 16,
    device: str | None = None,
    **extraction: Any,
) -> dict:
    """Returns `data.evaluation.report` of a checkpoint, with the arguments of the command line.

    `extraction` holds those for manifests. Raises CorpusError, SourceError, PrepareError, OSError or ValueError if
    checkpoint or source cannot be read.
    """
    processor = AutoProcessor.from_pretrained(checkpoint)
    weights = weights_sha256(checkpoint_files(checkpoint, {}))
    model = AutoModel.from_pretrained(checkpoint)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    if ctc_decoding_weight is None:
        ctc_decoding_weight = getattr(model.generation_config, "ctc_decoding_weight", None) or 0.0
    search = {"num_beams": num_beams, "ctc_decoding_weight": ctc_decoding_weight}
    with tempfile.TemporaryDirectory() as folder:
        clips, lost, skipped = prepared_clips(Path(source), Path(folder), split, **extraction)
        predictions = predict(model, processor, clips, batch_size=batch_size, confidence=True, **search)
    about = {"checkpoint": checkpoint, "weights": weights, "source": source, **source_names(Path(source), split)}
    about["text_unit"] = model.config.text_unit
    return report(predictions + lost, **about, **search, skipped=skipped)
