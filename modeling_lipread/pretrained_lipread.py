# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""How a reader comes by its weights: what was trained from its checkpoint, the language model from its own place."""

import os
from dataclasses import fields
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .adapters_lipread import GatedCrossAttention, attach_adapters, check_conditioning
from .base_model_lipread import (
    is_folder,
    keep_unpacked,
    load_base_model,
    load_language_model,
    place_beside,
    resolved_revision,
    without_dropout,
    without_quantization,
)
from .configuration_lipread import LipReadConfig
from .lora_lipread import add_lora, is_lora, load_lora, merge_lora
from .output_lipread import CACHE
from .pipeline_lipread import PIPELINE_TASK, LipReadingPipeline
from .weights_lipread import checkpoint_files, refuse_peft_adapter, refuse_wrong_weights, saved_weights

LANGUAGE_MODEL_PREFIX = "language_model."
# Arguments of `from_pretrained` that say where files are; others are about the language model as much as about the
# reader; and others about nothing but the language model, the large and frozen part.
FILE_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token")
SHARED_ARGUMENTS = ("dtype", "torch_dtype")
LANGUAGE_MODEL_ARGUMENTS = ("device_map", "max_memory", "offload_folder", "quantization_config")


def belongs_to_base(name: str) -> bool:
    """Whether a reader's weight is its language model's own, rather than LoRA's or one outside of it."""
    return name.startswith(LANGUAGE_MODEL_PREFIX) and not is_lora(name)


