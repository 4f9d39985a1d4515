# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A face encoder trained before, to begin a reading run from.

The encoder needs most of the epochs, and an epoch without the language model takes a fraction of the time. So let the
encoder learn alone first (`--encoder_only`), by CTC and alignment, and the adapters with it afterwards (`--encoder`).
"""

from __future__ import annotations

import inspect
from typing import Any

from transformers import AutoConfig

from modeling_lipread import LipReadConfig, LipReadFeatureExtractor, LipReadForConditionalGeneration
from modeling_lipread.language_model_lipread import checkpoint_files, refuse_wrong_weights, saved_weights

FREE = {"kp_dropout", "initializer_range", "dtype"}  # may differ: the weights mean the same


def encoder_settings(source: str) -> LipReadConfig:
    """The configuration of the reader whose encoder is to be used; its `ctc_vocab` is the new reader's too.

    Args:
        source: Folder or Hub id of a reader.

    Raises:
        OSError: If there is no such reader.
        ValueError: If it is another kind of model.
    """
    config = AutoConfig.from_pretrained(source)
    if not isinstance(config, LipReadConfig):
        raise ValueError(f"--encoder {source}: a {config.model_type} model, not a reader that train_hf.py wrote")
    return config


def load_encoder(
    model: LipReadForConditionalGeneration, feature_extractor: LipReadFeatureExtractor, source: str
) -> None:
    """Gives a new reader the encoder of one trained before, with the landmarks' statistics it was trained with.

    Args:
        model: The new reader.
        feature_extractor: What makes its input.
        source: Folder or Hub id of a reader.

    Raises:
        ValueError: If its encoder or feature extractor has other settings.
        OSError: If its weights are missing or damaged.
    """
    theirs = LipReadFeatureExtractor.from_pretrained(source)
    refuse_differences(source, feature_settings(theirs), feature_settings(feature_extractor))
    configs = encoder_settings(source).encoder_config, model.config.encoder_config
    refuse_differences(source, *(config.to_diff_dict() for config in configs))
    weights, own = saved_weights(checkpoint_files(source, {}), "encoder."), model.encoder.state_dict()
    refuse_wrong_weights(
        source, "the encoder's", missing=own.keys() - weights.keys(), unexpected=weights.keys() - own.keys()
    )
    model.encoder.load_state_dict(weights)


def feature_settings(extractor: LipReadFeatureExtractor) -> dict[str, Any]:
    """What decides its output, without what tells where it was saved."""
    names = list(inspect.signature(LipReadFeatureExtractor).parameters)[:-1]  # but for the last, **kwargs
    return {name: getattr(extractor, name) for name in names}


def refuse_differences(source: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Raises ValueError if the encoder in `source` was trained with other settings than this run's."""
    different = sorted(
        name for name in theirs.keys() | ours.keys() if name not in FREE and theirs.get(name) != ours.get(name)
    )
    if different:
        settings = ", ".join(f"{name} {theirs.get(name)!r} instead of {ours.get(name)!r}" for name in different)
        raise ValueError(f"--encoder {source}: it was trained with {settings}; give this run the same")
