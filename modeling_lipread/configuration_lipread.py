# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Configurations of the face encoder and of the whole reader."""

import copy
import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

# What `calibration` and `abstention` hold.
CALIBRATION = ("log_odds", "fit", "bias")
LIMITS = ("min_lip_motion", "min_agreement", "min_confidence")


@strict
class FaceKeypointEncoderConfig(PreTrainedConfig):
    r"""Configuration of [`FaceKeypointEncoder`].

    Args:
        num_landmarks (`int`, *optional*, defaults to 478):
            Landmarks in a frame, as the feature extractor selects them.
        default_kp_frames (`int`, *optional*, defaults to 75):
            Frames of the example clip that `dummy_inputs` makes (3 s at 25 frames a second).
        use_velocity (`bool`, *optional*, defaults to `True`):
            Whether every landmark also carries its displacement since the frame before.
        clip_normalization (`str`, *optional*, defaults to `"none"`):
            What is subtracted from a clip that says who speaks rather than what is said: `"none"`, or `"mean"` (the
            clip's average face, so that only movement is left).
        frame_encoder (`str`, *optional*, defaults to `"linear"`):
            `"linear"` embeds a frame by one linear layer over its flattened landmarks; `"transformer"` by a
            Transformer over the landmarks and a CLS token.
        kp_embed_dim (`int`, *optional*, defaults to 64):
            Width of the spatial Transformer.
        kp_spatial_layers (`int`, *optional*, defaults to 2):
            Layers of the spatial Transformer.
        hidden_size (`int`, *optional*, defaults to 256):
            Width of the layers over time and of the conditioning tokens.
        conv_kernel_size (`int`, *optional*, defaults to 5):
            Frames that the convolution before the layers over time sees; 0 leaves it out.
        temporal_encoder (`str`, *optional*, defaults to `"conformer"`):
            Layers over time: `"conformer"` ones, with relative positions, or those of a plain `"transformer"`, with
            sinusoidal positions added to the frames (Vaswani et al., 2017).
        kp_temporal_layers (`int`, *optional*, defaults to 4):
            How many layers over time.
        conformer_kernel_size (`int`, *optional*, defaults to 9):
            Frames that the convolution of a `"conformer"` layer sees.
        max_relative_distance (`int`, *optional*, defaults to 40):
            Frames up to which the attention of a `"conformer"` layer tells distances in time apart.
        kp_heads (`int`, *optional*, defaults to 4):
            Attention heads of every layer.
        kp_ff_mult (`int`, *optional*, defaults to 4):
            Width of the feed-forward layers as a multiple of the layer's own.
        kp_dropout (`float`, *optional*, defaults to 0.1):
            Dropout on the residual branches. Attention weights are not dropped: that would lose the fused kernels.
        resampler (`str`, *optional*, defaults to `"pool"`):
            `"pool"` averages `pool_frames` neighbouring frames into a token; `"perceiver"` reads the frames with
            `cond_len` learned queries.
        pool_frames (`int`, *optional*, defaults to 2):
            Frames in a conditioning token of the `"pool"` resampler.
        cond_len (`int`, *optional*, defaults to 32):
            Conditioning tokens of the `"perceiver"` resampler.
        resampler_layers (`int`, *optional*, defaults to 2):
            Layers of the `"perceiver"` resampler.
        ctc_vocab_size (`int`, *optional*, defaults to 0):
            Symbols of the CTC head, blank included; 0 builds none.
        ctc_feedback (`bool`, *optional*, defaults to `True`):
            Whether the CTC head's posteriors are embedded and added to the frames before resampling
            (self-conditioned CTC, https://huggingface.co/papers/2104.02724).
        alignment_head (`bool`, *optional*, defaults to `False`):
            Whether a head tells for every frame which of the CTC head's characters is spoken in it, its blank standing
            for silence. Its posteriors are embedded and added like those of the CTC head.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the weights at initialisation.
    """

    model_type = "lipread_encoder"
    base_config_key = "encoder_config"

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
        """Part of `@strict`: refuses sizes that no encoder can be built from."""
        sizes = ("num_landmarks", "default_kp_frames", "hidden_size", "kp_heads", "pool_frames", "cond_len")
        for name in (*sizes, "conformer_kernel_size", "max_relative_distance"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        widths = ["hidden_size"] + ["kp_embed_dim"] * (self.frame_encoder == "transformer")
        for name in widths:
            if getattr(self, name) % self.kp_heads:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of kp_heads ({self.kp_heads})")
        if self.alignment_head and not self.ctc_vocab_size:
            raise ValueError("an alignment_head tells the characters of the CTC head apart: set ctc_vocab_size")
        if self.conv_kernel_size and self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size must be odd (or 0 for none), got {self.conv_kernel_size}")
        if self.conformer_kernel_size % 2 == 0:
            raise ValueError(f"conformer_kernel_size must be odd, got {self.conformer_kernel_size}")


@strict
class LipReadConfig(PreTrainedConfig):
    r"""Configuration of [`LipReadForConditionalGeneration`].

    Args:
        text_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the causal language model that writes the words.
        encoder_config (`FaceKeypointEncoderConfig` or `dict`, *optional*):
            Configuration of the face encoder.
        base_model_name_or_path (`str`, *optional*):
            Hub id or folder of the frozen language model. With it, checkpoints hold only what was trained, and loading
            fetches the language model from here. `None` if the checkpoint holds the language model itself.
        base_model_revision (`str`, *optional*):
            Commit of the language model on the Hub that the adapters were trained with.
        base_model_quantization (`dict`, *optional*):
            How the language model was quantised when the reader was trained, and is again at load.
        freeze_language_model (`bool`, *optional*, defaults to `True`):
            Whether the language model's weights stay as they are. Frozen, it also has no dropout.
        lora (`dict`, *optional*):
            LoRA on the frozen language model, trained and saved with the reader: its rank `r`, and optionally `alpha`,
            its scale (twice the rank by default), `dropout`, and `target_modules`, a list of names or `"all-linear"`.
        adapter_every (`int`, *optional*, defaults to 4):
            An adapter before every so many layers of the language model, counted down from the last layer.
        adapter_top_k (`int`, *optional*):
            Adapters before the last `adapter_top_k` layers instead.
        adapter_heads (`int`, *optional*, defaults to 8):
            Attention heads of an adapter.
        adapter_head_dim (`int`, *optional*, defaults to 64):
            Width of an adapter's attention head.
        adapter_dropout (`float`, *optional*, defaults to 0.1):
            Dropout on an adapter's output.
        gate_type (`str`, *optional*, defaults to `"tanh"`):
            What the gate's parameter passes through: `"tanh"`, `"sigmoid"`, or `"none"`.
        gate_init (`float`, *optional*, defaults to 1.0):
            The gate's parameter at the start.
        zero_init_projection (`bool`, *optional*, defaults to `True`):
            Whether an adapter's output projection starts at zero. Either this or the gate must be zero for the reader
            to start as the language model it is built on, and only one of them, or nothing learns. The classic form
            `gate_type="sigmoid", gate_init=-10.0` starts with a gate that is nearly zero, and learns very slowly.
        ctc_vocab (`list[str]`, *optional*, defaults to `[]`):
            Characters that the CTC head writes; the first is the blank, `""`. Empty: no CTC head.
        ctc_weight (`float`, *optional*, defaults to 0.5):
            Weight of the CTC loss beside the language model's.
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Share of the language model's target that is spread over all tokens in training (Szegedy et al., 2016).
        token_spelling_size (`int`, *optional*, defaults to 0):
            Bytes of the table, kept with the weights, of what each token spells, by which the CTC head takes part in
            decoding; 0 if there is none. `set_token_spelling` makes it.
        alignment_weight (`float`, *optional*, defaults to 1.0):
            Weight of the alignment loss beside the language model's, for an encoder with an `alignment_head`.
        decoder_mask_prob (`float`, *optional*, defaults to 0.4):
            Probability that an input token is hidden from the language model in training, so that it must look at the
            face rather than at the words before.
        decoder_start_token_id (`int`, *optional*):
            Token that every transcript starts from.
        prompt_ids (`list[int]`, *optional*):
            Tokens of the prompt between the start token and every transcript, if the reader was trained with one.
        eos_token_id (`int`, *optional*):
            Token that ends a transcript.
        pad_token_id (`int`, *optional*):
            Token that fills a batch; also stands for hidden tokens in training.
        clip_seconds (`float`, *optional*):
            How long the clips were that it learned from: 95 of 100 were no longer. Long videos are read in stretches
            of at most this length. `None` if that is not known.
        calibration (`dict`, *optional*):
            How the pipeline tells the chance that a written word is right: weights `log_odds`, `fit` and `bias`
            (`confidence_lipread`). `python -m data.calibrate` measures them. `None`: the word's probability.
        abstention (`dict`, *optional*):
            Below what the pipeline says nothing: `min_lip_motion`, in distances between the eyes a second,
            `min_agreement` and `min_confidence`, both 0 to 1 (`confidence_lipread`). `python -m data.calibrate`
            measures them too. `generate` does not go by it.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the adapters' weights at initialisation.
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
    base_model_quantization: dict | None = None
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
        # A copy: transformers takes back how attention is computed in the configurations it is given, and a language
        # model that shares this one would silently compute something else.
        self.text_config = copy.deepcopy(self.text_config)
        super().__post_init__(**kwargs)
        self.ctc_vocab = self.ctc_vocab or []
        self.encoder_config.ctc_vocab_size = len(self.ctc_vocab)

    @property
    def adapter_layers(self) -> list[int]:
        """Indices of the language model's layers that have an adapter before them, ascending."""
        num_layers = self.get_text_config().num_hidden_layers
        if self.adapter_top_k is not None:
            return list(range(max(0, num_layers - self.adapter_top_k), num_layers))
        return sorted(range(num_layers - 1, -1, -self.adapter_every))

    @property
    def start_ids(self) -> list[int]:
        """The tokens that every transcript continues: the start token and the prompt.

        Raises:
            ValueError: If there is no start token.
        """
        if self.decoder_start_token_id is None:
            raise ValueError("config.decoder_start_token_id is not set: pass input_ids to begin from")
        return [self.decoder_start_token_id, *(self.prompt_ids or [])]

    def get_text_config(self, decoder=None, encoder=None) -> PreTrainedConfig:
        """The language model's own text configuration; the face encoder reads no text."""
        return self.text_config.get_text_config(decoder=decoder, encoder=encoder)

    def validate_architecture(self):
        """Part of `@strict`: refuses adapters that could not be built or could not learn."""
        if self.encoder_config.alignment_head and not self.ctc_vocab:
            raise ValueError("an alignment_head tells the characters of ctc_vocab apart: give ctc_vocab")
        if self.adapter_every < 1 or (self.adapter_top_k is not None and self.adapter_top_k < 1):
            raise ValueError("adapter_every and adapter_top_k must be at least 1: a reader needs an adapter")
        if self.gate_type != "sigmoid" and self.gate_init == 0 and self.zero_init_projection:
            raise ValueError(
                "a gate of zero on a zero projection has no gradient and never learns: "
                "set gate_init to 1.0 or zero_init_projection to False"
            )
        if self.ctc_vocab and self.ctc_vocab[0] != "":
            raise ValueError('the first entry of ctc_vocab is the CTC blank and must be ""')
        if self.lora is not None:
            self._validate_lora()
        if self.calibration is not None:
            _check_numbers("calibration", self.calibration, CALIBRATION)
            if missing := sorted(set(CALIBRATION) - set(self.calibration)):
                raise ValueError(f"calibration lacks {', '.join(missing)}; python -m data.calibrate measures it")
        if self.abstention is not None:
            _check_numbers("abstention", self.abstention, LIMITS)
        if self.clip_seconds is not None and not 0 < self.clip_seconds < math.inf:
            raise ValueError(f"clip_seconds must be a positive number of seconds, got {self.clip_seconds}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if not 0 <= self.decoder_mask_prob < 1:
            raise ValueError(f"decoder_mask_prob must lie in [0, 1), got {self.decoder_mask_prob}")

    def _validate_lora(self):
        if unknown := sorted(set(self.lora) - {"r", "alpha", "dropout", "target_modules"}):
            raise ValueError(f"unknown in lora: {', '.join(unknown)}; there are r, alpha, dropout and target_modules")
        rank = self.lora.get("r")
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"lora needs a rank r of at least 1, got {rank}; for no LoRA leave lora out")
        if not self.freeze_language_model:
            raise ValueError(
                "LoRA stands in for training the language model itself: set freeze_language_model to True, or leave "
                "lora out"
            )


def _check_numbers(name: str, given: dict, known: tuple[str, ...]) -> None:
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"unknown in {name}: {', '.join(unknown)}; there are {', '.join(known)}")
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{key} in {name} must be a number, got {value!r}")


__all__ = ["FaceKeypointEncoderConfig", "LipReadConfig"]
