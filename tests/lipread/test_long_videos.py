# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Long-form transcription: long videos and several people give the words of the single clips, in constant memory."""

import tracemalloc
from itertools import cycle, islice

import jiwer
import numpy as np
import pytest

from data.talker import perform
from lipread.long_form.segmentation import SegmentSettings
from lipread.long_form.streaming import StreamedFrame, stream_video
from lipread.long_form.transcription import (
    DAMAGED,
    CountedFrames,
    segment_people,
    transcribe_frames,
    transcribe_video,
)
from lipread.options import load_pipeline
from lipread.writers import make_cues, transcript_dict
from tests.helpers.clips import PORTRAIT, grid_frames, grid_lines, made_up_face, one_after_another, write_video
from tests.helpers.readers import save_reader
from tests.lipread.test_segmentation import talking


@pytest.fixture(scope="module")
def ten(grid_dir, tmp_path_factory):
    """Ten clips of validation, and one video of them one after another."""
    lines = grid_lines(grid_dir, "validation", "s1", 10)
    return lines, one_after_another(grid_dir, lines, tmp_path_factory.mktemp("long") / "long.mp4")


@pytest.fixture(scope="module")
def pair(grid_dir, tmp_path_factory):
    """Two people side by side, each with two sentences."""
    left, right = grid_lines(grid_dir, "validation", "s1", 2), grid_lines(grid_dir, "train", "s4", 2)
    pairs = zip(*(grid_frames(grid_dir, lines) for lines in (left, right)), strict=True)
    return left, right, write_video(tmp_path_factory.mktemp("pair") / "pair.mp4", list(map(np.hstack, pairs)))


