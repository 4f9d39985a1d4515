# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""LoRA on the frozen language model: trained and saved with the reader, found anywhere, merged without a trace."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BitsAndBytesConfig
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

import modeling_lipread
from modeling_lipread import LipReadForConditionalGeneration
from tests.helpers.readers import make_inputs, reader_config, run_elsewhere
from tests.modeling_lipread.test_families import FAMILIES, tiny_language_model

LORA = {"r": 4, "alpha": 16, "dropout": 0.0, "target_modules": ["q_proj", "v_proj", "down_proj"]}


def build(language_model_dir, lora=LORA, **kwargs) -> LipReadForConditionalGeneration:
    torch.manual_seed(0)
    config = reader_config(lora=lora, adapter_dropout=0.0, decoder_mask_prob=0.0)
    return LipReadForConditionalGeneration.from_language_model(language_model_dir, config, **kwargs).eval()


def train(model, steps: int = 5) -> list[float]:
    """Learns two texts from two clips."""
    torch.manual_seed(1)
    inputs = make_inputs()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(**make_inputs()).logits


def names(folder) -> list[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return list(file.keys())


def learning(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.fixture(scope="module")
def trained(language_model_dir):
    model = build(language_model_dir)
    train(model)
    return model


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    trained.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "family", ["qwen3_moe", *(pytest.param(f, marks=pytest.mark.slow) for f in ("llama", "gpt2", "mixtral"))]
)
def test_families_take_lora(family, tmp_path):
    """gpt2 has Conv1D in place of linear layers; experts are parameters of one module, which peft wraps twice."""
    tiny_language_model(family, FAMILIES[family]).save_pretrained(tmp_path / "base")
    model = build(tmp_path / "base", lora={"r": 2})
    assert torch.equal(logits(model), logits(build(tmp_path / "base", lora=None))), "starts as the frozen one, exactly"
    before = {name: parameter.clone() for name, parameter in model.language_model.named_parameters()}
    losses = train(model)
    assert losses[-1] < losses[0]
    for name, parameter in model.language_model.named_parameters():
        assert torch.equal(parameter, before[name]) == (".lora_" not in name), name
    if family in ("mixtral", "qwen3_moe"):
        assert any(".experts." in name and ".lora_" in name for name in before)
    expected = logits(model)
    for include_base in (False, True):
        model.save_pretrained(tmp_path / "reader", include_base=include_base)
        again = AutoModel.from_pretrained(tmp_path / "reader")
        assert torch.allclose(logits(again), expected, atol=1e-5) and learning(again) == learning(model)
    model.merge_lora()
    model.save_pretrained(tmp_path / "merged")
    assert torch.allclose(logits(AutoModel.from_pretrained(tmp_path / "merged")), expected, atol=1e-5)


def test_saved_are_encoder_adapters_and_lora_alone(trained, saved):
    held = names(saved)
    assert {key.split(".")[0] for key in held} == {"encoder", "adapters", "language_model"}
    lora = {key for key in held if key.startswith("language_model.")}
    assert lora == {key for key in trained.state_dict() if ".lora_" in key} and len(lora) == 4 * 3 * 2
    again = AutoModel.from_pretrained(saved)
    assert again.config.lora == LORA and torch.equal(logits(again), logits(trained))
    assert learning(again) == learning(trained)


@pytest.mark.parametrize("damage", ["missing", "settings", "no settings"])
def test_lora_that_does_not_fit_is_refused_by_name(saved, tmp_path, damage):
    name = "language_model.model.layers.1.self_attn.q_proj.lora_A.default.weight"
    model = AutoModel.from_pretrained(saved)
    model.save_pretrained(tmp_path)
    weights, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    if damage == "missing":
        del weights[name]
    elif damage == "settings":
        config["lora"]["r"] = 2
    else:
        config["lora"] = None
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"(?s){tmp_path}.*lora_A.default.weight.*fetch or save the checkpoint again"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("lora", "remedy"),
    [
        ({"alpha": 8}, "rank r of at least 1"),
        ({"r": 0}, "rank r of at least 1"),
        ({"r": 4, "rank": 4}, "unknown in lora: rank"),
        ({"r": 4, "target_modules": ["nowhere"]}, "LlamaForCausalLM.*nowhere"),
        ({"r": 4, "target_modules": ["lm_head"]}, "LoRA on lm_head could never be merged.*target_modules"),
        ({"r": 4, "target_modules": ["embed_tokens"]}, "could never be merged"),
    ],
)
def test_settings_that_cannot_work_are_refused(language_model_dir, lora, remedy):
    with pytest.raises(Exception, match=f"(?s){remedy}"):
        build(language_model_dir, lora)


def test_a_language_model_is_adapted_or_trained_not_both():
    with pytest.raises(Exception, match="set freeze_language_model to True, or leave lora out"):
        reader_config(lora=LORA, freeze_language_model=False)


