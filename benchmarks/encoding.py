# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The face encoder against the literal one: same weights, same output, less time and memory."""

import argparse
from collections.abc import Iterator
from functools import partial

import torch

from modeling_lipread import FaceKeypointEncoder, FaceKeypointEncoderConfig
from modeling_lipread.geometry_lipread import LIPS

from .literal_encoder import LiteralEncoder, literal_config
from .measure import Row, in_fresh_process, peak_mebibytes, side_by_side

TOLERANCE = 1e-4  # of the two outputs in float32
FRAMES = 75  # 3 s at 25 frames a second


def make_pair(device: torch.device, **settings) -> tuple[LiteralEncoder, FaceKeypointEncoder]:
    """The literal encoder and ours, with the same weights, in evaluation mode."""
    torch.manual_seed(0)
    ours = FaceKeypointEncoder(literal_config(**settings)).eval()
    # Nothing stands at zero, so that every weight tells in the comparison.
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    return LiteralEncoder(ours).eval().to(device), ours.to(device)


def make_clips(batch: int, frames: int, landmarks: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of random landmarks, the first of full length."""
    torch.manual_seed(1)
    keypoints = torch.randn(batch, frames, landmarks, 3, device=device)
    return keypoints, torch.ones(batch, frames, dtype=torch.long, device=device)


def half_padding(mask: torch.Tensor) -> torch.Tensor:
    """A mask in which one clip is whole and the others are so short that half of all frames are padding."""
    mask = mask.clone()
    batch, frames = mask.shape
    valid = round((batch / 2 - 1) * frames / max(1, batch - 1))
    mask[1:, max(1, valid) :] = 0
    return mask


@torch.inference_mode()
def check_equal(literal: LiteralEncoder, ours: FaceKeypointEncoder, keypoints, mask) -> float:
    """The largest difference between the two outputs.

    Raises:
        AssertionError: If it is more than `TOLERANCE`.
    """
    difference = (literal(keypoints, mask) - ours(keypoints, mask).last_hidden_state).abs().max().item()
    assert difference <= TOLERANCE, f"the outputs differ by {difference:.1e}, more than {TOLERANCE:.0e}"
    return difference


def forward_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """Reading: without padding, and in a batch where half the frames are padding."""
    literal, ours = make_pair(device, **settings)
    landmarks = ours.config.num_landmarks
    for name, batch, goal in (("no padding", 1, 1.9), ("half padding", 4, 3.5)):
        keypoints, mask = make_clips(batch, frames, landmarks, device)
        mask = mask if batch == 1 else half_padding(mask)
        difference = check_equal(literal, ours, keypoints, mask)
        with torch.inference_mode():
            times = side_by_side(partial(literal, keypoints, mask), partial(ours, keypoints, mask), device, repeats)
        yield Row(f"forward, {batch} x {frames} frames, {name} (difference {difference:.0e})", *times, goal=goal)


def _step(model: torch.nn.Module, keypoints: torch.Tensor, mask: torch.Tensor):
    def step():
        model.zero_grad(set_to_none=True)
        output = model(keypoints, mask)
        (output if isinstance(output, torch.Tensor) else output.last_hidden_state).square().mean().backward()

    return step


def train_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """Forward and backward as trained, dropout 0.1 on both sides, and the memory it takes."""
    literal, ours = make_pair(device, **settings)
    clips = make_clips(1, frames, ours.config.num_landmarks, device)
    check_equal(literal, ours, *clips)
    steps = [_step(model.train(), *clips) for model in (literal, ours)]
    yield Row(f"forward+backward, dropout 0.1, {frames} frames", *side_by_side(*steps, device, repeats), goal=4.5)
    peaks = [
        in_fresh_process("benchmarks.encoding", which, str(device), str(frames), str(ours.config.num_landmarks))
        for which in ("literal", "ours")
    ]
    yield Row("peak memory of it", *peaks, unit="MiB", goal=0.25, at_most=True)


def precision_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """The same forward pass in bfloat16, where the device computes in it."""
    if not computes_bfloat16(device):
        return
    literal, ours = make_pair(device, **settings)
    clips = make_clips(1, frames, ours.config.num_landmarks, device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        times = side_by_side(partial(literal, *clips), partial(ours, *clips), device, repeats)
    yield Row(f"forward, {frames} frames, bf16 autocast", *times)


def compile_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """The same forward pass, both through `torch.compile`."""
    literal, ours = make_pair(device, **settings)
    clips = make_clips(1, frames, ours.config.num_landmarks, device)
    # The literal one's fused path is closed to the compiler, which sees the layers' parts instead.
    compiled = [torch.compile(literal), torch.compile(ours)]
    with torch.no_grad():
        times = side_by_side(partial(compiled[0], *clips), partial(compiled[1], *clips), device, repeats)
    yield Row(f"forward, {frames} frames, torch.compile", *times)


def lips_rows(device: torch.device, repeats: int, frames: int, **settings) -> Iterator[Row]:
    """Lips alone at the widths to train with, in frames a second, beside the literal encoder on the whole face."""
    literal, whole = make_pair(device, **settings)
    face = make_clips(1, frames, whole.config.num_landmarks, device)
    lips = make_clips(1, frames, len(LIPS), device)
    for frame_encoder in ("transformer", "linear"):
        torch.manual_seed(0)
        config = FaceKeypointEncoderConfig(num_landmarks=len(LIPS), frame_encoder=frame_encoder)
        ours = FaceKeypointEncoder(config).eval().to(device)
        with torch.inference_mode():
            times = side_by_side(partial(literal, *face), partial(ours, *lips), device, repeats)
        rates = [frames / (milliseconds / 1000) for milliseconds in times]
        yield Row(f"lips, {len(LIPS)} landmarks, {frame_encoder} frame encoder", *rates, unit="frames/s", goal=12)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, rather than imitating them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def main() -> None:
    """Prints the peak memory of one training step, in MiB: `literal|ours DEVICE FRAMES LANDMARKS`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("which", choices=("literal", "ours"))
    parser.add_argument("device", type=torch.device)
    parser.add_argument("frames", type=int)
    parser.add_argument("landmarks", type=int)
    options = parser.parse_args()
    literal, ours = make_pair(options.device, num_landmarks=options.landmarks)
    model = (literal if options.which == "literal" else ours).train()
    # A small step first: what libraries take at their first use is not the model's.
    _step(model, *make_clips(1, 2, options.landmarks, options.device))()
    step = _step(model, *make_clips(1, options.frames, options.landmarks, options.device))
    print(peak_mebibytes(step, options.device))


if __name__ == "__main__":
    main()
