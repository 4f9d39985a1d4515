# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread export`: a reader as two ONNX graphs, one that encodes a clip and one that predicts the next token.

lipread export runs/grid --output runs/grid-onnx

`encoder.onnx` runs once a clip. Inputs: `keypoints (clips, frames, landmarks, 3)` and `keypoints_mask (clips,
frames)`, int64, as the reader's feature extractor returns them. Outputs: `conditioning_mask`, `conditioning_key_N` and
`conditioning_value_N` for each adapter N and, if the reader has a CTC head, `ctc_logits`.

`decoder.onnx` runs once a token. Inputs: the conditioning, `input_ids` and `position_ids (clips, tokens)`, and
`past_key_N` and `past_value_N (clips, heads, past, head_dim)` for each layer N of the language model, of length 0 at
first. Outputs: `logits`, and `key_N` and `value_N`, which are the past of the next step.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import options

ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"


def add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a reader as ONNX graphs, to run it without PyTorch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="READER", help="folder or Hub id of a trained reader")
    output_help = "folder for the two .onnx files"
    parser.add_argument("--output", "-o", required=True, type=Path, metavar="DIR", help=output_help)
    parser.add_argument("--overwrite", action="store_true", help="replace the files if they exist")
    parser.set_defaults(run=export)


def export(arguments: argparse.Namespace) -> None:
    """Writes the graphs and prints how to use them."""
    folder = arguments.output
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise options.UsageError(f"export needs the packages {' and '.join(missing)}: pip install '.[onnx]'")
    options.check_reading(arguments)
    existing = [name for name in (ENCODER_FILE, DECODER_FILE) if (folder / name).exists()]
    if existing and not arguments.overwrite:
        raise options.UsageError(f"--output {folder}: {existing[0]} exists; give another folder, or --overwrite")
    options.require_writable(folder, folder)

    from ..export import export_decoder, export_encoder

    model = options.load_pipeline(arguments.model, "cpu").model.eval().float()  # onnxruntime has no bfloat16 on CPUs
    for step, (name, write) in enumerate(((ENCODER_FILE, export_encoder), (DECODER_FILE, export_decoder)), start=1):
        options.print_message(f"{step}/2 tracing {name}, which takes about a minute")
        write(model, folder / name)
    print(
        f"{folder}: run {ENCODER_FILE} once a clip and {DECODER_FILE} once a token, for example with "
        "onnxruntime; the reader's AutoProcessor makes the inputs, and `lipread export --help` lists them"
    )
