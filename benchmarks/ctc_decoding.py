# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Writing with the CTC head beside the language model: what its scores cost."""

import string
from functools import partial

import torch
from transformers import AutoTokenizer

from .decoding import FRAMES, LANDMARKS, make_reader
from .measure import Row, side_by_side

NEW_TOKENS = 12
VOCABULARY = ["", " ", *string.ascii_lowercase]


@torch.inference_mode()
def ctc_decoding_rows(model_id: str, device: torch.device, repeats: int):
    """A sentence of 12 tokens from a clip, and from 16, with the CTC head and without.

    The head is one that nobody has trained: it agrees with no beam, so that all spell something else, which is the
    most work that it can make.
    """
    reader = make_reader(model_id, device, ctc_vocab=VOCABULARY)
    reader.set_token_spelling(AutoTokenizer.from_pretrained(model_id))
    for clips in (1, 16):
        keypoints = torch.randn(clips, FRAMES, LANDMARKS, 3, device=device)
        for beams in (1, 4):
            options = {"num_beams": beams, "max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
            options |= {"do_sample": False, "pad_token_id": reader.config.pad_token_id}
            write = partial(reader.generate, keypoints=keypoints, **options)
            times = side_by_side(write, partial(write, ctc_decoding_weight=0.3), device, repeats)
            search = "greedy" if beams == 1 else f"{beams} beams"
            name = f"{NEW_TOKENS} tokens, batch {clips}, {search}, with the CTC head"
            yield Row(name, *times, at_most=True)
