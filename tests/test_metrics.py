# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Error rates, their confidence, and the text normaliser under them."""

import multiprocessing
import pickle

import numpy as np
import pytest

from data.ctc_vocab import build_ctc_vocab
from data.metrics import ReadingErrorRate, bootstrap_interval, edit_counts
from modeling_lipread.text_normalizer_lipread import TextNormalizer


def test_rates_are_over_the_corpus():
    # 1 substitution, 1 deletion and 1 insertion on 4 + 1 words; 2 + 2 + 2 of 7 + 1 characters.
    predictions, references = ["a x c", "e f"], ["a b c d", "e"]
    result = ReadingErrorRate().compute(predictions=predictions, references=references)
    assert result == {"wer": 3 / 5, "cer": 5 / 8}


def test_case_and_punctuation_do_not_count_unless_asked():
    texts = {"predictions": ["Don\u2019t, stop!"], "references": ["don't stop"]}
    assert ReadingErrorRate().compute(**texts) == {"wer": 0.0, "cer": 0.0}
    strict = ReadingErrorRate(TextNormalizer(casefold=False, remove_punctuation=False))
    assert strict.compute(**texts)["wer"] == 1.0


def test_empty_texts():
    metric = ReadingErrorRate()
    assert metric.compute(predictions=["a", "b c"], references=["a b", ""])["wer"] == 3 / 2
    assert metric.compute(predictions=["", ""], references=["a b", "!"])["wer"] == 1.0
    for predictions, references in (([], []), (["a"], ["?!"])):
        with pytest.raises(ValueError, match="no word, so an error rate is undefined"):
            metric.compute(predictions=predictions, references=references)
    assert metric.compute(predictions=["a"], references=["a"])["wer"] == 0.0, "usable after an error"


def test_clips_add_up_over_batches():
    metric = ReadingErrorRate()
    metric.add_batch(predictions=["a b"], references=["a b"])
    metric.add(prediction="c", reference="d e")
    assert metric.compute()["wer"] == 2 / 4
    assert pickle.loads(pickle.dumps(metric)).compute(predictions=["x"], references=["y"])["wer"] == 1.0


def test_counts_need_as_many_of_each():
    with pytest.raises(ValueError, match="1 predictions for 2 references"):
        edit_counts(["a"], ["a", "b"])


def score_many_times(cache_dir):
    first, second = ReadingErrorRate(cache_dir=cache_dir), ReadingErrorRate(cache_dir=cache_dir)
    rates = set()
    for _ in range(20):
        first.add(prediction="a", reference="a b")
        second.add(prediction="a", reference="a")
        rates.add((first.compute()["wer"], second.compute()["wer"]))
    return rates


def test_two_metrics_and_several_processes_at_once(tmp_path):
    # Forked: importing evaluate anew would take longer than all other tests of this file.
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(score_many_times, [str(tmp_path)] * 4, chunksize=1).get(timeout=60)
    assert results == [{(0.5, 0.0)}] * 4
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing is written, so nothing is locked"


def test_bootstrap_interval():
    # 200 clips of one word each, half of them wrong: the rate is binomial, 0.5 +- 1.96 * sqrt(0.25 / 200) = 0.069.
    references, predictions = ["a"] * 200, ["a", "b"] * 100
    low, high = bootstrap_interval(predictions, references, num_samples=4000)
    assert low == pytest.approx(0.5 - 0.0693, abs=0.012) and high == pytest.approx(0.5 + 0.0693, abs=0.012)
    assert (low, high) == bootstrap_interval(predictions, references, num_samples=4000), "seeded"
    narrower = bootstrap_interval(predictions, references, num_samples=4000, confidence=0.5)
    assert low < narrower[0] < narrower[1] < high
    assert bootstrap_interval(["a", "b c"], ["a", "b c"], "cer") == (0.0, 0.0)
    assert np.isfinite(bootstrap_interval(["a", "b"], ["", "b"])).all(), "a clip without reference"
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval(["a"], ["a"], confidence=95)


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
    normalizer = TextNormalizer()
    assert normalizer(text) == normal
    assert normalizer(normal) == normal


def test_normalising_twice_changes_nothing():
    normalizer = TextNormalizer()
    for start in range(0, 0x30000, 256):
        characters = [chr(code) for code in range(start, start + 256) if not 0xD800 <= code < 0xE000]
        once = normalizer("a" + "b1".join(characters) + "c")
        assert normalizer(once) == once, hex(start)


def test_ctc_vocabulary():
    assert build_ctc_vocab(["Bin blue!", "at z"]) == ["", " ", *"abeilntuz"]
    with pytest.raises(ValueError, match="no letter"):
        build_ctc_vocab(["?!", ""])
