# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Tiny random readers and their inputs, as the tests of the model share them."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from data.tokenizer import build_ctc_vocab, train_tokenizer
from modeling_lipread import (
    FaceKeypointEncoderConfig,
    LipReadConfig,
    LipReadFeatureExtractor,
    LipReadForConditionalGeneration,
    LipReadProcessor,
)
from tests.helpers.training import TEXTS

VOCABULARY, FRAMES, LANDMARKS = 40, 12, 9
TINY = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "hidden_size": 32}
TINY |= {"intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
TINY |= {"max_position_embeddings": 64}


def text_config(**kwargs) -> LlamaConfig:
    return LlamaConfig(**{**TINY, "tie_word_embeddings": True, **kwargs})


def reader_config(encoder: dict | None = None, **kwargs) -> LipReadConfig:
    sizes = {"num_landmarks": LANDMARKS, "hidden_size": 16, "kp_embed_dim": 8, "kp_heads": 2, **(encoder or {})}
    settings = {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "text_config": text_config()}
    settings |= {"adapter_every": 2, "adapter_heads": 2, "adapter_head_dim": 8, "ctc_vocab": ["", " ", "a", "b"]}
    return LipReadConfig(encoder_config=FaceKeypointEncoderConfig(**sizes), **settings | kwargs)


def make_reader(
    encoder: dict | None = None, open_gates: bool = False, language_model: PreTrainedModel | None = None, **kwargs
) -> LipReadForConditionalGeneration:
    torch.manual_seed(0)
    model = LipReadForConditionalGeneration(reader_config(encoder, **kwargs), language_model)
    if language_model is None:
        model.eval()
    return open_adapters(model) if open_gates else model


def open_adapters(model: LipReadForConditionalGeneration) -> LipReadForConditionalGeneration:
    """Gives the adapters something to say, which at initialisation they have not."""
    for adapter in model.adapters:
        torch.nn.init.normal_(adapter.o_proj.weight, std=0.5)
    return model


def make_inputs(batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(batch, FRAMES, dtype=torch.long)
    mask[-1, FRAMES - 3 :] = 0
    return {
        "input_ids": torch.randint(3, VOCABULARY, (batch, 6), generator=generator),
        "attention_mask": torch.ones(batch, 6, dtype=torch.long),
        "keypoints": torch.randn(batch, FRAMES, LANDMARKS, 3, generator=generator),
        "keypoints_mask": mask,
    }


def clips(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of the inputs is of the clips."""
    return {key: value for key, value in inputs.items() if key.startswith("keypoints")}


def language_model_alone(model: LipReadForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits of a reader's language model without a clip."""
    text = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    return model.language_model(**text).logits


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path | str):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def write_language_model(folder: Path, seed: int = 3) -> Path:
    """A tiny language model with its tokenizer, of random weights."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS, 280)
    settings = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
    settings |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(LlamaConfig(**settings, **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_reader(
    folder: Path, language_model: Path | str, include_base: bool = False, encoder: dict | None = None, **settings
) -> Path:
    """A reader with its processor that knows nothing yet, but is whole, and writes what depends on the face."""
    tokenizer = train_tokenizer(TEXTS, 280)
    settings = {"ctc_vocab": build_ctc_vocab(TEXTS), "adapter_every": 1, "zero_init_projection": False, **settings}
    settings |= {"decoder_start_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    size = {"num_landmarks": 79, "hidden_size": 16, "kp_temporal_layers": 1, "kp_heads": 2, **(encoder or {})}
    encoder_config = FaceKeypointEncoderConfig(**size)
    config = LipReadConfig(encoder_config=encoder_config, pad_token_id=tokenizer.pad_token_id, **settings)
    torch.manual_seed(0)
    model = LipReadForConditionalGeneration.from_language_model(language_model, config)
    model.generation_config.max_new_tokens = 6
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.set_token_spelling(tokenizer)
    model.save_pretrained(folder, include_base=include_base)
    LipReadProcessor(LipReadFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def save_reader(folder: Path, **settings) -> Path:
    """Such a reader with its language model in the same folder."""
    with TemporaryDirectory() as language_model:
        return write_reader(folder, write_language_model(Path(language_model)), include_base=True, **settings)


def run_elsewhere(folder: Path, code: str, *arguments: object, **variables: str) -> str:
    """Runs code in a folder, in a process that cannot import the repository; returns what it printed."""
    hide = "import sys\nfor name in ('modeling_lipread', 'lipread', 'data'): sys.modules[name] = None\n"
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **offline, **variables}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-c", hide + code, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


ENCODERS = [
    {"frame_encoder": "linear", "resampler": "pool"},
    {"frame_encoder": "transformer", "resampler": "perceiver", "cond_len": 5},
    {"temporal_encoder": "transformer", "clip_normalization": "mean"},
]
