# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`train_hf.py` as its users type it: distributed, killed and resumed, on text alone, and loaded elsewhere."""

import json
import signal
import subprocess
import sys
import time
from argparse import SUPPRESS
from dataclasses import fields

import numpy as np
import pytest
import torch
from training import (
    ACCELERATE,
    TEXTS,
    TORCHRUN,
    command,
    environment,
    losses,
    make_clip,
    run,
)
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, LlamaConfig, TrainingArguments

import modeling_lipread  # noqa: F401  (registers the reader)
from data.arguments import make_parser, parse_arguments
from data.checkpoints import last_complete_checkpoint, resume_point
from data.tokenizer import train_tokenizer
from train_hf import main


@pytest.fixture(scope="module")
def undisturbed(corpus, lm_config, tmp_path_factory):
    """A run of two epochs that nobody interrupts."""
    output = tmp_path_factory.mktemp("undisturbed")
    run(dataset=corpus, lm_config=lm_config, output_dir=output, num_train_epochs=2)
    return output


@pytest.mark.parametrize(("launcher", "steps"), [(ACCELERATE, 6), (TORCHRUN, 3)])
def test_launchers_train_evaluate_and_write_one_reader(corpus, lm_config, tmp_path, launcher, steps):
    result = run(dataset=corpus, lm_config=lm_config, output_dir=tmp_path, num_train_epochs=1, launcher=launcher)
    assert "WER" in result.stderr and "blank video WER" in result.stderr and "shuffled video WER" in result.stderr
    metrics = json.loads((tmp_path / "eval_results.json").read_text())
    assert {"eval_wer", "eval_cer", "eval_blank_wer", "eval_shuffled_wer", "eval_perplexity"} <= metrics.keys()
    assert metrics["eval_clips"] == 4  # each clip is read once, by one of the processes
    # 24 clips in batches of 4: two processes take half as many steps as one.
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{steps}"]
    assert AutoModel.from_pretrained(tmp_path).config.model_type == "lipread"


def test_killed_and_resumed_gives_the_same_losses(corpus, lm_config, undisturbed, tmp_path):
    settings = {"dataset": corpus, "lm_config": lm_config, "output_dir": tmp_path, "num_train_epochs": 2}
    settings |= {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no", "load_best_model_at_end": False}
    process = subprocess.Popen(
        command(**settings), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while last_complete_checkpoint(tmp_path) is None:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What a kill in the middle of writing leaves behind is passed over.
    (tmp_path / "checkpoint-9").mkdir()
    resumed = run(**settings)
    assert "Going on from" in resumed.stderr
    # Every loss but those before the kill comes from the second process; the undisturbed run also evaluated.
    assert losses(tmp_path) == losses(undisturbed)
    assert len(losses(tmp_path)) == 12


def test_logs_hold_what_a_researcher_watches(undisturbed):
    state = json.loads((undisturbed / "trainer_state.json").read_text())
    logged = set().union(*state["log_history"])
    wanted = {
        "lm_loss",
        "ctc_loss",
        "alignment_loss",
        "perplexity",
        "gate/layer_00",
        "gate/layer_01",
        "grad_norm",
        "learning_rate",
    }
    assert wanted | {"system/cpu_percent", "system/ram_gib", "eval_wer", "eval_blank_wer"} <= logged
    assert list((undisturbed / "runs").rglob("events.out.tfevents.*"))
    assert not list(undisturbed.rglob("training_args.bin"))


READ_ELSEWHERE = """
import json, sys
sys.modules["modeling_lipread"] = sys.modules["data"] = None   # the repository is not importable
from transformers import AutoModel, AutoProcessor
folder, clip = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
ids = model.generate(**processor(videos=clip, return_tensors="pt"), max_new_tokens=8)
scores = model(**processor(videos=clip, return_tensors="pt"), input_ids=ids).logits[0, -1, :5]
print(json.dumps({"ids": ids.tolist(), "scores": scores.tolist()}))
"""


def test_a_fresh_process_without_the_repository_reads_the_same(undisturbed, tmp_path):
    clip = make_clip(TEXTS[0], seed=7)
    np.save(tmp_path / "clip.npy", clip.keypoints)
    processor, model = AutoProcessor.from_pretrained(undisturbed), AutoModel.from_pretrained(undisturbed)
    inputs = processor(videos=str(tmp_path / "clip.npy"), return_tensors="pt")
    expected = model.generate(**inputs, max_new_tokens=8)
    scores = model(**inputs, input_ids=expected).logits[0, -1, :5].tolist()
    result = subprocess.run(
        [sys.executable, "-c", READ_ELSEWHERE, str(undisturbed), str(tmp_path / "clip.npy")],
        cwd=tmp_path,
        env={**environment(), "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    read = json.loads(result.stdout.splitlines()[-1])
    assert read["ids"] == expected.tolist()
    assert read["scores"] == pytest.approx(scores, abs=1e-5)


def test_resuming_into_other_settings_is_refused(corpus, lm_config, undisturbed, tmp_path):
    options = command(dataset=corpus, lm_config=lm_config, output_dir=undisturbed, hidden_size=64)[2:]
    with pytest.raises(SystemExit, match="--restart"):
        main(options)


def test_restart_leaves_no_older_checkpoint_behind(tmp_path):
    (tmp_path / "checkpoint-90").mkdir()
    (tmp_path / "checkpoint-90" / "trainer_state.json").write_text("{}")
    *_, args = parse_arguments(["--output_dir", str(tmp_path), "--use_cpu", "--restart"])
    assert resume_point(args) is None
    assert not list(tmp_path.glob("checkpoint-*"))


def test_text_only_run_warms_up_a_language_model(tmp_path):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, 280)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS * 10), encoding="utf-8")
    run(
        train_text=tmp_path / "texts.txt",
        model_id=tmp_path / "base",
        output_dir=tmp_path / "warm",
        num_train_epochs=4,
        learning_rate=1e-2,
    )
    warm = AutoModelForCausalLM.from_pretrained(tmp_path / "warm")  # an ordinary model, LoRA merged in
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(TEXTS[0])["input_ids"], tokenizer.eos_token_id]])
    with torch.no_grad():
        assert warm(ids, labels=ids).loss < base(ids, labels=ids).loss - 0.5


