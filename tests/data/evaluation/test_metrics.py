# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Error rates with their controls and intervals, degenerate hypotheses, and the text normaliser."""

import math

import numpy as np
import pytest

from data.evaluation import Prediction, closing_line, compute_metrics, report
from data.evaluation.metrics import bootstrap_interval, edit_counts, error_rate, shuffled_partners
from modeling_lipread.text_normalizer_lipread import (
    choose_text_unit,
    join_words,
    normalize_text,
    same_units,
    split_units,
)


def predictions(*texts: tuple[str, str, str], speakers: str = "1") -> list[Prediction]:
    return [Prediction(f"clip{i}", f"s{speakers[i % len(speakers)]}", *clip) for i, clip in enumerate(texts)]


def test_rates_are_over_the_corpus_and_normalised():
    # 1 substitution, 1 deletion and 1 insertion on 4 + 1 words; 2 + 2 + 2 of 7 + 1 characters.
    texts = ["a x, c", "e f"], ["A b c d", "e!"]
    assert error_rate(*edit_counts(*texts)) == 3 / 5 and error_rate(*edit_counts(*texts, "cer")) == 5 / 8
    assert error_rate(*edit_counts(["a", "b c"], ["a b", ""])) == 3 / 2, "insertions without a reference count"
    for hypotheses, references in (([], []), (["a"], ["?!"])):
        with pytest.raises(ValueError, match="no word, so an error rate is undefined"):
            edit_counts(hypotheses, references)
    with pytest.raises(ValueError, match="zip"):
        edit_counts(["a"], ["a", "b"])


def test_bootstrap_interval():
    # 200 clips of one word each, half of them wrong: the rate is binomial, 0.5 +- 1.96 * sqrt(0.25 / 200) = 0.069.
    edits, lengths = np.tile([0, 1], 100), np.ones(200, int)
    low, high = bootstrap_interval(edits, lengths)
    assert low == pytest.approx(0.5 - 0.0693, abs=0.012) and high == pytest.approx(0.5 + 0.0693, abs=0.012)
    assert [low, high] == bootstrap_interval(edits, lengths), "seeded"
    assert bootstrap_interval(edits[:1], lengths[:1]) == [0.0, 0.0], "a single clip"
    assert bootstrap_interval(0 * edits, lengths) == [0.0, 0.0]
    assert np.isfinite(bootstrap_interval(edits[:2], np.array([0, 1]))).all(), "a clip without reference"
    assert np.isnan(bootstrap_interval(edits, 0 * lengths)).all()


def test_shuffled_partners_have_another_text():
    references = ["a", "b", "a", "c", "b", "a"]
    partners = shuffled_partners(references)
    assert all(references[partner] != reference for partner, reference in zip(partners, references, strict=True))
    assert sorted(shuffled_partners([str(i) for i in range(20)])) == list(range(20)), "each once if texts differ"
    assert shuffled_partners(["a", "a"]) == [None, None]
    result = compute_metrics(predictions(("a", "a", "a"), ("a", "a", "a")), intervals=True)
    assert math.isnan(result["shuffled_wer"]) and all(map(math.isnan, result["shuffled_wer_interval"]))


def test_models_that_read_that_do_not_and_that_have_a_ctc_head():
    result = compute_metrics(predictions(("bin blue", "bin blue", "x y"), ("set red", "set red", "x y")))
    assert result["wer"] == result["cer"] == 0.0 and result["blank_wer"] == result["shuffled_wer"] == 1.0
    assert "ctc_wer" not in result
    blind = predictions(("bin blue", "bin blue", "bin blue"), ("set red", "bin blue", "bin blue"))
    result = compute_metrics(blind, intervals=True)
    assert result["wer"] == result["blank_wer"] == result["shuffled_wer"] == 0.5
    assert result["blank_gain"] == 0.0 and result["blank_gain_interval"] == [0.0, 0.0] and result["distinct"] == 1
    some = predictions(("bin blue", "x y", ""), ("set red now", "set red", ""))
    some[0].ctc_hypothesis = "bin blu"
    result = compute_metrics(some, intervals=True)
    assert (result["wer"], result["ctc_wer"]) == (3 / 5, 4 / 5) and len(result["ctc_wer_interval"]) == 2


