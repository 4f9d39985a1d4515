# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The model: a face encoder, gated cross-attention adapters, and a frozen causal language model that writes."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Cache,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from .adapters_lipread import Conditioning, GatedCrossAttention, attach_adapters, check_conditioning
from .configuration_lipread import LipReadConfig
from .ctc_lipread import (
    CTCLogitsProcessor,
    CTCPrefixScores,
    clip_lengths,
    pack_spellings,
    token_spellings,
    unpack_spellings,
)
from .encoder_lipread import FaceKeypointEncoder, FaceKeypointEncoderOutput, additive_mask
from .language_model_lipread import (
    add_lora,
    checkpoint_files,
    is_folder,
    is_lora,
    keep_unpacked,
    load_base_model,
    load_language_model,
    load_lora,
    merge_lora,
    place_beside,
    refuse_peft_adapter,
    refuse_wrong_weights,
    resolved_revision,
    saved_weights,
    without_dropout,
    without_quantization,
)

# What language models call their cache, as an argument and in their output: `past_key_values` until transformers 5.24.
CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"
LANGUAGE_MODEL_PREFIX = "language_model."
# Arguments of `from_pretrained` that say where files are; others are about the language model as much as about the
# reader; and others about nothing but the language model, the large and frozen part.
FILE_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token")
SHARED_ARGUMENTS = ("dtype", "torch_dtype")
LANGUAGE_MODEL_ARGUMENTS = ("device_map", "max_memory", "offload_folder", "quantization_config")


@dataclass
class LipReadOutput(CausalLMOutputWithPast):
    """What the reader gives: a causal language model's output, and what its encoder was scored by.

    Args:
        loss (`torch.FloatTensor`, *optional*):
            `lm_loss + ctc_weight * ctc_loss + alignment_weight * alignment_loss`, of those whose targets were given.
            Each is a mean over clips of the clip's own mean; a clip counts by its transcript's tokens.
        logits (`torch.FloatTensor`):
            Scores of the next token, `(batch, sequence, vocab_size)`.
        past_key_values (`Cache`, *optional*):
            The language model's cache; `cache` since transformers 5.24.
        hidden_states, attentions:
            The language model's, if asked for.
        lm_loss (`torch.FloatTensor`, *optional*):
            Cross-entropy of the transcript's tokens; in training with `config.label_smoothing`.
        ctc_loss (`torch.FloatTensor`, *optional*):
            Connectionist temporal classification loss of the transcript, by character.
        alignment_loss (`torch.FloatTensor`, *optional*):
            Cross-entropy of the character spoken in each frame; 0 for a clip without word times.
        ctc_logits (`torch.FloatTensor`, *optional*):
            Scores of the CTC head, `(batch, frames, len(config.ctc_vocab))`.
        alignment_logits (`torch.FloatTensor`, *optional*):
            Scores of the alignment head, `(batch, frames, len(config.ctc_vocab))`.
    """

    lm_loss: torch.FloatTensor | None = None
    ctc_loss: torch.FloatTensor | None = None
    alignment_loss: torch.FloatTensor | None = None
    ctc_logits: torch.FloatTensor | None = None
    alignment_logits: torch.FloatTensor | None = None


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
            # Its file travels with this one's imports. Imported here, since a model needs no video code to load.
            from .pipeline_lipread import PIPELINE_TASK, LipReadingPipeline

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


