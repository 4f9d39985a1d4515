# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The face encoder: attention and layers, frame encoders, resamplers, and the encoder with CTC and alignment heads."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_lipread import FaceKeypointEncoderConfig


def eager_attention_forward(module, query, key, value, attention_mask, scaling, **kwargs):
    """Computes attention without a fused kernel, with the interface of `ALL_ATTENTION_FUNCTIONS`.

    From queries, keys and values `(batch, heads, tokens, head_dim)`, it returns the output `(batch, tokens, heads,
    head_dim)` and the weights `(batch, heads, queries, keys)`. The mask is added to the scores.
    """
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def additive_mask(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """Converts a bool mask `(batch, keys)`, True for keys to attend to, to one that is added to attention scores.

    It is `(batch, 1, 1, keys)`, 0 for True and the lowest finite number of `dtype` for False: with infinity, a clip
    without a face would give NaN.
    """
    if mask is None:
        return None
    lowest = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, lowest)[:, None, None, :]


def check_tensors(**inputs: torch.Tensor | None) -> None:
    """Raises `TypeError` for an input that is no tensor, such as a NumPy array."""
    for name, value in inputs.items():
        if value is not None and not isinstance(value, torch.Tensor):
            raise TypeError(
                f'{name} must be a tensor, not {type(value).__name__}: call the processor with return_tensors="pt"'
            )


