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
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, PreTrainedModel

from modeling_lipread.adapters_lipread import CACHE, Conditioning

from .options import SUCCESS, UsageError, load_pipeline, print_message

NUM_CLIPS, NUM_TOKENS = 2, 3  # sizes of the traced example; both dimensions stay dynamic
ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"


def add_export(commands: Any) -> None:
    """Registers the command with the subparsers of `lipread`."""
    parser = commands.add_parser(
        "export",
        help="write a reader as ONNX graphs, to run it without PyTorch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="READER", help="folder or Hub id of a trained reader")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the two .onnx files")
    parser.set_defaults(run=export)


def export(arguments: argparse.Namespace) -> int:
    """Writes the graphs, prints how to use them, and returns the exit status, 0."""
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"export needs the packages {' and '.join(missing)}: pip install '.[onnx]'")
    if arguments.output.exists() and not arguments.output.is_dir():
        raise UsageError(f"--output {arguments.output}: is a file; give a folder")
    model = load_pipeline(arguments.model, "cpu").model.eval()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for step, (name, write) in enumerate(((ENCODER_FILE, export_encoder), (DECODER_FILE, export_decoder)), start=1):
        print_message(f"{step}/2 tracing {name}, which takes about a minute")
        write(model, arguments.output / name)
    print(
        f"{arguments.output}: run {ENCODER_FILE} once a clip and {DECODER_FILE} once a token, for example with "
        "onnxruntime; the reader's AutoProcessor makes the inputs, and `lipread export --help` lists them"
    )
    return SUCCESS


class EncoderGraph(nn.Module):
    """Landmarks to conditioning, with flat outputs."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, keypoints: torch.Tensor, keypoints_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        conditioning, encoded = self.model.encode(keypoints, keypoints_mask)
        outputs = (conditioning.mask, *conditioning.keys, *conditioning.values)
        return outputs if encoded.ctc_logits is None else (*outputs, encoded.ctc_logits)


class DecoderGraph(nn.Module):
    """One decoding step, with flat inputs and outputs."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids, position_ids, mask, keys, values, past_keys, past_values) -> tuple[torch.Tensor, ...]:
        output = self.model(
            input_ids=input_ids,
            position_ids=position_ids,
            conditioning=Conditioning(tuple(keys), tuple(values), mask),
            cache=DynamicCache(list(zip(past_keys, past_values, strict=True))),
            use_cache=True,
        )
        layers = output[CACHE].layers
        return (output.logits, *(layer.keys for layer in layers), *(layer.values for layer in layers))


@torch.no_grad()
def export_encoder(model: PreTrainedModel, path: Path) -> None:
    """Writes the graph that encodes a clip."""
    config = model.config.encoder_config
    frames = 4 * config.pool_frames
    mask = torch.ones(NUM_CLIPS, frames, dtype=torch.long)
    example = (torch.zeros(NUM_CLIPS, frames, config.num_landmarks, 3), mask)
    dynamic = {0: Dim("clips", min=1), 1: Dim("frames", min=config.pool_frames + 1)}
    outputs = ["conditioning_mask", *_names("conditioning_", len(model.adapters))]
    outputs += ["ctc_logits"] * (config.ctc_vocab_size > 0)
    _write(EncoderGraph(model), example, (dynamic, dynamic), ["keypoints", "keypoints_mask"], outputs, path)


@torch.no_grad()
def export_decoder(model: PreTrainedModel, path: Path) -> None:
    """Writes the graph that predicts the next token. The language model must cache keys and values alone."""
    tokens = torch.ones(NUM_CLIPS, NUM_TOKENS, dtype=torch.long)
    conditioning, _ = model.encode(torch.zeros(NUM_CLIPS, 12, model.config.encoder_config.num_landmarks, 3))
    cache = model(input_ids=tokens, conditioning=conditioning, use_cache=True)[CACHE]
    layers = getattr(cache, "layers", [])
    if not layers or not all(getattr(layer, "keys", None) is not None for layer in layers):
        model_type = model.config.get_text_config().model_type
        raise ValueError(f"a language model of type {model_type} caches more than keys and values: no ONNX export")
    past = [layer.keys for layer in layers], [layer.values for layer in layers]
    positions = torch.arange(NUM_TOKENS, 2 * NUM_TOKENS).expand(NUM_CLIPS, -1).contiguous()
    example = (tokens, positions, conditioning.mask, list(conditioning.keys), list(conditioning.values), *past)
    clips, seen = Dim("clips", min=1), Dim("conditioning_tokens", min=2)
    step = {0: clips, 1: Dim("tokens", min=1)}
    per_adapter = [{0: clips, 2: seen}] * len(model.adapters)
    per_layer = [{0: clips, 2: Dim("past", min=2)}] * len(layers)
    dynamic = (step, step, {0: clips, 3: seen}, per_adapter, per_adapter, per_layer, per_layer)
    inputs = ["input_ids", "position_ids", "conditioning_mask"]
    inputs += _names("conditioning_", len(model.adapters)) + _names("past_", len(layers))
    _write(DecoderGraph(model), example, dynamic, inputs, ["logits", *_names("", len(layers))], path)


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{kind}_{index}" for kind in ("key", "value") for index in range(count)]


def _write(graph: nn.Module, example: tuple, dynamic: tuple, inputs: list, outputs: list, path: Path) -> None:
    """Traces a graph and writes it. The file appears when it is complete; weights above 2 GB get a file beside it."""
    program = torch.export.export(graph.eval(), example, dynamic_shapes=dynamic)
    program = torch.onnx.export(program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        program.save(Path(folder, path.name))  # under its own name, by which the graph refers to its weights
        for file in sorted(Path(folder).iterdir(), reverse=True):  # the graph last
            os.replace(file, path.with_name(file.name))
