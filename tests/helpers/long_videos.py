# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Long videos made of GRID clips."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modeling_lipread.video_lipread import read_frames
from tests.helpers.clips import write_video


def grid_lines(grid_dir: Path, split: str, speaker: str, count: int) -> list[dict]:
    lines = [json.loads(line) for line in (grid_dir / f"{split}.jsonl").read_text().splitlines()]
    return [line for line in lines if line["speaker"] == speaker][:count]


def grid_frames(grid_dir: Path, lines: Sequence[dict]) -> list[np.ndarray]:
    return [frame for line in lines for _, frame in read_frames(grid_dir / line["video"])]


def one_after_another(grid_dir: Path, lines: Sequence[dict], path: Path) -> Path:
    return write_video(path, grid_frames(grid_dir, lines))
