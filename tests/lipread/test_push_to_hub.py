# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""transformers' own ways to the Hub: `push_to_hub` of model and processor, and of a training run."""

import json
import os
import sys

import pytest
from huggingface_hub import ModelCard

from tests.helpers.publishing import name_base, read_clip, read_from_hub, write_clip
from tests.helpers.readers import write_language_model
from tests.helpers.training import REPOSITORY, command, make_corpus, make_lm_config
from train_hf import main

# Reads the language model from the Hub, and pushes readers on it in every way there is.
PUSH = """
import sys
from pathlib import Path
from tests.helpers.readers import write_reader
from modeling_lipread import LipReadForConditionalGeneration, LipReadProcessor

root, local = Path(sys.argv[1]), sys.argv[2]
for name, settings in {"pushed": {}, "lora": {"lora": {"r": 2}}}.items():
    folder = write_reader(root / name, "someone/base", **settings)
    model = LipReadForConditionalGeneration.from_pretrained(folder)
    processor = LipReadProcessor.from_pretrained(folder)
    model.push_to_hub(f"someone/{name}", commit_message="By its own method")
    processor.push_to_hub(f"someone/{name}")
where = {"push_to_hub": True, "repo_id": "someone/saved"}
folder = write_reader(root / "local", local)
model = LipReadForConditionalGeneration.from_pretrained(folder)
model.save_pretrained(root / "saved", include_base=True, **where)
LipReadProcessor.from_pretrained(folder).save_pretrained(root / "saved", **where)
for push in (model.push_to_hub, lambda id: model.save_pretrained(root / "refused", push_to_hub=True, repo_id=id)):
    try:
        push("someone/refused")
    except ValueError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("pushed")


@pytest.fixture(scope="module")
def clip(root):
    return write_clip(root)


@pytest.fixture(scope="module")
def refusals(hub, root):
    """Pushes readers, and returns the messages of refusals."""
    base = write_language_model(root / "base")
    hub.add("someone/base", base)
    return hub.run(root / "home", sys.executable, "-c", PUSH, root, base, cwd=REPOSITORY).splitlines()


@pytest.fixture(scope="module")
def trained(hub, root):
    """A run of `train_hf.py --push_to_hub`."""
    lm_config, corpus = make_lm_config(root), make_corpus(root / "corpus", train=8)
    settings = {"lm_config": lm_config, "dataset": corpus, "output_dir": root / "run", "num_train_epochs": 1}
    settings |= {"push_to_hub": True, "hub_model_id": "someone/trained"}
    hub.run(root / "home", *command(**settings), cwd=REPOSITORY)
    return root / "run"


@pytest.fixture(scope="module")
def elsewhere(hub, root, clip, refusals, trained):
    """Results of the readers in a process without our packages, after another commit to their language model."""
    hub.add("someone/base", write_language_model(root / "other", seed=4), message="Other weights")
    return read_from_hub(hub, root, clip, *(f"someone/{name}" for name in ("pushed", "lora", "saved", "trained")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved", "trained"])
def test_what_holds_its_language_model_reads_the_same(elsewhere, trained, root, clip, name):
    expected = read_clip({"saved": root / "local", "trained": trained}[name], clip)
    read = elsewhere[f"someone/{name}"]
    assert read["ids"] == expected["ids"] and read["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    assert "models--someone--" in read["landmarker"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pushed", "lora"])
def test_what_names_its_language_model_names_the_commit(hub, elsewhere, root, clip, name):
    then = hub.repository("someone/base").history()[1].id
    config = json.loads((root / name / "config.json").read_text())
    assert (config["base_model_name_or_path"], config["base_model_revision"]) == ("someone/base", then)
    read = elsewhere[f"someone/{name}"]
    assert read["base_revision"] == then
    # The same reader on the language model as it was, from its folder.
    expected = read_clip(name_base(root / name, None, str(root / "base")), clip)
    assert read["ids"] == expected["ids"] and read["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    titles = [commit.title for commit in hub.repository(f"someone/{name}").history()]
    assert titles == ["Upload processor", "By its own method", "initial commit"]


@pytest.mark.slow
def test_nothing_is_pushed_that_names_a_folder(hub, refusals):
    assert len(refusals) == 2 and all("names its language model by a folder" in line for line in refusals)
    assert ("models", "someone/refused") not in hub.repositories


@pytest.mark.slow
def test_a_training_run_pushes_a_reader_with_its_card_and_no_pickles(hub, trained, tmp_path):
    files = hub.files("someone/trained")
    assert {name.rsplit(".")[-1] for name in files} == {"py", "json", "safetensors", "task", "md", "gitattributes"}
    assert not {name for name in files if name.startswith(("train", "eval")) or "/" in name}
    assert [commit.title for commit in hub.repository("someone/trained").history()] == ["Model save", "initial commit"]
    (tmp_path / "card.md").write_bytes(files["README.md"])
    text = ModelCard.load(tmp_path / "card.md").text
    state = json.loads((trained / "trainer_state.json").read_text())
    assert f"held out in training (4 of them): WER {state['best_metric']:.3f}" in text
    assert "had 8 clips of 0.1 minutes" in text and f"| steps | {state['global_step']} |" in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model_id", str(REPOSITORY), "--dataset", "x"], "is a local folder: upload it and give its id"),
        (["--model_id", "x", "--train_text", "y"], "hf upload"),
        (["--model_id", "x", "--dataset", "y", "--hub_strategy", "every_save"], "--hub_strategy"),
    ],
)
def test_a_run_that_could_not_be_pushed_is_refused_before_it_begins(arguments, reason, tmp_path):
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # nothing is asked of any Hub
    with pytest.raises(SystemExit, match=reason):
        main([*arguments, "--push_to_hub", "--output_dir", str(tmp_path), "--use_cpu"])
