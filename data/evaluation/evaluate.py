# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint evaluated on a corpus."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

import modeling_lipread
from lipread.hub.model_card import weights_sha256
from modeling_lipread.language_model_lipread import checkpoint_files

from ..dataset import is_parquet, open_split
from ..schema import split_names
from . import predict, report

modeling_lipread.register()


def source_names(source: Path, split: str | None = None) -> dict[str, str | None]:
    """Returns the names of the corpus and of its split for the model card; a split's folder alone has no corpus."""
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
) -> dict:
    """Returns `data.evaluation.report` of a checkpoint, with the arguments of the command line.

    Raises CorpusError, OSError or ValueError if checkpoint or source cannot be read.
    """
    clips = open_split(source, split)
    processor = AutoProcessor.from_pretrained(checkpoint)
    weights = weights_sha256(checkpoint_files(checkpoint, {}))
    model = AutoModel.from_pretrained(checkpoint)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    if ctc_decoding_weight is None:
        ctc_decoding_weight = getattr(model.generation_config, "ctc_decoding_weight", None) or 0.0
    search = {"num_beams": num_beams, "ctc_decoding_weight": ctc_decoding_weight}
    predictions = predict(model, processor, clips, batch_size=batch_size, confidence=True, **search)
    about = {"checkpoint": checkpoint, "weights": weights, "source": source, **source_names(Path(source), split)}
    about["text_unit"] = model.config.text_unit
    return report(predictions, **about, **search)