def sinusoidal_positions(length: int, width: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Returns the sinusoidal embedding of each position, `(length, width)` (Vaswani et al., 2017)."""
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].to(dtype)


class Attention(nn.Module):
    """Multi-head attention in the implementation that the configuration names.

    With `max_distance` above 0 it is self-attention with relative positions and needs a mask: each head adds a learned
    number for the distance of two frames to their score (Shaw et al., 2018, as in T5). Distances are clipped to
    `max_distance` frames.
    """

    is_causal = False

    def __init__(self, config: FaceKeypointEncoderConfig, width: int, max_distance: int = 0):
        super().__init__()
        self.config = config
        self.max_distance = max_distance
        self.distance_bias = nn.Embedding(2 * max_distance + 1, config.kp_heads) if max_distance else None
        self.num_heads = config.kp_heads
        self.scaling = (width // self.num_heads) ** -0.5
        self.q_proj = nn.Linear(width, width)
        # Without a bias: it would shift all scores of a query by the same number, which does not change the softmax.
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, queries, keys_values, mask=None):
        query, key, value = (
            self._heads(projection(states))
            for projection, states in ((self.q_proj, queries), (self.k_proj, keys_values), (self.v_proj, keys_values))
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mask = additive_mask(mask, query.dtype)
        if self.distance_bias is not None:
            positions = torch.arange(query.shape[2], device=query.device)
            distance = positions[None, :] - positions[:, None]
            bias = self.distance_bias(distance.clamp(-self.max_distance, self.max_distance) + self.max_distance)
            mask = mask + bias.permute(2, 0, 1)[None].to(query.dtype)
        output, _ = attend(self, query, key, value, mask, scaling=self.scaling, is_causal=False)
        return self.o_proj(output.flatten(-2))


class EncoderLayer(nn.Module):
    """A pre-norm Transformer layer, with self-attention or, given a `context`, cross-attention."""

    def __init__(self, config: FaceKeypointEncoderConfig, width: int, max_distance: int = 0):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(config, width, max_distance)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width * config.kp_ff_mult),
            nn.GELU(),
            nn.Dropout(config.kp_dropout),
            nn.Linear(width * config.kp_ff_mult, width),
        )
        self.dropout = nn.Dropout(config.kp_dropout)

    def forward(self, hidden_states, mask=None, context=None):
        """Runs the layer.

        Args:
            hidden_states: `(batch, queries, width)`.
            mask: True for keys to attend to, `(batch, keys)`.
            context: Source of keys and values, `(batch, keys, width)`; `hidden_states` by default.
        """
        queries = self.attention_norm(hidden_states)
        keys_values = queries if context is None else self.attention_norm(context)
        return self._feed_forward(hidden_states + self.dropout(self.attention(queries, keys_values, mask)))

    def first_token(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Computes the layer's output for the first token alone, `(batch, width)`."""
        tokens = self.attention_norm(hidden_states)
        update = self.attention(tokens[:, :1], tokens)
        return self._feed_forward(hidden_states[:, :1] + self.dropout(update))[:, 0]

    def _feed_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.dropout(self.feed_forward(self.feed_forward_norm(hidden_states)))


class ConvolutionModule(nn.Module):
    """The Conformer's gated depthwise convolution over frames (Gulati et al., 2020).

    A LayerNorm replaces its BatchNorm, whose statistics depend on padding and on the size of the batch.
    """

    def __init__(self, config: FaceKeypointEncoderConfig, width: int):
        super().__init__()
        kernel = config.conformer_kernel_size
        self.norm = nn.LayerNorm(width)
        self.expansion = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.depthwise_norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        gated = nn.functional.glu(self.expansion(self.norm(hidden_states)), dim=-1) * mask[..., None]
        local = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.projection(nn.functional.silu(self.depthwise_norm(local)))


class ConformerLayer(EncoderLayer):
    """A pre-norm Conformer layer without the first feed-forward: relative attention, convolution, feed-forward."""

    def __init__(self, config: FaceKeypointEncoderConfig, width: int):
        super().__init__(config, width, max_distance=config.max_relative_distance)
        self.convolution = ConvolutionModule(config, width)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Runs the layer on `(batch, frames, width)`; attention and convolution ignore frames whose mask is False."""
        frames = self.attention_norm(hidden_states)
        hidden_states = hidden_states + self.dropout(self.attention(frames, frames, mask))
        hidden_states = hidden_states + self.dropout(self.convolution(hidden_states, mask))
        return self._feed_forward(hidden_states)


# Tokens in one pass of the spatial Transformer. On a CPU they fit its caches, which doubles the speed; on other
# devices they bound the memory for a long video.
TOKENS_AT_ONCE = {"cpu": 2**12}
TOKENS_AT_ONCE_ELSEWHERE = 2**17


@dataclass
class FaceKeypointEncoderOutput(ModelOutput):
    """Output of the face encoder.

    Args:
        last_hidden_state: Conditioning tokens, `(batch, tokens, hidden_size)`.
        attention_mask: True for conditioning tokens with a face in their frames, bool `(batch, tokens)`.
        frame_hidden_states: Output of the temporal layers, `(batch, frames, hidden_size)`.
        hidden_states: The frames before and after each temporal layer, if requested.
        ctc_logits: Logits of the CTC head, `(batch, frames, ctc_vocab_size)`, if there is one.
        alignment_logits: Logits of the alignment head, `(batch, frames, ctc_vocab_size)`, if there is one.
    """

    last_hidden_state: torch.FloatTensor | None = None
    attention_mask: torch.BoolTensor | None = None
    frame_hidden_states: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    ctc_logits: torch.FloatTensor | None = None
    alignment_logits: torch.FloatTensor | None = None


class LinearFrameEncoder(nn.Module):
    """Embeds a frame by one linear layer over the channels of all its landmarks."""

    def __init__(self, config: FaceKeypointEncoderConfig, channels: int):
        super().__init__()
        self.projection = nn.Linear(config.num_landmarks * channels, config.hidden_size)

    def forward(self, landmarks: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.projection(landmarks.flatten(-2)) * mask[..., None]


class TransformerFrameEncoder(nn.Module):
    """Embeds a frame by a Transformer over its landmarks and a CLS token."""

    def __init__(self, config: FaceKeypointEncoderConfig, channels: int):
        super().__init__()
        width = config.kp_embed_dim
        self.point_mlp = nn.Sequential(nn.Linear(channels, width), nn.GELU(), nn.Linear(width, width))
        self.landmark_embedding = nn.Embedding(config.num_landmarks, width)
        self.cls_token = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList([EncoderLayer(config, width) for _ in range(config.kp_spatial_layers)])
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, config.hidden_size)

    def _embed(self, landmarks: torch.Tensor) -> torch.Tensor:
        """Embeds frames `(frames, landmarks, channels)` as `(frames, hidden_size)`."""
        points = self.point_mlp(landmarks)
        points = points + self.landmark_embedding(torch.arange(landmarks.shape[1], device=landmarks.device))
        tokens = torch.cat([self.cls_token.to(points.dtype).expand(points.shape[0], 1, -1), points], dim=1)
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        # Only the CLS token of the last layer is used.
        cls = self.layers[-1].first_token(tokens) if len(self.layers) else tokens[:, 0]
        return self.projection(self.norm(cls))

    def forward(self, landmarks: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        landmarks = landmarks.flatten(0, 1)
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():  # shapes must not depend on the data
            embedded = self._embed(landmarks)
        else:
            # Embeds only frames with a face, and at least one frame, so that every weight has a gradient on every
            # process.
            seen = mask.flatten().nonzero()[:, 0]
            seen = seen if len(seen) else seen.new_zeros(1)
            tokens = TOKENS_AT_ONCE.get(landmarks.device.type, TOKENS_AT_ONCE_ELSEWHERE)
            frames_at_once = max(1, tokens // (landmarks.shape[1] + 1))
            embedded = torch.cat([self._embed(frames) for frames in landmarks[seen].split(frames_at_once)])
            embedded = embedded.new_zeros(len(landmarks), embedded.shape[-1]).index_copy(0, seen, embedded)
        return embedded.unflatten(0, mask.shape) * mask[..., None]


class PoolResampler(nn.Module):
    """Averages every `pool_frames` neighbouring frames into a conditioning token."""

    def __init__(self, config: FaceKeypointEncoderConfig):
        super().__init__()
        self.pool_frames = config.pool_frames
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        num_tokens = (hidden_states.shape[1] + self.pool_frames - 1) // self.pool_frames
        missing = num_tokens * self.pool_frames - hidden_states.shape[1]
        weights = nn.functional.pad(mask, (0, missing)).unflatten(1, (num_tokens, self.pool_frames))
        frames = nn.functional.pad(hidden_states, (0, 0, 0, missing)).unflatten(1, (num_tokens, self.pool_frames))
        tokens = (frames * weights[..., None]).sum(2) / weights.sum(2).clamp(min=1)[..., None]
        tokens = self.norm(tokens)
        return tokens + sinusoidal_positions(*tokens.shape[1:], tokens.device, tokens.dtype), weights.any(2)


class PerceiverResampler(nn.Module):
    """A fixed number of conditioning tokens that attend to all frames (Jaegle et al., 2021; Alayrac et al., 2022).

    To each learned query it adds the average of one segment of the clip. Without it, the tokens carry so little of
    the face at first that the language model learns to ignore them.
    """

    def __init__(self, config: FaceKeypointEncoderConfig):
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(config.cond_len, config.hidden_size))
        self.input_norm = nn.LayerNorm(config.hidden_size)
        self.layers = nn.ModuleList([EncoderLayer(config, config.hidden_size) for _ in range(config.resampler_layers)])
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        num_tokens, width = self.latents.shape
        frames = self.input_norm(hidden_states)
        positions = sinusoidal_positions(frames.shape[1], width, frames.device, frames.dtype)
        # The average over a token's segment, which is at least one frame long; zero for a segment without a face.
        lengths = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(1).clamp(min=1)
        centre = (torch.arange(num_tokens, device=mask.device) + 0.5) * lengths[:, None] / num_tokens
        distance = (torch.arange(mask.shape[1], device=mask.device) + 0.5 - centre[..., None]).abs()
        reach = (lengths[:, None, None] / (2 * num_tokens)).clamp(min=0.5)
        weights = ((distance <= reach) & mask[:, None]).to(frames.dtype)
        average = weights @ frames / weights.sum(-1, keepdim=True).clamp(min=1)
        order = sinusoidal_positions(num_tokens, width, frames.device, frames.dtype)
        tokens = self.latents.to(frames.dtype) + average + order
        for layer in self.layers:
            tokens = layer(tokens, mask=mask, context=frames + positions)
        return self.norm(tokens) + order, mask.any(1, keepdim=True).expand(-1, num_tokens)


class FaceKeypointEncoder(PreTrainedModel):
    """Encodes the landmarks of a clip as conditioning tokens for a language model."""

    config: FaceKeypointEncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "keypoints"
    input_modalities = "video"
    _supports_sdpa = True

    def __init__(self, config: FaceKeypointEncoderConfig):
        super().__init__(config)
        channels = 6 if config.use_velocity else 3
        # Mean and standard deviation of each channel over the training clips; `fit_statistics` measures them.
        self.register_buffer("input_mean", torch.zeros(config.num_landmarks, channels, dtype=torch.float32))
        self.register_buffer("input_std", torch.ones(config.num_landmarks, channels, dtype=torch.float32))
        frame_encoder = TransformerFrameEncoder if config.frame_encoder == "transformer" else LinearFrameEncoder
        self.frame_encoder = frame_encoder(config, channels)
        self.convolution = None
        if config.conv_kernel_size:
            self.convolution = nn.Conv1d(
                config.hidden_size, config.hidden_size, config.conv_kernel_size, padding=config.conv_kernel_size // 2
            )
        self.dropout = nn.Dropout(config.kp_dropout)
        layer = ConformerLayer if config.temporal_encoder == "conformer" else EncoderLayer
        self.layers = nn.ModuleList([layer(config, config.hidden_size) for _ in range(config.kp_temporal_layers)])
        self.norm = nn.LayerNorm(config.hidden_size)
        self.ctc_head = nn.Linear(config.hidden_size, config.ctc_vocab_size) if config.ctc_vocab_size else None
        self.ctc_embedding = None
        if config.ctc_vocab_size and config.ctc_feedback:
            self.ctc_embedding = nn.Linear(config.ctc_vocab_size, config.hidden_size, bias=False)
        self.alignment_head = self.alignment_embedding = None
        if config.alignment_head:
            self.alignment_head = nn.Linear(config.hidden_size, config.ctc_vocab_size)
            self.alignment_embedding = nn.Linear(config.ctc_vocab_size, config.hidden_size, bias=False)
        resampler = PerceiverResampler if config.resampler == "perceiver" else PoolResampler
        self.resampler = resampler(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            # Scaled by the fan-in: with a fixed 0.02, activations start several times too small at these widths.
            init.normal_(module.weight, mean=0.0, std=module.in_features**-0.5)
        elif isinstance(module, nn.Conv1d):
            init.normal_(module.weight, mean=0.0, std=module.weight[0].numel() ** -0.5)
        elif isinstance(module, Attention) and module.distance_bias is not None:
            init.zeros_(module.distance_bias.weight)
        elif isinstance(module, TransformerFrameEncoder):
            init.normal_(module.cls_token, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, PerceiverResampler):
            init.normal_(module.latents, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, FaceKeypointEncoder):
            init.zeros_(module.input_mean)
            init.ones_(module.input_std)

    @property
    def dummy_inputs(self) -> dict[str, torch.Tensor]:
        """A clip of zeros, `(1, default_kp_frames, num_landmarks, 3)`, and a mask of ones."""
        shape = (1, self.config.default_kp_frames, self.config.num_landmarks, 3)
        return {
            "keypoints": torch.zeros(shape, device=self.device),
            "keypoints_mask": torch.ones(shape[:2], dtype=torch.long, device=self.device),
        }

    def _channels(self, keypoints: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Returns x, y and z of each landmark and, with `use_velocity`, their displacements since the frame before.

        All channels, `(batch, frames, landmarks, channels)`, are zero in frames without a face, and displacements also
        in the frame after such a frame.
        """
        present = mask[..., None, None]
        keypoints = keypoints.masked_fill(~present, 0.0)
        if self.config.clip_normalization == "mean":
            average = keypoints.sum(1, keepdim=True) / present.sum(1, keepdim=True).clamp(min=1)
            keypoints = (keypoints - average).masked_fill(~present, 0.0)
        if not self.config.use_velocity:
            return keypoints
        velocity = torch.zeros_like(keypoints)
        velocity[:, 1:] = (keypoints[:, 1:] - keypoints[:, :-1]) * (present[:, 1:] & present[:, :-1])
        return torch.cat([keypoints, velocity], dim=-1)

    @property
    def average_face(self) -> torch.Tensor:
        """The average face of the training clips, `(landmarks, 3)`."""
        return self.input_mean[:, :3]

    @torch.no_grad()
    def fit_statistics(self, batches) -> None:
        """Measures the mean and standard deviation of every channel, with which `forward` standardises its input.

        The batches are mappings with `keypoints` and `keypoints_mask`. Raises ValueError if no frame has a face.
        """
        count = torch.zeros((), dtype=torch.float64, device=self.device)
        total = torch.zeros(self.input_mean.shape, dtype=torch.float64, device=self.device)
        total_square = torch.zeros_like(total)
        for batch in batches:
            mask = batch["keypoints_mask"].to(self.device).bool()
            values = self._channels(batch["keypoints"].to(self.device), mask)[mask].double()
            count += len(values)
            total += values.sum(0)
            total_square += values.square().sum(0)
        if count == 0:
            raise ValueError("fit_statistics needs at least one frame with a face; the batches have none")
        mean = total / count
        spread = (total_square / count - mean.square()).clamp(min=0).sqrt()
        # Landmarks near the normalisation's anchor hardly move; the floor limits how much their noise is amplified.
        floor = spread.mean(0) * 0.1 + 1e-6
        self.input_mean.copy_(mean)
        self.input_std.copy_(spread.maximum(floor))

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        keypoints_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
    ) -> FaceKeypointEncoderOutput:
        """Encodes clips.

        Args:
            keypoints: Landmarks, `(batch, frames, landmarks, 3)`.
            keypoints_mask: Non-zero for frames with a face, `(batch, frames)`; by default all frames have one.
            output_hidden_states: Returns the frames before and after each temporal layer.

        Raises TypeError or ValueError for inputs that are no tensors of these shapes, with at least one frame.
        """
        check_tensors(keypoints=keypoints, keypoints_mask=keypoints_mask)
        if keypoints.ndim != 4 or keypoints.shape[2:] != (self.config.num_landmarks, 3):
            raise ValueError(
                f"keypoints must have the shape (batch, frames, {self.config.num_landmarks}, 3), got "
                f"{tuple(keypoints.shape)}: use the model's own processor, which selects the landmarks of its training"
            )
        if keypoints_mask is None:
            keypoints_mask = keypoints.new_ones(keypoints.shape[:2])
        if keypoints_mask.shape != keypoints.shape[:2] or keypoints.shape[1] == 0:
            raise ValueError(
                "keypoints must have at least one frame and keypoints_mask the shape (batch, frames), got keypoints "
                f"{tuple(keypoints.shape)} and keypoints_mask {tuple(keypoints_mask.shape)}"
            )
        mask = keypoints_mask.bool()
        # Standardises in float32: half precision would lose small motions.
        landmarks = (self._channels(keypoints.float(), mask) - self.input_mean.float()) / self.input_std.float()
        hidden_states = self.frame_encoder(landmarks.to(self.dtype), mask)
        if self.convolution is not None:
            local = self.convolution(hidden_states.transpose(1, 2)).transpose(1, 2)
            hidden_states = hidden_states + nn.functional.gelu(local)
        if self.config.temporal_encoder == "transformer":
            positions = sinusoidal_positions(*hidden_states.shape[1:], hidden_states.device, hidden_states.dtype)
            hidden_states = hidden_states + positions
        hidden_states = self.dropout(hidden_states)
        all_states = [hidden_states]
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask)
            all_states.append(hidden_states)
        hidden_states = self.norm(hidden_states)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        ctc_logits = self.ctc_head(hidden_states) if self.ctc_head is not None else None
        alignment_logits = self.alignment_head(hidden_states) if self.alignment_head is not None else None
        content = hidden_states
        for logits, embedding in ((ctc_logits, self.ctc_embedding), (alignment_logits, self.alignment_embedding)):
            if embedding is not None:
                content = content + embedding(logits.float().softmax(-1).to(hidden_states.dtype))
        tokens, token_mask = self.resampler(content, mask)
        return FaceKeypointEncoderOutput(
            last_hidden_state=tokens,
            attention_mask=token_mask,
            frame_hidden_states=hidden_states,
            hidden_states=tuple(all_states) if output_hidden_states else None,
            ctc_logits=ctc_logits,
            alignment_logits=alignment_logits,
        )
