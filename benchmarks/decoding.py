# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Benchmarks of decoding and training against the bare language model."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from transformers import DynamicCache

from modeling_lipread import Conditioning, FaceKeypointEncoderConfig, LipReadConfig, LipReadForConditionalGeneration

from .measure import Row, computes_bfloat16, side_by_side

CACHED, FRAMES = 24, 75
LANDMARKS = 79  # lower_face, the default
TRAINING_CLIPS, TRAINING_TOKENS = 16, 16


def make_model(
    model_id: str, device: torch.device, encoder_config: FaceKeypointEncoderConfig | None = None
) -> LipReadForConditionalGeneration:
    """Returns a model with adapters that are not zero and, without an `encoder_config`, default settings."""
    torch.manual_seed(0)
    config = LipReadConfig(encoder_config=encoder_config or FaceKeypointEncoderConfig(num_landmarks=LANDMARKS))
    model = LipReadForConditionalGeneration.from_language_model(model_id, config, dtype=torch.float32).eval()
    text_config = model.config.get_text_config()
    start = text_config.bos_token_id if text_config.bos_token_id is not None else 0
    model.config.decoder_start_token_id, model.config.pad_token_id = start, start
    for adapter in model.adapters:
        torch.nn.init.normal_(adapter.o_proj.weight, std=0.01)
    return model.to(device)


def cached_step(
    model: LipReadForConditionalGeneration, rows: int, conditioning: Conditioning | None
) -> Callable[[], None]:
    """Returns a step of cached decoding: the next token of `rows` sequences; without `conditioning` of the bare LM."""
    arguments = {} if conditioning is None else {"conditioning": conditioning}
    cache = DynamicCache(config=model.config.get_text_config())
    tokens = torch.randint(3, 1000, (rows, CACHED), device=model.device)
    run = partial(model.language_model if conditioning is None else model, past_key_values=cache, **arguments)
    run(input_ids=tokens)

    def step() -> None:
        run(input_ids=tokens[:, :1])
        cache.crop(-1)

    return step


@torch.inference_mode()
def decoding_rows(model_id: str, device: torch.device, repeats: int) -> Iterator[Row]:
    """Yields the time of a token with and without a face, greedy and with 4 beams."""
    model = make_model(model_id, device)
    for clips in (1, 16):
        keypoints = torch.randn(clips, FRAMES, LANDMARKS, 3, device=device)
        for beams, search in ((1, "greedy"), (4, "4 beams")):
            conditioning, _ = model.encode(keypoints)
            steps = [cached_step(model, clips * beams, given) for given in (None, conditioning)]
            times = side_by_side(*steps, device, 10 * repeats)  # a token is short: many give a steady median
            yield Row(f"a token, batch {clips}, {search}", *times, goal=1.08, at_most=True)


def _training_step(model: torch.nn.Module, bfloat16: bool, **inputs) -> None:
    with torch.autocast(inputs["labels"].device.type, torch.bfloat16, enabled=bfloat16):
        loss = model(**inputs).loss
    loss.backward()


def training_rows(model_id: str, device: torch.device, repeats: int) -> Iterator[Row]:
    """Yields clips per second in training, beside forward and backward pass of the frozen language model alone."""
    bfloat16 = computes_bfloat16(device)
    for compiled in (False, True) if device.type == "cuda" else (False,):
        model = make_model(model_id, device).train()
        tokens = torch.randint(3, 1000, (TRAINING_CLIPS, TRAINING_TOKENS), device=device)
        keypoints = torch.randn(TRAINING_CLIPS, FRAMES, LANDMARKS, 3, device=device)
        embeddings = model.get_input_embeddings()(tokens).detach().requires_grad_()
        whole, alone = (torch.compile(each) if compiled else each for each in (model, model.language_model))
        times = side_by_side(
            partial(_training_step, alone, bfloat16, labels=tokens, inputs_embeds=embeddings),
            partial(_training_step, whole, bfloat16, labels=tokens, input_ids=tokens, keypoints=keypoints),
            device,
            repeats,
        )
        rates = [TRAINING_CLIPS / (milliseconds / 1000) for milliseconds in times]
        precision = "bf16" if bfloat16 else "fp32"
        yield Row(f"training, {precision}{', torch.compile' if compiled else ''}, of the LM alone", *rates, "clips/s")
