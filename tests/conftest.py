# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Fixtures shared by the tests. No test needs a network; GRID clips are used where they lie beside the checkout."""

import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads spin against each other as soon as anything else runs

# The same examples in every run, none of which is too slow on a busy machine.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
LONGEST = ("app", "notebook", "prepare_workers", "push_to_hub", "records", "training")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, so that at the end no process waits for another one's."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)


def pytest_runtest_setup() -> None:
    """Gives every test the same random numbers."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real clips and assets beside the repository."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("the folder ../shared with the real clips is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def grid_dir(shared_dir: Path) -> Path:
    """The GRID clips, their transcripts and official word alignments."""
    return shared_dir / "data" / "grid"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A small prepared corpus to train on, with clips of three lengths; nobody writes into it."""
    from tests.helpers.training import make_corpus

    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", lengths=(20, 12, 25))


@pytest.fixture(scope="session")
def exported(corpus, tmp_path_factory) -> Path:
    """The corpus as Parquet files with a card; nobody writes into it."""
    from data.export import main

    folder = tmp_path_factory.mktemp("exported") / "dataset"
    about = ["--license", "cc-by-4.0", "--source_name", "GRID", "--attribution", "M. Cooke and others"]
    main([str(corpus), "--parquet", str(folder), "--max_shard_size", "500000", *about, "--language", "en"])
    return folder


@pytest.fixture(scope="session")
def lm_config(tmp_path_factory) -> Path:
    """The configuration of a small language model to train with the corpus."""
    from tests.helpers.training import make_lm_config

    return make_lm_config(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="session")
def language_model_dir(tmp_path_factory) -> Path:
    """A random language model; nobody writes into it."""
    import torch
    from transformers import AutoModelForCausalLM

    from tests.helpers.readers import text_config

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("language_model")
    AutoModelForCausalLM.from_config(text_config(hidden_size=64, intermediate_size=128)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reader_dir(tmp_path_factory) -> Path:
    """A whole reader that was not trained; nobody writes into it."""
    from tests.helpers.readers import save_reader

    return save_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="session")
def pipeline():
    """The model in the package with its processor."""
    from lipread.options import BUNDLED_MODEL, load_pipeline

    return load_pipeline(BUNDLED_MODEL, "cpu")


@pytest.fixture(scope="session")
def extractor():
    """The landmark extractor; nobody leaves it closed."""
    from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor

    with Face3DKeypointExtractor() as extractor:
        yield extractor


@pytest.fixture(scope="session")
def portrait_video(tmp_path_factory) -> Path:
    """Eight frames of a face that moves to the right."""
    from tests.helpers.clips import moving_portrait, write_video

    return write_video(tmp_path_factory.mktemp("portrait") / "face.mp4", moving_portrait())


@pytest.fixture(scope="session")
def head():
    """The talking head."""
    from data.talker import TalkingHead

    return TalkingHead()


@pytest.fixture(scope="session")
def talker_clip(head, tmp_path_factory) -> Path:
    """The talking head saying a sentence that the model in the package does not know."""
    path = tmp_path_factory.mktemp("talker") / "talker.mp4"
    head.render("please follow the doctor now", path, seed=3)
    return path


@pytest.fixture(scope="module")
def hub():
    """A Hub of its own for each file of tests."""
    from tests.helpers.hub_server import HubServer

    with HubServer() as server:
        yield server


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """Serves the temporary folder by HTTP; yields its address."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *arguments: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def lipread(capsys):
    """Runs a command; returns its exit status, standard output, and the lines of standard error."""
    from transformers.utils import logging

    from lipread.cli import main

    logging.set_verbosity_error()  # the command sets both by variables, before it loads transformers
    logging.disable_progress_bar()

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        try:
            status = main([*map(str, arguments)])
        except SystemExit as exit:  # argparse
            status = exit.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    return run


@pytest.fixture(scope="session")
def trained(corpus, lm_config, tmp_path_factory) -> Path:
    """A reader trained for two epochs of the corpus without an interruption; nobody writes into it."""
    from tests.helpers.training import SAVED, train

    output = tmp_path_factory.mktemp("trained")
    train(dataset=corpus, lm_config=lm_config, output_dir=output, **SAVED)
    return output
