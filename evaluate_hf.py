# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Evaluates a trained reader on every clip of a corpus or of a video manifest.

    python evaluate_hf.py runs/a corpus/test
    python evaluate_hf.py you/lipread-grid videos.jsonl --num_beams 8 --nbest 8 --output results.json

It writes a JSON file with the metrics, their 95% bootstrap intervals and every hypothesis, and an HTML page beside it.
The last line that it prints is:

    WER 0.123 CER 0.051 | blank video WER 0.871 | shuffled video WER 0.812 | 50 clips

or, for a reader of a script without spaces, the same with CER first.

A clip that cannot be read (no face, damaged file) counts as one with an empty hypothesis. Such clips, and lines of the
manifest that describe no clip, are listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoProcessor

import modeling_lipread  # noqa: F401  (registers the reader with the Auto classes)
from data.collator import LipReadCollator
from data.console import set_up_console
from data.dataset import is_parquet, open_split
from data.evaluation import RATE_OF_UNIT, Prediction, closing_line, predict, report
from data.evaluation.page import write_evaluation
from data.files import PrepareError, write_json
from data.prepare import prepare
from data.schema import CorpusError
from data.sources.manifest import read_manifest
from data.sources.records import SourceError
from lipread.hub.model_card import weights_sha256
from lipread.output_files import check_writable
from modeling_lipread.face_tracking_lipread import FACES
from modeling_lipread.language_model_lipread import checkpoint_files


def prepared_clips(source: Path, folder: Path, split: str | None, **extraction: Any):
    """Opens the clips of a prepared corpus, or prepares those of a manifest in `folder` first.

    `split` is for corpora; `extraction` (`num_proc`, `allow_outside`, `face`) is for manifests.

    Returns:
        Rows of `data.schema`; an empty prediction for every clip of the manifest that could not be read; and the lines
        that were left out, with their reasons.

    Raises:
        ValueError: If an option is given that is not for this kind of source.
    """
    is_corpus = source.is_dir() or is_parquet(source)
    if unused := [
        name for name, value in (extraction if is_corpus else {"split": split}).items() if value is not None
    ]:
        kind, other = ("corpus", "manifests of videos") if is_corpus else ("manifest", "prepared corpora")
        raise ValueError(f"{source}: is a {kind}, and --{unused[0]} is for {other}; leave it out")
    if is_corpus:
        return open_split(source, split), [], []
    extraction = {"num_proc": os.cpu_count(), "allow_outside": False, "face": "largest"} | {
        name: value for name, value in extraction.items() if value is not None
    }
    records, _ = read_manifest(source, extraction["allow_outside"])
    limits = {"val_ratio": 0.0, "min_coverage": 0.0, "max_seconds": None}
    skipped = prepare([source], folder, format="manifest", **limits, **extraction)["skipped"]
    clips = open_split(folder)
    readable = set(clips.column("id"))
    lost = [record for record in records if record.id not in readable]
    return clips, [Prediction(record.id, record.speaker, record.text, "", "") for record in lost], skipped


