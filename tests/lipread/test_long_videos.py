# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Long-form transcription: long videos and several people give the words of the single clips, in constant memory."""

import tracemalloc
from itertools import cycle, islice

import jiwer
import numpy as np
import pytest

from data.talker import TalkingHead, perform
from lipread.long_form.segmentation import Segment, SegmentSettings
from lipread.long_form.streaming import StreamedFrame, stream_video
from lipread.long_form.transcription import segment_people, select_speaking, transcribe_video
from lipread.options import load_pipeline
from lipread.writers import make_cues, transcript_dict
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, NoFaceError
from tests.helpers.clips import PORTRAIT, made_up_face, write_video
from tests.helpers.long_videos import grid_lines, one_after_another, side_by_side
from tests.helpers.readers import save_reader


@pytest.fixture(scope="module")
def ten(grid_dir, tmp_path_factory):
    """Ten clips of validation, and one video of them one after another."""
    lines = grid_lines(grid_dir, "validation", "s1", 10)
    return lines, one_after_another(grid_dir, lines, tmp_path_factory.mktemp("long") / "long.mp4")


@pytest.fixture(scope="module")
def pair(grid_dir, tmp_path_factory):
    """Two people side by side, each with two sentences."""
    left, right = grid_lines(grid_dir, "validation", "s1", 2), grid_lines(grid_dir, "train", "s4", 2)
    return left, right, side_by_side(grid_dir, left, right, tmp_path_factory.mktemp("pair") / "pair.mp4")


