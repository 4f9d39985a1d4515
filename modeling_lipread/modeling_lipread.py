# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The model: a face encoder, gated cross-attention adapters, and a frozen causal language model."""

import copy
import os
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Cache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple
from transformers.utils.hub import resolve_revision

from .adapters_lipread import (
    CACHE,
    Conditioning,
    GatedCrossAttention,
    Probe,
    attach_adapters,
    cannot_be_conditioned,
    evaluation_mode,
    probe,
    recorded_attention,
)
from .configuration_lipread import LipReadConfig
from .ctc_lipread import (
    CTCLogitsProcessor,
    CTCPrefixScores,
    clip_lengths,
    pack_spellings,
    token_spellings,
    unpack_spellings,
)
from .encoder_lipread import FaceKeypointEncoder, FaceKeypointEncoderOutput, additive_mask, check_tensors
from .language_model_lipread import (
    FILE_ARGUMENTS,
    add_lora,
    checkpoint_files,
    is_folder,
    is_lora,
    load_base_model,
    load_language_model,
    load_lora,
    place_parts,
    refuse_not_finite,
    refuse_peft_adapter,
    refuse_quantization,
    refuse_wrong_weights,
    remove_dropout,
    saved_weights,
)

LANGUAGE_MODEL_PREFIX = "language_model."
# Arguments of `from_pretrained` for both the whole model and a separately loaded language model, and for the latter
# alone.
SHARED_ARGUMENTS = ("dtype", "torch_dtype")
LANGUAGE_MODEL_ARGUMENTS = ("device_map", "max_memory", "offload_folder")


@dataclass
class LipReadOutput(CausalLMOutputWithPast):
    """Output of a causal language model, extended by the losses and the logits of the face encoder.

    Args:
        loss: `lm_loss + ctc_weight * ctc_loss + alignment_weight * alignment_loss`, as far as targets are given. Each
            part is a mean over clips of the clip's own mean, weighted by the tokens of the clip's transcript.
        logits: Scores of the next token, `(batch, sequence, vocab_size)`.
        past_key_values: Cache of the language model; `cache` since transformers 5.24.
        hidden_states, attentions: Those of the language model, if requested.
        cross_attentions: Attention weights of each adapter, `(batch, heads, sequence, conditioning tokens)`, if
            requested by `output_attentions`.
        lm_loss: Cross-entropy of the transcript's tokens; in training with `config.label_smoothing`.
        ctc_loss: CTC loss of the transcript per character.
        alignment_loss: Cross-entropy of the character spoken in each frame; 0 for a clip without word times.
        ctc_logits: Logits of the CTC head, `(batch, frames, len(config.ctc_vocab))`.
        alignment_logits: Logits of the alignment head, `(batch, frames, len(config.ctc_vocab))`.
    """

    cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    lm_loss: torch.FloatTensor | None = None
    ctc_loss: torch.FloatTensor | None = None
    alignment_loss: torch.FloatTensor | None = None
    ctc_logits: torch.FloatTensor | None = None
    alignment_logits: torch.FloatTensor | None = None


def belongs_to_base(name: str) -> bool:
    """Returns whether a weight belongs to the base language model: neither to LoRA nor to encoder or adapters."""
    return name.startswith(LANGUAGE_MODEL_PREFIX) and not is_lora(name)


