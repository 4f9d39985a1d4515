# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page of an evaluation: its numbers are those of the JSON file, nothing in it runs, and it interprets them."""

import json

import pytest

from data.evaluation import Prediction, report
from data.evaluation.page import findings, write_evaluation
from tests.helpers.pages import HOSTILE, Page

ABOUT = {"checkpoint": "runs/a", "source": "corpus/test", "corpus": "corpus", "split": "test", "num_beams": 2}
ABOUT |= {"weights": "0" * 64, "nbest": 1, "skipped": []}
SAID = ("bin blue at f two now", "set red in b nine soon", "lay white by c zero now", "place green with z one again")


def made(hypothesis, blank="bin red at a one now", clips=40, **more):
    """Clips of four sentences in turn, with the hypothesis that a function makes of each."""
    texts = [SAID[i % 4] for i in range(clips)]
    confidences = [(i + 1) / 50 for i in range(clips)]
    return [
        Prediction(f"clip{i}", f"s{i % 2}", text, hypothesis(text, i), blank, confidence=confidence, **more)
        for i, (text, confidence) in enumerate(zip(texts, confidences, strict=True))
    ]


def some_errors(text, number):
    return text.replace(" b ", " p ").replace("two", "three") if number % 3 else text


def test_the_numbers_of_the_page_are_those_of_the_file(tmp_path):
    words = [{"word": "set", "start": 0.0, "end": 0.2, "log_prob": -0.1, "fit": 0.0, "score": 0.9}]
    predictions = made(some_errors, words=words, reference_words=words, lip_speed=0.5)
    for prediction in predictions:
        prediction.nbest = [prediction.hypothesis, prediction.reference]
    predictions[0].reason = "low confidence"
    skipped = [{"where": "a.jsonl line 3", "id": "x", "reason": "no face"}]
    result = report(predictions, **ABOUT | {"nbest": 2, "ctc_decoding_weight": 0.3, "skipped": skipped})
    result = json.loads(json.dumps(result))
    page = Page(write_evaluation(result, tmp_path / "evaluation-test.html"))
    metrics = result["metrics"]
    shown = {
        "words (WER)": metrics["wer"],
        "characters (CER)": metrics["cer"],
        "visemes": result["visemes"]["error_rate"],
        "words, blank video": metrics["blank_wer"],
        "words, shuffled video": metrics["shuffled_wer"],
        "words, best of n-best": metrics["oracle_wer"],
    }
    for name, rate in shown.items():
        assert f"{name} {rate:.1%}" in page.text, name
    for row in [*result["words"]["classes"].values(), *result["words"]["positions"]]:
        assert f"{row['words']:,} {row['error_rate']:.1%} {row['baseline_error_rate']:.1%}" in page.text
    for row in result["speakers"]:
        assert f"{row['speaker']} {row['clips']} {row['words']} {row['wer']:.1%}" in page.text
    assert "40 clips read by runs/a, 2 beams, CTC head with a weight of 0.3" in page.text
    assert "It reads from the face" in page.text and "a.jsonl line 3 (x): no face" in page.text
    assert "clips without an answer 1 " in page.text and "low confidence: 1" in page.text
    # Rates, two confusion matrices and reliability.
    assert page.tags.count("svg") == 4


def test_nothing_from_a_corpus_runs_or_is_fetched(tmp_path):
    texts = f"said {HOSTILE}", f"read {HOSTILE} twice", HOSTILE
    predictions = [Prediction(HOSTILE, HOSTILE, *texts), Prediction("b", "s", "bin blue", "bin", HOSTILE)]
    about = ABOUT | dict.fromkeys(("checkpoint", "source", "corpus", "split"), HOSTILE)
    skipped = [{"where": HOSTILE, "id": HOSTILE, "reason": HOSTILE}]
    page = Page(write_evaluation(report(predictions, **about | {"skipped": skipped}), tmp_path / "page.html"))
    assert {"svg", "table"} <= set(page.tags)
    page.check_harmless()
    # Title, heading, checkpoint, ids, speakers, blank hypotheses, source, and the three parts of the skip.
    assert page.text.count(HOSTILE) >= 12


@pytest.mark.parametrize("clips", [1, 4])
def test_a_model_without_errors_has_a_page_too(tmp_path, clips):
    predictions = [Prediction(str(i), None, SAID[i], SAID[i], SAID[i]) for i in range(clips)]
    page = Page(write_evaluation(report(predictions, **ABOUT), tmp_path / "page.html"))
    assert "No word is wrong." in page.text and "By speaker" not in page.text
    assert "Nothing here shows that it reads from the face" in page.text, "blank video does as well"


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (made(some_errors), [("good", "It reads from the face")]),
        (
            made(lambda text, i: "bin red at a one now"),
            [("bad", "Nothing here shows"), ("bad", "It wrote 1 text for 40 clips, one of them for 100%.")],
        ),
        (
            made(lambda text, i: text if i % 2 else "x x1 x2 x3 x4 x5 x6 x7 x8 x9", blank=SAID[1]),
            [("bad", "Nothing here shows")],
        ),
        (made(lambda text, i: text * (i % 10 > 0), ""), [("bad", "4 of 40 hypotheses are empty.")]),
        (
            made(lambda text, i: f"{text} {text}" if i % 10 == 0 else text, ""),
            [("bad", "4 of 40 hypotheses repeat a phrase")],
        ),
        (
            made(lambda text, i: f"{text} and so on", ""),
            [("", "It inserts more words than it deletes (120 against 0)")],
        ),
        (
            made(lambda text, i: SAID[(SAID.index(text) + i // 4) % 4], ""),
            [("bad", "The video of another clip does as well")],
        ),
    ],
)
def test_the_page_says_whether_it_reads_and_what_went_wrong(predictions, expected):
    found = findings(report(predictions, **ABOUT))
    for mood, text in expected:
        assert any(kind == mood and words.startswith(text) for kind, words in found), found