def test_a_long_video_says_what_its_clips_say(pipeline, ten, grid_dir):
    lines, video = ten
    single = [pipeline(str(grid_dir / line["video"]))["text"] for line in lines]
    long = transcribe_video(pipeline, video, batch_size=4)
    truth = " ".join(line["text"] for line in lines)
    assert jiwer.wer(" ".join(single), long.text) <= 0.1, long.text
    assert jiwer.wer(truth, long.text) <= jiwer.wer(truth, " ".join(single)) + 0.1
    words = [word for said in long.utterances for word in said.words]
    assert all(before.start <= after.start for before, after in zip(words, words[1:], strict=False))
    # Each word is said in the clip that says it.
    placed = [lines[int(min(word.middle, 29.9) // 3)]["text"].split() for word in words]
    assert np.mean([word.text in text for word, text in zip(words, placed, strict=True)]) > 0.85


def test_times_count_from_the_start_of_the_file(pipeline, ten):
    _, video = ten
    whole, part = transcribe_video(pipeline, video), transcribe_video(pipeline, video, start=12.0, end=18.0)
    assert part.utterances[0].start >= 12.0 and part.utterances[-1].end <= 18.0
    assert part.seconds == pytest.approx(6.0, abs=0.05)
    starts = {round(word.start, 1) for said in whole.utterances for word in said.words}
    near = [min(abs(word.start - start) for start in starts) for said in part.utterances for word in said.words]
    assert np.median(near) < 0.1


def test_a_clip_gives_the_hypotheses_of_the_pipeline(pipeline, ten, grid_dir):
    clip, options = str(grid_dir / ten[0][0]["video"]), {"num_beams": 3, "num_return_sequences": 3}
    expected = pipeline(clip, return_timestamps="word", **options)
    (said,) = transcribe_video(pipeline, clip, **options).utterances
    assert [(word.text, (word.start, word.end)) for word in said.words] == [
        (chunk["text"], chunk["timestamp"]) for chunk in expected[0]["chunks"]
    ]
    assert [entry["text"] for entry in said.alternatives] == [result["text"] for result in expected]
    for entry, result in zip(said.alternatives, expected, strict=True):  # no words, no score
        score = np.prod([chunk["score"] for chunk in result["chunks"]]) if result["chunks"] else None
        assert entry["score"] == (score if score is None else pytest.approx(score))


def test_people_are_read_separately_or_only_the_one_who_speaks(pipeline, pair):
    left, right, video = pair
    read = transcribe_video(pipeline, video, face="all")
    assert read.has_several_people
    speaking = transcribe_video(pipeline, video, face="speaking")
    assert 0 < len(speaking.utterances) < len(read.utterances)
    assert {(said.start, said.text) for said in speaking.utterances} <= {
        (said.start, said.text) for said in read.utterances
    }
    said = {
        person: " ".join(entry.text for entry in read.utterances if entry.person == person)
        for person in sorted({entry.person for entry in read.utterances})
    }
    assert len(said) == 2
    texts = [" ".join(line["text"] for line in lines) for lines in (left, right)]
    rates = np.array([[jiwer.wer(text, words) for words in said.values()] for text in texts])
    assert min(rates[0]) <= 0.25  # the reader knows s1; s4 it has hardly seen
    own = int(np.argmin(rates[0]))
    assert rates[1][1 - own] < rates[1][own]


def test_people_keep_their_numbers_from_block_to_block(pair, monkeypatch):
    monkeypatch.setattr("lipread.long_form.people_tracking.BLOCK_SECONDS", 1.2)
    left, right, video = pair
    with Face3DKeypointExtractor() as extractor:
        frames = list(stream_video(extractor, video, face="all"))
    places: dict[int, list[float]] = {}
    for frame in frames:
        for number, face in frame.faces.items():
            places.setdefault(number, []).append(float(face[:, 0].mean()) < 360)
    assert sorted(places) == [1, 2]
    assert {np.mean(sides) for sides in places.values()} == {0.0, 1.0}
    assert min(len(sides) for sides in places.values()) > 0.95 * len(frames)
    assert [frame.time for frame in frames] == sorted({frame.time for frame in frames})


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A minute of the talking head, which says the same sentence over and over."""
    frames = list(TalkingHead().frames(perform("please follow the doctor now", seed=3)))
    path = tmp_path_factory.mktemp("talker") / "minute.mp4"
    return write_video(path, list(islice(cycle(frames), 60 * 25)), codec_options={"preset": "ultrafast"})


@pytest.mark.parametrize("face", ["largest", "all"])
def test_memory_does_not_grow_with_the_video(talker, face):
    """A minute of landmarks takes 9 MB, of frames half a gigabyte."""
    held, found = [], 0
    with Face3DKeypointExtractor() as extractor:
        frames = stream_video(extractor, talker, face=face)

        def measured():
            for index, frame in enumerate(frames):
                if index == 15 * 25:
                    tracemalloc.start()
                if index > 15 * 25 and index % 125 == 0:
                    held.append(tracemalloc.get_traced_memory()[0] / 1e6)
                yield frame

        try:
            for segment in segment_people(measured(), SegmentSettings()):
                found += 1
                assert len(segment.sequence) < 6 * 25
        finally:
            tracemalloc.stop()
    assert found > 10
    assert max(held[len(held) // 2 :]) < max(held[: len(held) // 2]) + 1.0, held


def test_no_face_is_said_so_and_so_are_the_stretches_without_one(pipeline, tmp_path):
    empty = np.full((240, 320, 3), 90, np.uint8)
    with pytest.raises(NoFaceError, match="no face found in any of 150 frames"):
        transcribe_video(pipeline, write_video(tmp_path / "empty.mp4", [empty] * 150))
    portrait = [PORTRAIT] * 50 + [np.full_like(PORTRAIT, 90)] * 75 + [PORTRAIT] * 50
    read = transcribe_video(pipeline, write_video(tmp_path / "gap.mp4", portrait))
    assert read.utterances == []  # lips at rest say nothing
    (gap,) = read.unread
    assert (gap.start, gap.end, gap.reason) == (pytest.approx(2.0, abs=0.3), pytest.approx(5.0, abs=0.3), "no face")


def test_overlapping_segments_leave_the_livelier():
    def segment(person: int, start: float, size: float) -> Segment:
        frames = []
        for index in range(50):
            face = made_up_face().astype(np.float32)
            face[[13, 14], 1] += np.array([size, -size]) * (1 - np.cos(index))
            frames.append(StreamedFrame(start + index / 25, {person: face}, (0, 0)))
        (made,) = segment_people(iter(frames), SegmentSettings())
        return made

    made = [segment(1, 0.0, 1.0), segment(2, 0.2, 0.3), segment(2, 3.0, 0.3), segment(1, 4.8, 1.0)]
    assert list(select_speaking(made)) == [made[0], made[2], made[3]]


def test_landmark_files_are_read_as_long_videos_are(pipeline, ten, tmp_path):
    with Face3DKeypointExtractor() as extractor:
        sequence = extractor.extract_video(ten[1], end=9.0)
    np.save(tmp_path / "long.npy", sequence.keypoints)
    read = transcribe_video(pipeline, tmp_path / "long.npy")
    assert read.text == transcribe_video(pipeline, ten[1], end=9.0).text
    assert len(read.utterances) >= 3


def test_landmarks_of_another_kind_are_not_cut():
    face = np.random.default_rng(0).normal(size=(79, 3)).astype(np.float32)
    frames = [StreamedFrame(index / 25, {} if index == 200 else {0: face}, (0, 0)) for index in range(250)]
    (segment,) = segment_people(iter(frames), SegmentSettings())
    assert segment.sequence.keypoints.shape == (250, 79, 3)
    assert segment.sequence.present.sum() == 249


def test_words_without_times_divide_the_utterance(tmp_path, talker):
    pipeline = load_pipeline(str(save_reader(tmp_path, ctc_vocab=[])), "cpu")
    read = transcribe_video(pipeline, talker, end=10.0, max_new_tokens=5)
    assert len(read.utterances) > 2
    words = [word for said in read.utterances for word in said.words]
    assert words and not any(word.timed for word in words)
    for said in read.utterances:
        if not said.continues:
            assert all(said.start - 0.51 <= word.start <= word.end <= said.end + 0.51 for word in said.words)
    assert {tuple(chunk["timestamp"]) for chunk in transcript_dict(read)["chunks"]} == {(None, None)}
    cues = make_cues(read)
    assert " ".join(line for cue in cues for line in cue.lines).split() == read.text.split()
