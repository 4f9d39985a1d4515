# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What a run with a CTC head of sounds refuses before it begins, and what it hands to its workers."""

import pickle

import pytest
import training
from datasets import load_from_disk
from transformers import set_seed

from data.arguments import check_arguments, parse_arguments
from data.pronunciation import spelling_of
from train_hf import build_reader


def build(corpus, lm_config, folder, *more):
    """A run as `train_hf.py` begins it, up to its first step."""
    line = training.command(dataset=corpus, lm_config=lm_config, output_dir=folder)[2:]
    *settings, args = parse_arguments([*line, *map(str, more)], "")
    check_arguments(settings[0], settings[1], args)
    set_seed(0)
    return build_reader(*settings, args)


@pytest.fixture(scope="module")
def encoders(corpus, lm_config, tmp_path_factory):
    """Untrained encoders of both kinds, as a run saves them."""
    folder = tmp_path_factory.mktemp("encoders")
    for units in ("characters", "phonemes"):
        build(corpus, lm_config, folder / units, "--encoder_only", "true", "--ctc_units", units).save_model()
    return folder


@pytest.mark.parametrize("units", ["characters", "phonemes", "visemes"])
def test_workers_that_are_started_anew_get_the_spelling(units):
    spell = spelling_of(units)
    assert pickle.loads(pickle.dumps(spell))("Bin, blue") == spell("bin blue")


def test_an_encoder_of_sounds_does_not_take_part_in_decoding(corpus, lm_config, encoders, tmp_path):
    with pytest.raises(ValueError, match="phonemes.*--ctc_decoding_weight"):
        build(corpus, lm_config, tmp_path, "--encoder", encoders / "phonemes", "--ctc_decoding_weight", 0.3)
    trainer = build(corpus, lm_config, tmp_path, "--encoder", encoders / "characters", "--ctc_decoding_weight", 0.3)
    assert trainer.model.generation_config.ctc_decoding_weight == 0.3


def test_an_encoder_has_its_own_units(corpus, lm_config, encoders, tmp_path):
    for units in ("phonemes", "visemes"):
        with pytest.raises(ValueError, match=f"writes characters.*--ctc_units {units}"):
            build(corpus, lm_config, tmp_path, "--encoder", encoders / "characters", "--ctc_units", units)
    trainer = build(corpus, lm_config, tmp_path, "--encoder", encoders / "phonemes", "--ctc_units", "phonemes")
    assert trainer.model.config.ctc_units == "phonemes"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_words_without_a_pronunciation_stop_a_run_before_it_begins(split, corpus, lm_config, encoders, tmp_path):
    splits = load_from_disk(corpus)
    splits[split] = splits[split].map(lambda row: {"text": "bin привет"}, features=splits[split].features)
    splits.save_to_disk(tmp_path / "strange")
    begun = ("--encoder", encoders / "phonemes") if split == "train" else ()
    with pytest.raises(ValueError, match="привет"):
        build(tmp_path / "strange", lm_config, tmp_path, "--encoder_only", "true", "--ctc_units", "phonemes", *begun)
