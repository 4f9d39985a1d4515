# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread export`: in onnxruntime the graphs give the model's outputs for any batch and length, and the same text."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from lipread.cli import main
from lipread.export import export_encoder
from tests.helpers.readers import (
    ENCODERS,
    FRAMES,
    LANDMARKS,
    make_reader,
    save_reader,
    write_language_model,
    write_reader,
)

TOLERANCE = 1e-3


def start(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def lora_reader(folder: Path) -> Path:
    reader = write_reader(folder / "reader", write_language_model(folder / "base"), lora={"r": 2})
    model = AutoModel.from_pretrained(reader)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(reader)
    return reader


def bfloat16_reader(folder: Path) -> Path:
    language_model = AutoModelForCausalLM.from_pretrained(write_language_model(folder / "base"), dtype=torch.bfloat16)
    language_model.save_pretrained(folder / "base")
    return write_reader(folder / "reader", folder / "base")


@pytest.fixture(
    scope="module",
    params=[save_reader, *(pytest.param(f, marks=pytest.mark.slow) for f in (lora_reader, bfloat16_reader))],
)
def exported(request, tmp_path_factory):
    """A model in float32 and its two graphs, written by the command."""
    reader = request.param(tmp_path_factory.mktemp("reader"))
    folder = tmp_path_factory.mktemp("onnx") / "new"
    assert main(["export", str(reader), "--output", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    model = AutoModel.from_pretrained(reader).float().eval()
    return model, start(folder / "encoder.onnx"), start(folder / "decoder.onnx")


def run(session, inputs: dict) -> dict[str, np.ndarray]:
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def encode(session, clips: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return run(session, {name: clips[name].numpy() for name in ("keypoints", "keypoints_mask")})


def make_clips(clips: int, frames: int, landmarks: int) -> dict[str, torch.Tensor]:
    mask = torch.ones(clips, frames, dtype=torch.long)
    mask[-1, frames // 2 :] = 0
    return {"keypoints": torch.randn(clips, frames, landmarks, 3), "keypoints_mask": mask}


@pytest.mark.slow
@pytest.mark.parametrize("settings", ENCODERS)
def test_the_encoder_gives_the_same_outputs(settings, tmp_path):
    model = make_reader(settings, open_gates=True)
    export_encoder(model, tmp_path / "encoder.onnx")
    encoder = start(tmp_path / "encoder.onnx")
    for shape in ((2, FRAMES), (1, 7), (3, 20)):
        clips = make_clips(*shape, LANDMARKS)
        conditioning, encoded = model.encode(**clips)
        expected = {"conditioning_mask": conditioning.mask, "ctc_logits": encoded.ctc_logits}
        expected |= {f"conditioning_key_{i}": key for i, key in enumerate(conditioning.keys)}
        expected |= {f"conditioning_value_{i}": value for i, value in enumerate(conditioning.values)}
        found = encode(encoder, clips)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value.detach(), atol=TOLERANCE, err_msg=name)


def test_greedy_decoding_gives_the_same_tokens_and_logits(exported):
    model, encoder, decoder = exported
    clips = make_clips(2, 30, 79)
    settings = {"output_logits": True, "return_dict_in_generate": True}
    expected = model.generate(**clips, max_new_tokens=8, min_new_tokens=8, **settings)
    shapes = {entry.name: entry.shape for entry in decoder.get_inputs() if entry.name.startswith("past")}
    past = {name: np.zeros((2, shape[1], 0, shape[3]), np.float32) for name, shape in shapes.items()}
    conditioning = {name: value for name, value in encode(encoder, clips).items() if name.startswith("conditioning")}
    tokens = np.full((2, 1), model.config.decoder_start_token_id)
    for position in range(8):
        inputs = {"input_ids": tokens[:, -1:], "position_ids": np.full((2, 1), position)}
        outputs = run(decoder, {**inputs, **conditioning, **past})
        logits, past = outputs.pop("logits"), {f"past_{name}": value for name, value in outputs.items()}
        np.testing.assert_allclose(logits[:, -1], expected.logits[position], atol=TOLERANCE)
        logits[..., model.config.eos_token_id] = -np.inf
        tokens = np.concatenate([tokens, logits[:, -1:].argmax(-1)], axis=1)
    np.testing.assert_array_equal(tokens, expected.sequences)


def test_wrong_usage_names_the_remedy(lipread, reader_dir, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    status, _, errors = lipread("export", reader_dir, "--output", tmp_path / "file")
    assert status == 2 and "cannot be written (File exists); choose another folder" in errors[-1]
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    status, _, errors = lipread("export", reader_dir, "--output", tmp_path / "new")
    assert status == 2 and "needs the packages onnxscript: pip install '.[onnx]'" in errors[-1]
    assert not (tmp_path / "new").exists()