def test_intervals_of_every_rate_and_of_the_gain():
    some = predictions(("a b", "a b", "a x"), ("c d", "x y", "c x"), speakers="1234") * 40
    result = compute_metrics(some, intervals=True)
    texts = [each.hypothesis for each in some], [each.reference for each in some]
    assert result["wer_interval"] == bootstrap_interval(*edit_counts(*texts))
    assert result["cer_interval"] == bootstrap_interval(*edit_counts(*texts, "cer"))
    assert result["blank_wer_interval"] == [0.5, 0.5], "every clip has one word of two wrong"
    # The gain is +0.5 or -0.5 on a clip: the same draws, moved by the blank rate.
    low, high = result["wer_interval"]
    assert result["blank_gain_interval"] == pytest.approx([0.5 - high, 0.5 - low], abs=1e-9)
    assert "wer_speaker_interval" not in result, "too few speakers"
    pairs = [("a b", "x y" if i % 5 == 0 else "a b", "") for i in range(200)]  # all words of one speaker are wrong
    result = compute_metrics(predictions(*pairs, speakers="12345"), intervals=True)
    (low, high), (speaker_low, speaker_high) = result["wer_interval"], result["wer_speaker_interval"]
    assert speaker_low < low < 0.2 < high < speaker_high


def test_closing_line_and_report():
    some = predictions(("bin blue at", "bin blue at", ""), ("set red by", "", ""))
    line = closing_line(compute_metrics(some))
    assert line == "WER 0.500 CER 0.476 | blank video WER 1.000 | shuffled video WER 1.000 | 2 clips"
    result = report(some, checkpoint="runs/a")
    assert result["metrics"]["empty"] == 1 and result["metrics"]["wer_interval"] == [0.0, 1.0]
    texts = {"reference": "set red by", "hypothesis": "", "blank_hypothesis": ""}
    assert result["predictions"][1] == {"id": "clip1", "speaker": "s1", **texts}


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Don\u2019t,\tplease: it's WELL-known!\n", "don't please it's well known"),
        ("'tis the dogs' o'clock", "tis the dogs o'clock"),
        ("3.5 km, 1,000 m. $5", "3.5 km 1,000 m 5"),
        ("Stra\u00dfe \ufb01ne \uff21", "strasse fine a"),
        ("Cafe\u0301", "caf\u00e9"),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902, \u092c\u093e\u0924\u0964",
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 \u092c\u093e\u0924",
        ),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("col\u00b7legi", "col\u00b7legi"),
        ("\u4eca\u65e5\u306f\u3001\u5143\u6c17\uff1f", "\u4eca\u65e5\u306f \u5143\u6c17"),
        ("\ufeffhi\u00adgh e\u00ad\u0301", "high \u00e9"),
        ("\u2026 \u2014 ?!", ""),
    ],
)
def test_normalizer(text, normal):
    assert normalize_text(text) == normal
    assert normalize_text(normal) == normal


def test_normalising_twice_changes_nothing():
    for start in range(0, 0x30000, 256):
        characters = [chr(code) for code in range(start, start + 256) if not 0xD800 <= code < 0xE000]
        once = normalize_text("a" + "b1".join(characters) + "c")
        assert normalize_text(once) == once, hex(start)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "wer", "cer"),
    [
        ("今日は、元気？", "今日も 元気", (1, 5), (1, 5)),  # spaces and punctuation do not count
        ("昨天 下午 坐 火车", "昨天下午坐火车", (0, 7), (0, 7)),
        ("我用 iPhone 打电话", "我用 iPad 打电话", (1, 6), (4, 13)),  # code switching: characters and words
        ("ฉันไปตลาด", "ฉันไปตลาท", (1, 8), (1, 8)),  # a letter with its marks is one unit
        ("ខ្ញុំទៅ\u200bផ្សារ", "ខ្ញុំទៅផ្សារ", (0, 4), (0, 4)),
        ("မင်္ဂလာပါ", "မင်္ဂလာ", (2, 6), (2, 6)),
        ("ສະບາຍດີ", "", (6, 6), (6, 6)),
        ("bin blue", "bin blew", (1, 2), (2, 8)),
        ("안녕하세요 여러분", "안녕하세요 여러", (1, 2), (1, 9)),  # Korean has spaces
    ],
)
def test_units_follow_the_script(reference, hypothesis, wer, cer):
    for rate, expected in (("wer", wer), ("cer", cer)):
        edits, lengths = edit_counts([hypothesis], [reference], rate)
        assert (edits[0], lengths[0]) == expected, rate


