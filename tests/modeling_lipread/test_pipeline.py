# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The `lip-reading` pipeline as its users call it, in this process and in one that has nothing of ours."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

from data.collator import LipReadCollator
from data.schema import encode_row
from lipread.options import load_pipeline
from modeling_lipread import PIPELINE_TASK, LipReadingPipeline
from tests.helpers.clips import moving_portrait, write_video
from tests.helpers.readers import run_elsewhere, save_reader
from tests.helpers.training import TEXTS, make_clip

LENGTHS = dict(zip(TEXTS[:4], (20, 14, 31, 24), strict=True))  # frames of a clip, each text's its own


@pytest.fixture(scope="module")
def clips():
    return [make_clip(text, 0, frames).keypoints for text, frames in LENGTHS.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, clips):
    """A reader that has learned these clips by heart."""
    folder = save_reader(tmp_path_factory.mktemp("reader"), decoder_mask_prob=0.0, freeze_language_model=False)
    model, processor = AutoModel.from_pretrained(folder).train(), AutoProcessor.from_pretrained(folder)
    ctc_vocab = model.config.ctc_vocab
    collate = LipReadCollator(processor, seq_len=16, ctc_vocab=ctc_vocab)
    rows = [encode_row(make_clip(text, 0, frames), text=text, id=text) for text, frames in LENGTHS.items()]
    batch = collate(rows)
    model.encoder.fit_statistics([batch])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval().generation_config.max_new_tokens = 12
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reader(folder):
    return load_pipeline(str(folder), "cpu")