class LipReadPreTrainedModel(PreTrainedModel):
    """Initialises, loads and saves the model, together with or apart from its frozen language model."""

    config: LipReadConfig
    base_model_prefix = "language_model"
    input_modalities = ("video", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _can_compile_fullgraph = True
    _no_split_modules = ["FaceKeypointEncoder", "GatedCrossAttention"]
    _skip_keys_device_placement = [CACHE]
    # In half precision, rounding would hide updates of the gate and differences between landmarks. The patterns are
    # anchored, since the routers of mixtures of experts are called gate too.
    _keep_in_fp32_modules_strict = [r"^adapters\.\d+\.gate$", r"^encoder\.input_mean$", r"^encoder\.input_std$"]
    # `load_lora` loads these weights after the language model is attached.
    _keys_to_ignore_on_load_unexpected = [r"^language_model\..*\.lora_"]

    @classmethod
    def is_custom_code(cls) -> bool:
        """Returns False, so that transformers fills all non-persistent buffers of the language model after loading.

        In custom code it leaves out modules without weights of their own, in which `_init_weights` might overwrite
        loaded weights. Here it uses `transformers.initialization`, which does not overwrite them.
        """
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if any(module is adapter for adapter in self.adapters):
            for projection in (module.q_proj, module.k_proj, module.v_proj):
                init.normal_(projection.weight, mean=0.0, std=projection.in_features**-0.5)
            if self.config.zero_init_projection:
                init.zeros_(module.o_proj.weight)
            init.constant_(module.gate, float(self.config.gate_init))

    def attach_language_model(self, language_model: PreTrainedModel, is_new: bool = True) -> None:
        """Conditions a language model: attaches adapters, freezes it, removes its dropout, adds LoRA, places parts.

        It `is_new` unless the reader was trained on it. Raises ValueError if it cannot be conditioned, or a reader was
        built on it before.
        """
        refuse_quantization("the language model", getattr(language_model.config, "quantization_config", None))
        self.language_model, self.config.text_config = language_model, language_model.config
        # On the meta device it cannot compute; `from_pretrained` checks it after loading.
        is_loaded = language_model.device.type != "meta" or getattr(language_model, "hf_device_map", None)
        probed = probe(language_model, is_new) if is_loaded else None
        attach_adapters(language_model, self.adapters, self.config.adapter_layers)
        self.freeze_parts()
        if self.config.freeze_language_model:
            remove_dropout(language_model)
        if self.config.lora:
            self.config.lora = add_lora(language_model, self.config.lora)
        if getattr(language_model, "hf_device_map", None):
            place_parts(self, probed.devices)
        if is_loaded:
            self.check_generation(probed)

    def freeze_parts(self) -> None:
        """Freezes the language model except for LoRA if the configuration says so."""
        for name, parameter in self.named_parameters():
            if self.config.freeze_language_model and belongs_to_base(name):
                parameter.requires_grad_(False)

    def check_generation(self, probed: Probe) -> None:
        """Raises ValueError if the model generates with a cache another text than it computes without one."""
        self._is_stateful = not probed.can_roll_back  # transformers refuses assisted decoding for such models
        device = probed.devices[0]
        place = device if self.encoder.device.type == "meta" else self.encoder.device
        clip = torch.zeros(1, 2, self.config.encoder_config.num_landmarks, 3, device=place)
        with evaluation_mode(self), torch.no_grad():
            conditioning, _ = self.encode(clip)
            try:
                output = self._generate_plainly(torch.ones(1, 1, dtype=torch.long, device=device), conditioning)
                expected = self(output.sequences, conditioning=conditioning, use_cache=False).logits[:, -2]
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                raise cannot_be_conditioned(self.language_model, f"fails in generation ({error})") from error
        if not self._is_rounding(output.logits[-1], expected):
            raise cannot_be_conditioned(self.language_model, "generates other tokens with a cache than without one")

    def _generate_plainly(self, ids: torch.Tensor, conditioning: Conditioning | None, padding: int = 0):
        """Generates two tokens greedily after `ids` and padding, without any setting of `generation_config`."""
        mask = nn.functional.pad(torch.ones_like(ids), (padding, 0))
        settings = {"max_new_tokens": 2, "return_dict_in_generate": True, "output_logits": True}
        own, self.generation_config = self.generation_config, GenerationConfig(**settings)
        try:
            ids = nn.functional.pad(ids, (padding, 0))
            return GenerationMixin.generate(self, ids, attention_mask=mask, conditioning=conditioning)
        finally:
            self.generation_config = own

    def _is_rounding(self, logits: torch.Tensor, expected: torch.Tensor) -> bool:
        """Returns whether logits differ by rounding errors alone, judged by their range and the weights' precision."""
        exact = self.language_model.dtype == torch.float32
        spread = (expected.amax() - expected.amin()).float()
        # In SmolLM2-135M they differ by 1e-6 of the range in float32, and by 0.02 in bfloat16.
        return not bool((logits.to(expected.device) - expected).abs().amax() > spread * (0.01 if exact else 0.25))

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
        """Builds an untrained model on a pretrained language model.

        Args:
            model_id: Hub id or folder of a causal language model.
            config: The other settings, of which the model gets a copy.
            revision: Branch, tag or commit on the Hub; the configuration records its commit.
            dtype: Type of the language model's weights. Encoder and adapters are float32.
            kwargs: Further arguments of `AutoModelForCausalLM.from_pretrained`, such as `device_map`.

        Raises:
            OSError: If the language model cannot be found.
            ValueError: If it lacks weights, or if its layers cannot receive the conditioning.
        """
        files = {key: kwargs[key] for key in FILE_ARGUMENTS if key in kwargs and key != "force_download"}
        # Resolved before loading, so that the recorded commit is the one that is loaded.
        found = None if Path(model_id).is_dir() else resolve_revision(str(model_id), revision, **files)
        # The string value of the result is the branch; the commit is its attribute.
        revision = getattr(found, "resolved", found)
        language_model = load_language_model(model_id, revision=revision, dtype=dtype, **kwargs)
        config = LipReadConfig() if config is None else copy.deepcopy(config)
        config.text_config = language_model.config
        # An absolute path, since the checkpoint may be loaded from another working directory.
        config.base_model_name_or_path = str(Path(model_id).resolve() if Path(model_id).is_dir() else model_id)
        config.base_model_revision = revision
        return cls(config, language_model=language_model)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, config=None, **kwargs):
        """Loads a checkpoint, and its language model from `base_model_name_or_path` if that was saved apart.

        Args:
            pretrained_model_name_or_path: Folder or Hub id, or `None` with `config` and `state_dict`.
            model_args, config, kwargs: As for `PreTrainedModel.from_pretrained`. If the language model was saved
                apart, `device_map`, `max_memory` and `offload_folder` apply to it alone: a `device_map` names its
                modules, and encoder and adapters follow its layers. `ignore_mismatched_sizes` has no effect: sizes
                must agree.

        Raises:
            OSError: If the checkpoint or its language model cannot be found, or its safetensors files are missing or
                damaged.
            ValueError: If the checkpoint is of another type of model, its weights are not exactly those that its
                configuration describes, or its language model has another size than in training.
        """
        checkpoint = str(pretrained_model_name_or_path)
        refuse_quantization(checkpoint, kwargs.get("quantization_config"))
        output_loading_info = kwargs.pop("output_loading_info", False)
        file_arguments = {key: kwargs[key] for key in FILE_ARGUMENTS if key in kwargs}
        own_files = {**file_arguments, **{key: kwargs[key] for key in ("revision", "subfolder") if key in kwargs}}
        settings = {}
        if not isinstance(config, PreTrainedConfig):
            known = {field.name for field in fields(LipReadConfig)}.difference(SHARED_ARGUMENTS)
            settings = {key: kwargs.pop(key) for key in known.intersection(kwargs)}
        config = cls._load_config(config, checkpoint, own_files, settings)
        separate = config.base_model_name_or_path is not None
        passed_on = {key: kwargs[key] for key in SHARED_ARGUMENTS if kwargs.get(key) is not None}
        # Either one name, or a name for each configuration; `AutoModel` moves it from `kwargs` to the configurations.
        attention = kwargs.get("attn_implementation")
        if isinstance(attention, dict):
            attention = attention.get("text_config", attention.get(""))
        attention = attention or config.text_config._attn_implementation or config._attn_implementation
        if isinstance(attention, str):
            passed_on["attn_implementation"] = attention
        for key in LANGUAGE_MODEL_ARGUMENTS:
            if separate and kwargs.get(key) is not None:
                passed_on[key] = kwargs.pop(key)
        if separate and (weights := kwargs.get("state_dict")) is not None:
            kwargs["state_dict"] = {name: weight for name, weight in weights.items() if not belongs_to_base(name)}
        files = []
        if pretrained_model_name_or_path is not None:
            files = checkpoint_files(checkpoint, own_files, kwargs.get("variant"))
        model, loading_info = super().from_pretrained(
            pretrained_model_name_or_path,
            *model_args,
            config=config,
            output_loading_info=True,
            # Never loads a pickle. Mismatched sizes are reported in `loading_info` and raise an error below.
            **{**kwargs, "use_safetensors": True, "ignore_mismatched_sizes": True},
        )
        refuse_peft_adapter(model, checkpoint)
        found = (loading_info[f"{kind}_keys"] for kind in ("missing", "mismatched", "unexpected"))
        refuse_wrong_weights(checkpoint, "the checkpoint's", *found)
        if separate:
            language_model = load_base_model(config, checkpoint, {**file_arguments, **passed_on})
            model.attach_language_model(language_model, is_new=False)
            weights = saved_weights(files, LANGUAGE_MODEL_PREFIX, kwargs.get("state_dict"))
            load_lora(model.language_model, weights, checkpoint)
            model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)
            model.eval()
        else:
            model.check_generation(probe(model.language_model, is_new=False))
            model.freeze_parts()  # again, since loading replaced the frozen parameters of the meta device
        own = (item for item in model.state_dict().items() if not (separate and belongs_to_base(item[0])))
        refuse_not_finite(checkpoint, own)
        return (model, loading_info) if output_loading_info else model

    @staticmethod
    def _load_config(config, checkpoint: str, own_files: dict, settings: dict) -> LipReadConfig:
        """Returns `config`, or loads it, with the changed fields of `settings`, after a check of its `model_type`."""
        # By `model_type` rather than `isinstance`: remote code may be imported as several copies of the class.
        if is_loaded := isinstance(config, PreTrainedConfig):
            model_type = config.model_type
        else:
            model_type = PreTrainedConfig.get_config_dict(config or checkpoint, **own_files)[0].get("model_type")
        if model_type != LipReadConfig.model_type:
            raise ValueError(
                f"{config or checkpoint}: its config.json is missing or is of another model (model_type "
                f"{model_type!r} instead of {LipReadConfig.model_type!r}). Give the folder or Hub id of a lipread "
                "checkpoint; to build a new model on a language model, use from_language_model."
            )
        return config if is_loaded else LipReadConfig.from_pretrained(config or checkpoint, **own_files, **settings)

    def save_pretrained(self, save_directory, *args, include_base: bool = False, state_dict=None, **kwargs):
        """Saves the trained weights, and the name of the frozen language model or its weights too.

        Args:
            save_directory, state_dict, args, kwargs: As for `PreTrainedModel.save_pretrained`.
            include_base: Saves the weights of the frozen language model too. A language model that is not frozen, or
                has no `base_model_name_or_path`, is always saved.

        Raises:
            ValueError: If `push_to_hub` is set and `base_model_name_or_path` is a folder.
        """
        separate = not include_base and self.config.freeze_language_model and self.config.base_model_name_or_path
        if separate and kwargs.get("push_to_hub"):
            self._check_base_model_is_on_hub()
        state_dict = self.state_dict() if state_dict is None else state_dict
        if separate:
            state_dict = {key: value for key, value in state_dict.items() if not belongs_to_base(key)}
        # Keeps the parameter names of this class: LoRA has no names in the language model's original format, and
        # resumed training expects the names of this class.
        kwargs.setdefault("save_original_format", False)
        base = self.config.base_model_name_or_path, self.config.base_model_revision
        try:
            if not separate:
                self.config.base_model_name_or_path = self.config.base_model_revision = None
            # Set by hand, since a class can be registered for one auto class only.
            name = f"modeling_lipread.{type(self).__name__}"
            self.config.auto_map = {"AutoModel": name, "AutoModelForCausalLM": name}
            # The import makes transformers copy the pipeline's files too. It is local, since loading a model must not
            # import video code.
            from .pipeline_lipread import PIPELINE_TASK, LipReadingPipeline

            pipeline = f"pipeline_lipread.{LipReadingPipeline.__name__}"
            self.config.custom_pipelines = {PIPELINE_TASK: {"impl": pipeline, "pt": ["AutoModel"]}}
            super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)
        finally:
            self.config.base_model_name_or_path, self.config.base_model_revision = base

    def push_to_hub(self, *args, **kwargs):
        """Uploads the checkpoint; raises ValueError if `base_model_name_or_path` is a folder."""
        self._check_base_model_is_on_hub()
        return super().push_to_hub(*args, **kwargs)

    def _check_base_model_is_on_hub(self) -> None:
        name = self.config.base_model_name_or_path
        if self.config.freeze_language_model and name and is_folder(name):
            raise ValueError(
                f"this reader names its language model by a folder, {name}, where nobody else finds it. Push with "
                "save_pretrained(FOLDER, push_to_hub=True, repo_id=..., include_base=True), or save the model and use "
                "`lipread publish FOLDER --include_base`."
            )


