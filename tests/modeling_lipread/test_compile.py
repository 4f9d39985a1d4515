# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The reader under `torch.compile` and with a static cache. The backend needs no compiler of its own."""

import pytest
import torch
from transformers import CompileConfig

from tests.helpers.readers import clips, make_inputs, make_reader


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_training_step_compiles_as_one_graph():
    model = make_reader(open_gates=True, adapter_dropout=0.0, decoder_mask_prob=0.0)
    inputs = make_inputs()
    inputs["labels"] = inputs["input_ids"]
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    losses = [model(**inputs).loss, compiled(**inputs).loss]
    assert torch.allclose(*losses, atol=1e-5)
    gradients = [torch.autograd.grad(loss, model.adapters[0].k_proj.weight)[0] for loss in losses]
    assert torch.allclose(*gradients, atol=1e-5)


def test_generate_with_a_static_cache():
    model, inputs = make_reader(open_gates=True), clips(make_inputs())
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "num_beams": 3}
    expected = model.generate(**inputs, **options)
    assert torch.equal(model.generate(**inputs, **options, cache_implementation="static"), expected)


@pytest.mark.slow
def test_generate_compiles_its_own_step_once():
    """As it does of its own accord on a GPU, whenever the cache is static."""
    model, inputs, graphs = make_reader(open_gates=True), clips(make_inputs()), []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    options = {"max_new_tokens": 8, "min_new_tokens": 8}
    expected = model.generate(**inputs, **options)
    compilation = CompileConfig(backend=count, mode=None, fullgraph=True)
    compilation._compile_all_devices = True
    compiled = model.generate(**inputs, **options, cache_implementation="static", compile_config=compilation)
    assert torch.equal(compiled, expected)
    assert 1 <= len(graphs) <= 2
