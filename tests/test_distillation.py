# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A reader that learns from what others expect."""

import json

import pytest
import torch
from safetensors.torch import load_file
from training import make_corpus, make_lm_config, run

from data.distillation import Teachers
from modeling_lipread import LipReadForConditionalGeneration
from modeling_lipread.processing_lipread import LipReadProcessor
from train_hf import main


@pytest.fixture(scope="module")
def teachers(corpus, lm_config, tmp_path_factory):
    """Two readers of one corpus that differ by seed and size."""
    folders = []
    for seed, hidden_size in ((1, 32), (2, 16)):
        folders.append(tmp_path_factory.mktemp(f"teacher{seed}"))
        settings = {"dataset": corpus, "lm_config": lm_config, "output_dir": folders[-1]}
        run(**settings, num_train_epochs=12, learning_rate=3e-3, seed=seed, hidden_size=hidden_size)
    return folders


@pytest.fixture
def batch(teachers):
    torch.manual_seed(0)
    reader = LipReadForConditionalGeneration.from_pretrained(teachers[0])
    keypoints = torch.randn(2, 9, reader.config.encoder_config.num_landmarks, 3)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    ids = torch.randint(5, 40, (2, 6))
    inputs = {"keypoints": keypoints, "keypoints_mask": mask, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return inputs | {"labels": ids.masked_fill(torch.arange(6) == 0, -100)}


def load(folders) -> Teachers:
    reader = LipReadForConditionalGeneration.from_pretrained(folders[0])
    return Teachers([str(folder) for folder in folders], reader.config, LipReadProcessor.from_pretrained(folders[0]))


def test_their_opinion_is_the_average(teachers, batch):
    both, alone = load(teachers).probabilities(batch), [load([folder]).probabilities(batch) for folder in teachers]
    assert set(both) == {"logits", "alignment_logits"}
    for name, value in both.items():
        torch.testing.assert_close(value, (alone[0][name] + alone[1][name]) / 2)
        torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))
        assert not torch.allclose(alone[0][name], alone[1][name])


def test_the_loss_is_nothing_for_who_agrees_and_more_for_who_does_not(teachers, batch):
    readers = [LipReadForConditionalGeneration.from_pretrained(folder).eval() for folder in teachers]
    with torch.no_grad():
        own, other = (load(teachers[:1]).loss(reader(**batch), batch) for reader in readers)
    assert own.abs() < 1e-5 < other


def test_padding_and_what_is_no_transcript_do_not_count(teachers, batch):
    reader = LipReadForConditionalGeneration.from_pretrained(teachers[1]).eval()
    with torch.no_grad():
        outputs = reader(**batch)
        loss = load(teachers[:1]).loss(outputs, batch)
        outputs.alignment_logits[1, 6:] += torch.randn_like(outputs.alignment_logits[1, 6:])
        outputs.logits[:, -1] += torch.randn_like(outputs.logits[:, -1])  # after the last token nothing is learned
        torch.testing.assert_close(load(teachers[:1]).loss(outputs, batch), loss)
        outputs.logits[:, 0] += torch.randn_like(outputs.logits[:, 0])
        assert load(teachers[:1]).loss(outputs, batch) > loss


@pytest.mark.parametrize("alone", [False, True])
def test_a_reader_comes_nearer_to_its_teachers(corpus, lm_config, teachers, tmp_path, alone):
    before = [load_file(folder / "model.safetensors") for folder in teachers]
    arguments = ["--teachers", *teachers, *(["--encoder_only"] if alone else [])]
    settings = {"num_train_epochs": 8, "learning_rate": 3e-3, "ctc_weight": 1.0, "alignment_weight": 1.0}
    run(*arguments, dataset=corpus, lm_config=lm_config, output_dir=tmp_path, **settings)
    history = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    distances = [entry["distillation_loss"] for entry in history if "distillation_loss" in entry]
    assert distances[-1] < 0.7 * distances[0]
    parts = history[0]["ctc_loss"] + history[0]["alignment_loss"] + history[0].get("lm_loss", 0.0)
    assert history[0]["loss"] == pytest.approx(parts + distances[0], rel=1e-3)
    assert "eval_distillation_loss" not in history[-1]
    for folder, weights in zip(teachers, before, strict=True):
        after = load_file(folder / "model.safetensors")
        assert all(torch.equal(after[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"landmarks": "lips"}, "landmarks 'lower_face' instead of 'lips'"),
        ({"prompt": "said:"}, "another prompt"),
        ({"lm_vocab_size": "270"}, "other tokens"),
        ({"distillation_weight": "-1"}, "at least 0"),
    ],
)
def test_teachers_of_something_else_are_refused(corpus, lm_config, teachers, tmp_path, changed, named):
    settings = {"dataset": corpus, "lm_config": lm_config, "teachers": teachers[0], "output_dir": tmp_path / "run"}
    settings |= {"hidden_size": 32, "kp_temporal_layers": 1, "kp_heads": 2, "lm_vocab_size": 280, **changed}
    with pytest.raises(SystemExit, match=named):
        main(["--use_cpu", *(part for key, value in settings.items() for part in (f"--{key}", str(value)))])


def test_a_teacher_of_other_words_is_refused(teachers, lm_config, tmp_path):
    other = make_corpus(tmp_path / "corpus", train=3)  # fewer texts, so other tokens and characters
    with pytest.raises(SystemExit, match="other (tokens|characters)"):
        main(
            ["--use_cpu", "--dataset", str(other), "--lm_config", str(make_lm_config(tmp_path))]
            + ["--teachers", str(teachers[0]), "--hidden_size", "32", "--kp_temporal_layers", "1", "--kp_heads", "2"]
            + ["--lm_vocab_size", "280", "--output_dir", str(tmp_path / "run")]
        )
