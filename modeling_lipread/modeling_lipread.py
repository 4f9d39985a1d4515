# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The reader: face encoder, gated cross-attention adapters, and a frozen causal language model that writes."""

import torch
from torch import nn
from transformers import AutoModelForCausalLM, Cache, GenerationMixin, LogitsProcessorList, PreTrainedModel
from transformers.utils.generic import can_return_tuple

from .adapters_lipread import Conditioning, GatedCrossAttention
from .attention_lipread import additive_mask
from .configuration_lipread import LipReadConfig
from .ctc_decoding_lipread import CTCLogitsProcessor, CTCPrefixScores, clip_lengths
from .encoder_lipread import FaceKeypointEncoder, FaceKeypointEncoderOutput
from .output_lipread import CACHE, LipReadOutput
from .pretrained_lipread import LipReadPreTrainedModel
from .token_spelling_lipread import pack_spellings, token_spellings, unpack_spellings


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


__all__ = ["LipReadForConditionalGeneration", "LipReadOutput"]
