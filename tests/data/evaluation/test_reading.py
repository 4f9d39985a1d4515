# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""From a checkpoint to words: `evaluate_hf.py` on corpora and manifests, the pipeline and the `lipread` command."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch

import evaluate_hf
from data.collator import LipReadCollator
from data.evaluation import predict
from data.evaluation.calibration import token_confidence
from data.evaluation.generation import blank_video
from data.schema import load_split
from lipread.cli import main as lipread
from modeling_lipread import LipReadForConditionalGeneration, LipReadProcessor
from modeling_lipread.confidence_lipread import token_log_probs
from modeling_lipread.ctc_lipread import CTCLogitsProcessor, greedy_ctc
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor
from tests.helpers.clips import moving_portrait, write_video
from tests.helpers.training import TEXTS, make_clip

LINE = r"WER \d+\.\d{3} CER \d+\.\d{3} \| blank video WER \d+\.\d{3} \| shuffled video WER \d+\.\d{3} \| (\d+) clips"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "face.mp4"
    write_video(path, moving_portrait(12))
    return path


def test_evaluates_a_prepared_split(reader_dir, corpus, tmp_path, capsys):
    reader = shutil.copytree(reader_dir, tmp_path / "reader")
    evaluate_hf.main([str(reader), str(corpus / "validation"), "--show", "1", "--device", "cpu"])
    *_, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(LINE, last)[1] == "4"
    result = json.loads((reader / "evaluation-validation.json").read_text())
    assert [reading["reference"] for reading in result["predictions"]] == list(TEXTS[:4])
    assert len(result["metrics"]["wer_interval"]) == 2
    page = (reader / "evaluation-validation.html").read_text()
    assert f"{result['metrics']['wer']:.1%}" in page


def test_several_hypotheses_come_from_one_search(reader_dir, corpus, tmp_path, monkeypatch):
    searches = []
    generate = LipReadForConditionalGeneration.generate
    monkeypatch.setattr(
        LipReadForConditionalGeneration,
        "generate",
        lambda self, *args, **kwargs: searches.append(kwargs) or generate(self, *args, **kwargs),
    )
    arguments = [str(reader_dir), str(corpus / "validation"), "--device", "cpu", "--output", str(tmp_path / "a.json")]
    evaluate_hf.main([*arguments, "--num_beams", "3", "--nbest", "3"])
    assert [search.get("num_return_sequences", 1) for search in searches] == [3, 1], "the clips, and blank video"
    several = json.loads((tmp_path / "a.json").read_text())
    evaluate_hf.main([*arguments, "--num_beams", "3"])
    one = json.loads((tmp_path / "a.json").read_text())
    # Different tokens may spell the same text.
    assert all(len(reading["nbest"]) == 3 for reading in several["predictions"])
    assert any(len(set(reading["nbest"])) == 3 for reading in several["predictions"])
    for reading in several["predictions"]:
        assert reading.pop("nbest")[0] == reading["hypothesis"]
    assert several["predictions"] == one["predictions"]
    assert several["metrics"]["oracle_wer"] <= one["metrics"]["wer"] and "oracle_wer" not in one["metrics"]
    with pytest.raises(SystemExit, match="--nbest 4: a search with 3 beams keeps 1 to 3"):
        evaluate_hf.main([*arguments, "--num_beams", "3", "--nbest", "4"])


def test_confidence_is_the_mean_probability_of_what_was_written(reader_dir, corpus):
    """Held against each text by itself, without padding: the texts are drawn, so that they differ in length."""
    torch.manual_seed(0)
    model = LipReadForConditionalGeneration.from_pretrained(reader_dir)
    processor = LipReadProcessor.from_pretrained(reader_dir)
    clips = load_split(corpus, "train").select(range(12))
    batch = LipReadCollator(processor, seq_len=8, train=False)([clips[index] for index in range(12)])
    video = {key: batch[key] for key in ("keypoints", "keypoints_mask")}
    ends = model.generation_config.eos_token_id = [model.config.eos_token_id, *range(200, 230)]
    written = model.generate(batch["input_ids"], **video, do_sample=True, max_new_tokens=12)
    confidence = token_confidence(model, written[:, 1:], token_log_probs(model, written, 1, **video))
    lengths = set()
    for index, tokens in enumerate(written.tolist()):
        length = next((place for place, token in enumerate(tokens[1:], start=2) if token in ends), len(tokens))
        clip = {key: value[index : index + 1] for key, value in video.items()}
        logits = model(input_ids=written[index : index + 1, :length], **clip).logits[0, :-1]
        scores = logits.log_softmax(-1).gather(-1, written[index, 1:length, None])
        assert confidence[index].item() == pytest.approx(scores.mean().exp().item(), rel=1e-4)
        lengths.add(length)
    assert len(lengths) > 3, lengths
    collator = LipReadCollator(processor, seq_len=8, train=False)
    (reading,) = predict(model, processor, clips.select([0]), collator, progress=False, confidence=True)
    greedy = model.generate(batch["input_ids"][:1], **{key: value[:1] for key, value in video.items()})
    log_probs = token_log_probs(model, greedy, 1, **{key: value[:1] for key, value in video.items()})
    expected = token_confidence(model, greedy[:, 1:], log_probs)
    assert reading.confidence == pytest.approx(expected.item(), rel=1e-6) and 0 < reading.confidence < 1


