# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The reader as ONNX graphs gives the same in onnxruntime, for any batch and length, and writes the same words."""

import numpy as np
import onnxruntime
import pytest
import torch
from readers import ENCODERS, FRAMES, LANDMARKS, make_inputs, make_reader
from transformers import DynamicCache

from modeling_lipread.export_lipread import export_encoder, export_onnx

TOLERANCE = 1e-3


def start(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A reader and its two graphs, running."""
    reader = make_reader(ENCODERS[0], open_gates=True)
    paths = export_onnx(reader, tmp_path_factory.mktemp("onnx"))
    assert [path.name for path in paths] == ["encoder.onnx", "decoder.onnx"]
    return reader, *map(start, paths)


def export_alone(settings, folder):
    """A reader with such an encoder, and the encoder's graph."""
    reader = make_reader(settings, open_gates=True)
    export_encoder(reader, folder / "encoder.onnx")
    return reader, start(folder / "encoder.onnx")


@pytest.fixture(scope="module")
def exported_spatial(tmp_path_factory):
    return export_alone(ENCODERS[1], tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def exported_transformer(tmp_path_factory):
    return export_alone(ENCODERS[2], tmp_path_factory.mktemp("onnx"))


def run(session, inputs: dict) -> dict[str, np.ndarray]:
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def encode(session, keypoints: torch.Tensor, mask: torch.Tensor) -> dict[str, np.ndarray]:
    return run(session, {"keypoints": keypoints.numpy(), "keypoints_mask": mask.numpy()})


def step(session, tokens: np.ndarray, position: int, conditioning: dict, past: dict) -> tuple[np.ndarray, dict]:
    positions = np.broadcast_to(np.arange(position, position + tokens.shape[1]), tokens.shape).astype(np.int64)
    face = {name: value for name, value in conditioning.items() if name.startswith("conditioning")}
    outputs = run(session, {"input_ids": tokens, "position_ids": positions, **face, **past})
    return outputs.pop("logits"), {f"past_{name}": value for name, value in outputs.items()}


def empty_past(session, clips: int) -> dict[str, np.ndarray]:
    shapes = {i.name: i.shape for i in session.get_inputs() if i.name.startswith("past")}
    return {name: np.zeros((clips, shape[1], 0, shape[3]), np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("graphs", ["exported", "exported_spatial", "exported_transformer"])
@pytest.mark.parametrize("clips, frames", [(2, FRAMES), (1, 7), (3, 20)])
def test_encoder_gives_the_same(request, graphs, clips, frames):
    reader, encoder, *_ = request.getfixturevalue(graphs)
    keypoints, mask = torch.randn(clips, frames, LANDMARKS, 3), torch.ones(clips, frames, dtype=torch.long)
    mask[-1, frames // 2 :] = 0
    found = encode(encoder, keypoints, mask)
    conditioning, encoded = reader.encode(keypoints, mask)
    expected = {"conditioning_mask": conditioning.mask, "ctc_logits": encoded.ctc_logits}
    expected |= {f"conditioning_key_{i}": key for i, key in enumerate(conditioning.keys)}
    expected |= {f"conditioning_value_{i}": value for i, value in enumerate(conditioning.values)}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.detach(), atol=TOLERANCE, err_msg=name)


def test_a_step_after_a_cache_gives_the_same(exported):
    reader, encoder, decoder = exported
    inputs = make_inputs()
    conditioning, _ = reader.encode(inputs["keypoints"], inputs["keypoints_mask"])
    cache = DynamicCache(config=reader.config.get_text_config())
    reader(input_ids=inputs["input_ids"][:, :-1], conditioning=conditioning, past_key_values=cache)
    past = {f"past_key_{i}": layer.keys.detach().numpy() for i, layer in enumerate(cache.layers)}
    past |= {f"past_value_{i}": layer.values.detach().numpy() for i, layer in enumerate(cache.layers)}
    token = inputs["input_ids"][:, -1:]
    face = encode(encoder, inputs["keypoints"], inputs["keypoints_mask"])
    logits, _ = step(decoder, token.numpy(), token.shape[1] + 4, face, past)
    expected = reader(input_ids=token, conditioning=conditioning, past_key_values=cache).logits
    np.testing.assert_allclose(logits, expected.detach(), atol=TOLERANCE)


def test_writes_the_same_words(exported):
    reader, encoder, decoder = exported
    inputs = make_inputs()
    clips = {key: inputs[key] for key in ("keypoints", "keypoints_mask")}
    expected = reader.generate(**clips, max_new_tokens=8, min_new_tokens=8).numpy()
    face, past = encode(encoder, *clips.values()), empty_past(decoder, 2)
    written = np.full((2, 1), reader.config.decoder_start_token_id)
    for position in range(8):
        logits, past = step(decoder, written[:, -1:], position, face, past)
        logits[..., reader.config.eos_token_id] = -np.inf
        written = np.concatenate([written, logits[:, -1:].argmax(-1)], axis=1)
    np.testing.assert_array_equal(written, expected)
