# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The frozen language model that a checkpoint was trained on: that one, or none; and where its layers lie."""

import copy
import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.quantizers import AutoQuantizationConfig
from transformers.utils.hub import resolve_revision

from .adapters_lipread import decoder_layers
from .configuration_lipread import LipReadConfig
from .weights_lipread import refuse_peft_adapter, refuse_wrong_weights


def resolved_revision(model_id: str | os.PathLike, revision: str | None, **file_arguments: Any) -> str | None:
    """The commit that a branch or tag of a Hub id stands for now; `None` for a folder.

    Args:
        model_id: Hub id or folder.
        revision: Branch, tag or commit; the default branch if there is none.
        file_arguments: `token`, `cache_dir`, `local_files_only`, as for `from_pretrained`.
    """
    if Path(model_id).is_dir():
        return None
    found = resolve_revision(str(model_id), revision, **file_arguments)
    # As a string it is the branch that was asked for, which moves on.
    return getattr(found, "resolved", found)


def is_folder(model_id: str) -> bool:
    """Whether a language model is named by a folder of this or another machine, where nobody else finds it."""
    try:
        validate_repo_id(model_id)
    except HFValidationError:
        return True
    return Path(model_id).is_dir()


def load_language_model(model_id: str | os.PathLike, **kwargs: Any) -> PreTrainedModel:
    """Loads a language model, every weight of it.

    Args:
        model_id: Hub id or folder.
        kwargs: Arguments of `AutoModelForCausalLM.from_pretrained`.

    Raises:
        OSError: If it cannot be found, or is not in whole safetensors files.
        ValueError: If weights are missing or of another size, which would be filled in at random.
    """
    # Sizes are compared here rather than there, where asking to ignore them leaves random weights behind.
    kwargs = {**kwargs, "use_safetensors": True, "ignore_mismatched_sizes": True}
    try:
        model, loading_info = AutoModelForCausalLM.from_pretrained(model_id, output_loading_info=True, **kwargs)
    except SafetensorError as error:
        raise OSError(
            f"{model_id}: a safetensors file of the language model is damaged ({error}); fetch it again"
        ) from error
    except OSError as error:
        raise OSError(
            f"{model_id}: the language model cannot be loaded ({error}) Give a folder or a Hub id that can be "
            "reached, with its weights in safetensors; pickles are never opened."
        ) from error
    refuse_peft_adapter(model, model_id)
    refuse_wrong_weights(
        model_id, "the language model's", loading_info["missing_keys"], loading_info["mismatched_keys"]
    )
    return model


def load_base_model(config: LipReadConfig, checkpoint: str, kwargs: dict[str, Any]) -> PreTrainedModel:
    """Loads the language model that a checkpoint names.

    Args:
        config: The reader's configuration.
        checkpoint: The reader's folder or Hub id, for errors.
        kwargs: Arguments of `AutoModelForCausalLM.from_pretrained`. What is not given is as it was in training: the
            type of the weights, and their quantisation.

    Raises:
        OSError: If it is neither on the Hub nor in the folder named, or not in whole safetensors files.
        ValueError: If it has another shape than the one the adapters were trained with, or lacks weights.
    """
    name, revision = config.base_model_name_or_path, config.base_model_revision
    trained = config.get_text_config()
    if kwargs.get("dtype", kwargs.pop("torch_dtype", "auto")) == "auto":
        # The type it was trained with, whatever type its own repository stores.
        kwargs["dtype"] = trained.dtype or "auto"
    files = {key: kwargs[key] for key in ("cache_dir", "force_download", "local_files_only", "token") if key in kwargs}
    try:
        found = AutoConfig.from_pretrained(name, revision=revision, **files)
    except (OSError, ValueError) as error:
        raise _unavailable(config, checkpoint, error) from error
    check_same_size(trained, found.get_text_config(), name, checkpoint)
    quantization = config.base_model_quantization
    if quantization is not None and getattr(found, "quantization_config", None) is None:
        kwargs.setdefault("quantization_config", AutoQuantizationConfig.from_dict(quantization))
    try:
        return load_language_model(name, revision=revision, **kwargs)
    except OSError as error:
        raise _unavailable(config, checkpoint, error) from error


