# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""An update does not depend on how it is divided into batches; transformers' own Trainer trains and evaluates."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.tokenizer import build_ctc_vocab
from tests.helpers.readers import make_inputs, make_reader, save_reader
from tests.helpers.stock_trainer import make_trainer
from tests.helpers.training import TEXTS, TORCHRUN, make_corpus, run_python

PARTS = ("lm_loss", "ctc_loss", "alignment_loss")
# A model without anything random in its forward pass.
ENCODER = {"kp_dropout": 0.0, "alignment_head": True, "ctc_vocab_size": len(build_ctc_vocab(TEXTS))}
DETERMINISTIC = {"encoder": ENCODER, "adapter_dropout": 0.0, "decoder_mask_prob": 0.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Clips and transcripts of unequal length; every other clip has its words' times."""
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", train=8, lengths=(20, 26, 23))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return save_reader(tmp_path_factory.mktemp("reader"), label_smoothing=0.1, alignment_weight=1.0, **DETERMINISTIC)


@pytest.mark.parametrize("absent", [(), ("input_ids", "attention_mask"), ("input_ids", "attention_mask", "labels")])
def test_every_part_of_the_loss_adds_up_over_batches(absent):
    """Four clips with transcripts of unequal length, one without words' times."""
    model = make_reader(encoder={"alignment_head": True, "ctc_vocab_size": 4}, open_gates=True)
    inputs = make_inputs(4)
    inputs["labels"] = inputs["input_ids"].clone()
    inputs["labels"][0, 2:] = inputs["labels"][1, :4] = -100
    inputs["ctc_targets"] = torch.tensor([[2, -100, -100], [2, 3, 1], [3, -100, -100], [1, 2, -100]])
    inputs["alignment_targets"] = torch.randint(0, 4, inputs["keypoints_mask"].shape)
    inputs["alignment_targets"][0, 3:] = inputs["alignment_targets"][2] = -100
    items = 4 if "labels" in absent else (inputs["labels"][:, 1:] != -100).sum()
    inputs = {name: value for name, value in inputs.items() if name not in absent}
    whole, parts = model(**inputs), PARTS[bool(absent) :]
    batches = [{name: value[rows] for name, value in inputs.items()} for rows in (slice(0, 1), slice(1, 4))]
    outputs = [model(**batch, num_items_in_batch=items) for batch in batches]
    for part in ("loss", *parts):
        assert sum(output[part].item() for output in outputs) == pytest.approx(whole[part].item(), rel=1e-5), part
    weights = dict(zip(PARTS, (1.0, model.config.ctc_weight, model.config.alignment_weight), strict=True))
    assert 0 < whole.loss.item() == pytest.approx(sum(weights[part] * whole[part].item() for part in parts))


def update(reader: Path, folder: Path) -> torch.Tensor:
    """What training changed in all weights, `(weights,)`."""
    before, after = (load_file(path / "model.safetensors") for path in (reader, folder))
    return torch.cat([(after[name].float() - value.float()).flatten() for name, value in sorted(before.items())])


def trained(reader: Path, corpus: Path, folder: Path, **settings: int) -> torch.Tensor:
    """The update of two steps."""
    trainer = make_trainer(reader, corpus, folder, max_steps=2, **settings)
    trainer.train()
    trainer.save_model()
    return update(reader, folder)


@pytest.fixture(scope="module")
def whole(reader, corpus, tmp_path_factory):
    """The update of batches of four."""
    return trained(reader, corpus, tmp_path_factory.mktemp("whole"), per_device_train_batch_size=4)


def test_accumulation_gives_the_update_of_one_large_batch(reader, corpus, whole, tmp_path):
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    assert whole.norm() > 0
    assert (trained(reader, corpus, tmp_path, **settings) - whole).norm() < 1e-5 * whole.norm()


@pytest.mark.slow
def test_two_processes_give_the_update_of_one_large_batch(reader, corpus, whole, tmp_path):
    run_python(*TORCHRUN, "tests/helpers/stock_trainer.py", reader, corpus, tmp_path, 2)
    assert (update(reader, tmp_path) - whole).norm() < 1e-5 * whole.norm()


def test_the_stock_trainer_evaluates_and_keeps_the_best_checkpoint(reader, corpus, tmp_path):
    strategy = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1, "max_steps": 3}
    trainer = make_trainer(reader, corpus, tmp_path, load_best_model_at_end=True, **strategy, learning_rate=3.0)
    trainer.train()
    measured = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    assert len(measured) == 3 and trainer.state.best_metric == min(measured.values())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(measured.values()), rel=1e-5)


def test_label_smoothing_of_the_stock_trainer_is_refused(reader, corpus, tmp_path):
    """It would train on labels that are not shifted."""
    trainer = make_trainer(reader, corpus, tmp_path, label_smoothing_factor=0.1, max_steps=1)
    with pytest.raises(ValueError, match="label_smoothing_factor.*set config.label_smoothing instead"):
        trainer.train()


def test_smoothing_changes_the_loss_in_training_alone():
    inputs = make_inputs()
    inputs["labels"] = inputs["input_ids"].clone()
    inputs["labels"][0, :3] = -100
    settings = {"decoder_mask_prob": 0.0, "adapter_dropout": 0.0, "encoder": {"kp_dropout": 0.0}}
    plain, smoothed = make_reader(**settings), make_reader(label_smoothing=0.1, **settings)
    with torch.no_grad():
        measured = plain(**inputs)
        assert smoothed(**inputs).loss == measured.loss
        logits, labels = measured.logits[:, :-1], inputs["labels"][:, 1:]
        scores = logits.log_softmax(-1)[labels != -100]
        right = -scores.gather(-1, labels[labels != -100][:, None]).mean()
        torch.testing.assert_close(measured.loss, right)
        expected = 0.9 * right - 0.1 * scores.mean()
        torch.testing.assert_close(smoothed.train()(**inputs).loss, expected)
        torch.testing.assert_close(plain.train()(**inputs).loss, right)
