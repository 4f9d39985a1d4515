# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page of an evaluation: it shows the numbers of the JSON file, contains no scripts, and interprets them."""

import json

import pytest

from data.evaluation import Prediction, report
from data.evaluation.page import RATES, findings, write_evaluation
from tests.helpers.pages import HOSTILE, Page

ABOUT = {"checkpoint": "runs/a", "source": "corpus/test", "corpus": "corpus", "split": "test", "num_beams": 2}
ABOUT |= {"weights": "0" * 64, "skipped": []}
SAID = ("bin blue at f two now", "set red in b nine soon", "lay white by c zero now", "place green with z one again")


def made(hypothesis, blank="bin red at a one now", clips=40, **more):
    """Returns predictions of four sentences in turn, with `hypothesis(reference, index)` of each."""
    texts = [SAID[i % 4] for i in range(clips)]
    return [
        Prediction(f"clip{i}", f"s{i % 2}", text, hypothesis(text, i), blank, **more) for i, text in enumerate(texts)
    ]


def some_errors(text, number):
    return text.replace(" b ", " p ").replace("two", "three") if number % 3 else text


def test_the_numbers_of_the_page_are_those_of_the_file(tmp_path):
    words = [{"word": "set", "start": 0.0, "end": 0.2, "log_prob": -0.1, "fit": 0.0, "score": 0.9}]
    predictions = made(some_errors, words=words, reference_words=words, lip_speed=0.5)
    predictions[0].reason = "no speech that the model knows"
    skipped = [{"where": "a.jsonl line 3", "id": "x", "reason": "no face"}]
    result = report(predictions, **ABOUT | {"ctc_decoding_weight": 0.3, "skipped": skipped})
    result = json.loads(json.dumps(result))
    page = Page(write_evaluation(result, tmp_path / "evaluation-test.html"))
    shown = {RATES[name]: rate for name, rate in result["metrics"].items() if name in RATES}
    shown[RATES["visemes"]] = result["visemes"]["error_rate"]
    assert len(shown) == len(RATES) - 1, "there is no CTC head"
    for name, rate in shown.items():
        assert f"{name} {rate:.1%}" in page.text, name
    for row in result["words"]["classes"].values():
        assert f"{row['words']:,} {row['error_rate']:.1%} {row['baseline_error_rate']:.1%}" in page.text
    for row in result["speakers"]:
        assert f"{row['speaker']} {row['clips']} {row['words']} {row['wer']:.1%}" in page.text
    for text in (
        "40 clips read by runs/a, 2 beams, CTC head with a weight of 0.3",
        "It reads from the face",
        "a.jsonl line 3 (x): no face",
        *(f"{row['score']:.2f} {row['words']:,} {row['correct']:.1%}" for row in result["reliability"]["bins"]),
        "clips without an answer 1 ",
        "no speech that the model knows: 1",
    ):
        assert text in page.text


def test_nothing_from_a_corpus_runs_or_is_fetched(tmp_path):
    texts = f"said {HOSTILE}", f"read {HOSTILE} twice", HOSTILE
    predictions = [Prediction(HOSTILE, HOSTILE, *texts), Prediction("b", "s", "bin blue", "bin", HOSTILE)]
    about = ABOUT | dict.fromkeys(("checkpoint", "source", "corpus", "split"), HOSTILE)
    skipped = [{"where": HOSTILE, "id": HOSTILE, "reason": HOSTILE}]
    page = Page(write_evaluation(report(predictions, **about | {"skipped": skipped}), tmp_path / "page.html"))
    assert "table" in page.tags
    page.check_harmless()
    # Title, heading, checkpoint, ids, speakers, blank hypotheses, source, and the three parts of the skip.
    assert page.text.count(HOSTILE) >= 12


@pytest.mark.parametrize("clips", [1, 4])
def test_a_model_without_errors_has_a_page_too(tmp_path, clips):
    predictions = [Prediction(str(i), None, SAID[i], SAID[i], SAID[i]) for i in range(clips)]
    page = Page(write_evaluation(report(predictions, **ABOUT), tmp_path / "page.html"))
    assert "No word is wrong." in page.text and "By speaker" not in page.text
    assert "Nothing here shows that it reads from the face" in page.text, "blank video does as well"


def test_the_page_names_failures():
    for hypothesis, blank, expected in (
        (lambda text, i: text if i % 2 else "x " * 10, SAID[1], "Nothing here shows"),
        (lambda text, i: SAID[(SAID.index(text) + i // 4) % 4], "", "The video of another clip does"),
    ):
        texts = [text for mood, text in findings(report(made(hypothesis, blank), **ABOUT)) if mood == "bad"]
        assert any(text.startswith(expected) for text in texts), texts
    assert findings(report(made(some_errors), **ABOUT))[0][0] == "good"
