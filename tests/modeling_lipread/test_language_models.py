# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Language models of every family, with LoRA, in any precision and place: all are conditioned in the same way."""

import ast
import copy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.dynamic_module_utils import get_imports

import modeling_lipread
from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration
from tests.helpers.readers import (
    TINY,
    clips,
    language_model_alone,
    make_inputs,
    open_adapters,
    reader_config,
)

HEADS = {"head_dim": 8}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
LINEAR = {f"linear_{kind}": 2 for kind in ("num_key_heads", "num_value_heads")}
LINEAR |= {f"linear_{kind}": 8 for kind in ("key_head_dim", "value_head_dim")}
PLAIN = "llama smollm3 qwen2 mistral phi3 granite olmo2 cohere2 gpt2 gpt_neox starcoder2 stablelm"
# What a family needs beside TINY.
FAMILIES = {
    **dict.fromkeys(PLAIN.split(), {}),
    **dict.fromkeys(("qwen3", "gemma2", "gemma3_text", "glm4"), HEADS),
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "mixtral": EXPERTS,
    **dict.fromkeys(("gpt_oss", "qwen3_moe"), HEADS | EXPERTS),
    "qwen3_next": HEADS | EXPERTS | LINEAR,
}
# Decoders of bart's kind name the sizes of their layers differently, and force an end token for other tasks.
BART = {"d_model": 32, "decoder_layers": 4, "decoder_attention_heads": 4, "decoder_ffn_dim": 48, "is_decoder": True}
BART |= {"is_encoder_decoder": False}
MAMBA2 = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
FAMILIES |= {
    **dict.fromkeys(("bart", "mbart", "pegasus"), BART),
    "falcon_h1": HEADS | MAMBA2 | {"mamba_chunk_size": 16},  # a buffer that no checkpoint holds
}
ALTUP = {"altup_num_inputs": 2, "num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0] * 4, "laurel_rank": 4}
ALTUP |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 40, "layer_types": ["full_attention"] * 4}
# Why a family cannot be conditioned, and what it needs beside TINY.
REFUSED = {
    "bloom": ("passes no keyword arguments", {}),
    "falcon": ("passes no keyword arguments", {}),
    "mamba": ("passes no keyword arguments", {"state_size": 4}),
    "bert": ("is not causal", {}),
    "gemma3n_text": (r"hidden states \(2, 1, 3, 32\)", HEADS | ALTUP),
    "deepseek_v4": (r"hidden states \(1, 3, 4, 32\)", EXPERTS | {"n_routed_experts": 4, "head_dim": 16}),
    "recurrent_gemma": ("returns no cache", HEADS | {"attention_window_size": 8}),
    "minimax": ("fails in generation .*cache of its own", HEADS | EXPERTS | {"block_size": 4}),
}
READ_PADDING = ("bart", "mbart", "pegasus")
# Rotary and learned positions, linear and Conv1D layers, experts, buffers that no checkpoint holds.
QUICK = ("llama", "gpt2", "qwen3_moe", "falcon_h1")
SWEEP = [pytest.param(family, marks=() if family in QUICK else pytest.mark.slow) for family in FAMILIES]


def tiny_language_model(family: str, settings: dict) -> torch.nn.Module:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**TINY, **settings}))


def build(language_model, lora=None, open_gates: bool = False, **kwargs) -> LipReadForConditionalGeneration:
    """A reader on a saved language model, without anything random in its forward pass."""
    torch.manual_seed(0)
    config = reader_config({"kp_dropout": 0.0}, lora=lora, adapter_dropout=0.0, decoder_mask_prob=0.0)
    model = LipReadForConditionalGeneration.from_language_model(language_model, config, **kwargs).eval()
    return open_adapters(model) if open_gates else model


@pytest.fixture(scope="module", params=SWEEP)
def reader(request, tmp_path_factory):
    """A reader on a language model of the family, at its start."""
    folder = tmp_path_factory.mktemp(request.param)
    tiny_language_model(request.param, FAMILIES[request.param]).save_pretrained(folder)
    return build(folder)


