# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What cannot be loaded as it was saved is refused by name, with the remedy. Never random weights, never a pickle."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, GPT2Config

from data.training.checkpoints import check_fits
from modeling_lipread import LipReadForConditionalGeneration
from tests.helpers.readers import make_inputs, reader_config, text_config
from tests.modeling_lipread.test_families import FAMILIES, tiny_language_model

WEIGHTS, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
COMMITS = "a" * 40, "b" * 40


def write_language_model(folder: Path, config=None, seed: int = 3) -> Path:
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config or text_config()).save_pretrained(folder)
    return folder


def write_reader(folder: Path, language_model, include_base: bool = False, **kwargs) -> Path:
    torch.manual_seed(0)
    model = LipReadForConditionalGeneration.from_language_model(language_model, reader_config(), **kwargs)
    model.save_pretrained(folder, include_base=include_base)
    return folder


@pytest.fixture
def base(tmp_path) -> Path:
    return write_language_model(tmp_path / "language_model")


@pytest.fixture
def reader(tmp_path, base) -> Path:
    """A checkpoint that names its language model."""
    return write_reader(tmp_path / "reader", base)


@pytest.fixture
def whole(tmp_path, base) -> Path:
    """A checkpoint that holds its language model."""
    return write_reader(tmp_path / "whole", base, include_base=True)


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def refused(folder, *words: str, error=(OSError, ValueError), load=AutoModel.from_pretrained, **kwargs) -> None:
    """Loading fails with an error that says all of this, in this order."""
    with pytest.raises(error, match="(?s)" + ".*".join(re.escape(str(word)) for word in words)):
        load(folder, **kwargs)


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("reader", "adapters.0.gate"),
        ("reader", "adapters.0.norm.bias"),
        ("reader", "encoder.input_mean"),
        ("whole", "adapters.1.q_proj.weight"),
        ("whole", "encoder.frame_encoder.projection.weight"),
        ("whole", "language_model.model.layers.2.mlp.up_proj.weight"),
    ],
)
def test_a_missing_weight(request, kind, lost):
    folder = request.getfixturevalue(kind)
    change_weights(folder, lambda weights: weights.pop(lost))
    refused(folder, folder, f"{lost} is missing", "fetch or save the checkpoint again", error=ValueError)


@pytest.mark.parametrize(("ignore", "name"), [(False, "adapters.0.gate"), (True, "encoder.input_std")])
def test_a_weight_of_another_size(reader, name, ignore):
    """Also where a user asks to ignore it, which would leave random weights behind."""
    sizes = []

    def widen(weights):
        sizes.append(tuple(weights[name].shape))
        weights[name] = torch.cat([weights[name]] * 2)
        sizes.append(tuple(weights[name].shape))

    change_weights(reader, widen)
    said = f"{name} is {sizes[1]} instead of {sizes[0]}"
    refused(reader, reader, said, "fetch or save", error=ValueError, ignore_mismatched_sizes=ignore)


@pytest.mark.parametrize("name", ["adapters.2.gate", "encoder.spare.weight", "language_model.lm_head.weight"])
def test_a_weight_that_belongs_nowhere(reader, name):
    change_weights(reader, lambda weights: weights.update({name: torch.ones(1)}))
    refused(reader, reader, f"{name} belongs nowhere", "fetch or save the checkpoint again", error=ValueError)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adapter_every": 4}, "adapters.1.gate belongs nowhere"),
        ({"adapter_heads": 4}, "adapters.0.k_proj.weight is"),
    ],
)
def test_settings_of_another_run(reader, change, said):
    change_config(reader, **change)
    refused(reader, reader, said, "belong to different runs", error=ValueError)