def test_every_form_of_a_clip_reads_the_same(reader, portrait_video):
    assert isinstance(reader, LipReadingPipeline)
    expected = reader(str(portrait_video), num_beams=2)
    assert expected.keys() == {"text"} and expected["text"]
    sequence = reader.processor.extract_landmarks(str(portrait_video))[0]
    assert reader(sequence, generate_kwargs={"num_beams": 2}) == expected
    assert reader({"video": str(portrait_video)}, num_beams=2) == expected
    frames = np.stack(moving_portrait())
    expected = reader(frames)
    for clip in (list(frames), tuple(frames), {"video": list(frames)}, torch.from_numpy(frames).movedim(-1, 1)):
        assert reader(clip) == expected, "one clip, not a clip a frame"
    assert reader([list(frames), frames]) == reader(np.stack([frames, frames])) == [expected] * 2
    with pytest.raises(ValueError, match=r"uint8 \(\d+, \d+, 3\); give the frames of a clip as one list"):
        reader(frames[0])


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_lists_generators_and_batches_read_as_one_clip_does(reader, clips, padding_side):
    reader.processor.tokenizer.padding_side = padding_side
    options = {"return_timestamps": "word"}
    expected = [reader(clip, **options) for clip in clips]
    assert [result["text"] for result in expected] == list(LENGTHS)
    batches = [reader(clips, **options), reader(clips, batch_size=2, **options)]
    for found in (*batches, list(reader((clip for clip in clips), batch_size=3, **options))):
        for one, other in zip(found, expected, strict=True):
            assert one["text"] == other["text"]
            assert [chunk["timestamp"] for chunk in one["chunks"]] == [c["timestamp"] for c in other["chunks"]]
            scores = [[chunk["score"] for chunk in result["chunks"]] for result in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_chunks_have_the_form_of_speech_recognition(reader, clips):
    clip = clips[0]
    result = reader(clip, return_timestamps="word")
    assert result.keys() == {"text", "chunks"}
    assert [chunk["text"] for chunk in result["chunks"]] == result["text"].split()
    times = [chunk["timestamp"] for chunk in result["chunks"]]
    assert all(0 <= start <= end <= len(clip) / 25 for start, end in times)
    assert sorted(times) == times
    assert all(0 < chunk["score"] <= 1 for chunk in result["chunks"])
    short = reader(clip[:2], return_timestamps="word", min_new_tokens=6)
    assert len(short["text"]) > 2
    assert {chunk["timestamp"] for chunk in short["chunks"]} == {(None, None)}, "too short for the words"


def test_scores_are_those_of_the_model(reader, clips):
    result = reader(clips[0], return_timestamps=True, max_new_tokens=3, min_new_tokens=3)
    inputs = reader.processor(videos=clips[0], return_tensors="pt")
    output = reader.model.generate(
        **inputs, max_new_tokens=3, min_new_tokens=3, return_dict_in_generate=True, output_logits=True
    )
    scores = torch.stack(output.logits, 1).log_softmax(-1).gather(-1, output.sequences[:, 1:, None])
    found = np.prod([chunk["score"] for chunk in result["chunks"]])
    assert found == pytest.approx(scores.sum().exp().item(), rel=1e-3)


def test_times_count_from_the_start_of_the_video(reader, tmp_path):
    path = write_video(tmp_path / "long.mp4", moving_portrait(35))
    options = {"return_timestamps": "word", "max_new_tokens": 3}
    late = reader(str(path), start=0.2, **options)
    assert reader({"video": str(path), "start": 0.2}, **options) == late
    assert late["chunks"][0]["timestamp"][0] >= 0.2
    assert late["chunks"][-1]["timestamp"][1] <= 1.4 + 1e-6


def test_what_cannot_be_done_is_said(folder, reader, clips, tmp_path):
    without_ctc = AutoModel.from_pretrained(save_reader(tmp_path, ctc_vocab=[]))
    for model, options, message in (
        (without_ctc, {"return_timestamps": "word"}, "no CTC head"),
        (reader.model, {"return_timestamps": "char"}, "return_timestamps must be"),
        (reader.model, {"chunk_length_s": 4}, "`lipread transcribe VIDEO` cuts long videos"),
        (reader.model, {"num_return_sequences": 2}, "use model.generate"),
    ):
        with pytest.raises(ValueError, match=message):
            LipReadingPipeline(model=model, processor=reader.processor, device="cpu")(clips[0], **options)
    with pytest.raises(ValueError, match="the list of clips is empty"):
        reader([])
    with pytest.raises(ValueError, match="mapping has video"):
        reader({"file": "clip.mp4"})


def test_the_prompt_is_no_part_of_the_text(folder, clips, tmp_path):
    reader = load_pipeline(str(folder), "cpu")
    tokenizer = reader.processor.tokenizer
    reader.model.config.prompt_ids = tokenizer("set red", add_special_tokens=False)["input_ids"]
    result = reader(clips[0], return_timestamps="word")
    written = reader.model.generate(**reader.processor(videos=clips[0], return_tensors="pt"))[0]
    assert result["text"] == tokenizer.decode(written, skip_special_tokens=True).strip()
    assert [chunk["text"] for chunk in result["chunks"]] == result["text"].split()


READ_ELSEWHERE = """
import json
import numpy as np
from transformers import pipeline
folder, again, video, clip = sys.argv[1:]
reader = pipeline(model=folder, trust_remote_code=True, device="cpu")
reader.save_pretrained(again)
reread = pipeline("lip-reading", model=again, trust_remote_code=True, device="cpu", num_beams=2)
nobody = np.full((3, 64, 64, 3), 90, np.uint8)
results = [reader(clip, ctc_decoding_weight=0.3), reread(video, return_timestamps="word"), reader(nobody)]
try:
    reader(nobody, abstain=False)
except ValueError as error:
    results.append(str(error))
print(json.dumps([reader.task, type(reader).__name__, *results]))
"""


@pytest.mark.slow
def test_a_fresh_process_needs_nothing_but_the_folder(folder, reader, clips, portrait_video, tmp_path):
    np.save(tmp_path / "clip.npy", clips[0])
    arguments = folder, tmp_path / "again", portrait_video, tmp_path / "clip.npy"
    printed = run_elsewhere(tmp_path, READ_ELSEWHERE, *arguments).splitlines()[-1]
    task, name, weighed, reread, unseen, error = json.loads(printed)
    assert (task, name) == (PIPELINE_TASK, "LipReadingPipeline")
    assert weighed == reader(clips[0], ctc_decoding_weight=0.3)
    expected = reader(str(portrait_video), return_timestamps="word", num_beams=2)
    assert reread["text"] == expected["text"]
    assert [chunk["timestamp"] for chunk in reread["chunks"]] == [list(c["timestamp"]) for c in expected["chunks"]]
    # No control flow goes by our own classes, of which transformers loads several copies.
    assert unseen == {"text": "", "reason": "no face"} and "no face found in any of 3 frames" in error