class LipReadPreTrainedModel(PreTrainedModel):
    config: LipReadConfig
    base_model_prefix = "reader"
    input_modalities = ("video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _can_compile_fullgraph = True
    _no_split_modules = ["FaceKeypointEncoder", "GatedCrossAttention"]
    _skip_keys_device_placement = [CACHE]
    # A gate moves by thousandths and landmarks differ by hundredths: half precision would round both away.
    # Patterns are looked for anywhere in a name: these must not find a mixture of experts' router, also called gate.
    _keep_in_fp32_modules_strict = [r"^adapters\.\d+\.gate$", r"^encoder\.input_mean$", r"^encoder\.input_std$"]
    # LoRA on a language model that is attached afterwards; `load_lora` looks after it.
    _keys_to_ignore_on_load_unexpected = [r"^language_model\..*\.lora_"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, GatedCrossAttention):
            for projection in (module.q_proj, module.k_proj, module.v_proj):
                init.normal_(projection.weight, mean=0.0, std=projection.in_features**-0.5)
            if self.config.zero_init_projection:
                init.zeros_(module.o_proj.weight)
            init.constant_(module.gate, float(self.config.gate_init))

    def _attach_language_model(self, language_model: PreTrainedModel) -> None:
        self.language_model = language_model
        # What cannot be taken back token by token, assisted decoding must not guess.
        self._is_stateful = language_model._is_stateful
        keep_unpacked(language_model)
        self.config.text_config, self.config.base_model_quantization = without_quantization(language_model.config)
        check_conditioning(language_model)
        attach_adapters(language_model, self.adapters, self.config.adapter_layers)
        self._freeze_language_model()
        if self.config.freeze_language_model:
            without_dropout(language_model)
        if self.config.lora:
            self.config.lora = add_lora(language_model, self.config.lora)
        if getattr(language_model, "hf_device_map", None):
            place_beside(self, language_model)

    def _freeze_language_model(self) -> None:
        """Freezes what the configuration says is frozen: all of the language model but LoRA."""
        if self.config.freeze_language_model:
            for name, parameter in self.named_parameters():
                if belongs_to_base(name):
                    parameter.requires_grad_(False)

    @classmethod
    def from_language_model(
        cls,
        model_id: str | os.PathLike,
        config: LipReadConfig | None = None,
        *,
        revision: str | None = None,
        dtype: torch.dtype | str = "auto",
        **kwargs,
    ) -> "LipReadPreTrainedModel":
        """Builds an untrained reader on a pretrained language model.

        Args:
            model_id: Hub id or folder of a causal language model.
            config: The reader's other settings; `text_config`, `base_model_name_or_path` and `base_model_revision` are
                filled in.
            revision: Branch, tag or commit on the Hub. The commit it stands for is what the checkpoint will name.
            dtype: Type of the language model's weights. Encoder and adapters are float32.
            kwargs: Further arguments of `AutoModelForCausalLM.from_pretrained`, such as `quantization_config`.

        Raises:
            OSError: If the language model cannot be found.
            ValueError: If it lacks weights, or cannot be conditioned.
        """
        files = {key: kwargs[key] for key in FILE_ARGUMENTS if key in kwargs and key != "force_download"}
        # Resolved before it is loaded: what the checkpoint will name is what was trained with.
        revision = resolved_revision(model_id, revision, **files)
        language_model = load_language_model(model_id, revision=revision, dtype=dtype, **kwargs)
        config = LipReadConfig() if config is None else config
        config.text_config, _ = without_quantization(language_model.config)
        # A folder is named in full: the checkpoint may be loaded from anywhere.
        config.base_model_name_or_path = str(Path(model_id).resolve() if Path(model_id).is_dir() else model_id)
        config.base_model_revision = revision
        return cls(config, language_model=language_model)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, **kwargs):
        """Loads a reader; one saved without its language model fetches that from where the configuration names it.

        Args:
            pretrained_model_name_or_path: Folder or Hub id.
            model_args: As for `PreTrainedModel.from_pretrained`.
            config: A configuration to load with instead of the checkpoint's own, or where to find one.
            kwargs: As for `PreTrainedModel.from_pretrained`, settings of the configuration among them, unless that is
                given as an object. Of a reader saved without its language model,
                `quantization_config`, `device_map`, `max_memory` and `offload_folder` concern the language model
                alone, a `device_map` by the names of its own modules; encoder and adapters follow its layers.
                `ignore_mismatched_sizes` changes nothing: sizes must agree.

        Raises:
            OSError: If the checkpoint or its language model cannot be found, or is not in whole safetensors files.
            ValueError: If the checkpoint is of another kind of model; if its weights are not exactly those that its
                configuration describes; or if its language model is another one. Nothing is ever filled in at random.
        """
        checkpoint = str(pretrained_model_name_or_path)
        output_loading_info = kwargs.pop("output_loading_info", False)
        file_arguments = {key: kwargs[key] for key in FILE_ARGUMENTS if key in kwargs}
        own_files = {**file_arguments, **{key: kwargs[key] for key in ("revision", "subfolder") if key in kwargs}}
        settings = {}
        if not isinstance(config, PreTrainedConfig):
            known = {field.name for field in fields(LipReadConfig)}.difference(SHARED_ARGUMENTS)
            settings = {key: kwargs.pop(key) for key in known.intersection(kwargs)}
        config = cls._own_config(config, checkpoint, own_files, settings)
        separate = config.base_model_name_or_path is not None
        passed_on = {key: kwargs[key] for key in SHARED_ARGUMENTS if kwargs.get(key) is not None}
        # One name for all, or one for each part by its configuration's name; `AutoModel` has put it into these.
        attention = kwargs.get("attn_implementation")
        if isinstance(attention, dict):
            attention = attention.get("text_config", attention.get(""))
        attention = attention or config.text_config._attn_implementation or config._attn_implementation
        if isinstance(attention, str):
            passed_on["attn_implementation"] = attention
        for key in LANGUAGE_MODEL_ARGUMENTS:
            if separate and kwargs.get(key) is not None:
                passed_on[key] = kwargs.pop(key)
        if kwargs.get("quantization_config") is not None:
            raise ValueError(
                f"{checkpoint} holds its language model (it was saved with include_base=True), "
                "which cannot be quantised apart from the rest. Load a checkpoint that names its language model."
            )
        files = checkpoint_files(checkpoint, own_files)
        model, loading_info = super().from_pretrained(
            pretrained_model_name_or_path,
            *model_args,
            config=config,
            build_language_model=not separate,
            output_loading_info=True,
            # Never a pickle; and sizes are compared here, whatever is asked for.
            **{**kwargs, "use_safetensors": True, "ignore_mismatched_sizes": True},
        )
        refuse_peft_adapter(model, checkpoint)
        found = (loading_info[f"{kind}_keys"] for kind in ("missing", "mismatched", "unexpected"))
        refuse_wrong_weights(checkpoint, "the reader's", *found)
        if separate:
            model._attach_language_model(load_base_model(config, checkpoint, {**file_arguments, **passed_on}))
            load_lora(model.language_model, saved_weights(files, LANGUAGE_MODEL_PREFIX), checkpoint)
            model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
            model.eval()
        else:
            check_conditioning(model.language_model)  # it had no weights yet when it was attached
            model._freeze_language_model()  # again: what was frozen was on the meta device, and has been replaced
        return (model, loading_info) if output_loading_info else model

    @staticmethod
    def _own_config(config, checkpoint: str, own_files: dict, settings: dict) -> LipReadConfig:
        """The configuration to load with, if it is a reader's, with the settings that are to be other ones."""
        # Code loaded from a checkpoint exists in several copies, so the class itself cannot be asked for.
        if isinstance(config, PreTrainedConfig):
            model_type = config.model_type
        else:
            found, _ = PreTrainedConfig.get_config_dict(config or checkpoint, **own_files)
            model_type = found.get("model_type")
        if model_type != LipReadConfig.model_type:
            raise ValueError(
                f"{config or checkpoint}: its config.json is missing or is not a reader's (model_type {model_type!r} "
                f"instead of {LipReadConfig.model_type!r}). Give a folder or Hub id that a reader was saved to; a "
                "language model is what from_language_model builds a reader on."
            )
        if isinstance(config, PreTrainedConfig):
            return config
        return LipReadConfig.from_pretrained(config or checkpoint, **own_files, **settings)

    def save_pretrained(self, save_directory, *args, include_base: bool = False, state_dict=None, **kwargs):
        """Saves what was trained, and the language model's name; or, self-contained, everything.

        Args:
            save_directory: Folder to write.
            include_base: Whether to save the frozen language model's weights too. A language model that was trained,
                or that came from nowhere, is always saved.
            state_dict: Weights to save, if not the model's own.
            args, kwargs: As for `PreTrainedModel.save_pretrained`.

        Raises:
            ValueError: If the language model is to be saved and is quantised; or if it is to be pushed to the Hub by
                name, and the name is a folder's.
        """
        separate = not include_base and self.config.freeze_language_model and self.config.base_model_name_or_path
        if separate and kwargs.get("push_to_hub"):
            self._check_others_find_base_model()
        if not separate and getattr(self.language_model, "is_quantized", False):
            raise ValueError(
                "a quantised language model cannot be saved inside a reader: save without include_base, which names it"
            )
        state_dict = self.state_dict() if state_dict is None else state_dict
        if separate:
            state_dict = {key: value for key, value in state_dict.items() if not belongs_to_base(key)}
        # By the names they have here, not by those in the language model's own files: LoRA has none there, and a
        # training run that goes on from a checkpoint looks for these.
        kwargs.setdefault("save_original_format", False)
        # As one that came from the model's configuration, it would be loaded without what transformers does not know.
        self.generation_config._from_model_config = False
        base = self.config.base_model_name_or_path, self.config.base_model_revision
        try:
            if not separate:
                self.config.base_model_name_or_path = self.config.base_model_revision = None
            # A class knows one automatic class, or the one it was loaded by; the folder can be loaded through both.
            name = f"modeling_lipread.{type(self).__name__}"
            self.config.auto_map = {"AutoModel": name, "AutoModelForCausalLM": name}
            # Its file travels with this one's imports.
            pipeline = f"pipeline_lipread.{LipReadingPipeline.__name__}"
            self.config.custom_pipelines = {PIPELINE_TASK: {"impl": pipeline, "pt": ["AutoModel"]}}
            super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)
        finally:
            self.config.base_model_name_or_path, self.config.base_model_revision = base

    def push_to_hub(self, *args, **kwargs):
        """Saves the reader to a repository on the Hub, as `PreTrainedModel.push_to_hub` does.

        Raises:
            ValueError: If the reader names its language model by a folder, where nobody else finds it.
        """
        if self.config.freeze_language_model and self.config.base_model_name_or_path:
            self._check_others_find_base_model()
        return super().push_to_hub(*args, **kwargs)

    def _check_others_find_base_model(self) -> None:
        name = self.config.base_model_name_or_path
        if is_folder(name):
            raise ValueError(
                f"this reader names its language model by a folder, {name}, where nobody else finds it. Push with "
                "save_pretrained(FOLDER, push_to_hub=True, repo_id=..., include_base=True), or save it and use "
                "`lipread publish FOLDER --base_model_id ID_ON_THE_HUB`."
            )

    def merge_lora(self) -> None:
        """Merges LoRA into the language model, which from then on is the reader's own and saved with it.

        A merged reader needs no peft and is as fast as one without LoRA.

        Raises:
            ValueError: If there is no LoRA, or the language model is quantised.
        """
        if not self.config.lora:
            raise ValueError("this reader has no LoRA to merge")
        merge_lora(self.language_model)
        self.config.lora = self.config.base_model_name_or_path = self.config.base_model_revision = None


__all__ = ["LipReadPreTrainedModel"]
