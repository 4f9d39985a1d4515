# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The loader of training batches, and the share of their frames that is padding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from transformers.trainer_utils import seed_worker

from ..dataset import Clips, ClipStream
from .samplers import (
    ClipBatchSampler,
    LengthBatchSampler,
    SpeakerBatchSampler,
    StreamBatchSampler,
    StreamLengthBatchSampler,
)


def batch_sampler(clips: Clips, args: TrainingArguments) -> ClipBatchSampler | None:
    """The sampler that the arguments ask for; `None` where the Trainer's own random order is it."""
    seed = args.seed if args.data_seed is None else args.data_seed
    process = {"seed": seed, "process_index": args.process_index, "num_processes": args.world_size}
    limit = {"batch_size": args.train_batch_size}
    if args.max_frames_per_batch is not None:
        limit = {"max_frames": args.max_frames_per_batch}
    by_length = args.max_frames_per_batch is not None or args.train_sampling_strategy == "group_by_length"
    if isinstance(clips, ClipStream):
        process["window"] = args.stream_window
        if by_length:
            return StreamLengthBatchSampler(clips.blocks, clips.column("num_frames"), **limit, **process)
        return StreamBatchSampler(clips.blocks, **limit, **process)
    if args.speaker_balance:
        return SpeakerBatchSampler(clips.column("speaker"), balance=args.speaker_balance, **limit, **process)
    return LengthBatchSampler(clips.column("num_frames"), **limit, **process) if by_length else None


def train_loader(clips: Clips, sampler: ClipBatchSampler, collator: Callable, args: TrainingArguments) -> DataLoader:
    """A loader of this process's batches, on its device.

    The sampler knows of the other processes already, so accelerate is told of one only: it would divide anew.
    """
    if isinstance(clips, ClipStream):
        clips.cached = args.stream_window + 2
    loader = DataLoader(
        clips,
        batch_sampler=sampler,
        collate_fn=collator,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        worker_init_fn=partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
    )
    return prepare_data_loader(
        loader, args.device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
    )


def padding_share(mask: torch.Tensor) -> torch.Tensor:
    """Share of a batch's frames that come after a clip's last face; `mask` is `(batch, frames)`."""
    position = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return 1.0 - (mask * position).amax(dim=1).sum() / mask.numel()
