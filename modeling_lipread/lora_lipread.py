# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""LoRA on the frozen language model, through peft (Hu et al., 2021).

LoRA goes into the language model in place, so its module names and the adapters' hooks on its decoder layers stay. Its
weights are trained and saved with the reader; settings in the reader's configuration put it back at load.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from .weights_lipread import refuse_wrong_weights


def is_lora(name: str) -> bool:
    """Whether a parameter's name is one of LoRA's."""
    return ".lora_" in name


def _import_peft() -> tuple[type, Any, type]:
    # Inside `try`: what a file of a checkpoint imports anywhere else, even in a function, is required of everyone who
    # loads one, with LoRA or without.
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise ImportError("this reader has LoRA on its language model, which needs peft: pip install peft") from error
    return LoraConfig, inject_adapter_in_model, BaseTunerLayer


def add_lora(language_model: PreTrainedModel, settings: dict[str, Any]) -> dict[str, Any]:
    """Puts LoRA into a language model; it starts by changing nothing.

    Args:
        language_model: The language model, its own parameters already frozen.
        settings: `r`, and optionally `alpha` (default `2 * r`), `dropout` (0), `target_modules` (all linear layers but
            the output's; in a mixture of experts the experts and their router too).

    Returns:
        The settings in full, to be saved.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If peft cannot put it there, or a weight that it adapts is shared with another module.
    """
    LoraConfig, inject_adapter_in_model, BaseTunerLayer = _import_peft()
    settings = {"alpha": 2 * settings["r"], "dropout": 0.0, "target_modules": "all-linear", **settings}
    # Weights that two modules share: merged into one of them, LoRA would change the other too.
    owners: dict[int, int] = {}
    for module in language_model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings["r"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["target_modules"],
    )
    try:
        inject_adapter_in_model(config, language_model)
    except ValueError as error:
        raise ValueError(f"LoRA {settings} cannot be put into {type(language_model).__name__}: {error}") from error
    for name, module in language_model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        if any(owners.get(id(parameter), 1) > 1 for parameter in module.get_base_layer().parameters(recurse=False)):
            raise ValueError(
                f"LoRA on {name} could never be merged: its weight is also another module's (tied embeddings). Name "
                "other modules in target_modules, or leave it out for all linear layers but the output's."
            )
    for name, parameter in language_model.named_parameters():
        if is_lora(name):
            # Trained in full precision, whatever the frozen weights are kept in; and left as it starts, at nothing,
            # where transformers would initialise it once more.
            parameter.data = parameter.data.float()
            parameter._is_hf_initialized = True
    return settings


def load_lora(language_model: PreTrainedModel, weights: dict[str, torch.Tensor], checkpoint: str) -> None:
    """Fills LoRA with saved weights.

    Args:
        language_model: With LoRA put in, or without any.
        weights: By their names in the language model.
        checkpoint: Where they come from, for the error.

    Raises:
        ValueError: If one is missing, of another size, or belongs nowhere.
    """
    expected = {name: parameter for name, parameter in language_model.named_parameters() if is_lora(name)}
    refuse_wrong_weights(
        checkpoint,
        "the LoRA",
        missing=expected.keys() - weights.keys(),
        mismatched=[
            (name, weights[name].shape, parameter.shape)
            for name, parameter in expected.items()
            if name in weights and weights[name].shape != parameter.shape
        ],
        unexpected=weights.keys() - expected.keys(),
    )
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(weights[name])


def merge_lora(language_model: PreTrainedModel) -> None:
    """Adds what LoRA learned to the weights it was learned for, and takes LoRA out.

    Raises:
        ValueError: If the language model is quantised: rounding the sum would lose most of what LoRA learned.
    """
    _, _, BaseTunerLayer = _import_peft()
    if getattr(language_model, "is_quantized", False):
        raise ValueError(
            "LoRA cannot be merged into a quantised language model. Load the reader with a configuration whose "
            "base_model_quantization is None, so that the language model comes unquantised, and merge there."
        )
    for name, module in list(language_model.named_modules()):
        parent, _, child = name.rpartition(".")
        # Around a module with several parameters they are nested, and the outermost merges them all.
        if not isinstance(module, BaseTunerLayer) or child == "base_layer":
            continue
        if hasattr(module, "unload_and_optionally_merge_module"):
            merged = module.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
        else:
            module.merge(safe_merge=True)
            merged = module.get_base_layer()
        setattr(language_model.get_submodule(parent), child, merged)
    del language_model.peft_config
    language_model.requires_grad_(False)
