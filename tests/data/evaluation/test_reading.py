# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""From a checkpoint to metrics: `predict`, and `evaluate_hf.py` on corpora and manifests."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

import evaluate_hf
from data.collator import LipReadCollator
from data.evaluation import predict
from data.evaluation.evaluate import evaluate as evaluate_checkpoint
from data.schema import load_split
from modeling_lipread import LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.confidence_lipread import token_log_probs
from modeling_lipread.ctc_lipread import CTCLogitsProcessor, greedy_ctc
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from tests.helpers.corpora import fill, write_manifest
from tests.helpers.training import TEXTS, make_clip

LINE = r"WER \d+\.\d{3} CER \d+\.\d{3} \| blank video WER \d+\.\d{3} \| shuffled video WER \d+\.\d{3} \| (\d+) clips"


@pytest.fixture
def model(reader_dir):
    return LipReadForConditionalGeneration.from_pretrained(reader_dir)


@pytest.fixture(scope="module")
def processor(reader_dir):
    return LipReadProcessor.from_pretrained(reader_dir)


@pytest.fixture(scope="module")
def collator(processor):
    return LipReadCollator(processor, seq_len=8, train=False)


@pytest.fixture
def evaluate(reader_dir, tmp_path, capsys):
    """Runs `evaluate_hf.py` with the tiny reader; returns the content of the JSON file and the printed lines."""

    def run(source, *arguments):
        output = tmp_path / "result.json"
        here = ["--num_proc", "0"] if source.suffix == ".jsonl" else []
        evaluate_hf.main([str(reader_dir), str(source), "--device", "cpu", "--output", str(output), *here, *arguments])
        return json.loads(output.read_text()), capsys.readouterr().out.splitlines()

    return run


def record_calls(monkeypatch, owner, name) -> list[dict]:
    """Returns a list that receives the keyword arguments of every call of a method."""
    calls, method = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(kwargs) or method(*args, **kwargs))
    return calls


def test_evaluates_a_prepared_split_and_names_a_missing_one(reader_dir, corpus, tmp_path, capsys):
    reader = shutil.copytree(reader_dir, tmp_path / "reader")
    evaluate_hf.main([str(reader), str(corpus / "validation"), "--show", "1", "--device", "cpu"])
    assert re.fullmatch(LINE, capsys.readouterr().out.splitlines()[-1])[1] == "4"
    result = json.loads((reader / "evaluation-validation.json").read_text())
    assert [prediction["reference"] for prediction in result["predictions"]] == list(TEXTS[:4])
    assert f"{result['metrics']['wer']:.1%}" in (reader / "evaluation-validation.html").read_text()
    for source in ("nowhere", "nowhere.jsonl"):
        with pytest.raises(SystemExit, match=source):
            evaluate_hf.main([str(reader), str(tmp_path / source), "--device", "cpu"])


def test_log_probabilities_of_tokens_do_not_depend_on_padding(model, collator, corpus):
    """Compares with each text alone, without padding; sampled texts differ in length."""
    clips = load_split(corpus, "train").select(range(12))
    batch = collator([clips[index] for index in range(12)])
    video = {key: batch[key] for key in ("keypoints", "keypoints_mask")}
    ends = model.generation_config.eos_token_id = [model.config.eos_token_id, *range(200, 230)]
    written = model.generate(batch["input_ids"], **video, do_sample=True, max_new_tokens=12)
    found = token_log_probs(model, written, 1, **video)
    lengths = set()
    for index, tokens in enumerate(written.tolist()):
        length = next((end for end, token in enumerate(tokens[1:], start=2) if token in ends), len(tokens))
        clip = {key: value[index : index + 1] for key, value in video.items()}
        logits = model(input_ids=written[index : index + 1, :length], **clip).logits[0, :-1]
        scores = logits.log_softmax(-1).gather(-1, written[index, 1:length, None])
        torch.testing.assert_close(found[index, : length - 1], scores[:, 0], atol=1e-4, rtol=1e-4)
        lengths.add(length)
    assert len(lengths) > 3, lengths


def test_the_ctc_head_has_hypotheses_and_takes_part_if_asked_to(model, collator, reader_dir, corpus, monkeypatch):
    processors = record_calls(monkeypatch, CTCLogitsProcessor, "__init__")
    clips = load_split(corpus / "validation")
    batch = collator([clips[index] for index in range(4)])
    with torch.no_grad():
        logits = model(**{key: batch[key] for key in ("input_ids", "keypoints", "keypoints_mask")}).ctc_logits
    spelled = greedy_ctc(logits, batch["keypoints_mask"], model.config.ctc_vocab)
    assert any(spelled)
    for options, weight in ({}, 0.0), ({"ctc_decoding_weight": 0.9}, 0.9):
        result = evaluate_checkpoint(str(reader_dir), str(corpus / "validation"), device="cpu", **options)
        assert [prediction["ctc_hypothesis"] for prediction in result["predictions"]] == spelled
        assert result["ctc_decoding_weight"] == weight
    assert [call["weight"] for call in processors] == [0.9, 0.9], "the clips, and blank video"


def test_a_clip_that_cannot_be_read_has_an_empty_hypothesis_and_one_elsewhere_none(evaluate, tmp_path):
    texts = dict(zip(("0", "1", "../2", "broken"), TEXTS, strict=False))
    lines = [{"kp_path": f"{name}.npy", "text": text, "id": name} for name, text in texts.items()]
    manifest = write_manifest(fill(tmp_path / "lists", {"broken.npy": "not an array"}), "clips.jsonl", lines)
    for name in ("0", "1", "../2"):
        np.save(manifest.parent / f"{name}.npy", make_clip(texts[name], 0).keypoints)
    for more, clips, unread in ((), "3", {"../2", "broken"}), (("--allow_outside",), "4", {"broken"}):
        result, printed = evaluate(manifest, *more)
        assert re.fullmatch(LINE, printed[-1])[1] == clips and {skip["id"] for skip in result["skipped"]} == unread
        assert all(row["hypothesis"] == "" for row in result["predictions"] if row["id"] in unread)
        assert any(line.startswith("not read: clips.jsonl line 4: ") for line in printed)


def test_the_face_of_a_video_is_chosen(evaluate, portrait_video, monkeypatch):
    manifest = write_manifest(portrait_video.parent, "clips.jsonl", [{"video": "face.mp4", "text": TEXTS[0]}])
    calls = record_calls(monkeypatch, Face3DKeypointExtractor, "extract_video")
    evaluate(manifest)
    evaluate(manifest, "--face", "central")
    assert [call["face"] for call in calls] == ["largest", "central"]


@pytest.mark.parametrize("option", ["--face central", "--num_proc 0", "--allow_outside", "--split validation"])
def test_an_option_for_another_kind_of_source_is_refused(evaluate, corpus, tmp_path, option):
    source = tmp_path / "clips.jsonl" if "--split" in option else corpus / "validation"
    with pytest.raises(SystemExit, match=f"{option.split()[0]} is for"):
        evaluate(source, *option.split())


def test_predictions_depend_on_neither_batch_nor_order(model, processor, collator, corpus):
    """Therefore the shuffled control needs no search: the video of another clip gives that clip's hypothesis."""
    clips = load_split(corpus, "validation")
    together = predict(model, processor, clips, collator, batch_size=4, progress=False)
    reversed_clips = clips.select(range(len(clips) - 1, -1, -1))
    apart = predict(model, processor, reversed_clips, collator, batch_size=1, progress=False)
    assert together == apart[::-1]
    assert [prediction.reference for prediction in together] == list(TEXTS[:4])
