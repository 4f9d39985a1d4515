# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Exporters of PyTorch and transformers on generation: the conditioning is an input like any other."""

import copy

import pytest
import torch
from torch.export import Dim

from tests.helpers.readers import clips, make_inputs, make_reader


def step(model, batch: int, frames: int) -> dict:
    """Inputs of one step, with a conditioning of its own size."""
    torch.manual_seed(batch)
    keypoints = torch.randn(batch, frames, model.config.encoder_config.num_landmarks, 3)
    with torch.no_grad():
        conditioning, _ = model.encode(keypoints)
    return {"input_ids": torch.randint(3, 40, (batch, 5)), "conditioning": conditioning, "use_cache": False}


@pytest.fixture(autouse=True)
def no_trace(caplog):
    """Some of PyTorch's messages about a trace cannot be formatted, which pytest takes for errors."""
    caplog.set_level("INFO", logger="torch.__trace")


@pytest.mark.parametrize("dynamic", [False, True])
def test_torch_export_takes_the_conditioning(dynamic, tmp_path):
    model = make_reader(open_gates=True)
    example, other = step(model, 2, 12), step(model, 3, 28) if dynamic else step(model, 2, 11)
    sizes = {0: Dim.AUTO, 2: Dim.AUTO}
    pairs = (sizes,) * len(model.adapters)
    shapes = {"input_ids": {0: Dim.AUTO, 1: Dim.AUTO}, "conditioning": [pairs, pairs, {0: Dim.AUTO, 3: Dim.AUTO}]}
    shapes["use_cache"] = None
    program = torch.export.export(model, (), copy.deepcopy(example), dynamic_shapes=shapes if dynamic else None)
    torch.export.save(program, tmp_path / "step.pt2")
    loaded = torch.export.load(tmp_path / "step.pt2").module()
    for inputs in (example, other):
        torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_exporter_of_transformers_exports_generation(dynamic):
    dynamo = pytest.importorskip("transformers.exporters.exporter_dynamo", reason="this transformers has no exporters")
    from transformers.exporters.utils import decompose_for_generation

    model, example = make_reader(open_gates=True), clips(make_inputs(2))
    parts = decompose_for_generation(model, dict(clips(make_inputs(3 if dynamic else 2))))
    exported = dynamo.DynamoExporter().export_for_generation(model, example, dynamo.DynamoConfig(dynamic=dynamic))
    assert set(exported.components) == set(parts) == {"prefill", "decode"}
    for name, (_, inputs) in parts.items():
        flags = {"use_cache", "return_dict"}  # not among the inputs of a program
        program = exported.components[name].program.module()
        logits = program(**{key: copy.deepcopy(value) for key, value in inputs.items() if key not in flags}).logits
        torch.testing.assert_close(logits, model(**inputs).logits, atol=1e-5, rtol=1e-4)