def test_the_ctc_head_reads_on_its_own_and_takes_part_if_asked_to(reader_dir, corpus, monkeypatch):
    processors = []
    processor = CTCLogitsProcessor.__init__
    monkeypatch.setattr(
        CTCLogitsProcessor,
        "__init__",
        lambda self, *args, **kwargs: processors.append(kwargs["weight"]) or processor(self, *args, **kwargs),
    )
    clips = load_split(corpus / "validation")
    model = LipReadForConditionalGeneration.from_pretrained(reader_dir)
    collator = LipReadCollator(LipReadProcessor.from_pretrained(reader_dir), seq_len=16, train=False)
    batch = collator([clips[index] for index in range(4)])
    with torch.no_grad():
        logits = model(**{key: batch[key] for key in ("input_ids", "keypoints", "keypoints_mask")}).ctc_logits
    spelled = greedy_ctc(logits, batch["keypoints_mask"], model.config.ctc_vocab)
    assert any(spelled)
    for given, weight in ({}, 0.0), ({"ctc_decoding_weight": 0.9}, 0.9):
        result = evaluate_hf.evaluate(str(reader_dir), str(corpus / "validation"), device="cpu", **given)
        assert [reading["ctc_hypothesis"] for reading in result["predictions"]] == spelled
        assert result["ctc_decoding_weight"] == weight
    assert processors == [0.9, 0.9], "the clips, and blank video"


def test_evaluates_a_manifest_and_counts_what_cannot_be_read(reader_dir, tmp_path, capsys):
    lines = []
    for i, text in enumerate(TEXTS[:3]):
        np.save(tmp_path / f"{i}.npy", make_clip(text, i).keypoints)
        lines.append({"kp_path": f"{i}.npy", "text": text, "id": str(i)})
    (tmp_path / "broken.npy").write_bytes(b"not an array")
    lines.append({"kp_path": "broken.npy", "text": "bin white", "id": "broken"})
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "result.json"
    evaluate_hf.main([str(reader_dir), str(tmp_path / "clips.jsonl"), "--output", str(output), "--num_proc", "0"])
    printed = capsys.readouterr().out.splitlines()
    assert re.fullmatch(LINE, printed[-1])[1] == "4"
    assert any(line.startswith("not read: clips.jsonl line 4") for line in printed)
    result = json.loads(output.read_text())
    assert {r["id"]: r["hypothesis"] for r in result["predictions"]}["broken"] == ""
    assert [skip["id"] for skip in result["skipped"]] == ["broken"]


