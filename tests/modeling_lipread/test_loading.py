# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Loading: half precision, quantised language models, several devices, and what loading a model imports."""

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig

from modeling_lipread import LipReadForConditionalGeneration
from tests.helpers.readers import clips, language_model_alone, make_inputs, open_adapters, reader_config, run_elsewhere

LOADS = [(False, AutoModel.from_pretrained), (True, LipReadForConditionalGeneration.from_pretrained)]


def build(language_model_dir, open_gates: bool = True, **kwargs) -> LipReadForConditionalGeneration:
    torch.manual_seed(0)
    model = LipReadForConditionalGeneration.from_language_model(language_model_dir, reader_config(), **kwargs).eval()
    return open_adapters(model) if open_gates else model


@pytest.mark.parametrize(("stored", "dtype"), [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)])
def test_a_language_model_comes_back_in_the_type_it_was_trained_with(tmp_path, language_model_dir, stored, dtype):
    """As `--lm_dtype` trains it under a face in full precision, and as a plain `from_pretrained` brings it back."""
    AutoModelForCausalLM.from_pretrained(language_model_dir, dtype=stored).save_pretrained(tmp_path / "lm")
    exact, model = build(language_model_dir), build(tmp_path / "lm", dtype=dtype)
    assert {p.dtype for p in model.language_model.parameters()} == {dtype}
    assert {p.dtype for p in [*model.encoder.parameters(), *model.adapters.parameters()]} == {torch.float32}
    inputs = make_inputs()
    logits = model(**inputs).logits
    assert logits.dtype == dtype
    assert torch.allclose(logits.float(), exact(**inputs).logits, atol=0.1)
    model.train()(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert all(torch.isfinite(adapter.q_proj.weight.grad).all() for adapter in model.adapters)
    model.eval().save_pretrained(tmp_path / "reader")
    again = AutoModel.from_pretrained(tmp_path / "reader")
    assert again.language_model.dtype == dtype and again.adapters[0].q_proj.weight.dtype == torch.float32
    assert torch.equal(again(**inputs).logits, logits)
    read = again.generate(**clips(inputs), max_new_tokens=5)
    assert torch.equal(read, model.generate(**clips(inputs), max_new_tokens=5))


@pytest.mark.parametrize(("dtype", "include_base"), [(torch.bfloat16, False), (torch.float16, True)])
def test_the_whole_reader_in_half_precision(tmp_path, language_model_dir, dtype, include_base):
    model = build(language_model_dir)
    model.save_pretrained(tmp_path / "reader", include_base=include_base)
    half = AutoModel.from_pretrained(tmp_path / "reader", dtype=dtype)
    assert half.adapters[0].gate.dtype == half.encoder.input_mean.dtype == torch.float32
    assert half.adapters[0].q_proj.weight.dtype == half.language_model.lm_head.weight.dtype == dtype
    inputs = make_inputs()
    assert torch.allclose(half(**inputs).logits.float(), model(**inputs).logits, atol=0.2)
    assert half.generate(**clips(inputs), max_new_tokens=5).shape[0] == 2
    # Nothing of a clip is lost to overflow where no frame shows a face.
    inputs["keypoints_mask"][:] = 0
    assert torch.isfinite(half(**inputs).logits).all()


QUANTISATIONS = {
    "8bit": {"load_in_8bit": True},
    "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
}


@pytest.mark.parametrize("quantisation", QUANTISATIONS)
def test_quantised_language_model(tmp_path, language_model_dir, quantisation):
    settings = BitsAndBytesConfig(**QUANTISATIONS[quantisation])
    inputs = make_inputs()
    fresh = build(language_model_dir, open_gates=False, quantization_config=settings)
    assert torch.equal(fresh(**inputs).logits, language_model_alone(fresh, inputs))

    model = build(language_model_dir, quantization_config=settings)
    linear = {type(m).__name__ for m in model.language_model.model.modules() if isinstance(m, torch.nn.Linear)}
    assert linear == {f"Linear{quantisation}".replace("Linear8bit", "Linear8bitLt")}
    own = [*model.encoder.modules(), *model.adapters.modules()]
    assert {type(m).__name__ for m in own if isinstance(m, torch.nn.Linear)} == {"Linear"}
    assert (model(**inputs).logits - build(language_model_dir)(**inputs).logits).abs().max() > 0
    model.save_pretrained(tmp_path / "reader")
    again = AutoModel.from_pretrained(tmp_path / "reader")
    assert torch.allclose(again(**inputs).logits, model(**inputs).logits, atol=1e-5)
    with pytest.raises(ValueError, match="include_base"):
        model.save_pretrained(tmp_path / "whole", include_base=True)


@pytest.mark.parametrize("part", ["adapters", "encoder", "language_model", "language_model.model.layers.1"])
def test_parts_that_lie_on_disk_until_they_run(tmp_path, language_model_dir, part):
    """Of a whole reader, or of a language model that it names: accelerate's hooks work beside the adapters'."""
    model, inputs, layers = build(language_model_dir), make_inputs(), "layers" in part
    model.save_pretrained(tmp_path / "reader", include_base=not layers)
    names = "model.embed_tokens model.norm model.rotary_emb lm_head".split() + [f"model.layers.{i}" for i in range(4)]
    parts = names if layers else ["adapters", "encoder", "language_model"]
    device_map = dict.fromkeys(parts, "cpu")
    device_map[part.removeprefix("language_model.")] = "disk"
    offload = {"device_map": device_map, "offload_folder": str(tmp_path / "offloaded")}
    placed = AutoModel.from_pretrained(tmp_path / "reader", **offload)
    assert next(placed.get_submodule(part).parameters()).device.type == "meta" and placed.hf_device_map[part] == "disk"
    assert torch.allclose(placed(**inputs).logits.cpu(), model(**inputs).logits, atol=1e-5)
    written = placed.generate(**clips(inputs), num_beams=2, max_new_tokens=5)
    assert torch.equal(written.cpu(), model.generate(**clips(inputs), num_beams=2, max_new_tokens=5))


@pytest.mark.parametrize(("include_base", "load"), LOADS)
def test_settings_may_be_given_at_load(tmp_path, language_model_dir, include_base, load):
    build(language_model_dir).save_pretrained(tmp_path / "hub" / "reader", include_base=include_base)
    given = {"ctc_weight": 0.25, "decoder_mask_prob": 0.0, "attn_implementation": "eager"}
    again = load(tmp_path / "hub", subfolder="reader", **given)
    assert again.language_model.config._attn_implementation == "eager"
    assert (again.config.ctc_weight, again.config.decoder_mask_prob) == (0.25, 0.0)
    with pytest.raises(TypeError, match="no_such_setting"):
        load(tmp_path / "hub", subfolder="reader", no_such_setting=1)


LOAD_ELSEWHERE = """
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
print(*sys.modules)
model.save_pretrained(sys.argv[2])
"""


def test_loading_a_model_imports_no_video_code(reader_dir, tmp_path):
    modules = run_elsewhere(tmp_path, LOAD_ELSEWHERE, reader_dir, tmp_path / "again").split()
    assert not {"cv2", "av", "mediapipe", "ai_edge_litert"} & set(modules)
    names = ("adapters", "configuration", "ctc", "encoder", "language_model", "modeling", "text_normalizer")
    loaded = {name.rpartition(".")[2] for name in modules if name.endswith("_lipread") and "." in name}
    assert loaded == {f"{name}_lipread" for name in names}
    # The code of the pipeline travels with the model all the same.
    assert (tmp_path / "again" / "pipeline_lipread.py").exists()