def test_merging_leaves_no_trace_of_lora(trained, saved, tmp_path):
    expected = logits(trained)
    model = AutoModel.from_pretrained(saved)
    model.merge_lora()
    assert torch.allclose(logits(model), expected, atol=1e-5)
    assert not [name for name, _ in model.named_parameters() if "lora" in name or "base_layer" in name]
    assert not any(parameter.requires_grad for parameter in model.language_model.parameters())
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.get("lora") is None and config.get("base_model_name_or_path") is None
    assert torch.equal(logits(AutoModel.from_pretrained(tmp_path)), logits(model))
    with pytest.raises(ValueError, match="no LoRA"):
        model.merge_lora()


def test_lora_is_in_full_precision_on_a_half_precision_language_model(language_model_dir, tmp_path):
    model = build(language_model_dir, dtype=torch.bfloat16)
    losses = train(model)
    assert losses[-1] < losses[0]
    types = {name: parameter.dtype for name, parameter in model.language_model.named_parameters()}
    assert all(kind == (torch.float32 if ".lora_" in name else torch.bfloat16) for name, kind in types.items())
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert {name: parameter.dtype for name, parameter in again.language_model.named_parameters()} == types
    assert torch.equal(logits(again), logits(model))
    again.merge_lora()
    assert torch.allclose(logits(again).float(), logits(model).float(), atol=0.1)


@pytest.mark.parametrize("bits", ["load_in_4bit", pytest.param("load_in_8bit", marks=pytest.mark.slow)])
def test_lora_on_a_quantised_language_model(language_model_dir, tmp_path, bits):
    settings = {bits: True} | ({"bnb_4bit_compute_dtype": torch.float32} if "4" in bits else {})
    model = build(language_model_dir, quantization_config=BitsAndBytesConfig(**settings))
    before = logits(model)
    losses = train(model)
    assert losses[-1] < losses[0]
    lora = [p for name, p in model.language_model.named_parameters() if ".lora_B" in name]
    assert len(lora) == 12 and all(parameter.abs().max() > 0 for parameter in lora)
    model.save_pretrained(tmp_path)
    assert not [key for key in names(tmp_path) if key.startswith("language_model.") and ".lora_" not in key]
    again = AutoModel.from_pretrained(tmp_path)
    assert again.language_model.is_quantized
    assert torch.allclose(logits(again), logits(model), atol=1e-5)
    assert (logits(again) - before).abs().max() > 0.05
    with pytest.raises(ValueError, match="base_model_quantization is None"):
        again.merge_lora()
    # What the error says to do.
    config = AutoConfig.from_pretrained(tmp_path)
    config.base_model_quantization = None
    exact = AutoModel.from_pretrained(tmp_path, config=config)
    unmerged = logits(exact)
    exact.merge_lora()
    assert torch.allclose(logits(exact), unmerged, atol=1e-5)
    exact.save_pretrained(tmp_path / "merged")
    assert torch.equal(logits(AutoModel.from_pretrained(tmp_path / "merged")), logits(exact))


ELSEWHERE = """
import numpy, torch
peft, inputs, *folders = sys.argv[1:]
if peft == "without":
    sys.modules["peft"] = None
from transformers import AutoModel
given = {key: torch.from_numpy(value) for key, value in numpy.load(inputs).items()}
for folder in folders:
    try:
        model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    except ImportError as error:
        print("refused:", error)
        continue
    with torch.no_grad():
        numpy.save(folder + "/logits.npy", model(**given).logits.numpy())
    print("read")
"""


@pytest.mark.slow
def test_a_fresh_process_without_the_repository_reads_the_same(trained, language_model_dir, tmp_path):
    trained.save_pretrained(tmp_path / "apart")
    trained.save_pretrained(tmp_path / "whole", include_base=True)
    merged = AutoModel.from_pretrained(tmp_path / "apart")
    merged.merge_lora()
    merged.save_pretrained(tmp_path / "merged")
    build(language_model_dir, lora=None).save_pretrained(tmp_path / "plain")
    np.savez(tmp_path / "inputs.npz", **{key: value.numpy() for key, value in make_inputs().items()})
    assert run_elsewhere(tmp_path, ELSEWHERE, "with", "inputs.npz", "apart", "whole").split() == ["read"] * 2
    said = run_elsewhere(tmp_path, ELSEWHERE, "without", "inputs.npz", "plain", "merged", "apart").splitlines()
    assert said[:2] == ["read"] * 2 and "pip install peft" in said[2]
    for folder in ("apart", "whole", "merged"):
        assert torch.allclose(torch.from_numpy(np.load(tmp_path / folder / "logits.npy")), logits(trained), atol=1e-5)


def test_files_that_travel_with_a_checkpoint_require_nothing_optional():
    """Whatever they import, in functions too but for `try`, transformers asks for before it loads any reader."""
    allowed = {*sys.stdlib_module_names, "huggingface_hub", "numpy", "safetensors", "torch", "transformers"}
    package = Path(modeling_lipread.__file__).parent
    named = {package / f"{name}_lipread.py" for name in ("configuration", "modeling", "processing", "pipeline")}
    files = named | {Path(path) for file in named for path in get_relative_import_files(file)}
    assert package / "encoder_lipread.py" in files
    for path in sorted(files):
        assert set(get_imports(path)) <= allowed, path.name
