# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Two ONNX graphs of a reader, one that encodes a clip and one that predicts the next token.

`lipread export` writes them; its help lists their inputs and outputs.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, PreTrainedModel

from modeling_lipread import Conditioning
from modeling_lipread.adapters_lipread import CACHE

NUM_CLIPS, NUM_TOKENS = 2, 3  # sizes of the traced example; both dimensions stay dynamic


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
