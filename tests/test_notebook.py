# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The example notebook, run from its first cell to its last, as it stands but for how much is trained."""

import ast
import json
import os
import re

import pytest

from tests.helpers.training import REPOSITORY

PATH = REPOSITORY / "examples" / "read_and_train.ipynb"


def cells() -> list[dict]:
    return json.loads(PATH.read_text(encoding="utf-8"))["cells"]


def printed(cell: dict) -> str:
    outputs = cell.get("outputs", [])
    return "".join(
        "".join(part) for out in outputs for part in (out.get("text", []), out.get("data", {}).get("text/plain", []))
    )


def test_it_is_stored_with_what_it_printed_and_reads_in_the_end():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    said = [printed(cell) for cell in code]
    assert not re.search(r"/(home|root|tmp|work)/|Error|Warning", "".join(said))
    metrics = ast.literal_eval(next(text for text in said if "blank_wer" in text).splitlines()[-1])
    assert metrics["wer"] < 0.1 < metrics["blank_wer"]
    assert re.search(r"reference: (.+)\n\{'text': '\1'", "".join(said)), "a clip that it was not trained on"
    assert [index for index, cell in enumerate(cells()) if "parameters" in cell["metadata"].get("tags", [])] == [1]


@pytest.mark.slow
def test_it_runs_to_its_end(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(PATH, as_version=4)
    notebook.cells[1].source = f"NUM_CLIPS, EPOCHS, FOLDER = 8, 2, {str(tmp_path / 'made')!r}"
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    resources = {"metadata": {"path": str(PATH.parent)}}
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources=resources).execute()
    said = "\n".join(printed(cell) for cell in notebook.cells)
    assert re.search(r"\(\d+, 478, 3\) 25 frames a second, a face in 100%", said)
    assert "blank video WER" in said and "'blank_wer'" in said
    card = (tmp_path / "made" / "staged" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---") and (tmp_path / "made" / "staged" / "model.safetensors").is_file()
    assert not list((REPOSITORY / "runs").glob("notebook"))