@pytest.mark.parametrize("content", ["half", "header", "nothing", "text", "pointer"])
def test_a_damaged_file(reader, content):
    path = reader / WEIGHTS
    stored = path.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    contents = {"half": stored[: len(stored) // 2], "header": stored[:12], "nothing": b"", "text": b"{}"}
    path.write_bytes({**contents, "pointer": pointer}[content])
    refused(reader, path, "not a safetensors file, or not all of one", "fetch or save", error=OSError)


def test_shards(tmp_path, base):
    model = LipReadForConditionalGeneration.from_language_model(base, reader_config()).eval()
    model.save_pretrained(tmp_path / "reader", max_shard_size="4KB")
    assert (tmp_path / "reader" / INDEX).exists()
    again = AutoModel.from_pretrained(tmp_path / "reader")
    assert torch.equal(again(**make_inputs()).logits, model(**make_inputs()).logits)
    shards = sorted((tmp_path / "reader").glob("model-*.safetensors"))
    stored = shards[1].read_bytes()
    shards[1].write_bytes(stored[:-1])
    refused(tmp_path / "reader", shards[1], "not all of one", error=OSError)
    shards[1].unlink()
    refused(tmp_path / "reader", tmp_path / "reader", shards[1].name, "is missing; fetch", error=OSError)
    (tmp_path / "reader" / INDEX).write_text("[]")
    refused(tmp_path / "reader", INDEX, "not an index of weights", error=OSError)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_pickle_is_never_opened(tmp_path, base, reader, whole):
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
    build = LipReadForConditionalGeneration.from_language_model
    for kwargs in ({}, {"use_safetensors": False}):
        refused(base, base, "pickles are never opened", error=OSError, load=build, **kwargs)
    assert not list(tmp_path.glob("exploded*"))
    # The bomb is live.
    pickle.loads((reader / PICKLE).read_bytes())
    assert list(tmp_path.glob("exploded*"))


@pytest.mark.parametrize("kind", ["reader", "whole", "base"])
def test_an_adapter_of_peft_is_not_laid_over_anything(request, tmp_path, kind):
    """As transformers does for an adapter_config.json, with weights, or a pickle of them, that nobody asked for."""
    folder, base = request.getfixturevalue(kind), request.getfixturevalue("base")
    adapter = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    adapter.save_pretrained(folder)
    # To a reader and to a language model alike.
    names = ("adapters.0", "model.layers.0.self_attn")
    weights = {
        f"base_model.model.{name}.q_proj.lora_{part}.weight": torch.ones(size)
        for name, sizes in zip(names, ([(2, 32), (16, 2)], [(2, 32), (32, 2)]), strict=True)
        for part, size in zip("AB", sizes, strict=True)
    }
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    load = LipReadForConditionalGeneration.from_language_model if kind == "base" else AutoModel.from_pretrained
    refused(folder, folder, "adapter_config.json", "merge_and_unload", error=ValueError, load=load)
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    refused(folder, "adapter_model.safetensors", error=OSError, load=load)
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_of_training_that_is_damaged(reader):
    model = AutoModel.from_pretrained(reader)
    check_fits(reader, model)
    (reader / WEIGHTS).write_bytes((reader / WEIGHTS).read_bytes()[:-1])
    with pytest.raises(OSError, match=f"{reader / WEIGHTS}: damaged .* remove this checkpoint"):
        check_fits(reader, model)


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


@pytest.fixture
def cache(tmp_path) -> Path:
    """The Hub's cache with two commits of a language model, laid out as huggingface_hub does; `main` is the first."""
    repository = tmp_path / "cache" / "models--someone--small"
    for seed, commit in enumerate(COMMITS):
        write_language_model(repository / "snapshots" / commit, seed=seed)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMITS[0])
    return tmp_path / "cache"


def test_the_revision_is_the_one_trained_with(tmp_path, cache):
    reader = write_reader(tmp_path / "reader", "someone/small", cache_dir=cache)
    assert json.loads((reader / "config.json").read_text())["base_model_revision"] == COMMITS[0]
    expected = load_file(cache / "models--someone--small" / "snapshots" / COMMITS[0] / WEIGHTS)
    # The branch moves on, the reader does not.
    (cache / "models--someone--small" / "refs" / "main").write_text(COMMITS[1])
    found = AutoModel.from_pretrained(reader, cache_dir=cache).language_model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    other = load_file(cache / "models--someone--small" / "snapshots" / COMMITS[1] / WEIGHTS)
    assert not torch.equal(found[PROJECTION], other[PROJECTION])
    change_config(reader, base_model_revision="c" * 40)
    words = (reader, "'someone/small'", f"(revision {'c' * 40})", "Make it available", "include_base=True")
    refused(reader, *words, error=OSError, cache_dir=cache)


def test_a_hub_that_cannot_be_reached(tmp_path, cache):
    reader = write_reader(tmp_path / "reader", "someone/small", cache_dir=cache)
    words = (reader, "'someone/small'", f"(revision {COMMITS[0]})", "Make it available", "include_base=True")
    refused(reader, *words, error=OSError, cache_dir=tmp_path / "empty")
    build = LipReadForConditionalGeneration.from_language_model
    words = ("someone/small", "Give a folder or a Hub id that can be reached")
    refused("someone/small", *words, error=OSError, load=build, cache_dir=tmp_path / "empty")


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("hidden_size", text_config(hidden_size=64)),
        ("num_hidden_layers", text_config(num_hidden_layers=2)),
        ("vocab_size", text_config(vocab_size=41)),
        ("model_type", GPT2Config(vocab_size=40, n_embd=32, n_layer=4, n_head=4)),
    ],
)
def test_another_language_model(base, reader, key, config):
    shutil.rmtree(base)
    write_language_model(base, config)
    trained = getattr(text_config(), key)
    words = (
        reader,
        f"{key} = {trained}",
        base,
        f"has {getattr(config, key)}",
        "base_model_name_or_path in config.json",
    )
    refused(reader, *words, error=ValueError)


