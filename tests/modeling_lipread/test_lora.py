# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""LoRA on the frozen language model: trained and saved with the reader, found anywhere, merged without a trace."""

import ast
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BitsAndBytesConfig
from transformers.dynamic_module_utils import get_imports

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
    assert torch.allclose(logits(model), expected, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "no settings"])
def test_lora_that_does_not_fit_is_refused_by_name(trained, tmp_path, damage):
    trained.save_pretrained(tmp_path)
    if damage == "missing":
        weights = load_file(tmp_path / "model.safetensors")
        del weights["language_model.model.layers.1.self_attn.q_proj.lora_A.default.weight"]
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    else:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"lora": None}))
    with pytest.raises(ValueError, match=f"(?s){tmp_path}.*lora_A.default.weight.*fetch or save the checkpoint again"):
        AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("modules", "remedy"),
    [("nowhere", "LlamaForCausalLM.*nowhere"), ("lm_head", "LoRA on lm_head could never be merged.*target_modules")],
)
def test_modules_that_cannot_take_lora_are_refused(language_model_dir, modules, remedy):
    with pytest.raises(ValueError, match=f"(?s){remedy}"):
        build(language_model_dir, {"r": 4, "target_modules": [modules]})


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


@pytest.mark.parametrize("kind", ["half", "4bit", pytest.param("8bit", marks=pytest.mark.slow)])
def test_lora_is_in_full_precision_on_a_language_model_that_is_not(language_model_dir, tmp_path, kind):
    settings = {f"load_in_{kind}": True} | ({"bnb_4bit_compute_dtype": torch.float32} if kind == "4bit" else {})
    quantised = {} if kind == "half" else {"quantization_config": BitsAndBytesConfig(**settings)}
    model = build(language_model_dir, **(quantised or {"dtype": torch.bfloat16}))
    before, losses = logits(model), train(model)
    assert losses[-1] < losses[0]
    model.save_pretrained(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    assert not [key for key in held if key.startswith("language_model.") and ".lora_" not in key]
    again = AutoModel.from_pretrained(tmp_path)
    types = {name: parameter.dtype for name, parameter in again.language_model.named_parameters()}
    assert types == {name: parameter.dtype for name, parameter in model.language_model.named_parameters()}
    assert {dtype for name, dtype in types.items() if ".lora_" in name} == {torch.float32}
    assert torch.allclose(logits(again), logits(model), atol=1e-5)
    assert (logits(again) - before).abs().max() > 0.05
    if quantised:
        assert again.language_model.is_quantized
        with pytest.raises(ValueError, match="base_model_quantization is None"):
            again.merge_lora()


WITHOUT_PEFT = """
sys.modules["peft"] = None
from transformers import AutoModel
for folder in sys.argv[1:]:
    try:
        AutoModel.from_pretrained(folder, trust_remote_code=True)
        print("read")
    except ImportError as error:
        print("refused:", error)
"""


@pytest.mark.slow
def test_peft_is_needed_for_lora_alone(saved, tmp_path):
    merged = AutoModel.from_pretrained(saved)
    merged.merge_lora()
    merged.save_pretrained(tmp_path / "merged")
    said = run_elsewhere(tmp_path, WITHOUT_PEFT, tmp_path / "merged", saved).splitlines()
    assert said[0] == "read" and "pip install peft" in said[1]


def test_files_that_travel_with_a_checkpoint_compare_no_classes_of_each_other_and_require_nothing_optional():
    """From a folder, transformers imports a file several times: `except` and `isinstance` miss the other's class.

    Whatever they import, in functions too but for `try`, transformers asks for before it loads any reader.
    """
    allowed = {*sys.stdlib_module_names, "torch", "transformers"}
    allowed |= {"huggingface_hub", "numpy", "regex", "safetensors"}  # which transformers requires
    for path in sorted(Path(modeling_lipread.__file__).parent.glob("*_lipread.py")):
        assert set(get_imports(path)) <= allowed, path.name
        nodes = list(ast.walk(ast.parse(path.read_text())))
        relative = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]
        imported = {name.asname or name.name for node in relative for name in node.names}
        compared = [node.type for node in nodes if isinstance(node, ast.ExceptHandler) and node.type]
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        compared += [node.args[1] for node in calls if getattr(node.func, "id", "") in ("isinstance", "issubclass")]
        names = {node.id for part in compared for node in ast.walk(part) if isinstance(node, ast.Name)}
        assert not names & imported, path.name