def test_a_manifest_may_name_files_elsewhere_only_if_allowed(reader_dir, tmp_path):
    np.save(tmp_path / "0.npy", make_clip(TEXTS[0], 0).keypoints)
    (tmp_path / "lists").mkdir()
    manifest = tmp_path / "lists" / "clips.jsonl"
    manifest.write_text(json.dumps({"kp_path": "../0.npy", "text": TEXTS[0]}) + "\n")
    arguments = [str(reader_dir), str(manifest), "--output", str(tmp_path / "result.json"), "--num_proc", "1"]
    with pytest.raises(SystemExit, match="lies outside the folder .* give --allow_outside"):
        evaluate_hf.main(arguments)
    evaluate_hf.main([*arguments, "--allow_outside"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert [reading["reference"] for reading in result["predictions"]] == [TEXTS[0]]


def test_which_face_is_read_is_chosen_for_videos_only(reader_dir, corpus, tmp_path, monkeypatch):
    write_video(tmp_path / "face.mp4", moving_portrait(12))
    (tmp_path / "clips.jsonl").write_text(json.dumps({"video": "face.mp4", "text": TEXTS[0]}) + "\n")
    asked = []
    extract = Face3DKeypointExtractor.extract_video
    monkeypatch.setattr(
        Face3DKeypointExtractor,
        "extract_video",
        lambda self, *args, **kwargs: asked.append(kwargs["face"]) or extract(self, *args, **kwargs),
    )
    arguments = ["--num_proc", "0", "--device", "cpu", "--output", str(tmp_path / "result.json")]
    for face in ([], ["--face", "central"]):
        evaluate_hf.main([str(reader_dir), str(tmp_path / "clips.jsonl"), *arguments, *face])
    assert asked == ["largest", "central"]
    with pytest.raises(SystemExit, match="--face central is for manifests of videos"):
        evaluate_hf.main([str(reader_dir), str(corpus / "validation"), *arguments, "--face", "central"])


@pytest.mark.parametrize("source", ["nowhere", "nowhere.jsonl"])
def test_a_source_that_is_none_is_named(reader_dir, tmp_path, source):
    with pytest.raises(SystemExit, match=source):
        evaluate_hf.main([str(reader_dir), str(tmp_path / source)])


def test_reading_depends_on_neither_batch_nor_order(reader_dir, corpus):
    """What makes the shuffled control free: another clip's video gives another clip's words."""
    model = LipReadForConditionalGeneration.from_pretrained(reader_dir)
    processor = LipReadProcessor.from_pretrained(reader_dir)
    collator = LipReadCollator(processor, seq_len=8, train=False)
    clips = load_split(corpus, "validation")
    together = predict(model, processor, clips, collator, batch_size=4, progress=False)
    reversed_clips = clips.select(range(len(clips) - 1, -1, -1))
    apart = predict(model, processor, reversed_clips, collator, batch_size=1, progress=False)
    assert together == apart[::-1]
    assert [reading.reference for reading in together] == list(TEXTS[:4])


def test_blank_video_is_the_average_face_and_does_not_move(reader_dir):
    model = LipReadForConditionalGeneration.from_pretrained(reader_dir)
    model.encoder.input_mean.normal_()
    blank = blank_video(model, torch.randn(2, 5, 79, 3))
    assert blank.shape == (2, 5, 79, 3)
    assert torch.equal(blank, model.encoder.input_mean[:, :3].expand(2, 5, -1, -1))


def test_command_transcribes_and_draws(reader_dir, video, tmp_path, capsys):
    assert lipread(["transcribe", str(video), "--model", str(reader_dir), "--device", "cpu"]) == 0
    text = capsys.readouterr().out.strip()
    output = tmp_path / "overlay.mp4"
    assert lipread(["overlay", str(video), "--model", str(reader_dir), "--output", str(output)]) == 0
    assert output.stat().st_size > 0
    assert capsys.readouterr().out.splitlines() == [text, str(output)]


def test_an_overlay_without_words_says_why(reader_dir, video, tmp_path, capsys):
    folder, output = shutil.copytree(reader_dir, tmp_path / "reader"), tmp_path / "overlay.mp4"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"abstention": {"min_confidence": 1.0}}))
    overlay = ["overlay", str(video), "--model", str(folder), "--device", "cpu", "--output", str(output)]
    assert lipread(overlay) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(output)] and f"{video}: no words: low confidence" in captured.err
    assert lipread([*overlay, "--no_abstain"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(output) and len(captured.out.splitlines()) > 1
    assert "no words" not in captured.err


def test_command_names_what_it_cannot_read_and_goes_on(reader_dir, video, tmp_path, capsys):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert lipread(["transcribe", str(empty), str(video), "--model", str(reader_dir)]) == 1
    captured = capsys.readouterr()
    assert "empty.mp4" in captured.err
    assert captured.out.startswith(f"{video}\t")
    assert lipread(["transcribe", str(video), "--model", str(tmp_path / "none")]) == 2
    assert "--model" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["av", "mediapipe"])
def test_command_says_what_to_install(reader_dir, video, missing, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert lipread(["transcribe", str(video), "--model", str(reader_dir), "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert f"pip install {missing}" in captured.err and not captured.out
