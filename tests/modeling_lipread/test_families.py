# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Every family of language models, tiny and random: whatever `--model_id` names is conditioned in the same way."""

import copy

import pytest
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from modeling_lipread import LipReadConfig, LipReadForConditionalGeneration
from tests.helpers.readers import TINY, clips, language_model_alone, make_inputs, open_adapters, reader_config

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


@pytest.fixture(scope="module", params=SWEEP)
def reader(request, tmp_path_factory):
    """A reader on a saved language model of the family, at its start; dropout off."""
    folder = tmp_path_factory.mktemp(request.param)
    tiny_language_model(request.param, FAMILIES[request.param]).save_pretrained(folder)
    config = reader_config({"kp_dropout": 0.0}, adapter_dropout=0.0, decoder_mask_prob=0.0)
    return LipReadForConditionalGeneration.from_language_model(folder, config).eval()


@pytest.fixture
def opened(reader):
    """The same with adapters that say something."""
    torch.manual_seed(4)
    return open_adapters(copy.deepcopy(reader))


def test_starts_as_the_language_model(reader):
    assert torch.equal(reader(**make_inputs()).logits, language_model_alone(reader, make_inputs()))


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


def test_cached_decoding_equals_full_recomputation(opened):
    inputs = make_inputs()
    full = opened(**inputs, use_cache=False).logits
    conditioning, _ = opened.encode(**clips(inputs))
    past, steps = None, []
    for position in range(inputs["input_ids"].shape[1]):
        token = inputs["input_ids"][:, position : position + 1]
        output = opened(input_ids=token, conditioning=conditioning, past_key_values=past, use_cache=True)
        past = output.past_key_values
        steps.append(output.logits)
    assert torch.allclose(torch.cat(steps, dim=1), full, atol=1e-4)


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
    opened.save_pretrained(tmp_path, include_base=include_base)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        held = {key.split(".")[0] for key in file.keys()}
    assert held == {"encoder", "adapters"} | ({"language_model"} if include_base else set())
    again = AutoModel.from_pretrained(tmp_path)
    for kind in ("named_parameters", "named_buffers"):
        for (name, found), (_, expected) in zip(getattr(again, kind)(), getattr(opened, kind)(), strict=True):
            assert torch.equal(found, expected), name
    assert torch.allclose(again(**make_inputs()).logits, opened(**make_inputs()).logits, atol=1e-5)


def test_generation_takes_the_likeliest_tokens(opened):
    inputs = clips(make_inputs())
    conditioning, _ = opened.encode(**inputs)
    ids = torch.tensor([[1], [1]])
    for _ in range(4):
        logits = opened(ids, conditioning=conditioning, use_cache=False).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(opened.generate(**inputs, max_new_tokens=4, eos_token_id=None), ids)


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


def test_the_reason_why_a_language_model_fails_is_kept():
    def fail(*_):
        raise RuntimeError("no memory left")

    language_model = tiny_language_model("llama", {})
    language_model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(ValueError, match=r"llama models cannot.* fails \(no memory left\)") as refusal:
        LipReadForConditionalGeneration(reader_config(), language_model)
    assert isinstance(refusal.value.__cause__, RuntimeError)