class LipReadForConditionalGeneration(LipReadPreTrainedModel, GenerationMixin):
    """Reads lips: a causal language model conditioned on 3D face landmarks.

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

    def __init__(
        self,
        config: LipReadConfig,
        language_model: PreTrainedModel | None = None,
        build_language_model: bool = True,
    ):
        """Builds a reader.

        Args:
            config: The reader's configuration.
            language_model: A language model to condition, of the shape that `config.text_config` names.
            build_language_model: Whether to build one at random if none is given. `from_pretrained` attaches the
                real one itself.
        """
        super().__init__(config)
        self.encoder = FaceKeypointEncoder._from_config(config.encoder_config)
        self.adapters = nn.ModuleList([GatedCrossAttention(config, i) for i in range(len(config.adapter_layers))])
        if config.token_spelling_size:
            self.register_buffer("token_spelling", torch.zeros(config.token_spelling_size, dtype=torch.uint8))
        self.language_model = None
        if language_model is None and build_language_model:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        if language_model is not None:
            self._attach_language_model(language_model)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings):
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, new_num_tokens=None, pad_to_multiple_of=None, mean_resizing=True):
        """Resizes the language model's embeddings, as `PreTrainedModel.resize_token_embeddings` does.

        Raises:
            ValueError: If the language model is frozen: it could not learn new tokens, nor be found again in its size.
        """
        if self.config.freeze_language_model and (new_num_tokens is not None or pad_to_multiple_of is not None):
            raise ValueError(
                "the language model is frozen and could not learn new tokens. Resize it before a reader is built on "
                "it: save it, with its tokenizer, and give that folder to from_language_model."
            )
        return super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)

    def get_encoder(self, modality=None):
        return self.encoder

    def gate_values(self) -> dict[int, float]:
        """How far each adapter's gate is open, by the index of its decoder layer."""
        return {
            layer: adapter.gate_value().item()
            for layer, adapter in zip(self.config.adapter_layers, self.adapters, strict=True)
        }

    @property
    def sees(self) -> bool:
        """Whether any adapter lets the face through: none does before training, or where the encoder learned alone."""
        return any(bool(adapter.o_proj.weight.any() and adapter.gate_value()) for adapter in self.adapters)

    def set_token_spelling(self, tokenizer) -> None:
        """Writes down what each token spells, as decoding with the CTC head needs it; it is saved with the weights.

        Args:
            tokenizer: The language model's tokenizer.
        """
        table = torch.frombuffer(bytearray(pack_spellings(token_spellings(tokenizer))), dtype=torch.uint8)
        self.register_buffer("token_spelling", table.to(self.device))
        self.config.token_spelling_size = len(table)

    def encode(
        self, keypoints: torch.Tensor, keypoints_mask: torch.Tensor | None = None
    ) -> tuple[Conditioning, FaceKeypointEncoderOutput]:
        """Encodes clips to what the adapters attend to; once a clip, however much is written afterwards.

        Args:
            keypoints: Landmarks, `(batch, frames, landmarks, 3)`.
            keypoints_mask: Non-zero where there is a face, `(batch, frames)`.

        Returns:
            Keys and values for the adapters, and the encoder's output.
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
        **kwargs,
    ) -> LipReadOutput:
        """Scores the next tokens of transcripts.

        Args:
            input_ids: Tokens of the transcripts so far, `(batch, sequence)`. Without them, but with `ctc_targets` or
                `alignment_targets`, the encoder alone is scored and the language model is not asked.
            attention_mask: Zero on padding, `(batch, sequence)`.
            keypoints: Landmarks, `(batch, frames, landmarks, 3)`. Without them or `conditioning` the language model
                writes on its own.
            keypoints_mask: Non-zero where there is a face, `(batch, frames)`.
            labels: Tokens to learn, -100 where there is none, `(batch, sequence)`. Where the encoder alone is scored
                they give the weights of the clips.
            ctc_targets: Characters to learn as indices of `config.ctc_vocab`, -100 on padding, `(batch, characters)`.
            alignment_targets: The character spoken in each frame as an index of `config.ctc_vocab`, the blank in
                silence, -100 where that is not known, `(batch, frames)`.
            conditioning: The clips as `encode` gave them, instead of `keypoints`.
            num_items_in_batch: Number of `labels` other than -100 in all batches of an update, over gradient
                accumulation and processes, as the Trainer counts them; without `labels` the number of clips. Losses
                are divided by it, so that those of the batches add up to the loss of one large batch. Default: that
                of this batch.
            past_key_values: The language model's cache; `cache` since transformers 5.24. Either name will do.
            position_ids, inputs_embeds, use_cache, logits_to_keep: As for any causal language model.
            kwargs: Passed on to the language model, such as `output_hidden_states`; `return_dict=False` gives a tuple.

        Returns:
            A `LipReadOutput`.

        Raises:
            ValueError: If the texts cannot be divided among the clips, or the clips are not of the shape configured.
        """
        cache = past_key_values if cache is None else cache
        encoded = None
        if conditioning is None and keypoints is not None:
            conditioning, encoded = self.encode(keypoints, keypoints_mask)
        if self.training and labels is not None and input_ids is not None:
            input_ids = self._hide_tokens(input_ids, labels)
        targets = {"labels": labels, "ctc_targets": ctc_targets, "alignment_targets": alignment_targets}
        has_frame_targets = encoded is not None and (ctc_targets is not None or alignment_targets is not None)
        if has_frame_targets and input_ids is None and inputs_embeds is None:
            losses = self._losses(None, encoded, keypoints_mask, num_items_in_batch, **targets)
            return LipReadOutput(**losses, ctc_logits=encoded.ctc_logits, alignment_logits=encoded.alignment_logits)
        if conditioning is not None:
            kwargs["conditioning"] = conditioning
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
            ctc_logits=encoded.ctc_logits if encoded is not None else None,
            alignment_logits=encoded.alignment_logits if encoded is not None else None,
        )

    def _losses(
        self,
        logits: torch.Tensor | None,
        encoded: FaceKeypointEncoderOutput | None,
        keypoints_mask: torch.Tensor | None,
        num_items_in_batch: torch.Tensor | int | None,
        *,
        labels: torch.Tensor | None,
        ctc_targets: torch.Tensor | None,
        alignment_targets: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """Returns the parts of the loss whose targets are given, and their weighted sum.

        Every part is a mean over clips of the clip's own mean: over its tokens, its characters, its frames. Clips
        count by the tokens of their transcripts in all three, so that one number, `num_items_in_batch`, normalises
        them: the parts of any division into batches add up to those of the whole.
        """
        losses = {}
        ctc_logits = alignment_logits = None
        if encoded is not None:
            ctc_logits, alignment_logits = encoded.ctc_logits, encoded.alignment_logits
        if labels is not None:
            labels = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)  # the logits at i are those of token i + 1
            tokens = (labels != -100).sum(1)
            if logits is not None:
                losses["lm_loss"] = self._lm_loss(logits, labels.to(logits.device))
        elif encoded is not None:
            tokens = torch.ones(len(encoded.last_hidden_state), device=encoded.last_hidden_state.device)
        if ctc_targets is not None and ctc_logits is not None:
            losses["ctc_loss"] = self._ctc_loss(ctc_logits, keypoints_mask, ctc_targets)
        if alignment_targets is not None and alignment_logits is not None:
            losses["alignment_loss"] = self._alignment_loss(alignment_logits, keypoints_mask, alignment_targets)
        if not losses:
            return {}
        total = tokens.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        shares = tokens / torch.as_tensor(total, device=tokens.device)
        for part, loss in losses.items():
            # The transcripts of a clip, should it have several, are rows that stand together.
            losses[part] = (shares.to(loss.device).view(len(loss), -1).sum(1) * loss).sum()
        weights = {"ctc_loss": self.config.ctc_weight, "alignment_loss": self.config.alignment_weight}
        return {**losses, "loss": sum(weights.get(part, 1.0) * loss for part, loss in losses.items())}

    def _hide_tokens(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Hides transcript tokens at random, so that the words before cannot stand in for the face."""
        if not self.config.decoder_mask_prob or self.config.pad_token_id is None:
            return input_ids
        hidden = torch.rand(input_ids.shape, device=input_ids.device) < self.config.decoder_mask_prob
        return input_ids.masked_fill(hidden & (labels != -100), self.config.pad_token_id)

    def _lm_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns the mean cross-entropy of the tokens of each transcript, `(rows,)`."""
        # In evaluation the loss is that of the transcript alone, without label smoothing.
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
        """Writes what the lips say, by greedy search, beams or sampling, as `GenerationMixin.generate` does.

        Args:
            inputs: Tokens to begin from, `(batch, sequence)`; the start token and the prompt that the reader was
                trained with, if neither these nor `input_ids` nor `inputs_embeds` are given.
            keypoints: Landmarks, `(batch, frames, landmarks, 3)`.
            keypoints_mask: Non-zero where there is a face, `(batch, frames)`.
            conditioning: The clips as `encode` gave them, instead of `keypoints`.
            ctc_logits: With `conditioning`, the scores of the CTC head from the same call, if it is to take part.
            ctc_decoding_weight: Weight of the CTC head in the score of a text, from 0 to 1, beside the language
                model's of `1 - ctc_decoding_weight`; that of `generation_config` by default, and 0 without.
            kwargs: As for `GenerationMixin.generate`.

        Returns:
            Token ids, `(batch * num_return_sequences, sequence)`, or a `ModelOutput` if asked for. They begin with
            what was given to begin from, or else with the start token: the reader's own prompt is left out.

        Raises:
            ValueError: If the CTC head is to take part and cannot.
        """
        if keypoints_mask is not None:
            keypoints_mask = keypoints_mask.to(self.device)
        if conditioning is None and keypoints is not None:
            conditioning, encoded = self.encode(keypoints.to(self.device), keypoints_mask)
            ctc_logits = encoded.ctc_logits
        input_ids = kwargs.pop("input_ids", inputs)
        prompt_length = 0
        if input_ids is None and kwargs.get("inputs_embeds") is None and conditioning is not None:
            input_ids = torch.tensor([self.config.start_ids] * len(conditioning.mask), device=self.device)
            # Some tokenizers start with the token that also pads, which would be taken for padding.
            kwargs.setdefault("attention_mask", torch.ones_like(input_ids))
            prompt_length = input_ids.shape[1] - 1
        if conditioning is not None:
            kwargs["conditioning"] = conditioning
            kwargs["ctc_decoding_weight"] = ctc_decoding_weight
            weight = self._generation_setting("ctc_decoding_weight", kwargs) or 0.0
            del kwargs["ctc_decoding_weight"]
            if weight:
                processor = self._ctc_processor(weight, ctc_logits, keypoints_mask, input_ids, kwargs)
                kwargs["logits_processor"] = LogitsProcessorList([*(kwargs.get("logits_processor") or ()), processor])
        output = super().generate(input_ids, **kwargs)
        if not prompt_length:
            return output
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        sequences = torch.cat([sequences[:, :1], sequences[:, 1 + prompt_length :]], dim=1)
        if isinstance(output, torch.Tensor):
            return sequences
        output.sequences = sequences
        return output

    def _generation_setting(self, name: str, kwargs: dict):
        """A setting of `generate` in the order of precedence that it has there."""
        given, own = kwargs.get("generation_config"), self.generation_config
        values = (kwargs.get(name), getattr(given, name, None), getattr(own, name, None))
        return next((value for value in values if value is not None), None)

    def _ctc_processor(
        self,
        weight: float,
        ctc_logits: torch.Tensor | None,
        keypoints_mask: torch.Tensor | None,
        input_ids: torch.Tensor | None,
        kwargs: dict,
    ) -> CTCLogitsProcessor:
        """What lets the CTC head take part in decoding.

        Raises:
            ValueError: If it cannot.
        """
        if not 0 <= weight <= 1:
            raise ValueError(f"ctc_decoding_weight must lie in [0, 1], got {weight}")
        if not self.config.ctc_vocab:
            raise ValueError("this reader has no CTC head that spells words: generate with ctc_decoding_weight=0")
        if not self.config.token_spelling_size:
            raise ValueError(
                "this reader does not hold what its tokens spell, which decoding with the CTC head needs: call "
                "model.set_token_spelling(processor.tokenizer) once, or generate with ctc_decoding_weight=0"
            )
        if ctc_logits is None:
            raise ValueError(
                "conditioning alone does not say what the CTC head saw: give ctc_logits, of the same call of encode, "
                "too, or generate with ctc_decoding_weight=0"
            )
        start = [] if self.config.decoder_start_token_id is None else self.config.start_ids
        begun = 0 if input_ids is None else input_ids.shape[1]
        # A text that was begun already is part of what is said; any other prompt is not.
        if start and begun > len(start) and all(row[: len(start)] == start for row in input_ids.tolist()):
            begun = len(start)
        end_ids = self._generation_setting("eos_token_id", kwargs)
        return CTCLogitsProcessor(
            CTCPrefixScores(ctc_logits, clip_lengths(keypoints_mask, ctc_logits), self.config.ctc_vocab),
            unpack_spellings(self.token_spelling.cpu().numpy().tobytes()),
            weight=weight,
            prompt_length=begun,
            end_ids=end_ids if isinstance(end_ids, list) else [] if end_ids is None else [end_ids],
        )


__all__ = ["LipReadForConditionalGeneration", "LipReadOutput", "LipReadPreTrainedModel"]