NORM, PROJECTION = "model.layers.1.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize("ignore", [False, True])
def test_a_language_model_that_is_not_whole(base, reader, ignore):
    """As a reader is loaded and as one is built, also where a user asks to ignore sizes."""

    def both(*words, error):
        refused(reader, *words, error=error, ignore_mismatched_sizes=ignore)
        build = LipReadForConditionalGeneration.from_language_model
        refused(base, *words, error=error, load=build, ignore_mismatched_sizes=ignore)

    stored = (base / WEIGHTS).read_bytes()
    change_weights(base, lambda weights: weights.pop(NORM))
    both(base, "the language model's weights", f"{NORM} is missing", error=ValueError)
    (base / WEIGHTS).write_bytes(stored)
    change_weights(base, lambda weights: weights.update({PROJECTION: weights[PROJECTION][:-8].clone()}))
    both(base, f"{PROJECTION} is (40, 32) instead of (48, 32)", error=ValueError)
    (base / WEIGHTS).write_bytes(stored[: len(stored) // 2])
    both(base, "language model is damaged", "fetch it again", error=OSError)
    (base / WEIGHTS).unlink()
    both(base, WEIGHTS, "with its weights in safetensors; pickles are never opened", error=OSError)


def test_a_language_model_that_hands_nothing_on_is_refused_wherever_it_comes_from(tmp_path):
    bloom = tiny_language_model("bloom", {})
    with pytest.raises(ValueError, match="bloom models cannot be conditioned"):
        LipReadForConditionalGeneration(reader_config(), language_model=bloom)
    config = reader_config()
    config.text_config = bloom.config
    with pytest.raises(ValueError, match="bloom models cannot be conditioned"):
        LipReadForConditionalGeneration(config)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_router_is_no_gate_of_an_adapter(tmp_path, family):
    """In half precision an adapter's gate stays in float32; a mixture of experts' router, called gate, does not."""
    tiny_language_model(family, FAMILIES[family]).save_pretrained(tmp_path / "base")
    reader = write_reader(tmp_path / "reader", tmp_path / "base", include_base=True)
    types = {name: p.dtype for name, p in AutoModel.from_pretrained(reader, dtype=torch.bfloat16).named_parameters()}
    routers = [name for name in types if name.endswith("mlp.gate.weight")]
    assert len(routers) == 4
    gates = [name for name in types if re.fullmatch(r"adapters\.\d\.gate", name)]
    assert len(gates) == 2
    assert {name for name, kind in types.items() if kind == torch.float32} == set(gates)
