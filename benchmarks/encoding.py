# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Benchmarks of the face encoder against the literal encoder with the same weights."""

import sys
from collections.abc import Iterator
from functools import partial

import torch

from modeling_lipread import FaceKeypointEncoder

from .literal_encoder import LiteralEncoder, literal_config
from .measure import Row, in_fresh_process, peak_mebibytes, side_by_side

TOLERANCE = 1e-4  # largest difference of the two outputs in float32


def make_pair(device: torch.device, **settings) -> tuple[LiteralEncoder, FaceKeypointEncoder]:
    """Returns the literal encoder and ours, with the same weights, in evaluation mode."""
    torch.manual_seed(0)
    ours = FaceKeypointEncoder(literal_config(**settings)).eval()
    # No weight is zero, so that each one affects the comparison.
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return LiteralEncoder(ours).eval().to(device), ours.to(device)


def make_clips(batch: int, frames: int, landmarks: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns clips of random landmarks and their mask, without padding."""
    torch.manual_seed(1)
    keypoints = torch.randn(batch, frames, landmarks, 3, device=device)
    return keypoints, torch.ones(batch, frames, dtype=torch.long, device=device)


@torch.inference_mode()
def check_equal(literal: LiteralEncoder, ours: FaceKeypointEncoder, keypoints, mask) -> float:
    """Returns the largest difference between the two outputs, and raises AssertionError above `TOLERANCE`."""
    difference = (literal(keypoints, mask) - ours(keypoints, mask).last_hidden_state).abs().max().item()
    assert difference <= TOLERANCE, f"the outputs differ by {difference:.1e}, more than {TOLERANCE:.0e}"
    return difference


def forward_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """Yields the forward pass of one clip, and of a batch whose frames are half padding."""
    literal, ours = make_pair(device, **settings)
    landmarks = ours.config.num_landmarks
    for name, batch, goal in (("no padding", 1, 1.9), ("half padding", 4, 3.5)):
        keypoints, mask = make_clips(batch, frames, landmarks, device)
        mask[1:, frames // 3 :] = 0  # of 4 clips: half of all frames
        difference = check_equal(literal, ours, keypoints, mask)
        with torch.inference_mode():
            times = side_by_side(*(partial(model, keypoints, mask) for model in (literal, ours)), device, repeats)
        yield Row(f"forward, {batch} x {frames} frames, {name} (difference {difference:.0e})", *times, goal=goal)


def _step(model: torch.nn.Module, keypoints: torch.Tensor, mask: torch.Tensor):
    def step():
        model.zero_grad(set_to_none=True)
        output = model(keypoints, mask)
        (output if isinstance(output, torch.Tensor) else output.last_hidden_state).square().mean().backward()

    return step


def train_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """Yields forward and backward pass with dropout 0.1, and their peak memory."""
    pair = make_pair(device, **settings)
    landmarks = pair[1].config.num_landmarks
    clips = make_clips(1, frames, landmarks, device)
    check_equal(*pair, *clips)
    steps = [_step(model.train(), *clips) for model in pair]
    yield Row(f"forward+backward, dropout 0.1, {frames} frames", *side_by_side(*steps, device, repeats), goal=4.5)
    sizes = (str(device), str(frames), str(landmarks))
    peaks = [in_fresh_process("benchmarks.encoding", which, *sizes)[0] for which in ("literal", "ours")]
    yield Row("peak memory of it", *peaks, unit="MiB", goal=0.25, at_most=True)


def main(which: str, device: str, frames: str, landmarks: str) -> None:
    """Prints the peak memory in MiB of a training step of the encoder `literal` or `ours`."""
    model = make_pair(torch.device(device), num_landmarks=int(landmarks))[which == "ours"].train()
    # A small step first, so that memory which libraries allocate once is not counted.
    _step(model, *make_clips(1, 2, int(landmarks), torch.device(device)))()
    step = _step(model, *make_clips(1, int(frames), int(landmarks), torch.device(device)))
    print(peak_mebibytes(step, torch.device(device)))


if __name__ == "__main__":
    main(*sys.argv[1:])
