# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes a trained reader as the package ships it, without code and with weights in float16:

    python examples/make_grid_reader.py runs/grid_tiny_longer modeling_lipread/grid_reader

Weights load as float32. Other files of the folder, such as its README.md, stay.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from transformers import AutoModel, AutoProcessor

from modeling_lipread import register


def main(reader: str, folder: str) -> None:
    """Loads `reader`, a folder or a Hub id, and writes it to `folder`."""
    register()
    model, processor = AutoModel.from_pretrained(reader), AutoProcessor.from_pretrained(reader)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as staging:
        model.half().save_pretrained(staging, include_base=True)
        processor.save_pretrained(staging)
        for path in Path(staging).iterdir():
            if path.name.endswith("config.json"):
                config = json.loads(path.read_text(encoding="utf-8"), object_hook=_load_as_float32)
                path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            if path.suffix in {".json", ".safetensors", ".jinja"}:  # without the code and MediaPipe's face model
                shutil.copyfile(path, Path(folder, path.name))


def _load_as_float32(settings: dict) -> dict:
    return settings | {"dtype": "float32"} if "dtype" in settings else settings


if __name__ == "__main__":
    main(*sys.argv[1:])
