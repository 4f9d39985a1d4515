# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Configurations of the face encoder and of the whole model."""

import copy
import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

# Keys of the dictionaries in `LipReadConfig`: `lora`, `calibration` and `abstention`.
LORA = ("r", "alpha", "dropout", "target_modules")
CALIBRATION = ("log_odds", "fit", "certainty", "product", "bias")
LIMITS = ("min_lip_motion", "min_confidence")


@strict
class FaceKeypointEncoderConfig(PreTrainedConfig):
    r"""Configuration of [`FaceKeypointEncoder`].

    Args:
        num_landmarks: Landmarks of a frame, as the feature extractor selects them.
        default_kp_frames: Frames of the clip in `dummy_inputs`; 75 are 3 s at 25 frames a second.
        use_velocity: Adds to every landmark its displacement since the frame before.
        clip_normalization: `"mean"` subtracts the clip's average face, so that only movement is left and the speaker's
            looks are not; `"none"` subtracts nothing.
        frame_encoder: `"linear"` embeds a frame by one linear layer over its flattened landmarks; `"transformer"` by a
            Transformer over the landmarks and a CLS token.
        kp_embed_dim, kp_spatial_layers: Width and number of layers of the spatial Transformer.
        hidden_size: Width of the temporal layers and of the conditioning tokens.
        conv_kernel_size: Frames in the kernel of the convolution before the temporal layers; 0 for no convolution.
        temporal_encoder: `"conformer"` layers have relative positions; `"transformer"` layers have sinusoidal
            positions, added to the frames (Vaswani et al., 2017).
        kp_temporal_layers: Number of temporal layers.
        conformer_kernel_size: Frames in the kernel of the convolution in a `"conformer"` layer.
        max_relative_distance: Frames; the attention of a `"conformer"` layer treats larger distances as this one.
        kp_heads: Attention heads of every layer.
        kp_ff_mult: Width of the feed-forward layers, as a multiple of the width of their layer.
        kp_dropout: Dropout on the residual branches. Attention weights have no dropout, since with it attention would
            not run in a fused kernel.
        resampler: `"pool"` averages `pool_frames` neighbouring frames into one token; `"perceiver"` attends to all
            frames with `cond_len` learned queries.
        pool_frames: Frames of a conditioning token of the `"pool"` resampler.
        cond_len, resampler_layers: Conditioning tokens and layers of the `"perceiver"` resampler.
        ctc_vocab_size: Symbols of the CTC head, including the blank; 0 for no CTC head.
        ctc_feedback: Embeds the posteriors of the CTC head and adds them to the frames before resampling
            (self-conditioned CTC, https://huggingface.co/papers/2104.02724).
        alignment_head: Adds a head that classifies the character spoken in every frame, with the symbols of the CTC
            head; the blank means silence. Its posteriors are embedded and added like those of the CTC head.
        initializer_range: Standard deviation of embeddings, CLS token and learned queries at initialisation.
    """

    model_type = "lipread_encoder"
    base_config_key = "encoder_config"
    attribute_map = {"num_attention_heads": "kp_heads", "num_hidden_layers": "kp_temporal_layers"}

    num_landmarks: int = 478
    default_kp_frames: int = 75
    use_velocity: bool = True
    clip_normalization: Literal["none", "mean"] = "none"
    frame_encoder: Literal["linear", "transformer"] = "linear"
    kp_embed_dim: int = 64
    kp_spatial_layers: int = 2
    hidden_size: int = 256
    conv_kernel_size: int = 5
    temporal_encoder: Literal["conformer", "transformer"] = "conformer"
    kp_temporal_layers: int = 4
    conformer_kernel_size: int = 9
    max_relative_distance: int = 40
    kp_heads: int = 4
    kp_ff_mult: int = 4
    kp_dropout: float | int = 0.1
    resampler: Literal["pool", "perceiver"] = "pool"
    pool_frames: int = 2
    cond_len: int = 32
    resampler_layers: int = 2
    ctc_vocab_size: int = 0
    ctc_feedback: bool = True
    alignment_head: bool = False
    initializer_range: float = 0.02

    def validate_architecture(self):
        """Checks the sizes; `@strict` calls this after construction."""
        sizes = ("num_landmarks", "default_kp_frames", "hidden_size", "kp_heads", "pool_frames", "cond_len")
        for name in (*sizes, "conformer_kernel_size", "max_relative_distance"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        widths = ["hidden_size"] + ["kp_embed_dim"] * (self.frame_encoder == "transformer")
        for name in widths:
            if getattr(self, name) % self.kp_heads:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of kp_heads ({self.kp_heads})")
        if self.alignment_head and not self.ctc_vocab_size:
            raise ValueError("alignment_head needs the symbols of the CTC head: set ctc_vocab_size")
        if self.conv_kernel_size and self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size must be odd, or 0 for no convolution, got {self.conv_kernel_size}")
        if self.conformer_kernel_size % 2 == 0:
            raise ValueError(f"conformer_kernel_size must be odd, got {self.conformer_kernel_size}")


@strict
class LipReadConfig(PreTrainedConfig):
    r"""Configuration of [`LipReadForConditionalGeneration`].

    Args:
        text_config, encoder_config: Configurations of the causal language model and of the face encoder.
        base_model_name_or_path: Hub id or folder of the frozen language model. If it is set, a checkpoint holds only
            trained weights, and `from_pretrained` loads the language model from here. If it is `None`, the checkpoint
            holds the language model too.
        base_model_revision: Commit on the Hub of the language model that the adapters were trained with.
        freeze_language_model: Keeps the weights of the language model fixed, and turns off its dropout.
        lora: LoRA on the frozen language model, trained and saved with the adapters. Keys: the rank `r`; optionally
            the scale `alpha` (default `2 * r`), `dropout` (default 0), and `target_modules`, a list of module names
            or `"all-linear"` (default).
        adapter_every: Puts an adapter before every n-th layer of the language model, counted back from the last one.
        adapter_top_k: Puts an adapter before each of the last n layers instead.
        adapter_heads, adapter_head_dim: Attention heads of an adapter, and the width of each.
        adapter_dropout: Dropout on the output of an adapter.
        gate_type, gate_init: Function applied to the gate parameter (`"none"` for the identity); its initial value.
        zero_init_projection: Initialises the output projection of every adapter with zeros. For the initial model to
            equal the language model, either the gate or the projection must be zero. If both are, no gradient flows.
            The combination `gate_type="sigmoid", gate_init=-10.0` starts with a nearly closed gate and hardly learns.
        ctc_vocab: Characters of the CTC head, beginning with the blank `""`; empty for no CTC head.
        text_unit: The unit of scoring: `"word"`, or `"character"` if most of the transcripts of the training are in a
            script without spaces. It selects the error rate, WER or CER, that training and evaluation go by.
        ctc_weight, alignment_weight: Weights of the CTC loss and of the alignment loss, for an encoder with
            `alignment_head`; the loss of the language model has weight 1.
        label_smoothing: Share of each target of the language model that training spreads over all tokens (Szegedy et
            al., 2016).
        token_spelling_size: Bytes of the saved table of token spellings, which joint decoding with the CTC head needs;
            0 for no table. `set_token_spelling` sets it.
        decoder_mask_prob: Probability with which training masks an input token of the language model, so that it
            cannot rely on the words before.
        decoder_start_token_id: First token of every sequence.
        prompt_ids: Tokens of the prompt between the start token and the transcript.
        eos_token_id, pad_token_id: Tokens that end a transcript; token for padding and in place of masked tokens.
        clip_seconds: 95th percentile of the durations of the training clips, in seconds. Long videos are cut into
            segments of at most this duration. `None` if it is unknown.
        calibration: Weights `log_odds`, `fit`, `certainty`, `product` and `bias` of the function that estimates
            the probability that a word is right (`confidence_lipread`), from `python -m data.calibrate`. With `None`,
            the language model's probability is the estimate.
        abstention: Limits below which the pipeline returns no text: `min_lip_motion` in distances between the outer
            eye corners a second, and `min_confidence`, 0 to 1 (`confidence_lipread`), from `python -m data.calibrate`.
            `generate` ignores them.
        initializer_range: Standard deviation at initialisation of output projections that do not start at zero.
    """

    model_type = "lipread"
    sub_configs_defaults = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "encoder_config": SubConfigSpec(config_class=FaceKeypointEncoderConfig),
    }

    text_config: dict | PreTrainedConfig | None = None
    encoder_config: dict | PreTrainedConfig | None = None
    base_model_name_or_path: str | None = None
    base_model_revision: str | None = None
    freeze_language_model: bool = True
    lora: dict | None = None
    adapter_every: int = 4
    adapter_top_k: int | None = None
    adapter_heads: int = 8
    adapter_head_dim: int = 64
    adapter_dropout: float | int = 0.1
    gate_type: Literal["tanh", "sigmoid", "none"] = "tanh"
    gate_init: float | int = 1.0
    zero_init_projection: bool = True
    ctc_vocab: list[str] | None = None
    text_unit: Literal["word", "character"] = "word"
    ctc_weight: float | int = 0.5
    label_smoothing: float | int = 0.0
    token_spelling_size: int = 0
    alignment_weight: float | int = 1.0
    decoder_mask_prob: float | int = 0.4
    decoder_start_token_id: int | None = None
    prompt_ids: list[int] | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    clip_seconds: float | int | None = None
    calibration: dict | None = None
    abstention: dict | None = None
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs):
        # Copies, since this class and transformers change them, for example their attention implementation.
        self.text_config = copy.deepcopy(self.text_config)
        self.encoder_config = copy.deepcopy(self.encoder_config)
        super().__post_init__(**kwargs)
        self.ctc_vocab = self.ctc_vocab or []
        self.encoder_config.ctc_vocab_size = len(self.ctc_vocab)

    @property
    def adapter_layers(self) -> list[int]:
        """Indices of the language model's layers with an adapter before them, ascending."""
        num_layers = self.get_text_config().num_hidden_layers
        if self.adapter_top_k is not None:
            return list(range(max(0, num_layers - self.adapter_top_k), num_layers))
        return sorted(range(num_layers - 1, -1, -self.adapter_every))

    @property
    def start_ids(self) -> list[int]:
        """Tokens before every transcript: the start token and the prompt.

        Raises ValueError if `decoder_start_token_id` is not set.
        """
        if self.decoder_start_token_id is None:
            raise ValueError("config.decoder_start_token_id is not set: set it, or pass input_ids")
        return [self.decoder_start_token_id, *(self.prompt_ids or [])]

    def get_text_config(self, decoder=None, encoder=None) -> PreTrainedConfig:
        """Returns the text configuration of the language model."""
        return self.text_config.get_text_config(decoder=decoder, encoder=encoder)

    def validate_architecture(self):
        """Checks the settings against each other; `@strict` calls this after construction."""
        if self.encoder_config.alignment_head and not self.ctc_vocab:
            raise ValueError("alignment_head classifies the characters of ctc_vocab: set ctc_vocab")
        if self.adapter_every < 1 or (self.adapter_top_k is not None and self.adapter_top_k < 1):
            raise ValueError("adapter_every and adapter_top_k must be at least 1: the model needs an adapter")
        if self.gate_type != "sigmoid" and self.gate_init == 0 and self.zero_init_projection:
            raise ValueError(
                "a zero gate on a zero projection has no gradient and never learns: set gate_init to 1.0 or "
                "zero_init_projection to False"
            )
        if self.ctc_vocab and self.ctc_vocab[0] != "":
            raise ValueError('the first entry of ctc_vocab must be the CTC blank, ""')
        for name, known in (("lora", LORA), ("calibration", CALIBRATION), ("abstention", LIMITS)):
            given = getattr(self, name) or {}
            if unknown := sorted(set(given) - set(known)):
                raise ValueError(f"unknown in {name}: {', '.join(unknown)}; there are {', '.join(known)}")
            if wrong := [key for key in given if known is not LORA and not math.isfinite(given[key])]:
                raise ValueError(f"{wrong[0]} in {name} must be a number, got {given[wrong[0]]!r}")
        if self.lora is not None:
            rank = self.lora.get("r")
            if not isinstance(rank, int) or rank < 1:
                raise ValueError(f"lora needs a rank r of at least 1, got {rank}; without LoRA, leave lora out")
            if not self.freeze_language_model:
                raise ValueError("lora needs a frozen model: set freeze_language_model to True, or leave lora out")
        if self.calibration is not None and (missing := sorted(set(CALIBRATION) - set(self.calibration))):
            raise ValueError(f"calibration lacks {', '.join(missing)}; run python -m data.calibrate")
        if self.clip_seconds is not None and not 0 < self.clip_seconds < math.inf:
            raise ValueError(f"clip_seconds must be a positive number of seconds, got {self.clip_seconds}")
        for name in ("label_smoothing", "decoder_mask_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")


__all__ = ["FaceKeypointEncoderConfig", "LipReadConfig"]
