# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""An encoder that learns alone first, and a reading run that begins with it."""

import json

import pytest
import torch
from safetensors.torch import load_file
from training import losses, make_corpus, run

from data.arguments import parse_arguments
from train_hf import main


@pytest.fixture(scope="module")
def encoder(corpus, lm_config, tmp_path_factory):
    output = tmp_path_factory.mktemp("encoder")
    run(
        "--encoder_only",
        dataset=corpus,
        lm_config=lm_config,
        output_dir=output,
        num_train_epochs=30,
        learning_rate=3e-3,
    )
    return output


def test_the_encoder_learns_alone_and_nothing_else_does(encoder):
    history = json.loads((encoder / "trainer_state.json").read_text())["log_history"]
    assert not any("lm_loss" in entry for entry in history)
    trained = losses(encoder)
    assert trained[max(trained)] < 0.5 * trained[1]
    assert min(entry["eval_wer"] for entry in history if "eval_wer" in entry) < 1.0  # what the CTC head reads
    weights = load_file(encoder / "model.safetensors")
    adapters = [name for name in weights if name.startswith("adapters.") and name.endswith("o_proj.weight")]
    assert adapters and not any(weights[name].any() for name in adapters)


def test_a_reading_run_begins_with_it(corpus, lm_config, encoder, tmp_path):
    run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, encoder=encoder, max_steps=1, learning_rate=1e-9)
    before, after = (load_file(folder / "model.safetensors") for folder in (encoder, tmp_path))
    names = [name for name in before if name.startswith("encoder.")]
    assert names and all(torch.allclose(after[name], before[name], atol=1e-5) for name in names)
    assert losses(tmp_path)  # the language model's is among them
    assert "lm_loss" in json.loads((tmp_path / "trainer_state.json").read_text())["log_history"][0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"hidden_size": 16}, "hidden_size 32 instead of 16"), ({"landmarks": "lips"}, "landmarks 'lower_face'")],
)
def test_an_encoder_of_other_settings_is_refused(corpus, lm_config, encoder, tmp_path, changed, named):
    settings = {"hidden_size": 32, "kp_temporal_layers": 1, "kp_heads": 2, **changed, "output_dir": tmp_path}
    settings |= {"dataset": corpus, "lm_config": lm_config, "encoder": encoder}
    with pytest.raises(SystemExit, match=named):
        main(["--use_cpu", *(part for key, value in settings.items() for part in (f"--{key}", str(value)))])


def test_an_encoder_with_an_alignment_head_reads_a_corpus_without_word_times(lm_config, encoder, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", word_times=False)
    run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path / "run", encoder=encoder, max_steps=1)
    history = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    assert "ctc_loss" in history[0] and "alignment_loss" not in history[0]


def test_an_encoder_with_a_ctc_head_keeps_it(corpus, lm_config, encoder, tmp_path):
    with pytest.raises(SystemExit, match="has a CTC head"):
        main(
            ["--use_cpu", "--ctc", "false", "--encoder", str(encoder), "--dataset", str(corpus)]
            + ["--lm_config", str(lm_config), "--output_dir", str(tmp_path)]
        )


def test_an_encoder_alone_needs_its_ctc_head(corpus, lm_config, tmp_path):
    arguments = ["--encoder_only", "--ctc", "false", "--dataset", str(corpus), "--lm_config", str(lm_config)]
    assert parse_arguments(arguments)  # well-formed, and refused for what it asks
    with pytest.raises(SystemExit, match="--encoder_only"):
        main([*arguments, "--output_dir", str(tmp_path), "--use_cpu"])
