# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Trains a reader with transformers' own Trainer; also as a script, which torchrun starts on several processes."""

import sys
from pathlib import Path

from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments

from data.collator import LipReadCollator
from data.dataset import open_split
from modeling_lipread import register


def make_trainer(reader: Path, corpus: Path, output: Path, **settings) -> Trainer:
    """Returns a Trainer of a saved reader on a prepared corpus."""
    register()
    model = AutoModel.from_pretrained(reader)
    settings = {"learning_rate": 0.1, "lr_scheduler_type": "constant", "optim": "sgd", "max_grad_norm": 0, **settings}
    args = TrainingArguments(output, use_cpu=True, report_to="none", remove_unused_columns=False, **settings)
    config = model.config
    heads = {"ctc_vocab": config.ctc_vocab, "alignment": config.encoder_config.alignment_head}
    collator = LipReadCollator(AutoProcessor.from_pretrained(reader), seq_len=32, start_ids=config.start_ids, **heads)
    splits = {"train_dataset": open_split(corpus, "train"), "eval_dataset": open_split(corpus, "validation")}
    return Trainer(model, args, data_collator=collator, **splits)


if __name__ == "__main__":
    reader, corpus, output, batch_size = sys.argv[1:]
    trainer = make_trainer(reader, corpus, output, per_device_train_batch_size=int(batch_size), max_steps=2)
    trainer.train()
    trainer.save_model()
