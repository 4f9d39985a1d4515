# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints as they are loaded; what cannot be is refused by name. Never random weights, never a pickle."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GPT2Config,
    T5Config,
    T5ForConditionalGeneration,
)

from data.training.checkpoints import check_fits
from modeling_lipread import LipReadForConditionalGeneration
from tests.helpers.readers import Bomb, make_inputs, reader_config, run_elsewhere, text_config

WEIGHTS, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
BUILD = LipReadForConditionalGeneration.from_language_model
NORM, PROJECTION = "model.layers.1.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight"
LORA = "language_model.model.layers.1.self_attn.q_proj.lora_A.default.weight"


def twice(value: torch.Tensor) -> torch.Tensor:
    return value.repeat(2, 1)


def write_language_model(folder: Path, config=None) -> Path:
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config or text_config()).save_pretrained(folder)
    return folder


@pytest.fixture
def base(tmp_path) -> Path:
    return write_language_model(tmp_path / "language_model")


@pytest.fixture
def write(tmp_path, base):
    """Writes a checkpoint that names its language model (`reader`, or `adapted` with LoRA) or holds it (`whole`)."""

    def write(kind: str) -> Path:
        model = BUILD(base, reader_config(lora={"r": 2} if kind == "adapted" else None))
        model.save_pretrained(tmp_path / kind, include_base=kind == "whole")
        return tmp_path / kind

    return write


@pytest.fixture
def reader(write) -> Path:
    return write("reader")


def change_weights(folder: Path, name: str, change=None) -> None:
    """Puts another tensor in the place of one, or leaves it out."""
    weights = load_file(folder / WEIGHTS)
    value = weights.pop(name, None)
    if change is not None:
        weights[name] = change(value)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def refused(folder, *words: str, error=(OSError, ValueError), load=AutoModel.from_pretrained, **kwargs) -> None:
    """Loading fails with an error that says all of this, in this order."""
    with pytest.raises(error, match="(?s)" + ".*".join(re.escape(str(word)) for word in words)):
        load(folder, **kwargs)


@pytest.mark.parametrize(
    ("kind", "name", "change", "said"),
    [
        ("reader", "adapters.0.gate", None, "adapters.0.gate is missing"),
        ("whole", "encoder.frame_encoder.projection.weight", None, "frame_encoder.projection.weight is missing"),
        ("whole", f"language_model.{PROJECTION}", None, f"language_model.{PROJECTION} is missing"),
        ("reader", "adapters.0.q_proj.weight", twice, "weight is (32, 32) instead of (16, 32)"),
        ("reader", "encoder.input_std", twice, "input_std is (18, 6) instead of (9, 6)"),
        ("reader", "adapters.2.gate", lambda _: torch.ones(1), "adapters.2.gate is unexpected"),
        ("reader", "language_model.lm_head.weight", lambda _: torch.ones(1), "lm_head.weight is unexpected"),
        ("reader", LORA, lambda _: torch.ones(1), f"{LORA.removeprefix('language_model.')} is unexpected"),
        ("adapted", LORA, None, f"{LORA.removeprefix('language_model.')} is missing"),
    ],
)
def test_weights_that_do_not_fit(write, kind, name, change, said):
    """Also where a user asks to ignore their sizes, which would leave random weights behind."""
    folder = write(kind)
    change_weights(folder, name, change)
    for ignore in (False, True):
        words = (folder, said, "fetch or save the checkpoint again")
        refused(folder, *words, error=ValueError, ignore_mismatched_sizes=ignore)
    change_config(folder, adapter_heads=4)
    refused(folder, folder, "adapters.0.k_proj.weight is", "belong to different runs", error=ValueError)


def test_damaged_files(tmp_path, base, reader):
    path = reader / WEIGHTS
    stored = path.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    for content in (stored[: len(stored) // 2], stored[:12], b"", b"{}", pointer):
        path.write_bytes(content)
        refused(reader, path, "not a complete safetensors file", "fetch or save", error=OSError)
    shutil.rmtree(reader)
    BUILD(base, reader_config()).save_pretrained(reader, max_shard_size="4KB")
    AutoModel.from_pretrained(reader)
    shards = sorted(reader.glob("model-*.safetensors"))
    stored = shards[1].read_bytes()
    shards[1].write_bytes(stored[:-1])
    refused(reader, shards[1], "not a complete", error=OSError)
    shards[1].unlink()
    refused(reader, shards[1], "No such file", "fetch or save", error=OSError)
    (reader / INDEX).write_text("[]")
    refused(reader, INDEX, "index", "fetch or save", error=OSError)


def test_a_pickle_is_never_opened(tmp_path, base, write):
    reader, whole = write("reader"), write("whole")
    for number, folder in enumerate((reader, whole, base)):
        (folder / WEIGHTS).unlink()
        for name in (PICKLE, "training_args.bin"):
            (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / f"exploded{number}{name}")))
    for folder in (reader, whole):
        refused(folder, folder, "no model.safetensors", "never from a pickle", "save_pretrained", error=OSError)
        # Nor where a user asks for it.
        refused(folder, folder, "never from a pickle", error=OSError, use_safetensors=False)
        with pytest.raises(OSError, match="only safetensors are read; give --restart"):
            check_fits(folder, LipReadForConditionalGeneration(reader_config()))
    for kwargs in ({}, {"use_safetensors": False}):
        refused(base, base, "pickles are never opened", error=OSError, load=BUILD, **kwargs)
    assert not list(tmp_path.glob("exploded*"))
    # The bomb is live.
    pickle.loads((reader / PICKLE).read_bytes())
    assert list(tmp_path.glob("exploded*"))


