# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The model card of a published reader: what was measured and what was said, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

import evaluate_hf
from lipread.hub import model_card
from lipread.hub.model_card import CardDetails
from lipread.hub.publish import stage
from tests.helpers.publishing import name_base
from tests.helpers.readers import write_language_model, write_reader
from tests.helpers.training import make_corpus


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A reader with what `evaluate_hf.py` measured of it on two splits."""
    root = tmp_path_factory.mktemp("evaluated")
    reader = write_reader(root / "reader", write_language_model(root / "base"), include_base=True)
    corpus = make_corpus(root / "tiny_corpus", train=6)
    for split, search in ("validation", []), ("train", ["--num_beams", "2", "--ctc_decoding_weight", "0.3"]):
        evaluate_hf.main([str(reader), str(corpus / split), "--device", "cpu", *search])
    return reader


@pytest.fixture
def reader(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path / "reader")


def card_of(reader, details: CardDetails | None = None, **kwargs) -> tuple[ModelCard, list[str]]:
    """The card, read back from its file, and the notes."""
    staging = reader.parent / "staged"
    shutil.rmtree(staging, ignore_errors=True)
    notes = stage(reader, staging, "someone/reader", details=details, **kwargs)
    return ModelCard.load(staging / "README.md"), notes


def test_measured_results_stand_in_the_card_and_in_its_metadata(reader):
    card, notes = card_of(reader)
    assert notes == ["the card states no licence for the weights: give --license"]
    assert card.data.model_name == "reader"
    results = {(item.dataset_split, item.metric_type): item for item in card.data.eval_results}
    assert len(results) == 8
    for split in ("validation", "train"):
        metrics = json.loads((reader / f"evaluation-{split}.json").read_text())["metrics"]
        for rate, (metric, _) in model_card.RATES.items():
            result = results[split, metric]
            assert result.metric_value == pytest.approx(metrics[rate], abs=1e-4)
            assert (result.dataset_name, result.dataset_type) == ("tiny_corpus", "tiny_corpus")
            assert result.task_type == card.data.pipeline_tag == "video-text-to-text"
        wer, cer = (
            f"{metrics[rate]:.3f} ({metrics[f'{rate}_interval'][0]:.3f} to {metrics[f'{rate}_interval'][1]:.3f})"
            for rate in ("wer", "cer")
        )
        assert results[split, "wer"].metric_name == f"WER (95% interval {wer.split('(')[1]}"
        blank, shuffled = (f"{metrics[rate]:.3f}" for rate in ("blank_wer", "shuffled_wer"))
        assert f"| tiny_corpus | {split} | {metrics['clips']} | {wer} | {cer} | {blank} | {shuffled} |" in card.text
        # This reader is untrained, and the card does not hide it.
        assert f"**On `{split}` this model is no better than with blank video" in card.text
    assert "`train` was read with 2 beams." in card.text
    assert "`train` was read with the CTC head at a weight of 0.3." in card.text
    assert "`validation` was read with" not in card.text and str(reader.parent) not in card.content


def test_a_reader_that_reads_is_not_called_blind_and_results_of_other_weights_do_not_count(reader):
    path = reader / "evaluation-validation.json"
    evaluation = json.loads(path.read_text())
    evaluation["metrics"] |= {"wer": 0.2, "wer_interval": [0.1, 0.3], "blank_wer": 0.8, "shuffled_wer": float("nan")}
    path.write_text(json.dumps(evaluation))
    card, _ = card_of(reader)
    assert "**On `validation`" not in card.text and "| not defined |" in card.text
    metrics = {item.metric_type for item in card.data.eval_results if item.dataset_split == "validation"}
    assert metrics == {"wer", "cer", "blank_video_wer"}  # what is no number is no result
    weights = load_file(reader / "model.safetensors")
    weights["encoder.input_mean"] += 1
    save_file(weights, reader / "model.safetensors", metadata={"format": "pt"})
    (reader / "evaluation-broken.json").write_text('{"metrics"')
    card, notes = card_of(reader)
    assert card.data.eval_results is None and card.data.get("metrics") is None
    assert "None. Nobody has evaluated these weights" in card.text
    names = [note.split(" ")[0] for note in notes[:3]]
    assert names == [f"evaluation-{name}.json" for name in ("broken", "train", "validation")]
    assert "not measured on these weights" in notes[1] and "the card has no results" in notes[3]


def test_the_card_holds_the_options_of_the_publisher_and_invents_nothing(reader):
    card, _ = card_of(reader)
    for absent in ("language", "license", "datasets", "base_model"):
        assert card.data.get(absent) is None
    assert "has not named the corpus" in card.text and "has stated no licence" in card.text
    about = {"dataset_id": "someone/grid", "dataset_name": "GRID | {{ 7 * 7 }}", "dataset_license": "CC BY 4.0"}
    about |= {"dataset_attribution": 'Cooke et al., "An audio-visual corpus": 2006'}
    details = CardDetails(language=["en"], license="cc-by-4.0", **about)
    card, notes = card_of(reader, details)
    assert notes == []
    assert (card.data.language, card.data.license, card.data.datasets) == ("en", "cc-by-4.0", ["someone/grid"])
    assert {item.dataset_type for item in card.data.eval_results} == {"someone/grid"}
    assert {item.dataset_name for item in card.data.eval_results} == {"GRID | {{ 7 * 7 }}"}
    assert "| GRID \\| {{ 7 * 7 }} | train |" in card.text  # a cell is a cell, and nothing in it is run
    assert "](https://huggingface.co/datasets/someone/grid)" in card.text
    assert "The weights: cc-by-4.0." in card.text and details.dataset_attribution in card.text
    assert card_of(reader, CardDetails(language=["en", "de"]))[0].data.language == ["en", "de"]


def test_the_card_holds_the_settings_of_the_training(reader):
    arguments = {"learning_rate": 5e-4, "bf16": False, "load_best_model_at_end": True, "hub_token": "x"}
    (reader / "training_args.json").write_text(json.dumps(arguments))
    rates = {"eval_cer": 0.2, "eval_blank_wer": 0.9, "eval_shuffled_wer": 0.8, "eval_clips": 4}
    log = [{"step": 20, "eval_wer": 0.4, **rates}, {"step": 30, "eval_wer": 0.5, **rates}]
    state = {"global_step": 30, "best_global_step": 20, "epoch": 3.0, "log_history": log}
    (reader / "trainer_state.json").write_text(json.dumps(state))
    (reader / "training_data.json").write_text(json.dumps({"split": "train", "clips": 1885, "seconds": 5655.0}))
    text = card_of(reader)[0].text
    assert "| learning_rate | 0.0005 |" in text and "| steps | 30 |" in text and "bf16" not in text
    assert "The training split had 1,885 clips of 94.2 minutes in all." in text
    assert "WER 0.400" in text and "The checkpoint was chosen by that WER" in text
    checkpoint = reader.rename(reader.parent / "checkpoint-30")  # one of the run's checkpoints is not its best
    text = card_of(checkpoint)[0].text
    assert "WER 0.500" in text and "was chosen by that WER" not in text


def test_a_language_model_on_the_hub_is_named(evaluated, tmp_path):
    reader = write_reader(tmp_path / "reader", evaluated.parent / "base")
    card, _ = card_of(name_base(reader, "a" * 40))
    assert card.data.base_model == "someone/base"
    assert f"[someone/base](https://huggingface.co/someone/base) at commit `{'a' * 40}`, frozen." in card.text
    assert "The language model is loaded from its own repository, at that commit" in card.text
    with pytest.raises(ValueError, match="names its language model, someone/base, by no commit on the Hub"):
        card_of(name_base(reader, "main"))


def test_the_projects_own_card_says_the_same_of_what_readers_are_for():
    card = Path(__file__).resolve().parents[2] / "model_card.md"
    intended_use = Path(model_card.__file__).with_name("intended_use.md")
    assert intended_use.read_text(encoding="utf-8").strip() in card.read_text(encoding="utf-8")
