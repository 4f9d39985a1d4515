# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The reader that the package carries: small, whole, and able to read."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoProcessor

from data.corpora import read_alignment
from data.evaluation.metrics import edit_counts, error_rate
from examples.make_grid_reader import main as make_grid_reader
from lipread.options import BUNDLED_MODEL
from modeling_lipread.configuration_lipread import LIMITS
from tests.helpers.clips import EXAMPLE, EXAMPLE_WORDS, grid_lines
from tests.helpers.readers import make_reader


def test_it_is_small_and_whole():
    assert sum(path.stat().st_size for path in Path(BUNDLED_MODEL).iterdir()) < 10e6
    model = AutoModel.from_pretrained(BUNDLED_MODEL)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    # Trained anew, it is to be calibrated anew: python -m data.calibrate modeling_lipread/grid_reader VALIDATION
    assert model.config.calibration and set(model.config.abstention) == set(LIMITS)


def test_it_reads_real_clips_it_was_not_trained_on(pipeline, grid_dir):
    lines = grid_lines(grid_dir, "validation", "s1", 6)
    results = [pipeline(str(grid_dir / line["video"]), return_timestamps="word") for line in lines]
    read = [result["text"] for result in results]
    assert error_rate(*edit_counts(read, [line["text"] for line in lines])) < 0.2, read
    errors = []
    for line, result in zip(lines, results, strict=True):
        said = read_alignment(grid_dir / line["align"])
        for word, chunk in zip(said, result["chunks"], strict=True):
            if word.word == chunk["text"]:
                errors += [abs(chunk["timestamp"][0] - word.start), abs(chunk["timestamp"][1] - word.end)]
    assert len(errors) > 50 and np.median(errors) <= 0.06, "seconds from the corpus's own alignment"


def test_it_reads_the_example_as_the_readme_says(pipeline):
    assert pipeline(str(EXAMPLE))["text"] == EXAMPLE_WORDS


def test_the_script_that_makes_it(tmp_path):
    model = make_reader()
    for part in (model, AutoProcessor.from_pretrained(BUNDLED_MODEL)):
        part.save_pretrained(tmp_path / "reader")
    make_grid_reader(str(tmp_path / "reader"), str(tmp_path / "embedded"))
    assert {path.suffix for path in (tmp_path / "embedded").iterdir()} <= {".json", ".safetensors", ".jinja"}
    loaded = AutoModel.from_pretrained(tmp_path / "embedded")
    for (name, expected), (_, found) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert found.dtype == torch.float32
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-5), name