@pytest.fixture
def opened(reader):
    """The same with adapters that say something."""
    return open_adapters(copy.deepcopy(reader))


def test_starts_as_the_language_model_and_learns_from_the_first_step(reader):
    inputs = make_inputs()
    output = reader(**inputs, labels=inputs["input_ids"])
    assert torch.equal(output.logits, language_model_alone(reader, inputs))
    output.loss.backward()
    assert all(adapter.o_proj.weight.grad.abs().max() > 0 for adapter in reader.adapters)
    reader.zero_grad()


def test_the_face_reaches_the_logits_and_the_gradients_the_encoder(opened):
    inputs = make_inputs()
    output = opened(**inputs, labels=inputs["input_ids"])
    other = opened(**{**inputs, "keypoints": inputs["keypoints"].flip(1)})
    assert (output.logits - other.logits).abs().max() > 1e-3
    output.loss.backward()
    for name, parameter in opened.named_parameters():
        if name.startswith("language_model."):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert opened.encoder.frame_encoder.projection.weight.grad.abs().max() > 0
    assert all(adapter.k_proj.weight.grad.abs().max() > 0 for adapter in opened.adapters)


def test_beams_read_their_own_clip(opened):
    inputs = make_inputs()
    options = {"num_beams": 3, "max_new_tokens": 5, "min_new_tokens": 5}
    together = opened.generate(**clips(inputs), **options)
    alone = [{key: value[i : i + 1] for key, value in clips(inputs).items()} for i in (0, 1)]
    assert torch.equal(together, torch.cat([opened.generate(**clip, **options) for clip in alone]))
    assert torch.equal(together, opened.generate(**clips(inputs), **options, use_cache=False))


