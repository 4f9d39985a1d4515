# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Figures that cannot flatter: controls, empties and the closing line."""

import math

from data.evaluation import Reading, closing_line, figures, report, shuffled_partners


def readings(*pairs: tuple[str, str, str]) -> list[Reading]:
    return [Reading(f"clip{i}", "s1", said, read, blank) for i, (said, read, blank) in enumerate(pairs)]


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
    assert math.isnan(figures(readings(("a", "a", "a"), ("a", "a", "a")))["shuffled_wer"])


def test_a_perfect_reader():
    result = figures(readings(("bin blue", "bin blue", "x y"), ("set red", "set red", "x y")))
    assert result["wer"] == result["cer"] == 0.0
    assert result["blank_wer"] == result["shuffled_wer"] == 1.0


def test_a_reader_that_ignores_the_video_is_found_out():
    result = figures(readings(("bin blue", "bin blue", "bin blue"), ("set red", "bin blue", "bin blue")))
    assert result["wer"] == result["blank_wer"] == result["shuffled_wer"] == 0.5


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