def _unavailable(config: LipReadConfig, checkpoint: str, error: Exception) -> OSError:
    revision = f" (revision {config.base_model_revision})" if config.base_model_revision else ""
    return OSError(
        f"{checkpoint}: this reader was saved without its language model {config.base_model_name_or_path!r}"
        f"{revision}, which could not be loaded: {error}\nMake it available, set base_model_name_or_path in "
        "config.json to where it is, or save the reader with include_base=True. Only safetensors files are read."
    )


def check_same_size(trained: PreTrainedConfig, found: PreTrainedConfig, name: str, checkpoint: str) -> None:
    """Makes sure that a language model has the shape of the one that a reader was trained on.

    Args:
        trained, found: Text configurations of the two.
        name: Where the second was found, for the error.
        checkpoint: Where the reader is, for the error.

    Raises:
        ValueError: If it has not.
    """
    for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
        if getattr(trained, key) != getattr(found, key):
            raise ValueError(
                f"{checkpoint}: the reader was trained on a language model with {key} = {getattr(trained, key)}, but "
                f"{name!r} has {getattr(found, key)}. Point base_model_name_or_path in config.json at the right one."
            )


def without_quantization(config: PreTrainedConfig) -> tuple[PreTrainedConfig, dict[str, Any] | None]:
    """A language model's configuration, and apart from it how it is quantised.

    Left where it was, the whole reader would be taken for quantised.
    """
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return config, None
    config = copy.deepcopy(config)
    del config.quantization_config
    return config, quantization if isinstance(quantization, dict) else quantization.to_dict()


def keep_unpacked(language_model: PreTrainedModel) -> None:
    """Keeps 4-bit weights in the form that is exact, saved as it is, and passes gradients on.

    On processors with AVX512-BF16, bitsandbytes packs them in place as they are first read without gradients. Packed
    weights silently stop gradients, round their scales to bfloat16, and lose the scales' order when a state dict is
    taken (bitsandbytes 0.50), as every checkpoint of a training run does.
    """
    for module in language_model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def without_dropout(language_model: PreTrainedModel) -> None:
    """Takes dropout out of a frozen language model, LayerDrop too.

    It cannot overfit: noise in it would only show adapters other states in training than in reading, skip some of
    them, and cost the fused attention kernels. Evaluation mode would do the same, but there transformers leaves out
    gradient checkpointing.
    """
    for holder in (language_model.config.get_text_config(), *language_model.modules()):
        for name, value in list(vars(holder).items()):
            is_rate = "drop" in name or (name == "p" and isinstance(holder, nn.Dropout))
            if is_rate and isinstance(value, float):
                setattr(holder, name, 0.0)


def place_beside(reader: PreTrainedModel, language_model: PreTrainedModel) -> None:
    """Moves the encoder and each adapter to where the language model's layers compute.

    Args:
        reader: The reader.
        language_model: Its language model, spread over devices by a `device_map`.
    """
    first = _execution_device(language_model.get_input_embeddings())
    reader.encoder.to(first)
    placed = {"encoder": first}
    layers = decoder_layers(language_model)
    for index, (layer, adapter) in enumerate(zip(reader.config.adapter_layers, reader.adapters, strict=True)):
        placed[f"adapters.{index}"] = _execution_device(layers[layer])
        adapter.to(placed[f"adapters.{index}"])
    parts = {f"language_model.{name}".rstrip("."): device for name, device in language_model.hf_device_map.items()}
    reader.hf_device_map = {**placed, **parts}


def _execution_device(module: nn.Module) -> torch.device:
    """Where a module computes, wherever its weights wait until then."""
    hook = getattr(module, "_hf_hook", None)
    device = getattr(hook, "execution_device", None)
    return next(module.parameters()).device if device is None else torch.device(device)
