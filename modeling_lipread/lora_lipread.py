# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""LoRA on the frozen language model, through peft (Hu et al., 2021).

LoRA goes into the language model in place, so its module names and the adapters' hooks on its decoder layers stay. Its
weights are trained and saved with the reader; settings in the reader's configuration put it back at load.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel


def is_lora(name: str) -> bool:
    """Whether a parameter's name is one of LoRA's."""
    return ".lora_" in name


def add_lora(language_model: PreTrainedModel, settings: dict[str, Any]) -> dict[str, Any]:
    """Puts LoRA into a language model; it starts by changing nothing.

    Args:
        language_model: The language model, its own parameters already frozen.
        settings: `r`, and optionally `alpha` (default `2 * r`), `dropout` (0), `target_modules` (all linear layers but
            the output's).

    Returns:
        The settings in full, to be saved.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If a setting is unknown.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError("this reader has LoRA on its language model, which needs peft: pip install peft") from error
    settings = {"alpha": 2 * settings["r"], "dropout": 0.0, "target_modules": "all-linear", **settings}
    if unknown := sorted(set(settings) - {"r", "alpha", "dropout", "target_modules"}):
        raise ValueError(f"unknown in lora: {', '.join(unknown)}; there are r, alpha, dropout and target_modules")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["r"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["target_modules"],
    )
    inject_adapter_in_model(config, language_model)
    for name, parameter in language_model.named_parameters():
        if is_lora(name):
            # Trained in full precision, whatever the frozen weights are kept in.
            parameter.data = parameter.data.float()
    return settings


def load_lora(language_model: PreTrainedModel, weights: dict[str, torch.Tensor], checkpoint: str) -> None:
    """Fills LoRA with saved weights.

    Args:
        language_model: With LoRA put in.
        weights: By their names in the language model.
        checkpoint: Where they come from, for the error.

    Raises:
        ValueError: If one is missing or of another size.
    """
    expected = {name: parameter for name, parameter in language_model.named_parameters() if is_lora(name)}
    lost = [
        name for name, parameter in expected.items() if name not in weights or weights[name].shape != parameter.shape
    ]
    if lost:
        raise ValueError(
            f"{checkpoint}: {len(lost)} of the LoRA weights are missing or of another size ({', '.join(lost[:3])}). "
            "The checkpoint is damaged or was saved with another configuration; fetch or save it again."
        )
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(weights[name])


def merge_lora(language_model: PreTrainedModel) -> None:
    """Adds what LoRA learned to the weights it was learned for, and takes LoRA out."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(language_model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(language_model.get_submodule(parent), child, module.get_base_layer())
    language_model.requires_grad_(False)
    language_model._hf_peft_config_loaded = False