def test_gradient_checkpointing_changes_no_gradient(opened):
    inputs, gradients = make_inputs(), []
    for checkpointing in (False, True):
        if checkpointing:
            opened.gradient_checkpointing_enable()
        opened.train().zero_grad()
        opened(**inputs, labels=inputs["input_ids"]).loss.backward()
        gradients.append([p.grad.clone() for p in opened.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 10
    assert all(torch.allclose(*pair, atol=1e-5, rtol=1e-4) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("include_base", [False, True])
def test_a_checkpoint_comes_back_with_the_language_model_named_or_held(opened, tmp_path, include_base):
    with torch.no_grad():
        for value in [*opened.encoder.buffers(), *opened.encoder.parameters(), *opened.adapters.parameters()]:
            value.add_(torch.rand_like(value) * 0.1)
    opened.save_pretrained(tmp_path / "first", include_base=include_base)
    held = {key.split(".")[0] for key in load_file(tmp_path / "first" / "model.safetensors")}
    assert held == {"encoder", "adapters"} | ({"language_model"} if include_base else set())
    # What was loaded and saved again is the same checkpoint.
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second", include_base=include_base)
    again = AutoModel.from_pretrained(tmp_path / "second")
    assert not again.training
    for kind in ("named_parameters", "named_buffers"):
        for (name, found), (_, expected) in zip(getattr(again, kind)(), getattr(opened, kind)(), strict=True):
            assert torch.equal(found, expected) and found.requires_grad == expected.requires_grad, name
    assert torch.equal(again(**make_inputs()).logits, opened(**make_inputs()).logits)


def test_prompts_of_several_lengths_are_read_alike_or_refused(opened):
    inputs, prompt = clips(make_inputs()), torch.tensor([[1, 5, 6], [1, 7, 8]])
    alone = opened.generate(**inputs, input_ids=prompt, max_new_tokens=3, eos_token_id=None)
    padded = {
        name: torch.nn.functional.pad(ids, (2, 0))
        for name, ids in (("input_ids", prompt), ("attention_mask", prompt > 0))
    }
    if opened.config.text_config.model_type in READ_PADDING:
        with pytest.raises(ValueError, match="read the padding before a prompt as text: give prompts of one length"):
            opened.generate(**inputs, **padded, max_new_tokens=3)
    else:
        found = opened.generate(**inputs, **padded, max_new_tokens=3, eos_token_id=None)
        assert torch.equal(found[:, 2:], alone)


@pytest.mark.parametrize("family", SWEEP)
def test_a_frozen_language_model_has_no_dropout(family):
    """Whatever its family calls the rates, and wherever it keeps them; LayerDrop among them."""
    rates = {name for name in AutoConfig.for_model(family).to_dict() if "drop" in name}
    language_model = tiny_language_model(family, {**FAMILIES[family], **dict.fromkeys(rates, 0.5)})
    input_ids = make_inputs()["input_ids"]
    expected = language_model.eval()(input_ids).logits
    if rates:
        assert not torch.allclose(language_model.train()(input_ids).logits, expected)
    config = LipReadConfig(text_config=language_model.config, adapter_every=2)
    reader = LipReadForConditionalGeneration(config, language_model=language_model).train()
    assert torch.equal(reader.language_model(input_ids).logits, expected)


@pytest.mark.parametrize("family", REFUSED)
def test_language_models_that_cannot_be_conditioned_are_refused(family, tmp_path):
    reason, settings = REFUSED[family]
    tiny_language_model(family, settings).save_pretrained(tmp_path)
    language_model = AutoModelForCausalLM.from_pretrained(tmp_path)
    config = LipReadConfig(text_config=language_model.config)
    for build in (
        lambda: LipReadForConditionalGeneration.from_language_model(tmp_path),
        lambda: LipReadForConditionalGeneration(config, language_model=language_model),
        lambda: LipReadForConditionalGeneration(config),
    ):
        with pytest.raises(ValueError, match=f"(?s){family} models cannot be conditioned.*{reason}.*Choose"):
            build()


LORA = {"r": 4, "alpha": 16, "dropout": 0.0, "target_modules": ["q_proj", "v_proj", "down_proj"]}


def train(model) -> list[float]:
    """Learns two texts from two clips; returns the loss of each step."""
    inputs, losses = make_inputs(), []
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(5):
        loss = model.train()(**inputs, labels=inputs["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(**make_inputs()).logits


WITH_LORA = [("qwen3_moe", {"r": 2}, torch.float32), ("llama", LORA, torch.bfloat16)]
SLOW = [pytest.param(f, {"r": 2}, torch.float32, marks=pytest.mark.slow) for f in ("llama", "gpt2", "mixtral")]


@pytest.mark.parametrize(("family", "lora", "dtype"), WITH_LORA + SLOW)
def test_families_take_lora_in_full_precision(family, lora, dtype, tmp_path, monkeypatch):
    """gpt2 has Conv1D in place of linear layers; experts are parameters of one module, which peft wraps twice."""
    tiny_language_model(family, FAMILIES[family]).save_pretrained(tmp_path / "base")
    model, frozen = build(tmp_path / "base", lora, dtype=dtype), logits(build(tmp_path / "base", dtype=dtype))
    assert torch.equal(logits(model), frozen), "starts as the frozen one, exactly"
    before = {name: parameter.clone() for name, parameter in model.language_model.named_parameters()}
    losses = train(model)
    assert losses[-1] < losses[0]
    for name, parameter in model.language_model.named_parameters():
        assert torch.equal(parameter, before[name]) == (".lora_" not in name), name
    if family in ("mixtral", "qwen3_moe"):
        assert any(".experts." in name and ".lora_" in name for name in before)
    assert {value.dtype for name, value in before.items() if ".lora_" in name} == {torch.float32}
    expected = logits(model)
    assert (expected - frozen).abs().max() > 0.05
    for include_base in (False, True)[: 1 + (dtype == torch.float32)]:  # a whole reader is loaded in one type
        model.save_pretrained(tmp_path / "reader", include_base=include_base)
        held = load_file(tmp_path / "reader" / "model.safetensors")
        assert any(key.startswith("language_model.") and ".lora_" not in key for key in held) == include_base
        again = AutoModel.from_pretrained(tmp_path / "reader")
        assert torch.allclose(logits(again), expected, atol=1e-5)
        for found, parameter in zip(again.parameters(), model.parameters(), strict=True):
            assert (found.requires_grad, found.dtype) == (parameter.requires_grad, parameter.dtype)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match="pip install peft"):
        AutoModel.from_pretrained(tmp_path / "reader")


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


@pytest.fixture
def model(language_model_dir):
    return build(language_model_dir, open_gates=True)


@pytest.mark.parametrize(("stored", "dtype"), [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)])
def test_a_language_model_comes_back_in_the_type_it_was_trained_with(
    tmp_path, language_model_dir, model, stored, dtype
):
    """As `--lm_dtype` trains it under a face in full precision, and as a plain `from_pretrained` brings it back."""
    AutoModelForCausalLM.from_pretrained(language_model_dir, dtype=stored).save_pretrained(tmp_path / "lm")
    expected, model, inputs = logits(model), build(tmp_path / "lm", open_gates=True, dtype=dtype), make_inputs()
    assert {p.dtype for p in model.language_model.parameters()} == {dtype}
    assert {p.dtype for p in [*model.encoder.parameters(), *model.adapters.parameters()]} == {torch.float32}
    written = logits(model)
    assert written.dtype == dtype
    assert torch.allclose(written.float(), expected, atol=0.1)
    model.train()(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert all(torch.isfinite(adapter.q_proj.weight.grad).all() for adapter in model.adapters)
    model.eval().save_pretrained(tmp_path / "reader")
    again = AutoModel.from_pretrained(tmp_path / "reader")
    assert again.language_model.dtype == dtype and again.adapters[0].q_proj.weight.dtype == torch.float32
    assert torch.equal(logits(again), written)
    read = again.generate(**clips(inputs), max_new_tokens=5)
    assert torch.equal(read, model.generate(**clips(inputs), max_new_tokens=5))


@pytest.mark.parametrize(("dtype", "include_base"), [(torch.bfloat16, False), (torch.float16, True)])
def test_the_whole_reader_in_half_precision(tmp_path, model, dtype, include_base):
    model.save_pretrained(tmp_path / "reader", include_base=include_base)
    half = AutoModel.from_pretrained(tmp_path / "reader", dtype=dtype)
    assert half.adapters[0].gate.dtype == half.encoder.input_mean.dtype == torch.float32
    assert half.adapters[0].q_proj.weight.dtype == half.language_model.lm_head.weight.dtype == dtype
    inputs = make_inputs()
    assert torch.allclose(logits(half).float(), logits(model), atol=0.2)
    assert half.generate(**clips(inputs), max_new_tokens=5).shape[0] == 2
    # Nothing of a clip is lost to overflow where no frame shows a face.
    inputs["keypoints_mask"][:] = 0
    assert torch.isfinite(half(**inputs).logits).all()


@pytest.mark.parametrize("part", ["adapters", "encoder", "language_model", "language_model.model.layers.1"])
def test_parts_that_lie_on_disk_until_they_run(tmp_path, model, part):
    """Of a whole reader, or of a language model that it names: accelerate's hooks work beside the adapters'."""
    layers = "layers" in part
    model.save_pretrained(tmp_path / "reader", include_base=not layers)
    names = "model.embed_tokens model.norm model.rotary_emb lm_head".split() + [f"model.layers.{i}" for i in range(4)]
    parts = names if layers else ["adapters", "encoder", "language_model"]
    device_map = dict.fromkeys(parts, "cpu")
    device_map[part.removeprefix("language_model.")] = "disk"
    offload = {"device_map": device_map, "offload_folder": str(tmp_path / "offloaded")}
    placed = AutoModel.from_pretrained(tmp_path / "reader", **offload)
    assert next(placed.get_submodule(part).parameters()).device.type == "meta" and placed.hf_device_map[part] == "disk"
    assert torch.allclose(logits(placed).cpu(), logits(model), atol=1e-5)
    options = {**clips(make_inputs()), "num_beams": 2, "max_new_tokens": 5}
    assert torch.equal(placed.generate(**options).cpu(), model.generate(**options))
