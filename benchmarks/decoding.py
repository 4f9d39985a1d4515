# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writing with a face against writing without one: what the adapters cost a token."""

from functools import partial

import torch
from transformers import DynamicCache, PreTrainedModel

from modeling_lipread import Conditioning, FaceKeypointEncoderConfig, LipReadConfig, LipReadForConditionalGeneration

from .measure import Row, side_by_side

CACHED, NEW_TOKENS, FRAMES = 24, 32, 75
LANDMARKS = 79  # lower_face, the default


def make_reader(model_id: str, device: torch.device, **settings) -> LipReadForConditionalGeneration:
    """A reader with the default settings whose adapters do something."""
    torch.manual_seed(0)
    config = LipReadConfig(encoder_config=FaceKeypointEncoderConfig(num_landmarks=LANDMARKS), **settings)
    reader = LipReadForConditionalGeneration.from_language_model(model_id, config, dtype=torch.float32).eval()
    text_config = reader.config.get_text_config()
    start = text_config.bos_token_id if text_config.bos_token_id is not None else 0
    reader.config.decoder_start_token_id, reader.config.pad_token_id = start, start
    for adapter in reader.adapters:
        torch.nn.init.normal_(adapter.o_proj.weight, std=0.01)
    return reader.to(device)


class CachedStep:
    """One token more after a cache that stays as long as it is.

    Args:
        reader: The reader.
        rows: Texts that are written at once.
        conditioning: What they see; `None` for the bare language model.
    """

    def __init__(self, reader: LipReadForConditionalGeneration, rows: int, conditioning: Conditioning | None):
        self.model: PreTrainedModel = reader if conditioning is not None else reader.language_model
        self.arguments = {} if conditioning is None else {"conditioning": conditioning}
        self.cache = DynamicCache(config=reader.config.get_text_config())
        tokens = torch.randint(3, 1000, (rows, CACHED), device=reader.device)
        self.token = tokens[:, :1]
        self.model(input_ids=tokens, past_key_values=self.cache, **self.arguments)

    def __call__(self) -> None:
        self.model(input_ids=self.token, past_key_values=self.cache, **self.arguments)
        self.cache.crop(-1)


@torch.inference_mode()
def decoding_rows(model_id: str, device: torch.device, repeats: int):
    """A token with the face beside one without, for a clip and for 16, greedy and with 4 beams."""
    reader = make_reader(model_id, device)
    calls = {"encoder": 0, "keys and values": 0}

    def count(name: str):
        def hook(*_):
            calls[name] += 1

        return hook

    reader.encoder.register_forward_hook(count("encoder"))
    for adapter in reader.adapters:
        adapter.k_proj.register_forward_hook(count("keys and values"))
    for clips in (1, 16):
        keypoints = torch.randn(clips, FRAMES, LANDMARKS, 3, device=device)
        for beams in (1, 4):
            rows = clips * beams
            conditioning, _ = reader.encode(keypoints)
            with_face, alone = CachedStep(reader, rows, conditioning), CachedStep(reader, rows, None)
            # A token is short: many of them make a steady median.
            times = side_by_side(alone, with_face, device, 10 * repeats)
            search = "greedy" if beams == 1 else f"{beams} beams"
            yield Row(f"a token, batch {clips}, {search}", *times, goal=1.08, at_most=True)

    keypoints = torch.randn(1, FRAMES, LANDMARKS, 3, device=device)
    start = torch.full((1, 1), reader.config.decoder_start_token_id, device=device)
    for beams in (1, 4):
        options = {"num_beams": beams, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
        options |= {"do_sample": False, "pad_token_id": reader.config.pad_token_id}
        calls.update(dict.fromkeys(calls, 0))
        reader.generate(keypoints=keypoints, **options)
        assert calls == {"encoder": 1, "keys and values": len(reader.adapters)}, f"computed more than once: {calls}"
        times = side_by_side(
            partial(reader.language_model.generate, start, **options),
            partial(reader.generate, keypoints=keypoints, **options),
            device,
            repeats,
        )
        search = "greedy" if beams == 1 else f"{beams} beams"
        yield Row(f"{NEW_TOKENS} tokens of a clip, encoder included, {search}", *times, at_most=True)