@pytest.mark.parametrize("kind", ["reader", "base"])
def test_an_adapter_of_peft_is_not_laid_over_anything(base, write, tmp_path, kind):
    """As transformers does for an adapter_config.json, with weights, or a pickle of them, that nobody asked for."""
    folder = base if kind == "base" else write(kind)
    adapter = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    adapter.save_pretrained(folder)
    load = BUILD if kind == "base" else AutoModel.from_pretrained
    refused(folder, folder, "adapter_config.json", "merge_and_unload", error=ValueError, load=load)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    refused(folder, "adapter_model.safetensors", error=OSError, load=load)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("load", [AutoModel.from_pretrained, LipReadForConditionalGeneration.from_pretrained])
def test_a_folder_that_is_no_readers(tmp_path, base, reader, load):
    if load != AutoModel.from_pretrained:  # which gives a language model for a language model's folder, as it should
        refused(base, base, "model_type 'llama' instead of 'lipread'", "from_language_model", load=load)
        refused(reader, "'llama' instead of 'lipread'", load=load, config=text_config())
    (reader / "config.json").write_text('{"model_type": ')
    refused(reader, reader, "config", error=OSError, load=load)
    (reader / "config.json").unlink()
    refused(reader, reader, "config.json", load=load)
    refused(tmp_path / "nowhere", "nowhere", load=load)


def test_the_language_model_is_gone(tmp_path, base, reader):
    base.rename(tmp_path / "moved")
    refused(reader, reader, base, "base_model_name_or_path in config.json", "include_base=True", error=OSError)
    # What the error says to do.
    change_config(reader, base_model_name_or_path=str(tmp_path / "moved"))
    assert AutoModel.from_pretrained(reader)(**make_inputs()).logits.isfinite().all()
    (tmp_path / "moved" / "config.json").unlink()
    refused(reader, reader, tmp_path / "moved", "base_model_name_or_path in config.json", error=OSError)
    words = ("someone/small", "Give a folder or a Hub id that can be reached")
    refused("someone/small", *words, error=OSError, load=BUILD, cache_dir=tmp_path / "empty")


def test_another_language_model(base, reader):
    gpt2 = GPT2Config(vocab_size=40, n_embd=32, n_layer=4, n_head=4)
    for key, config in (("hidden_size", text_config(hidden_size=64)), ("model_type", gpt2)):
        shutil.rmtree(base)
        write_language_model(base, config)
        words = (reader, f"{key} = {getattr(text_config(), key)}", base, f"has {getattr(config, key)}")
        refused(reader, *words, "base_model_name_or_path in config.json", error=ValueError)


def test_a_sequence_to_sequence_model_and_quantisation_are_refused(tmp_path, base, write):
    sizes = {"d_model": 32, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8, "vocab_size": 40}
    T5ForConditionalGeneration(T5Config(**sizes)).save_pretrained(tmp_path)
    refused(tmp_path, tmp_path, "t5 models have an encoder for text", "Choose a causal", error=ValueError, load=BUILD)
    settings = {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    for folder, load in ((write("reader"), AutoModel.from_pretrained), (base, BUILD)):
        words = (folder, "quantised language models are not supported", "dtype=torch.bfloat16")
        refused(folder, *words, error=ValueError, load=load, **settings)
    config = reader_config(text_config=text_config(**settings))
    refused(config, "the language model: quantised", load=LipReadForConditionalGeneration)


def test_a_language_model_that_is_not_whole(base, reader):
    """As a reader is loaded and as one is built, also where a user asks to ignore sizes."""

    def both(*words, error):
        refused(reader, *words, error=error, ignore_mismatched_sizes=True)
        refused(base, *words, error=error, load=BUILD, ignore_mismatched_sizes=True)

    stored = (base / WEIGHTS).read_bytes()
    change_weights(base, NORM)
    both(base, "the language model's weights", f"{NORM} is missing", error=ValueError)
    (base / WEIGHTS).write_bytes(stored)
    change_weights(base, PROJECTION, lambda value: value[:-8].clone())
    both(base, f"{PROJECTION} is (40, 32) instead of (48, 32)", error=ValueError)
    (base / WEIGHTS).write_bytes(stored[: len(stored) // 2])
    both(base, "the language model cannot be loaded", "complete safetensors files", error=OSError)
    (base / WEIGHTS).unlink()
    both(base, WEIGHTS, "with its weights in complete safetensors files; pickles are never opened", error=OSError)


@pytest.mark.parametrize(
    ("kind", "load"),
    [("reader", AutoModel.from_pretrained), ("whole", LipReadForConditionalGeneration.from_pretrained)],
)
def test_settings_may_be_given_at_load(write, kind, load):
    folder = write(kind)
    given = {"ctc_weight": 0.25, "decoder_mask_prob": 0.0, "attn_implementation": "eager"}
    again = load(folder.parent, subfolder=folder.name, **given)
    assert again.language_model.config._attn_implementation == "eager"
    assert (again.config.ctc_weight, again.config.decoder_mask_prob) == (0.25, 0.0)
    with pytest.raises(TypeError, match="no_such_setting"):
        load(folder.parent, subfolder=folder.name, no_such_setting=1)


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
