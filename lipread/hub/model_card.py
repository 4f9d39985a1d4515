# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Builds the model card of a published checkpoint from its evaluations, its training run and the user's options.

Results come from the `evaluation-*.json` files of `evaluate_hf.py`, and are used only if they were measured on exactly
these weights. The text is in `model_card_template.md` and `intended_use.md`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils.sha import sha_fileobj

from modeling_lipread import LipReadConfig, LipReadProcessor

TASK = "video-text-to-text"  # the closest of the Hub's tasks
TAGS = ["lip-reading", "visual-speech-recognition", "face-landmarks"]
EVALUATIONS = "evaluation-*.json"
RATES = {
    "wer": ("wer", "WER"),
    "cer": ("cer", "CER"),
    "blank_wer": ("blank_video_wer", "WER with blank video"),
    "shuffled_wer": ("shuffled_video_wer", "WER with shuffled video"),
}
TRAINING_SETTINGS = (
    "per_device_train_batch_size gradient_accumulation_steps learning_rate gate_learning_rate lr_scheduler_type "
    "warmup_steps weight_decay max_grad_norm optim bf16 fp16 seed"
).split()
ENCODER_SETTINGS = "frame_encoder hidden_size temporal_encoder kp_temporal_layers resampler".split()
MODEL_SETTINGS = "adapter_every adapter_top_k gate_type ctc_weight decoder_mask_prob".split()


@dataclass
class BaseModel:
    """The language model of a published checkpoint."""

    id: str | None = None  # on the Hub
    revision: str | None = None  # a commit
    included: bool = False  # whether the checkpoint's own repository holds the weights


@dataclass
class CardDetails:
    """Content of a card that is not in a checkpoint: the options of `lipread publish` of these names."""

    language: list[str] | None = None
    license: str | None = None
    dataset_id: str | None = None
    dataset_name: str | None = None
    dataset_license: str | None = None
    dataset_attribution: str | None = None


def weights_sha256(paths: Iterable[str | Path]) -> str:
    """Returns one sha256 for all weight files of a checkpoint, which identifies the weights of an evaluation."""
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        with path.open("rb") as file:
            digest.update(sha_fileobj(file))
    return digest.hexdigest()


def read_evaluations(checkpoint: Path, weights: Iterable[str | Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns what `evaluate_hf.py` measured on these weight files of a checkpoint, and notes on rejected files."""
    digest, found, rejected = weights_sha256(weights), [], []
    for path in sorted(checkpoint.glob(EVALUATIONS)):
        content = {}
        with suppress(ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("weights") == digest:
            found.append(content)
        else:
            rejected.append(f"{path.name} is not in the card: it was not measured on these weights; evaluate again")
    return found, rejected


def build_card(
    checkpoint: Path,
    repo_id: str,
    config: LipReadConfig,
    processor: LipReadProcessor,
    evaluations: list[dict[str, Any]],
    base: BaseModel,
    details: CardDetails,
    revision: str | None = None,
) -> ModelCard:
    """Returns the card of a checkpoint, with the results of `read_evaluations`, for a repository and its branch."""
    data = ModelCardData(
        language=details.language[0] if details.language and len(details.language) == 1 else details.language,
        license=details.license,
        library_name="transformers",
        pipeline_tag=TASK,
        base_model=base.id,
        datasets=[details.dataset_id] if details.dataset_id else None,
        metrics=["wer", "cer"] if evaluations else None,
        tags=TAGS,
        model_name=repo_id.split("/")[-1],
        eval_results=[result for item in evaluations for result in _eval_results(item, details)] or None,
    )
    here = Path(__file__).parent
    state, arguments = (_read(checkpoint / file) for file in ("trainer_state.json", "training_args.json"))
    return ModelCard.from_template(
        data,
        template_str=(here / "model_card_template.md").read_text(encoding="utf-8"),
        intended_use=(here / "intended_use.md").read_text(encoding="utf-8").strip(),
        repo_id=repo_id,
        revision_argument=f', revision="{revision}"' if revision else "",
        base_model=base.id,
        base_revision=base.revision,
        self_contained=base.included,
        frozen=config.freeze_language_model,
        lora=config.lora,
        results=[item | item["metrics"] for item in evaluations],
        details=details,
        corpus=details.dataset_name or details.dataset_id,
        training_data=_read(checkpoint / "training_data.json"),
        training=_training(config, processor, state, arguments),
        validation=_validation(checkpoint, state, arguments),
    )


def _eval_results(evaluation: dict[str, Any], details: CardDetails) -> list[EvalResult]:
    """Returns the entries of the model index for all finite rates."""
    metrics, split = evaluation["metrics"], evaluation["split"]
    name = details.dataset_name or details.dataset_id or evaluation.get("corpus") or split
    dataset = {"dataset_type": details.dataset_id or name, "dataset_name": name, "dataset_split": split}
    results = []
    for rate, (metric, title) in RATES.items():
        if f"{rate}_interval" in metrics:
            low, high = metrics[f"{rate}_interval"]
            title += f" (95% interval {low:.3f} to {high:.3f})"
        if math.isfinite(metrics[rate]):
            measured = {"metric_type": metric, "metric_name": title, "metric_value": round(metrics[rate], 4)}
            results.append(EvalResult(task_type=TASK, task_name="Lip reading", **dataset, **measured))
    return results


def _training(config: LipReadConfig, processor: LipReadProcessor, state: dict, arguments: dict) -> list[tuple]:
    """Returns the settings of the training that the checkpoint's folder holds."""
    extractor = processor.feature_extractor
    rows = [
        ("landmarks", f"{extractor.num_landmarks} of 478 at {extractor.frame_rate} frames a second"),
        ("pose, normalisation", f"{extractor.pose}, {extractor.normalize}"),
    ]
    rows += [(name, getattr(config.encoder_config, name)) for name in ENCODER_SETTINGS]
    rows += [(name, getattr(config, name)) for name in MODEL_SETTINGS if getattr(config, name) is not None]
    rows += [(name, arguments[name]) for name in TRAINING_SETTINGS if arguments.get(name) not in (None, False)]
    if state:
        rows += [("steps", state["global_step"]), ("epochs", round(state["epoch"], 2))]
    return rows


def _validation(checkpoint: Path, state: dict, arguments: dict) -> dict[str, Any] | None:
    """Returns the Trainer's metrics of these weights: those of the best step if it was loaded, else of the last."""
    is_checkpoint = checkpoint.name == f"checkpoint-{state.get('global_step')}"
    chosen = bool(arguments.get("load_best_model_at_end")) and not is_checkpoint
    step = state.get("best_global_step" if chosen else "global_step")
    for entry in reversed(state.get("log_history", [])):
        if entry.get("step") == step and "eval_wer" in entry:
            return {**entry, "chosen": chosen}
    return None


def _read(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file of the training; empty if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
