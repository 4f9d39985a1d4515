# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Helpers for tests of publishing: a fresh process that loads readers from the Hub."""

import json
from inspect import getsource
from pathlib import Path

import numpy as np

from tests.helpers.hub_server import HubServer
from tests.helpers.readers import run_elsewhere
from tests.helpers.training import TEXTS, make_clip


def read_clip(reader: Path | str, clip: Path | str, **where) -> dict:
    """Returns the tokens and some logits of a reader for a clip, and where its landmarker and language model are."""
    from transformers import AutoModel, AutoProcessor  # here, since `READ` holds this function alone

    processor = AutoProcessor.from_pretrained(reader, **where)
    model = AutoModel.from_pretrained(reader, **where)
    inputs = processor(videos=str(clip), return_tensors="pt")
    ids = model.generate(**inputs)
    found = {"ids": ids.tolist(), "scores": model(**inputs, input_ids=ids).logits[0, -1, :5].tolist()}
    return {**found, "landmarker": processor.landmarker_path, "base_revision": model.config.base_model_revision}


READ = f"""
import json
from pathlib import Path

{getsource(read_clip)}
found = {{}}
for reader in sys.argv[2:]:
    id, _, revision = reader.partition("@")
    try:
        found[reader] = read_clip(id, sys.argv[1], revision=revision or None, trust_remote_code=True)
    except (OSError, ValueError) as error:
        found[reader] = {{"error": str(error)}}
print(json.dumps(found))
"""


def name_base(reader: Path, revision: str | None, name: str = "someone/base") -> Path:
    """Makes a reader name its language model by a revision on the Hub, or by a folder."""
    config = json.loads((reader / "config.json").read_text())
    config |= {"base_model_name_or_path": name, "base_model_revision": revision}
    (reader / "config.json").write_text(json.dumps(config))
    return reader


def write_clip(folder: Path) -> Path:
    """Writes landmarks of a face that speaks."""
    np.save(folder / "clip.npy", make_clip(TEXTS[0], seed=7).keypoints)
    return folder / "clip.npy"


def read_from_hub(hub: HubServer, folder: Path, clip: Path, *repositories: str) -> dict[str, dict]:
    """Returns the results of readers on the Hub (`id` or `id@revision`) for a clip, without packages or a cache."""
    variables = {**hub.environment(folder / "hf", None), "HF_HUB_OFFLINE": "0"}
    return json.loads(run_elsewhere(folder, READ, clip, *repositories, **variables).splitlines()[-1])
