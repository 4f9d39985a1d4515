# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The language model of a checkpoint: reading and checking weights, loading the frozen base model, and LoRA on it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.quantizers import AutoQuantizationConfig
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.hub import resolve_revision

from .adapters_lipread import decoder_layers
from .configuration_lipread import LipReadConfig


def checkpoint_files(checkpoint: str | os.PathLike, file_arguments: dict[str, Any]) -> list[str]:
    """The files with a checkpoint's weights, each looked into: its header and its length agree.

    Args:
        checkpoint: Folder or Hub id.
        file_arguments: Arguments of `cached_file`, such as `revision`.

    Raises:
        OSError: If there is none, or one is missing or damaged. Pickles are not even opened.
    """
    optional = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    single = cached_file(checkpoint, SAFE_WEIGHTS_NAME, **optional, **file_arguments)
    index = None if single else cached_file(checkpoint, SAFE_WEIGHTS_INDEX_NAME, **optional, **file_arguments)
    if single is None and index is None:
        raise OSError(
            f"{checkpoint}: there is no {SAFE_WEIGHTS_NAME}, or it cannot be reached. A reader's weights are read "
            "from safetensors alone, never from a pickle such as pytorch_model.bin, which can run code as it is "
            "opened. Fetch the checkpoint again, or save the reader anew with save_pretrained."
        )
    files = [single]
    if index is not None:
        try:
            names = sorted(set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OSError(f"{index}: not an index of weights ({error!r}); fetch the checkpoint again") from error
        files = [cached_file(checkpoint, name, **optional, **file_arguments) for name in names]
        if None in files:
            lost = names[files.index(None)]
            raise OSError(f"{checkpoint}: {lost}, which its index names, is missing; fetch the checkpoint again")
    for path in files:
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise OSError(
                f"{path}: not a safetensors file, or not all of one ({error}); fetch or save the checkpoint again"
            ) from error
    return files


def saved_weights(files: Iterable[str], prefix: str) -> dict[str, torch.Tensor]:
    """The weights in files whose names begin with a prefix, by the rest of their names."""
    weights = {}
    for path in files:
        with safe_open(path, "pt") as file:
            weights.update(
                {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}
            )
    return weights


def refuse_wrong_weights(
    checkpoint: str | os.PathLike,
    whose: str,
    missing: Iterable[str] = (),
    mismatched: Iterable[tuple] = (),
    unexpected: Iterable[str] = (),
) -> None:
    """Makes sure that nothing is filled in at random, or left out, where weights and configuration disagree.

    Args:
        checkpoint: Where the weights come from.
        whose: What they are the weights of, for the error.
        missing: Names that the configuration asks for and the files do not hold.
        mismatched: Names with the size in the files and the size that the configuration asks for.
        unexpected: Names that the files hold and the configuration has no place for.

    Raises:
        ValueError: If there is any.
    """
    wrong = [f"{name} is missing" for name in sorted(missing)]
    wrong += [
        f"{name} is {tuple(found)} instead of {tuple(asked)}" for name, found, asked in sorted(mismatched, key=str)
    ]
    wrong += [f"{name} belongs nowhere" for name in sorted(unexpected)]
    if wrong:
        raise ValueError(
            f"{checkpoint}: {len(wrong)} of {whose} weights are not those that its config.json describes "
            f"({'; '.join(wrong[:5])}{'; ...' if len(wrong) > 5 else ''}). Nothing is filled in at random: weights or "
            "config.json are damaged, or belong to different runs; fetch or save the checkpoint again."
        )


def refuse_peft_adapter(model: PreTrainedModel, checkpoint: str | os.PathLike) -> None:
    """Makes sure that transformers laid no adapter of peft over a model, as it does for an adapter_config.json.

    What it then reports about the weights is about the adapter's alone.

    Raises:
        ValueError: If it did.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            f"{checkpoint}: its adapter_config.json lays an adapter of peft over the model. Merge it first, once, by "
            "peft's merge_and_unload().save_pretrained(FOLDER), and give that folder; or remove adapter_config.json."
        )


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