class LipReadForConditionalGeneration(LipReadPreTrainedModel, GenerationMixin):
    """A causal language model conditioned on 3D face landmarks.

    Example:

    ```python
    >>> from transformers import AutoModel, AutoProcessor

    >>> processor = AutoProcessor.from_pretrained("you/lipread-grid", trust_remote_code=True)
    >>> model = AutoModel.from_pretrained("you/lipread-grid", trust_remote_code=True)
    >>> inputs = processor(videos="clip.mp4", return_tensors="pt")
    >>> processor.batch_decode(model.generate(**inputs, num_beams=4), skip_special_tokens=True)
    ['bin blue at f two now']
    ```
    """

    def __init__(self, config: LipReadConfig, language_model: PreTrainedModel | None = None):
        """Builds the model.

        The sizes of the language model are those of `config.text_config`. By default it is one with random weights;
        with `config.base_model_name_or_path`, none until `attach_language_model`.
        """
        super().__init__(config)
        self.encoder = FaceKeypointEncoder(config.encoder_config)
        self.adapters = nn.ModuleList([GatedCrossAttention(config, i) for i in range(len(config.adapter_layers))])
        if config.token_spelling_size:
            self.register_buffer("token_spelling", torch.zeros(config.token_spelling_size, dtype=torch.uint8))
        if language_model is None and config.base_model_name_or_path is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.language_model = language_model
        self.post_init()
        # Of the settings that transformers derives from the configurations, these alone: others, such as bart's
        # `forced_eos_token_id`, are meant for other tasks.
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        self.generation_config = GenerationConfig(**{name: getattr(self.generation_config, name) for name in names})
        if language_model is not None:  # after `post_init`, which would initialise LoRA again
            self.attach_language_model(language_model)

    def get_output_embeddings(self):
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings):
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, new_num_tokens=None, pad_to_multiple_of=None, mean_resizing=True):
        """Resizes the language model's embeddings as `PreTrainedModel.resize_token_embeddings`.

        Raises ValueError if the language model is frozen, since new tokens would be neither trained nor saved.
        """
        if self.config.freeze_language_model and (new_num_tokens is not None or pad_to_multiple_of is not None):
            raise ValueError(
                "the language model is frozen and cannot learn new tokens. Resize it before a reader is built on it: "
                "save it with its tokenizer, and give that folder to from_language_model."
            )
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """The encoder's `dummy_inputs` and three tokens."""
        return {**self.encoder.dummy_inputs, "input_ids": torch.arange(3, device=self.device)[None]}

    def get_encoder(self, modality=None):
        return self.encoder if modality in (None, "video") else super().get_encoder(modality)

    def gate_values(self) -> dict[int, float]:
        """Returns the activated gate of each adapter, by the index of its decoder layer."""
        return {
            layer: adapter.gate_value().item()
            for layer, adapter in zip(self.config.adapter_layers, self.adapters, strict=True)
        }

    @property
    def uses_video(self) -> bool:
        """Whether any adapter changes the language model's output; none does before its first training step."""
        return any(bool(adapter.o_proj.weight.any() and adapter.gate_value()) for adapter in self.adapters)

    def set_token_spelling(self, tokenizer) -> None:
        """Stores the bytes of each token of a tokenizer in a buffer, which joint decoding with the CTC head needs."""
        table = torch.frombuffer(bytearray(pack_spellings(token_spellings(tokenizer))), dtype=torch.uint8)
        self.register_buffer("token_spelling", table.to(self.device))
        self.config.token_spelling_size = len(table)

    def encode(
        self, keypoints: torch.Tensor, keypoints_mask: torch.Tensor | None = None
    ) -> tuple[Conditioning, FaceKeypointEncoderOutput]:
        """Encodes clips, given as to `forward`.

        Returns:
            Keys and values for the adapters, which `forward` and `generate` accept, and the encoder's output.
        """
        encoded = self.encoder(keypoints, keypoints_mask)
        pairs = [adapter.keys_values(encoded.last_hidden_state, encoded.attention_mask) for adapter in self.adapters]
        keys, values = zip(*pairs, strict=True)
        return Conditioning(keys, values, additive_mask(encoded.attention_mask, keys[0].dtype)), encoded

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        keypoints: torch.FloatTensor | None = None,
        keypoints_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        ctc_targets: torch.LongTensor | None = None,
        alignment_targets: torch.LongTensor | None = None,
        conditioning: Conditioning | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        past_key_values: Cache | None = None,
        cache: Cache | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> LipReadOutput:
        """Computes the scores of next tokens, and the losses whose targets are given.

        Args:
            input_ids: Tokens, `(batch, sequence)`. Without them, but with `ctc_targets` or `alignment_targets`, only
                the encoder runs.
            attention_mask: Zero on padding, `(batch, sequence)`.
            keypoints: Landmarks, `(batch, frames, landmarks, 3)`. Without `keypoints` and `conditioning`, the language
                model runs unconditioned.
            keypoints_mask: Non-zero for frames with a face, `(batch, frames)`.
            labels: Target tokens, -100 for none, `(batch, sequence)`. If only the encoder runs, they weight the clips.
            ctc_targets: Target characters, indices of `config.ctc_vocab`, -100 on padding, `(batch, characters)`.
            alignment_targets: Target character of each frame, an index of `config.ctc_vocab`; the blank for silence,
                -100 for unknown, `(batch, frames)`.
            conditioning: The clips as `encode` returns them, instead of `keypoints`.
            num_items_in_batch: Number of `labels` other than -100 in all batches of an update, over gradient
                accumulation and processes, as the Trainer counts them; without `labels`, the number of clips. Losses
                are divided by it, so that the losses of these batches add up to the loss of one large batch. By
                default the number in this batch.
            past_key_values, cache: Cache of the language model, under either name.
            position_ids, inputs_embeds, use_cache, logits_to_keep: As for any causal language model.
            kwargs: Passed to the language model, such as `output_hidden_states`; `return_dict=False` returns a tuple.

        Raises:
            ValueError: If the number of rows is no multiple of the number of clips, or the shapes of the clips are
                not those of the configuration.
        """
        cache = past_key_values if cache is None else cache
        encoded = FaceKeypointEncoderOutput()  # of no clip
        if conditioning is None and keypoints is not None:
            conditioning, encoded = self.encode(keypoints, keypoints_mask)
        if self.training and labels is not None and input_ids is not None:
            input_ids = self._mask_tokens(input_ids, labels)
        if kwargs.get("shift_labels") is not None:
            raise ValueError("shift_labels: give labels, which the model shifts itself")
        if self.training and labels is None and input_ids is not None and num_items_in_batch is not None:
            raise ValueError(
                "the Trainer keeps the labels from the model, as it does with label_smoothing_factor or "
                "compute_loss_func, and would train on the wrong tokens: set config.label_smoothing instead"
            )
        targets = {"labels": labels, "ctc_targets": ctc_targets, "alignment_targets": alignment_targets}
        heads = {"ctc_logits": encoded.ctc_logits, "alignment_logits": encoded.alignment_logits}
        has_frame_targets = encoded.last_hidden_state is not None and (
            ctc_targets is not None or alignment_targets is not None
        )
        if has_frame_targets and input_ids is None and inputs_embeds is None:
            return LipReadOutput(**self._losses(None, encoded, keypoints_mask, num_items_in_batch, **targets), **heads)
        if self.language_model is None:
            raise ValueError("the language model is missing: load the reader with from_pretrained")
        if conditioning is not None:
            kwargs["conditioning"] = conditioning
        is_recorded = kwargs.get("output_attentions", self.config.output_attentions)
        with recorded_attention(self.adapters) if is_recorded else nullcontext() as cross_attentions:
            outputs = self.language_model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                use_cache=use_cache,
                logits_to_keep=logits_to_keep,
                **{CACHE: cache},
                **kwargs,
            )
        return LipReadOutput(
            **self._losses(outputs.logits, encoded, keypoints_mask, num_items_in_batch, **targets),
            logits=outputs.logits,
            **{CACHE: outputs.get(CACHE)},
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=tuple(cross_attentions) if cross_attentions else None,
            **heads,
        )

    def _losses(self, logits, encoded, keypoints_mask, num_items_in_batch, *, labels, ctc_targets, alignment_targets):
        """Returns the parts of the loss whose targets are given, and `loss`, their weighted sum, by name.

        Every part is a mean over clips of the clip's own mean over tokens, characters or frames. All three parts
        weight a clip by the tokens of its transcript, so that one number, `num_items_in_batch`, normalises them.
        """
        losses: dict[str, torch.Tensor] = {}
        if labels is not None:
            labels = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)  # the logits at i are those of token i + 1
            tokens = (labels != -100).sum(1)
            if logits is not None:
                losses["lm_loss"] = self._lm_loss(logits, labels.to(logits.device))
        elif encoded.last_hidden_state is not None:
            tokens = torch.ones(len(encoded.last_hidden_state), device=encoded.last_hidden_state.device)
        if ctc_targets is not None and encoded.ctc_logits is not None:
            losses["ctc_loss"] = self._ctc_loss(encoded.ctc_logits, keypoints_mask, ctc_targets)
        if alignment_targets is not None and encoded.alignment_logits is not None:
            loss = self._alignment_loss(encoded.alignment_logits, keypoints_mask, alignment_targets)
            losses["alignment_loss"] = loss
        if not losses:
            return {}
        total = tokens.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        shares = tokens / torch.as_tensor(total, device=tokens.device)
        for part, loss in losses.items():
            # If a clip has several transcripts, their rows are consecutive.
            losses[part] = (shares.to(loss.device).view(len(loss), -1).sum(1) * loss).sum()
        weights = {"ctc_loss": self.config.ctc_weight, "alignment_loss": self.config.alignment_weight}
        return {**losses, "loss": sum(weights.get(part, 1.0) * loss for part, loss in losses.items())}

    def _mask_tokens(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Replaces random tokens of the transcript by padding, so that training relies less on the words before."""
        if not self.config.decoder_mask_prob or self.config.pad_token_id is None:
            return input_ids
        masked = torch.rand(input_ids.shape, device=input_ids.device) < self.config.decoder_mask_prob
        return input_ids.masked_fill(masked & (labels != -100), self.config.pad_token_id)

    def _lm_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns the mean cross-entropy of the tokens of each transcript, `(rows,)`."""
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), label_smoothing=smoothing, reduction="none"
        )
        return loss.view_as(labels).sum(1) / (labels != -100).sum(1).clamp(min=1)

    @staticmethod
    def _ctc_loss(logits: torch.Tensor, mask: torch.Tensor | None, targets: torch.Tensor) -> torch.Tensor:
        """Returns the CTC loss of each clip divided by its number of characters, `(clips,)`."""
        lengths = (targets >= 0).sum(1)
        loss = nn.functional.ctc_loss(
            logits.float().log_softmax(-1).transpose(0, 1),
            targets.clamp(min=0),
            clip_lengths(mask, logits),
            lengths,
            reduction="none",
            zero_infinity=True,
        )
        return loss / lengths.clamp(min=1)

    @staticmethod
    def _alignment_loss(logits: torch.Tensor, mask: torch.Tensor | None, targets: torch.Tensor) -> torch.Tensor:
        """Returns the mean cross-entropy of the frames of each clip, `(clips,)`; 0 where no frame has a target."""
        if mask is not None:
            targets = targets.masked_fill(~mask.bool(), -100)
        loss = nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return loss.sum(1) / (targets >= 0).sum(1).clamp(min=1)

    @torch.no_grad()
    def generate(
        self,
        inputs=None,
        *,
        keypoints=None,
        keypoints_mask=None,
        conditioning=None,
        ctc_logits=None,
        ctc_decoding_weight=None,
        **kwargs,
    ):
        """Generates transcripts, as `GenerationMixin.generate` does. Raises ValueError for joint decoding without CTC.

        Args:
            inputs: Initial tokens, `(batch, sequence)`. Without `inputs`, `input_ids` and `inputs_embeds`, it begins
                with the start token and the prompt of the configuration.
            keypoints, keypoints_mask, conditioning: As for `forward`.
            ctc_logits: With `conditioning` and a `ctc_decoding_weight`, the CTC logits from the same call of `encode`.
            ctc_decoding_weight: Weight of the CTC score in joint decoding, 0 to 1; the language model has the weight
                `1 - ctc_decoding_weight`. By default that of `generation_config`, or else 0.
            kwargs: As for `GenerationMixin.generate`.

        Returns:
            Token ids, `(batch * num_return_sequences, sequence)`, or a `ModelOutput` if requested. They begin with the
            given initial tokens, or with the start token, without the prompt of the configuration.
        """
        # With offloaded weights, accelerate moves the inputs to where they are needed.
        device = "cpu" if self.device.type == "meta" else self.device
        if kwargs.get("assistant_model") is not None:
            raise ValueError(
                "assistant_model: a draft model does not get the clip; leave it out, or use prompt_lookup_num_tokens"
            )
        if (mask := kwargs.get("attention_mask")) is not None and not mask[:, 0].all():
            self._check_left_padding(device)
        if conditioning is None and keypoints is not None:
            check_tensors(keypoints=keypoints, keypoints_mask=keypoints_mask)
            keypoints_mask = None if keypoints_mask is None else keypoints_mask.to(device)
            conditioning, encoded = self.encode(keypoints.to(device), keypoints_mask)
            ctc_logits = encoded.ctc_logits
        input_ids = kwargs.pop("input_ids", inputs)
        prompt_length = 0
        if input_ids is None and kwargs.get("inputs_embeds") is None and conditioning is not None:
            input_ids = torch.tensor([self.config.start_ids] * len(conditioning.mask), device=device)
            # Without a mask, a start token that is also the padding token would be masked.
            kwargs.setdefault("attention_mask", torch.ones_like(input_ids))
            prompt_length = input_ids.shape[1] - 1
        if conditioning is not None:
            kwargs["conditioning"] = conditioning
            given = kwargs.get("generation_config")
            weight = self._generation_setting("ctc_decoding_weight", ctc_decoding_weight, given)
            if weight:
                end_ids = self._generation_setting("eos_token_id", kwargs.get("eos_token_id"), given)
                processor = self._ctc_processor(weight, ctc_logits, keypoints_mask, input_ids, end_ids)
                kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or ()), processor])
        output = super().generate(input_ids, **kwargs)
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        sequences = torch.cat([sequences[:, :1], sequences[:, 1 + prompt_length :]], dim=1)
        if isinstance(output, torch.Tensor):
            return sequences
        output.sequences = sequences
        return output

    def _check_left_padding(self, device: torch.device | str) -> None:
        """Raises `ValueError` if the language model reads padding before a prompt as a part of it."""
        prompt = torch.arange(1, 4, device=device)[None]
        with evaluation_mode(self):
            alone, padded = (self._generate_plainly(prompt, None, padding).logits[0] for padding in (0, 4))
        if not self._is_rounding(padded, alone):
            raise ValueError(
                f"{self.config.get_text_config().model_type} models read the padding before a prompt as text: give "
                "prompts of one length, or one prompt at a time"
            )

    def _generation_setting(self, name: str, value, generation_config):
        """Returns a setting with the precedence of `generate`: argument, given configuration, own configuration."""
        values = (value, getattr(generation_config, name, None), getattr(self.generation_config, name, None))
        return next((value for value in values if value is not None), None)

    def _ctc_processor(self, weight, ctc_logits, keypoints_mask, input_ids, end_ids) -> CTCLogitsProcessor:
        """Builds the logits processor for joint decoding; raises ValueError if it is not possible."""
        if not 0 <= weight <= 1:
            raise ValueError(f"ctc_decoding_weight must lie in [0, 1], got {weight}")
        if not self.config.ctc_vocab:
            raise ValueError("this model has no CTC head: generate with ctc_decoding_weight=0")
        if not self.config.token_spelling_size:
            raise ValueError(
                "joint decoding needs the spelling of every token: call model.set_token_spelling(processor.tokenizer) "
                "once, or generate with ctc_decoding_weight=0"
            )
        if ctc_logits is None:
            raise ValueError(
                "joint decoding with conditioning needs ctc_logits from the same call of encode: give them, or "
                "generate with ctc_decoding_weight=0"
            )
        start = [] if self.config.decoder_start_token_id is None else self.config.start_ids
        prompt_length = 0 if input_ids is None else input_ids.shape[1]
        # Tokens after the configuration's own prompt are the beginning of the transcript; CTC scores them too.
        if start and prompt_length > len(start) and all(row[: len(start)] == start for row in input_ids.tolist()):
            prompt_length = len(start)
        return CTCLogitsProcessor(
            CTCPrefixScores(ctc_logits, clip_lengths(keypoints_mask, ctc_logits), self.config.ctc_vocab),
            unpack_spellings(self.token_spelling.cpu().numpy().tobytes()),
            weight=weight,
            prompt_length=prompt_length,
            end_ids=[] if end_ids is None else [end_ids] if isinstance(end_ids, int) else end_ids,
        )


__all__ = ["LipReadForConditionalGeneration", "LipReadOutput", "LipReadPreTrainedModel"]