def source_names(source: Path, split: str | None = None) -> dict[str, str | None]:
    """Returns the names of the corpus and of its split for the model card; a manifest has no corpus."""
    if is_parquet(source):
        return {"corpus": source.resolve().name if source.exists() else str(source), "split": split}
    if (source / "dataset_dict.json").is_file():
        splits = json.loads((source / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return {"corpus": source.resolve().name, "split": split or splits[0]}
    corpus = source.resolve().parent
    return {"corpus": corpus.name if (corpus / "dataset_dict.json").is_file() else None, "split": source.stem}


def evaluate(
    checkpoint: str,
    source: str,
    *,
    split: str | None = None,
    num_beams: int = 1,
    ctc_decoding_weight: float | None = None,
    nbest: int = 1,
    batch_size: int = 16,
    device: str | None = None,
    **extraction: Any,
) -> dict:
    """Evaluates a checkpoint on a corpus or manifest, with the arguments of the command line.

    `extraction` holds those for manifests. Returns the result of `data.evaluation.report`, with the arguments and the
    sha256 of the `weights`. Raises CorpusError, SourceError, PrepareError, OSError or ValueError if checkpoint or
    source cannot be read.
    """
    if not 1 <= nbest <= num_beams:
        raise ValueError(f"--nbest {nbest}: a search with {num_beams} beams keeps 1 to {num_beams}; see --num_beams")
    processor = AutoProcessor.from_pretrained(checkpoint)
    weights = weights_sha256(checkpoint_files(checkpoint, {}))
    model = AutoModel.from_pretrained(checkpoint)
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    if ctc_decoding_weight is None:
        ctc_decoding_weight = getattr(model.generation_config, "ctc_decoding_weight", None) or 0.0
    search = {"num_beams": num_beams, "ctc_decoding_weight": ctc_decoding_weight, "nbest": nbest}
    length = model.generation_config.max_new_tokens or 64
    collator = LipReadCollator(processor, seq_len=length, start_ids=model.config.start_ids, train=False)
    with tempfile.TemporaryDirectory() as folder:
        clips, lost, skipped = prepared_clips(Path(source), Path(folder), split, **extraction)
        predictions = predict(model, processor, clips, collator, batch_size=batch_size, confidence=True, **search)
    about = {"checkpoint": checkpoint, "weights": weights, "source": source, **source_names(Path(source), split)}
    about["text_unit"] = model.config.text_unit
    return report(predictions + lost, **about, **search, skipped=skipped)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    set_up_console()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", help="folder or Hub id of a trained reader")
    add("source", help="folder of a prepared split, a manifest of videos, or a data set in Parquet (folder or Hub id)")
    add("--split", help="split of a source that has several")
    add("--num_beams", type=int, default=1, help="beams of the search; 1 is greedy (default: 1)")
    add(
        "--ctc_decoding_weight",
        type=float,
        help="weight of the CTC head beside the language model, 0 to 1 (default: the reader's own)",
    )
    add("--nbest", type=int, default=1, help="hypotheses kept of a clip, at most as many as beams (default: 1)")
    add("--batch_size", type=int, default=16, help="clips in a batch (default: 16)")
    add("--num_proc", type=int, help="processes that extract landmarks from a manifest's videos (default: all cores)")
    outside = "also read files outside the manifest's folder"
    add("--allow_outside", action="store_true", default=None, help=outside)
    add("--face", choices=FACES, help="which of several faces in a manifest's video is read (default: largest)")
    add("--device", help="torch device (default: a GPU if there is one)")
    add("--show", type=int, default=0, help="clips whose reference and hypothesis are printed (default: 0)")
    add("--output", help="JSON file to write, with a page beside it (default: CHECKPOINT/evaluation-SOURCE.json)")
    options = vars(parser.parse_args(arguments))
    output, show = options.pop("output"), options.pop("show")
    folder = Path(options["checkpoint"]) if Path(options["checkpoint"]).is_dir() else Path()
    source = Path(options["source"])
    name = options["split"] or (source.stem if source.suffix == ".jsonl" else source.name)
    path = Path(output) if output else folder / f"evaluation-{name}.json"
    try:
        check_writable(path.parent)  # before the work
        result = evaluate(**options)
    except (CorpusError, SourceError, PrepareError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    write_json(path, result)
    page = write_evaluation(result, path.with_suffix(".html"))
    for row in result["predictions"][:show]:
        print(f"reference:  {row['reference']}\nhypothesis: {row['hypothesis']}\n")
    for skip in result["skipped"]:
        print(f"not read: {skip['where']}: {skip['reason']}")
    unit = result["text_unit"]
    low, high = result["metrics"][f"{RATE_OF_UNIT[unit]}_interval"]
    print(f"95% interval of the {unit} error rate {low:.3f} to {high:.3f}; every hypothesis is in {path}")
    print(f"report: {page} (open it in a browser)")
    if times := result["word_times"]:
        print(
            f"word times: median error {times['median_ms']:.0f} ms, 90th percentile {times['p90_ms']:.0f} ms, "
            f"over starts and ends of {times['words']} correct words"
        )
    if abstention := result["abstention"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in abstention["reasons"].items())
        print(
            f"with abstention, as in the pipeline: no words from {abstention['clips']} of "
            f"{result['metrics']['clips']} clips{reasons and f' ({reasons})'}, {abstention['correct_words_lost']} of "
            f"{abstention['correct_words']} correct words lost, WER {abstention['wer']:.3f}"
        )
    print(closing_line(result["metrics"], unit))


if __name__ == "__main__":
    main()