def test_a_reader_of_mandarin_that_reads_is_not_taken_for_blind():
    metrics = compute_metrics(predictions(("今天天气好", "今天天汽好", "我"), ("昨天他回家", "昨天她回家", "我")))
    for rate in ("wer", "cer"):
        assert (metrics[rate], metrics[f"blank_{rate}"], metrics[f"shuffled_{rate}"]) == (0.2, 1.0, 0.8)
    assert closing_line(metrics, "character").startswith(f"CER {metrics['cer']:.3f} WER")
    assert f"| blank video CER {metrics['blank_cer']:.3f} | shuffled video CER" in closing_line(metrics, "character")
    broken_down = report(predictions(("今天好", "今天吗", ""), ("昨天好", "昨天吗", "")))["words"]
    assert broken_down["edits"]["reference_words"] == 6 and broken_down["classes"].keys() == {"other words"}
    assert broken_down["confusions"][0] == {"reference": "好", "hypothesis": "吗", "count": 2, "reference_count": 2}


@pytest.mark.parametrize(
    ("texts", "unit"),
    [
        (["bin blue", "set red 中"], "word"),
        (["今天天气好", "我用 iPhone 打电话"], "character"),
        (["ฉันไปตลาด กับแม่"], "character"),
        (["안녕하세요 여러분"], "word"),
        ([], "word"),
        (["昨天 下午", "坐"], "character"),
    ],
)
def test_the_unit_is_chosen_by_the_transcripts(texts, unit):
    assert choose_text_unit(texts) == unit


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("他说：「你好」。Hello“世界” ok", "他 说： 「你 好」。 Hello “世 界” ok"),
        ("ราคา25บาท ครับ", "ร า ค า 25 บ า ท ค รั บ"),
        ("コーヒー", "コ ー ヒ ー"),
        ("བཀྲ་ཤིས་བདེ", "བཀྲ་ ཤིས་ བདེ"),
        ("ខ្ញុំ\u200bទៅ", "ខ្ញុំ\u200b ទៅ"),
        ("  don't (stop) ", "don't (stop)"),
    ],
)
def test_units_are_complete_and_say_where_spaces_were(text, units):
    found = split_units(text)
    assert [unit.text for unit in found] == units.split(" ")
    joined = "".join(unit.text if unit.joined else f" {unit.text}" for unit in found)
    assert joined.strip() == text.strip()
    assert same_units(join_words([unit.text for unit in found]), text)
    assert join_words(["我", "用", "iPhone", "打"]) == "我用 iPhone 打" and join_words(["bin", "blue"]) == "bin blue"


def test_times_of_characters_are_compared_with_those_of_the_words_that_they_begin_and_end():
    timed = [("昨", 0.1, 0.3), ("天", 0.3, 0.62), ("坐", 0.7, 1.0)]
    words = [{"word": word, "start": start, "end": end, "score": 0.9, "log_prob": -0.1} for word, start, end in timed]
    corpus = [{"word": "昨天", "start": 0.0, "end": 0.6}, {"word": "坐", "start": 0.7, "end": 1.0}]
    (prediction,) = predictions(("昨天坐", "昨天坐", ""))
    prediction.words, prediction.reference_words = words, corpus
    found = report([prediction])
    assert found["word_times"]["words"] == 3 and found["word_times"]["mean_ms"] == pytest.approx(120 / 4)
    assert found["reliability"]["correct"] == 1.0
