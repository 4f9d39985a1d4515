# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writes a trained reader as the package carries it: half-precision weights, and nothing that the package has already.

    python -m data.embed runs/grid_tiny modeling_lipread/grid_reader

Weights are stored in float16 and computed with in float32. `README.md`, if there is one in the folder, stays.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoProcessor

import modeling_lipread  # noqa: F401  (registers the reader)

from .extraction import replacing

KEPT = {".json", ".safetensors", ".jinja"}


def embed(reader: str, folder: Path) -> int:
    """Writes a reader to a folder.

    Args:
        reader: Folder or Hub id of a reader.
        folder: Where to write.

    Returns:
        Bytes written.

    Raises:
        OSError, ValueError: If the reader cannot be read.
    """
    model, processor = AutoModel.from_pretrained(reader), AutoProcessor.from_pretrained(reader)
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    with tempfile.TemporaryDirectory() as staging:
        model.half().save_pretrained(staging, include_base=True)
        processor.save_pretrained(staging)
        for settings in Path(staging).glob("*config.json"):
            config = _settled(json.loads(settings.read_text(encoding="utf-8")))
            settings.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for path in sorted(Path(staging).iterdir()):
            if path.suffix in KEPT:
                with replacing(folder / path.name) as beside:
                    size += Path(shutil.copyfile(path, beside)).stat().st_size
    return size


def _settled(settings: Any) -> Any:
    """Settings that ask for single precision."""
    if not isinstance(settings, dict):
        return settings
    kept = {key: _settled(value) for key, value in settings.items()}
    return kept | ({"dtype": "float32"} if "dtype" in kept else {})


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", help="folder or Hub id of a trained reader")
    parser.add_argument("folder", type=Path, help="where to write")
    options = parser.parse_args(arguments)
    try:
        size = embed(options.reader, options.folder)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.folder}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
