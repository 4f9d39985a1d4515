# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The frozen language model: checking weight files, loading the base model, and LoRA on it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.hub import get_checkpoint_shard_files

from .configuration_lipread import LipReadConfig

# Arguments of `from_pretrained` about where files come from.
FILE_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token")


def checkpoint_files(
    checkpoint: str | os.PathLike, file_arguments: dict[str, Any], variant: str | None = None
) -> list[str]:
    """Returns the paths of the weight files in a folder or Hub id, after checking the header and length of each.

    `file_arguments` are those of `cached_file`, such as `revision`. Raises `OSError` if there is no safetensors file,
    or one is missing or damaged.
    """
    part = f".{variant}." if variant else "."
    name, index_name = (f"{part}".join(file.rsplit(".", 1)) for file in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
    single = find_file(checkpoint, name, **file_arguments)
    index = None if single else find_file(checkpoint, index_name, **file_arguments)
    if single is None and index is None:
        raise OSError(
            f"{checkpoint}: there is no {name}, or it cannot be reached. Weights are loaded only from "
            "safetensors, never from a pickle such as pytorch_model.bin, which can run code when it is opened. Fetch "
            "the checkpoint again, or save the model again with save_pretrained."
        )
    path = single or index
    try:
        files = [single] if single else get_checkpoint_shard_files(checkpoint, index, **file_arguments)[0]
        for path in files:
            with safe_open(path, "pt"):
                pass
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise OSError(
            f"{path}: not a complete safetensors file or index ({error}); fetch or save the checkpoint again"
        ) from error
    return files


def find_file(checkpoint: str | os.PathLike, name: str, **file_arguments: Any) -> str | None:
    """Returns the path of a file of a folder or Hub id; `None` if it does not exist or cannot be reached."""
    try:
        return cached_file(checkpoint, name, **file_arguments)
    except OSError:
        return None


def saved_weights(
    files: Iterable[str], prefix: str, state_dict: dict[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """Returns the weights of files or of `state_dict` whose names begin with a prefix, without that prefix."""
    weights = dict(state_dict or {})
    for path in files if state_dict is None else ():
        with safe_open(path, "pt") as file:
            weights |= {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def refuse_not_finite(checkpoint: str | os.PathLike, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raises ValueError if weights hold NaN or infinity."""
    loaded = ((name, value) for name, value in weights if value.dtype.itemsize > 1 and not value.is_meta)
    # NaN and infinity reach the extremes, which take a twentieth of the time of `isfinite` on all values.
    extremes = ((name, value.aminmax()) for name, value in loaded if value.is_floating_point() and value.numel())
    wrong = [name for name, found in extremes if not all(value.isfinite() for value in found)]
    if wrong:
        raise ValueError(
            f"{checkpoint}: {len(wrong)} of its weights are not finite ({wrong[0]} ...): its training diverged. Load "
            "an earlier checkpoint, or train again with a lower learning rate."
        )


def refuse_wrong_weights(checkpoint, whose: str, missing=(), mismatched=(), unexpected=()) -> None:
    """Raises ValueError for weights that transformers would initialise at random or ignore.

    `mismatched` holds the name of each weight of another size, its size in the files, and its size in the model.
    """
    wrong = [f"{name} is missing" for name in sorted(missing)]
    wrong += [
        f"{name} is {tuple(found)} instead of {tuple(size)}" for name, found, size in sorted(mismatched, key=str)
    ]
    wrong += [f"{name} is unexpected" for name in sorted(unexpected)]
    if wrong:
        raise ValueError(
            f"{checkpoint}: {len(wrong)} of {whose} weights are not those that its config.json describes "
            f"({'; '.join(wrong[:5])}{'; ...' if len(wrong) > 5 else ''}). The weights or config.json are damaged, or "
            "belong to different runs; fetch or save the checkpoint again."
        )


def refuse_peft_adapter(model: PreTrainedModel, checkpoint: str | os.PathLike) -> None:
    """Raises ValueError if transformers added a peft adapter, as it does for a folder with adapter_config.json.

    The loading report of such a model is about the adapter's weights only, so the others could not be checked.
    """
    if getattr(model, "peft_config", None):
        raise ValueError(
            f"{checkpoint}: its adapter_config.json adds a peft adapter to the model. Merge it with peft's "
            "merge_and_unload().save_pretrained(FOLDER) and give that folder, or remove adapter_config.json."
        )


def refuse_quantization(name: str | os.PathLike, settings: Any) -> None:
    """Raises ValueError if there are settings of quantisation."""
    if settings is not None:
        raise ValueError(
            f"{name}: quantised language models are not supported; choose one that is not, and load it in half "
            "precision with dtype=torch.bfloat16"
        )


def is_folder(model_id: str) -> bool:
    """Returns whether a model id is a folder, on this or another machine, rather than a Hub id."""
    try:
        validate_repo_id(model_id)
    except HFValidationError:
        return True
    return Path(model_id).is_dir()


def load_language_model(model_id: str | os.PathLike, **kwargs: Any) -> PreTrainedModel:
    """Loads a language model as `AutoModelForCausalLM.from_pretrained`, and checks that every weight was loaded.

    Raises:
        OSError: If it cannot be found, or its safetensors files are missing or damaged.
        ValueError: If it is a sequence-to-sequence model, or if weights are missing or have another size.
    """
    refuse_quantization(model_id, kwargs.get("quantization_config"))
    # Mismatched sizes are reported in `loading_info` and raise an error below.
    kwargs = {**kwargs, "use_safetensors": True, "ignore_mismatched_sizes": True}
    files = {key: kwargs[key] for key in (*FILE_ARGUMENTS, "revision", "trust_remote_code") if key in kwargs}
    try:
        if (config := AutoConfig.from_pretrained(model_id, **files)).is_encoder_decoder:
            raise ValueError(
                f"{model_id}: {config.model_type} models have an encoder for text, and cannot be conditioned on a "
                "face. Choose a causal language model, for example HuggingFaceTB/SmolLM2-135M."
            )
        model, loading_info = AutoModelForCausalLM.from_pretrained(model_id, output_loading_info=True, **kwargs)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{model_id}: the language model cannot be loaded ({error}) Give a folder or a Hub id that can be "
            "reached, with its weights in complete safetensors files; pickles are never opened."
        ) from error
    refuse_peft_adapter(model, model_id)
    missing, mismatched = loading_info["missing_keys"], loading_info["mismatched_keys"]
    refuse_wrong_weights(model_id, "the language model's", missing, mismatched)
    return model


def load_base_model(config: LipReadConfig, checkpoint: str, kwargs: dict[str, Any]) -> PreTrainedModel:
    """Loads the language model of a checkpoint that was saved without it.

    `kwargs` are those of `AutoModelForCausalLM.from_pretrained`; by default, the type of the weights is that of the
    training.

    Raises:
        OSError: If it cannot be found, or its safetensors files are missing or damaged.
        ValueError: If it has another size than in training, or lacks weights.
    """
    name, revision = config.base_model_name_or_path, config.base_model_revision
    trained = config.get_text_config()
    if (dtype := kwargs.pop("torch_dtype", None)) is not None:
        kwargs.setdefault("dtype", dtype)
    if kwargs.get("dtype", "auto") == "auto":
        # The type in training, rather than the type in the language model's own repository.
        kwargs["dtype"] = trained.dtype or "auto"
    files = {key: kwargs[key] for key in FILE_ARGUMENTS if key in kwargs}
    try:
        try:
            found = AutoConfig.from_pretrained(name, revision=revision, **files)
        except ValueError as error:  # its config.json is missing, or of no model that transformers has
            raise OSError(error) from error
        for key in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
            if getattr(trained, key) != getattr(found.get_text_config(), key):
                raise ValueError(
                    f"{checkpoint}: the reader was trained on a language model with {key} = {getattr(trained, key)}, "
                    f"but {name!r} has {getattr(found.get_text_config(), key)}. Point base_model_name_or_path in "
                    "config.json at the right one."
                )
        return load_language_model(name, revision=revision, **kwargs)
    except OSError as error:
        raise OSError(
            f"{checkpoint}: this reader was saved without its language model {name!r} (revision {revision}), which "
            f"could not be loaded: {error}\nMake it available, set base_model_name_or_path in config.json to where it "
            "is, or save the reader with include_base=True. Only safetensors files are read."
        ) from error


def remove_dropout(language_model: PreTrainedModel) -> None:
    """Sets all dropout of a frozen language model to 0, including LayerDrop.

    A frozen model does not overfit. Dropout would only make the adapters' inputs differ between training and
    inference, skip adapters, and disable fused attention kernels. Evaluation mode would turn off gradient
    checkpointing too.
    """
    for holder in (language_model.config.get_text_config(), *language_model.modules()):
        for name, value in list(vars(holder).items()):
            is_rate = "drop" in name or (name == "p" and isinstance(holder, nn.Dropout))
            if is_rate and isinstance(value, float):
                setattr(holder, name, 0.0)


def place_parts(model: PreTrainedModel, devices: list[torch.device]) -> None:
    """Moves the encoder to the device of the language model's embeddings, and each adapter to that of its layer.

    `devices` are those on which the embeddings and each decoder layer compute, from `probe`.
    """
    model.encoder.to(devices[0])
    device_map = {"encoder": devices[0]}
    for index, (layer, adapter) in enumerate(zip(model.config.adapter_layers, model.adapters, strict=True)):
        device_map[f"adapters.{index}"] = devices[1 + layer]
        adapter.to(devices[1 + layer])
    for name, device in model.language_model.hf_device_map.items():
        device_map[f"language_model.{name}".rstrip(".")] = device
    model.hf_device_map = device_map


def is_lora(name: str) -> bool:
    """Returns whether a parameter belongs to LoRA, by its name."""
    return ".lora_" in name


def add_lora(language_model: PreTrainedModel, settings: dict[str, Any]) -> dict[str, Any]:
    """Adds LoRA to a frozen language model; initially its output does not change.

    Args:
        settings: `LipReadConfig.lora`. By default all linear layers are adapted except the output layer; in a mixture
            of experts also the experts and the router.

    Returns:
        The settings, completed with the defaults.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If peft refuses the settings.
    """
    # Inside `try`, since transformers requires every other import of a checkpoint's files, even those in functions.
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError("this reader has LoRA on its language model, which needs peft: pip install peft") from error
    settings = {"alpha": 2 * settings["r"], "dropout": 0.0, "target_modules": "all-linear", **settings}
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
            # LoRA is trained in float32, whatever the type of the frozen weights.
            parameter.data = parameter.data.float()
    return settings


def load_lora(language_model: PreTrainedModel, weights: dict[str, torch.Tensor], checkpoint: str) -> None:
    """Copies saved weights, by their names in the language model, into its LoRA, if it has one.

    Raises ValueError if the weights are not exactly those of LoRA.
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
