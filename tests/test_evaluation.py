# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Figures that cannot flatter: controls, intervals, empties, loops, n-best oracles and the closing line."""

import math

import numpy as np
import pytest

from data.evaluation import Reading, closing_line, figures, report, shuffled_partners
from data.evaluation.figures import has_loop, oracle_counts
from data.metrics import bootstrap_interval, ratio_interval


def readings(*pairs: tuple[str, str, str], speakers: str = "1") -> list[Reading]:
    return [
        Reading(f"clip{i}", f"s{speakers[i % len(speakers)]}", said, read, blank)
        for i, (said, read, blank) in enumerate(pairs)
    ]


def test_partners_have_another_text():
    references = ["a", "b", "a", "c", "b", "a"]
    partners = shuffled_partners(references)
    assert all(references[partner] != reference for partner, reference in zip(partners, references, strict=True))
    assert partners == shuffled_partners(references)
    assert partners != shuffled_partners(references, seed=1)


def test_every_clip_is_a_partner_once_when_texts_differ():
    references = [str(i) for i in range(20)]
    assert sorted(shuffled_partners(references)) == list(range(20))


def test_no_partner_where_all_say_the_same():
    assert shuffled_partners(["a", "a"]) == [None, None]
    result = figures(readings(("a", "a", "a"), ("a", "a", "a")), intervals=True)
    assert math.isnan(result["shuffled_wer"]) and all(map(math.isnan, result["shuffled_wer_interval"]))


def test_a_perfect_reader():
    result = figures(readings(("bin blue", "bin blue", "x y"), ("set red", "set red", "x y")))
    assert result["wer"] == result["cer"] == 0.0
    assert result["blank_wer"] == result["shuffled_wer"] == 1.0
    assert "oracle_wer" not in result and "mean_confidence" not in result


def test_the_ctc_head_has_its_own_rate():
    some = readings(("bin blue", "bin blue", ""), ("set red", "set red", ""))
    assert "ctc_wer" not in figures(some)
    some[0].ctc_hypothesis = "bin blu"  # the other clip could not be read: nothing was seen in it either
    result = figures(some, intervals=True)
    assert result["ctc_wer"] == 0.75 and len(result["ctc_wer_interval"]) == 2


def test_a_reader_that_ignores_the_video_is_found_out():
    result = figures(readings(("bin blue", "bin blue", "bin blue"), ("set red", "bin blue", "bin blue")), True)
    assert result["wer"] == result["blank_wer"] == result["shuffled_wer"] == 0.5
    assert result["blank_gain"] == 0.0 and result["blank_gain_interval"] == [0.0, 0.0] and result["distinct"] == 1


def test_closing_line_and_report():
    some = readings(("bin blue at", "bin blue at", ""), ("set red by", "", ""))
    line = closing_line(figures(some))
    assert line == "WER 0.500 CER 0.476 | blank video WER 1.000 | shuffled video WER 1.000 | 2 clips"
    result = report(some, checkpoint="runs/a")
    assert result["figures"]["empty"] == 1
    assert result["figures"]["wer_interval"] == [0.0, 1.0]
    assert result["readings"][1] == {
        "id": "clip1",
        "speaker": "s1",
        "reference": "set red by",
        "hypothesis": "",
        "blank_hypothesis": "",
    }


def test_intervals_of_every_rate_and_of_the_gain():
    """Half of the clips are read; the motionless face gives one word of two: the gain is 0.5 - 0.5 on each pair."""
    some = readings(("a b", "a b", "a x"), ("c d", "x y", "c x")) * 40
    result = figures(some, intervals=True)
    texts = [reading.hypothesis for reading in some], [reading.reference for reading in some]
    assert tuple(result["wer_interval"]) == bootstrap_interval(*texts)
    assert tuple(result["cer_interval"]) == bootstrap_interval(*texts, "cer")
    assert result["blank_wer_interval"] == [0.5, 0.5], "every clip has one word of two wrong"
    # The gain is +0.5 or -0.5 on a clip: the same draws, moved by the blank rate.
    low, high = result["wer_interval"]
    assert result["blank_gain_interval"] == pytest.approx([0.5 - high, 0.5 - low], abs=1e-9)
    assert "wer_speaker_interval" not in result, "one speaker says nothing of others"


def test_speakers_are_drawn_where_there_are_several():
    # Everything wrong of one speaker of five: among further clips the rate is known well, among new speakers badly.
    pairs = [("a b", "x y" if i % 5 == 0 else "a b", "") for i in range(200)]
    result = figures(readings(*pairs, speakers="12345"), intervals=True)
    (low, high), (speaker_low, speaker_high) = result["wer_interval"], result["wer_speaker_interval"]
    assert speaker_low < low < 0.2 < high < speaker_high
    assert "wer_speaker_interval" not in figures(readings(*pairs, speakers="1234"), intervals=True)


def test_drawing_in_parts_draws_the_same(monkeypatch):
    edits, lengths = np.arange(50), np.full(50, 60)
    whole = ratio_interval(edits, lengths)
    monkeypatch.setattr("data.metrics._DRAWN_AT_ONCE", 700)  # 14 resampled corpora at once, and 6 in the end
    assert ratio_interval(edits, lengths) == whole


def test_the_oracle_takes_the_best_of_each_clip():
    some = [
        Reading("0", None, "bin blue", "x y", "", nbest=["x y", "bin y", "bin blue"]),
        Reading("1", None, "set red now", "set red", "", nbest=["set red", "x", "y"]),
    ]
    assert oracle_counts(some, 1)[0].tolist() == [2, 1]
    assert oracle_counts(some, 2)[0].tolist() == [1, 1]
    edits, lengths = oracle_counts(some)
    assert edits.tolist() == [0, 1] and lengths.tolist() == [2, 3]
    assert figures(some)["oracle_wer"] == 1 / 5 and figures(some)["wer"] == 3 / 5
    assert report(some)["oracle_wer"] == [3 / 5, 2 / 5, 1 / 5]


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("bin blue at f two now", False),
        ("two two", False),
        ("two two two", True),
        ("now bin blue bin blue", True),
        ("a b c d e f g h a b c d e f g h", True),
        ("a b c d a b x d", False),
        ("the cat and the dog and the", False),
        ("x a b c a b c y", True),
    ],
)
def test_loops(text, loops):
    assert has_loop(text) == loops


def test_a_loop_that_was_said_is_none():
    result = figures(readings(("no no no", "no no no", ""), ("bin blue", "bin bin bin", ""), ("a b", "a b, a b", "")))
    assert result["loops"] == 2
