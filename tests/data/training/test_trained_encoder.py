# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""An encoder that learns alone first, and a reading run that begins with it."""

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.training import history, losses, make_corpus, train


@pytest.fixture(scope="module")
def encoder(corpus, lm_config, tmp_path_factory):
    output, settings = tmp_path_factory.mktemp("encoder"), {"num_train_epochs": 30, "learning_rate": 3e-3}
    train("--encoder_only", dataset=corpus, lm_config=lm_config, output_dir=output, **settings)
    return output


def test_the_encoder_learns_alone_and_nothing_else_does(encoder):
    assert not any("lm_loss" in entry for entry in history(encoder))
    trained = losses(encoder)
    assert trained[max(trained)] < 0.5 * trained[1]
    assert min(entry["eval_wer"] for entry in history(encoder) if "eval_wer" in entry) < 1.0  # what the CTC head reads
    weights = load_file(encoder / "model.safetensors")
    adapters = [name for name in weights if name.startswith("adapters.") and name.endswith("o_proj.weight")]
    assert adapters and not any(weights[name].any() for name in adapters)


def test_a_reading_run_begins_with_it(corpus, lm_config, encoder, tmp_path):
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, encoder=encoder, max_steps=1, learning_rate=1e-9)
    before, after = (load_file(folder / "model.safetensors") for folder in (encoder, tmp_path))
    names = [name for name in before if name.startswith("encoder.")]
    assert names and all(torch.allclose(after[name], before[name], atol=1e-5) for name in names)
    assert losses(tmp_path) and "lm_loss" in history(tmp_path)[0]  # the language model's is among them


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"hidden_size": 16}, "hidden_size 32 instead of 16"),
        ({"landmarks": "lips"}, "landmarks 'lower_face'"),
        ({"ctc": "false"}, "has a CTC head"),
    ],
)
def test_an_encoder_of_other_settings_is_refused(corpus, lm_config, encoder, tmp_path, changed, named):
    with pytest.raises(SystemExit, match=named):
        train(dataset=corpus, lm_config=lm_config, encoder=encoder, output_dir=tmp_path, **changed)


def test_an_encoder_with_an_alignment_head_reads_a_corpus_without_word_times(lm_config, encoder, tmp_path):
    corpus = make_corpus(tmp_path / "corpus", word_times=False)
    train(dataset=corpus, lm_config=lm_config, output_dir=tmp_path / "run", encoder=encoder, max_steps=1)
    logged = history(tmp_path / "run")
    assert "ctc_loss" in logged[0] and "alignment_loss" not in logged[0]
