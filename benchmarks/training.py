# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A training step of the whole reader against its language model's own: how near it comes to the limit."""

from collections.abc import Iterator
from functools import partial

import torch

from .decoding import FRAMES, LANDMARKS, make_reader
from .encoding import computes_bfloat16
from .measure import Row, side_by_side

CLIPS, TOKENS = 16, 16


def _step(model: torch.nn.Module, bfloat16: bool, **inputs) -> None:
    with torch.autocast(inputs["labels"].device.type, torch.bfloat16, enabled=bfloat16):
        loss = model(**inputs).loss
    loss.backward()


def training_rows(model_id: str, device: torch.device, repeats: int) -> Iterator[Row]:
    """Clips a second in training, beside the forward and backward pass of the frozen language model alone."""
    for compiled in (False, True) if device.type == "cuda" else (False,):
        reader = make_reader(model_id, device).train()
        tokens = torch.randint(3, 1000, (CLIPS, TOKENS), device=device)
        keypoints = torch.randn(CLIPS, FRAMES, LANDMARKS, 3, device=device)
        embeddings = reader.get_input_embeddings()(tokens).detach().requires_grad_()
        forward = torch.compile(reader) if compiled else reader
        alone = torch.compile(reader.language_model) if compiled else reader.language_model
        bfloat16 = computes_bfloat16(device)

        times = side_by_side(
            partial(_step, alone, bfloat16, labels=tokens, inputs_embeds=embeddings),
            partial(_step, forward, bfloat16, labels=tokens, input_ids=tokens, keypoints=keypoints),
            device,
            repeats,
        )
        rates = [CLIPS / (milliseconds / 1000) for milliseconds in times]
        precision = "bf16" if bfloat16 else "fp32"
        yield Row(f"training, {precision}{', torch.compile' if compiled else ''}, of the LM alone", *rates, "clips/s")
