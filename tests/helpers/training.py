# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the tests of training share: a corpus of moving landmarks, and `train_hf.py` run here or in a process."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict

from data.schema import encode_row, features, rows_to_table
from modeling_lipread.landmarks_lipread import LandmarkSequence

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = ("bin blue", "set red", "lay green", "place white", "bin red", "set blue")
TINY = {"hidden_size": 32, "kp_temporal_layers": 1, "kp_heads": 2, "adapter_every": 1, "lm_vocab_size": 280}
TINY |= {"config_overrides": "adapter_heads=2,adapter_head_dim=16", "seq_len": 16, "eval_max_new_tokens": 4}
TINY |= {"per_device_train_batch_size": 4, "logging_steps": 1}
# Settings without anything random in a forward pass, so that two ways of dividing the work can be compared.
STILL = {
    "kp_dropout": 0,
    "augment": "false",
    "config_overrides": f"{TINY['config_overrides']},adapter_dropout=0,decoder_mask_prob=0",
}
# Two epochs of 6 steps, with a checkpoint and an evaluation in the middle of each, and gradients that are clipped.
SAVED = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 3}
SAVED |= {"max_grad_norm": 0.1}
STREAMED = {"streaming": True, "stream_window": 2}


def make_clip(text: str, seed: int, frames: int = 20) -> LandmarkSequence:
    """A face of scattered landmarks that moves in a way its text decides."""
    face = np.random.default_rng(0).normal(size=(478, 3)).astype(np.float32) * 50
    motion = np.random.default_rng(len(text)).normal(size=(frames, 478, 3)).cumsum(0)
    noise = np.random.default_rng(seed).normal(size=(frames, 478, 3)) * 0.1
    keypoints = (face + motion + noise + 200).astype(np.float32)
    return LandmarkSequence(keypoints, np.ones(frames, dtype=bool), np.arange(frames) / 25, 400, 400, 25.0)


def make_corpus(
    folder: Path,
    train: int = 24,
    validation: int = 4,
    lengths: tuple[int, ...] = (20,),
    word_times: bool = True,
    texts: tuple[str, ...] = TEXTS,
) -> Path:
    """Writes a prepared corpus; its clips have these lengths in turn, and every other one has its words' times."""
    splits = {}
    for split, count, seed in (("train", train, 0), ("validation", validation, 1000)):
        rows = []
        for i in range(count):
            text, frames = texts[i % len(texts)], lengths[i % len(lengths)]
            said = text.split() if word_times and i % 2 else []
            times = np.linspace(0, frames / 25, len(said) + 1)  # each word is as long as the others
            words = [{"word": word, "start": times[i], "end": times[i + 1]} for i, word in enumerate(said)]
            clip = make_clip(text, seed + i, frames)
            rows.append(encode_row(clip, text=text, id=f"{split}{i}", speaker="s1", words=words))
        splits[split] = Dataset(rows_to_table(rows)).cast(features())
    DatasetDict(splits).save_to_disk(folder)
    return folder


def make_lm_config(folder: Path) -> Path:
    """Writes the configuration of a language model of a few thousand parameters."""
    path = folder / "lm.json"
    settings = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 64}
    settings |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    path.write_text(json.dumps(settings))
    return path


# On processors `accelerate launch` starts one process unless MPI is there; torchrun starts as many as it is told.
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def options(*arguments: object, **settings: object) -> list[str]:
    """The options of a run on the CPU; settings override `TINY`, and one that is True is a switch."""
    written = [str(argument) for argument in (*arguments, "--use_cpu")]
    for key, value in {**TINY, **settings}.items():
        written += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    return written


def command(*arguments: object, launcher: tuple[str, ...] = (), **settings: object) -> list[str]:
    """The command line of a run on the CPU."""
    return [sys.executable, *launcher, str(REPOSITORY / "train_hf.py"), *options(*arguments, **settings)]


def train(*arguments: object, **settings: object) -> None:
    """Trains in this process, which saves the ten seconds that a new one takes to import everything."""
    import train_hf  # not above: most who want a corpus want no Trainer

    train_hf.main(options(*arguments, **settings))


def run_python(*arguments: object, status: int | None = 0) -> subprocess.CompletedProcess:
    """Runs Python in the repository; a run that ends with another status shows what it printed."""
    line, env = [sys.executable, *map(str, arguments)], {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(line, env=env, capture_output=True, text=True, cwd=REPOSITORY, timeout=600)
    assert status in (None, result.returncode), result.stdout[-2000:] + result.stderr[-6000:]
    return result


def run(*arguments: object, **settings: object) -> subprocess.CompletedProcess:
    """Trains in a process of its own, as a user does."""
    return run_python(*command(*arguments, **settings)[1:])


def train_and_kill(output_dir: Path, **settings: object) -> None:
    """Trains in a process of its own and kills it at its first complete checkpoint."""
    from data.training.checkpoints import last_complete_checkpoint

    line = command(output_dir=output_dir, **settings)
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while last_complete_checkpoint(output_dir) is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()


def history(output_dir: Path) -> list[dict]:
    """The entries that a run logged."""
    return json.loads((output_dir / "trainer_state.json").read_text())["log_history"]


def losses(output_dir: Path) -> dict[int, float]:
    """The training loss at each logged step."""
    return {entry["step"]: entry["loss"] for entry in history(output_dir) if "loss" in entry}