def test_a_long_video_says_what_its_clips_say(pipeline, ten, grid_dir, tmp_path):
    lines, video = ten
    single = [pipeline(str(grid_dir / line["video"]))["text"] for line in lines]
    long = transcribe_video(pipeline, video, batch_size=4)
    truth = " ".join(line["text"] for line in lines)
    assert jiwer.wer(" ".join(single), long.text) <= 0.15, long.text
    assert jiwer.wer(truth, long.text) <= jiwer.wer(truth, " ".join(single)) + 0.1
    words = [word for said in long.utterances for word in said.words]
    assert all(before.start <= after.start for before, after in zip(words, words[1:], strict=False))
    # Each word is said in the clip that says it.
    placed = [lines[int(min(word.middle, 29.9) // 3)]["text"].split() for word in words]
    assert np.mean([word.text in text for word, text in zip(words, placed, strict=True)]) > 0.85
    # The times of a part count from the start of the file.
    part = transcribe_video(pipeline, video, start=12.0, end=18.0)
    assert part.utterances[0].start >= 12.0 and part.utterances[-1].end <= 18.0
    assert part.seconds == pytest.approx(6.0, abs=0.05)
    starts = {round(word.start, 1) for word in words}
    near = [min(abs(word.start - start) for start in starts) for said in part.utterances for word in said.words]
    assert np.median(near) < 0.1
    # A file of landmarks is read as its video is.
    sequence = pipeline.processor.extract_landmarks(video, start=12.0, end=18.0)[0]
    np.save(tmp_path / "long.npy", sequence.keypoints)
    read = transcribe_video(pipeline, tmp_path / "long.npy")
    assert read.text == part.text and len(read.utterances) >= 2


def test_a_clip_gives_the_hypothesis_of_the_pipeline(pipeline, ten, grid_dir):
    clip = str(grid_dir / ten[0][0]["video"])
    expected = pipeline(clip, return_timestamps="word", num_beams=3)
    (said,) = transcribe_video(pipeline, clip, num_beams=3).utterances
    assert [(word.text, (word.start, word.end)) for word in said.words] == [
        (chunk["text"], chunk["timestamp"]) for chunk in expected["chunks"]
    ]


def test_people_are_read_separately(pipeline, pair):
    left, right, video = pair
    read = transcribe_video(pipeline, video, face="all")
    people = sorted({entry.person for entry in read.utterances})
    said = [" ".join(entry.text for entry in read.utterances if entry.person == person) for person in people]
    assert len(said) == 2 and read.has_several_people
    texts = [" ".join(line["text"] for line in lines) for lines in (left, right)]
    rates = np.array([[jiwer.wer(text, words) for words in said] for text in texts])
    assert min(rates[0]) <= 0.25  # the reader knows s1; s4 it has hardly seen
    own = int(np.argmin(rates[0]))
    assert rates[1][1 - own] < rates[1][own]


def test_people_keep_their_numbers_from_block_to_block(pair, extractor, monkeypatch):
    monkeypatch.setattr("lipread.long_form.streaming.BLOCK_SECONDS", 1.2)
    frames = list(stream_video(extractor, pair[2], face="all"))
    places: dict[int, list[float]] = {}
    for frame in frames:
        for number, face in frame.faces.items():
            places.setdefault(number, []).append(float(face[:, 0].mean()) < 360)
    assert sorted(places) == [1, 2]
    assert {np.mean(sides) for sides in places.values()} == {0.0, 1.0}
    assert min(len(sides) for sides in places.values()) > 0.95 * len(frames)
    assert [frame.time for frame in frames] == sorted({frame.time for frame in frames})


@pytest.mark.slow
@pytest.mark.parametrize("face", ["largest", "all"])
def test_memory_does_not_grow_with_the_video(face, head, extractor, tmp_path):
    """A minute of landmarks takes 9 MB, of frames half a gigabyte."""
    said = list(head.frames(perform("please follow the doctor now", seed=3)))
    minute = list(islice(cycle(said), 60 * 25))
    talk = write_video(tmp_path / "minute.mp4", minute, codec_options={"preset": "ultrafast"})
    held = []

    def measured():
        for index, frame in enumerate(stream_video(extractor, talk, face=face)):
            if index == 15 * 25:
                tracemalloc.start()
            if index > 15 * 25 and index % 125 == 0:
                held.append(tracemalloc.get_traced_memory()[0] / 1e6)
            yield frame

    try:
        lengths = [len(segment.sequence) for segment in segment_people(measured(), SegmentSettings())]
    finally:
        tracemalloc.stop()
    assert len(lengths) > 10 and max(lengths) < 6 * 25
    assert max(held[len(held) // 2 :]) < max(held[: len(held) // 2]) + 1.0, held


def test_a_part_without_a_face_is_unread(pipeline, tmp_path):
    portrait = [PORTRAIT] * 50 + [np.full_like(PORTRAIT, 90)] * 75 + [PORTRAIT] * 50
    read = transcribe_video(pipeline, write_video(tmp_path / "gap.mp4", portrait))
    assert read.utterances == []  # lips at rest say nothing
    (gap,) = read.unread
    assert (gap.start, gap.end, gap.reason) == (pytest.approx(2.0, abs=0.3), pytest.approx(5.0, abs=0.3), "no face")


@pytest.mark.parametrize("face", ["largest", "all"])
def test_what_lies_behind_damage_is_read_and_the_lost_stretch_is_named(pipeline, grid_dir, tmp_path, face):
    frames = grid_frames(grid_dir, grid_lines(grid_dir, "validation", "s1", 4))
    path = write_video(tmp_path / "tv.ts", frames, codec_options={"g": "25", "preset": "ultrafast"})
    whole = transcribe_video(pipeline, path, face=face)
    data, lost = path.read_bytes(), path.stat().st_size // 188 // 2 * 188
    path.write_bytes(data[:lost] + data[lost + 188 :])
    read = transcribe_video(pipeline, path, face=face)
    (span,) = [span for span in read.unread if span.reason == DAMAGED]
    assert 4 < span.start < span.end < 8 and span.end - span.start <= 1.1
    assert read.seconds == whole.seconds
    for index in (0, -1):
        said = [[word.text for word in transcript.utterances[index].words] for transcript in (read, whole)]
        assert said[0] == said[1]


def test_a_hole_in_the_pictures_is_named_and_landmarks_of_another_kind_are_not_cut():
    frames = [StreamedFrame(0.5 + index / 25, {0: made_up_face()}, (360, 288)) for index in range(75)]
    counted = CountedFrames([frame for frame in frames if not 1.5 < frame.time < 2.3], 10.0, None)
    assert len(list(counted)) == 56
    assert [(round(span.start, 2), round(span.end, 2)) for span in counted.gaps] == [(10.0, 10.5), (11.5, 12.3)]
    slow = CountedFrames([StreamedFrame(index / 2, {0: made_up_face()}, (360, 288)) for index in range(9)], 0.0, None)
    assert len(list(slow)) == 9 and slow.gaps == []
    face = np.random.default_rng(0).normal(size=(79, 3)).astype(np.float32)
    frames = [StreamedFrame(index / 25, {} if index == 200 else {0: face}, (0, 0)) for index in range(250)]
    (segment,) = segment_people(iter(frames), SegmentSettings())
    assert segment.sequence.keypoints.shape == (250, 79, 3) and segment.sequence.present.sum() == 249


def test_utterances_without_word_times_are_stitched_at_the_cut_between_them(tmp_path):
    """A person never rests, and is cut; an untrained reader without a CTC head writes words for every segment."""
    frames = [StreamedFrame(time, {0: face}, (0, 0)) for time, face in talking([(0, 14)], 14)]
    first, second, third, *_ = segment_people(iter(frames), SegmentSettings())
    assert first.cut_after == second.cut_before and second.cut_after == third.cut_before is not None
    untimed = load_pipeline(str(save_reader(tmp_path, ctc_vocab=[])), "cpu")
    read = transcribe_frames(untimed, iter(frames), "talk", max_new_tokens=5, min_new_tokens=5)
    assert read.utterances[0].end == read.utterances[1].start == first.cut_after
    words = [word for said in read.utterances for word in said.words]
    assert words and not any(word.timed for word in words)
    for said in read.utterances:
        if not said.continues:
            assert all(said.start - 0.51 <= word.start <= word.end <= said.end + 0.51 for word in said.words)
    assert {tuple(chunk["timestamp"]) for chunk in transcript_dict(read)["chunks"]} == {(None, None)}
    assert " ".join(line for cue in make_cues(read) for line in cue.lines).split() == read.text.split()
