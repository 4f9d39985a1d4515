# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The reader as two ONNX graphs: one encodes a clip, the other writes a token after those before.

    export_onnx(AutoModel.from_pretrained("runs/grid"), "runs/grid-onnx")

`encoder.onnx` takes `keypoints (clips, frames, landmarks, 3)` and `keypoints_mask (clips, frames)`, int64, and gives
`conditioning_mask` and for each adapter `conditioning_key_N` and `conditioning_value_N`, which are computed once a
clip, and, with a CTC head, `ctc_logits`. `decoder.onnx` takes these, `input_ids (clips, tokens)`, `position_ids` of
the same shape, and for each layer of the language model `past_key_N` and `past_value_N (clips, heads, past,
head_dim)`, of length 0 at first; it gives `logits` and `key_N` and `value_N`, the next step's past. Needs the packages
onnx and onnxscript: `pip install '.[onnx]'`.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, PreTrainedModel

from .adapters_lipread import Conditioning
from .modeling_lipread import CACHE

CLIPS, TOKENS = 2, 3  # of the example that is traced; both stay free
ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"


class EncoderGraph(nn.Module):
    """Landmarks to conditioning, with flat outputs."""

    def __init__(self, reader: PreTrainedModel):
        super().__init__()
        self.reader = reader

    def forward(self, keypoints: torch.Tensor, keypoints_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        conditioning, encoded = self.reader.encode(keypoints, keypoints_mask)
        outputs = (conditioning.mask, *conditioning.keys, *conditioning.values)
        return outputs if encoded.ctc_logits is None else (*outputs, encoded.ctc_logits)


class DecoderGraph(nn.Module):
    """A step of decoding, with flat inputs and outputs."""

    def __init__(self, reader: PreTrainedModel):
        super().__init__()
        self.reader = reader

    def forward(self, input_ids, position_ids, mask, keys, values, past_keys, past_values) -> tuple[torch.Tensor, ...]:
        cache = DynamicCache(list(zip(past_keys, past_values, strict=True)))
        output = self.reader(
            input_ids=input_ids,
            position_ids=position_ids,
            conditioning=Conditioning(tuple(keys), tuple(values), mask),
            cache=cache,
            use_cache=True,
        )
        layers = output[CACHE].layers
        return (output.logits, *(layer.keys for layer in layers), *(layer.values for layer in layers))


def export_onnx(reader: PreTrainedModel, folder: str | os.PathLike) -> tuple[Path, Path]:
    """Writes a reader as two ONNX graphs.

    Args:
        reader: A `LipReadForConditionalGeneration`.
        folder: Where to write `encoder.onnx` and `decoder.onnx`; weights beyond 2 GB lie beside them.

    Returns:
        The two paths.

    Raises:
        ValueError: If the language model keeps anything but keys and values of all past tokens.
    """
    reader = reader.eval()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    export_encoder(reader, folder / ENCODER_FILE)
    export_decoder(reader, folder / DECODER_FILE)
    return folder / ENCODER_FILE, folder / DECODER_FILE


@torch.no_grad()
def export_encoder(reader: PreTrainedModel, path: Path) -> None:
    """Writes the graph that encodes a clip."""
    config = reader.config.encoder_config
    frames = 4 * config.pool_frames
    example = (
        torch.zeros(CLIPS, frames, config.num_landmarks, 3, device=reader.device),
        torch.ones(CLIPS, frames, dtype=torch.long, device=reader.device),
    )
    free = {0: Dim("clips", min=1), 1: Dim("frames", min=config.pool_frames + 1)}
    conditioning = _names("conditioning", len(reader.adapters))
    outputs = ["conditioning_mask", *conditioning] + ["ctc_logits"] * (config.ctc_vocab_size > 0)
    _export(EncoderGraph(reader), example, (free, free), ["keypoints", "keypoints_mask"], outputs, path)


@torch.no_grad()
def export_decoder(reader: PreTrainedModel, path: Path) -> None:
    """Writes the graph that writes a token."""
    config = reader.config.encoder_config
    tokens = torch.ones(CLIPS, TOKENS, dtype=torch.long, device=reader.device)
    conditioning, _ = reader.encode(torch.zeros(CLIPS, 12, config.num_landmarks, 3, device=reader.device))
    cache = reader(input_ids=tokens, conditioning=conditioning, use_cache=True)[CACHE]
    layers = getattr(cache, "layers", [])
    if not layers or not all(hasattr(layer, "keys") and layer.keys is not None for layer in layers):
        model_type = reader.config.get_text_config().model_type
        raise ValueError(f"a language model of type {model_type} keeps more than keys and values and is not exported")
    keys, values = [layer.keys for layer in layers], [layer.values for layer in layers]
    position_ids = torch.arange(TOKENS, 2 * TOKENS, device=reader.device).expand(CLIPS, -1).contiguous()
    example = (
        tokens,
        position_ids,
        conditioning.mask,
        list(conditioning.keys),
        list(conditioning.values),
        keys,
        values,
    )
    clips, seen = Dim("clips", min=1), Dim("conditioning_tokens", min=2)
    one = {0: clips, 1: Dim("tokens", min=1)}
    past = {0: clips, 2: Dim("past", min=2)}
    face = {0: clips, 2: seen}
    adapters, decoder_layers = len(reader.adapters), len(layers)
    free = (one, one, {0: clips, 3: seen}, [face] * adapters, [face] * adapters, *([[past] * decoder_layers] * 2))
    inputs = ["input_ids", "position_ids", "conditioning_mask", *_names("conditioning", adapters)]
    inputs += _names("past", decoder_layers)
    _export(DecoderGraph(reader), example, free, inputs, ["logits", *_names("", decoder_layers)], path)


def _names(prefix: str, count: int) -> list[str]:
    prefix = f"{prefix}_" if prefix else ""
    return [f"{prefix}{kind}_{index}" for kind in ("key", "value") for index in range(count)]


def _export(graph: nn.Module, example: tuple, free: tuple, inputs: list[str], outputs: list[str], path: Path) -> None:
    program = torch.export.export(graph.eval(), example, dynamic_shapes=free)
    unfinished = path.with_name(f"{path.stem}.{os.getpid()}.tmp.onnx")
    program = torch.onnx.export(program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False)
    program.save(unfinished)
    os.replace(unfinished, path)


__all__ = ["export_decoder", "export_encoder", "export_onnx"]