def test_command_line_wins_over_the_config_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model_id: some/model\nlearning_rate: 1.0e-3\nhidden_size: 64\nrotation: 3\ngate_type: sigmoid\nctc: false\n"
    )
    _, model_args, encoder_args, adapter_args, augmentation, args = parse_arguments(
        [f"--config={path}", "--hidden_size", "128", "--output_dir", str(tmp_path)]
        + ["--config_overrides", "rotation=2,use_velocity=false", "--config_overrides=gate_init=-10,kp_heads=2"]
    )
    assert (model_args.model_id, args.learning_rate, encoder_args.hidden_size) == ("some/model", 1e-3, 128)
    assert model_args.ctc is False and (augmentation.rotation, encoder_args.use_velocity) == (2.0, False)
    assert (adapter_args.gate_type, adapter_args.gate_init, encoder_args.kp_heads) == ("sigmoid", -10.0, 2)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--config_overrides", "gate_tipe=tanh"], "unknown gate_tipe; did you mean gate_type"),
        (["--config_overrides", "learning_rate=1"], "unknown learning_rate"),
        (["--config_overrides", "gate_type"], "gate_type has no value"),
        (["--config_overrides", "rotation=much"], "rotation: invalid float value"),
        (["--rotation", "3"], "--config_overrides rotation=VALUE"),
    ],
)
def test_wrong_overrides_are_named(given, named, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(given)
    assert named in capsys.readouterr().err


def test_the_help_shows_few_options_of_our_own_and_explains_each():
    theirs = {item.name for item in fields(TrainingArguments)} | {"help"}
    shown = {action.dest: action.help for action in make_parser()._actions if action.help != SUPPRESS}
    own = shown.keys() - theirs
    assert len(own) <= 55 and all(shown[name] for name in own)
    assert {"cond_len", "adapter_every", "config", "config_overrides"} <= own and "rotation" not in own


def test_half_precision_needs_no_further_argument_without_a_gpu(tmp_path):
    *_, args = parse_arguments(["--bf16", "--output_dir", str(tmp_path)])
    assert args.bf16 and args.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("content", ["learning_rat: 1", "- 1", "a: [", None])
def test_bad_config_files_are_named(tmp_path, content, capsys):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit):
        parse_arguments(["--config", str(path)])
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ([], "--model_id"),
        (["--model_id", "x"], "--dataset"),
        (["--model_id", "x", "--lm_config", "y", "--dataset", "z"], "--lm_config"),
        (["--model_id", "x", "--dataset", "nowhere"], "nowhere"),
        (["--model_id", "x", "--train_text", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_missing_arguments_say_what_to_give(arguments, remedy, tmp_path):
    with pytest.raises(SystemExit, match=remedy):
        main([*arguments, "--output_dir", str(tmp_path), "--use_cpu"])


def test_arguments_that_the_trainer_refuses_are_an_error_and_no_traceback(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(["--use_cpu", "--save_strategy", "steps", "--save_steps", "3", "--eval_strategy", "epoch"])
    assert "error: --load_best_model_at_end requires" in capsys.readouterr().err
