# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page of an evaluation: its figures are the JSON's, nothing in it runs, and it says what they mean."""

import json

import pytest
from pages import Page

from data.evaluation import Reading, report
from data.evaluation.__main__ import main
from data.evaluation.page import write_evaluation
from data.evaluation.remarks import remarks

HOSTILE = '<script>alert(1)</script>" onload="alert(2)'
ABOUT = {
    "checkpoint": "runs/a",
    "source": "corpus/test",
    "corpus": "corpus",
    "split": "test",
    "num_beams": 2,
    "weights": "0" * 64,
}
SAID = ("bin blue at f two now", "set red in b nine soon", "lay white by c zero now", "place green with z one again")


class EvaluationPage(Page):
    """With its figures by name."""

    def handle_starttag(self, tag, attributes):
        super().handle_starttag(tag, attributes)
        found = dict(attributes)
        if tag == "data":
            assert found["data-figure"] not in self.figures
            self.figures[found["data-figure"]] = float(found["value"])


def made(read, blank="bin red at a one now", clips=40, **more):
    """Clips of four sentences in turn, of which `read` makes what was read."""
    return [
        Reading(f"clip{i}", f"s{i % 2}", SAID[i % 4], read(SAID[i % 4], i), blank, confidence=(i + 1) / 50, **more)
        for i in range(clips)
    ]


def some_errors(text, number):
    return text.replace(" b ", " p ").replace("two", "three") if number % 3 else text


def test_figures_of_the_page_are_those_of_the_file(tmp_path):
    readings = made(some_errors)
    for reading in readings:
        reading.nbest = [reading.hypothesis, reading.reference]
    about = ABOUT | {"nbest": 2, "ctc_decoding_weight": 0.3}
    result = report(readings, **about, skipped=[{"where": "a.jsonl line 3", "id": "x", "reason": "no face"}])
    (tmp_path / "evaluation-test.json").write_text(json.dumps(result))
    main([str(tmp_path / "evaluation-test.json")])
    page = EvaluationPage(tmp_path / "evaluation-test.html")
    rates = {name: result["figures"][name] for name in ("wer", "cer", "blank_wer", "shuffled_wer", "oracle_wer")}
    rates["visemes"] = result["visemes"]["error_rate"]
    rates |= {f"class {name}": row["error_rate"] for name, row in result["words"]["classes"].items()}
    rates |= {f"place {n}": row["error_rate"] for n, row in enumerate(result["words"]["positions"], start=1)}
    rates |= {f"speaker {row['speaker']}": row["wer"] for row in result["speakers"]}
    rates |= {f"oracle {n}": value for n, value in enumerate(result["oracle_wer"], start=1)}
    assert page.figures == pytest.approx(rates)
    assert (
        len([name for name in rates if name.startswith("place")]) == 6 and rates["oracle 2"] == 0.0 < rates["oracle 1"]
    )
    assert "40 clips read by runs/a , with 2 beams, its CTC head taking part with a weight of 0.3" in page.text
    assert "It reads from the face" in page.text
    assert "a.jsonl line 3 (x) no face" in page.text
    # Two distributions, of rates and clips, and two matrices.
    assert page.tags.count("svg") == 4


def test_nothing_from_a_corpus_runs_or_is_fetched(tmp_path):
    readings = [
        Reading(HOSTILE, HOSTILE, f"said {HOSTILE}", f"read {HOSTILE} twice", HOSTILE),
        Reading("b", "s", "bin blue", "bin", HOSTILE),
    ]
    about = ABOUT | {"checkpoint": HOSTILE, "source": HOSTILE, "corpus": HOSTILE, "split": HOSTILE}
    skipped = [{"where": HOSTILE, "id": HOSTILE, "reason": HOSTILE}]
    page = EvaluationPage(
        write_evaluation(report(readings, **about, nbest=1, skipped=skipped), tmp_path / "page.html")
    )
    assert {"svg", "table"} <= set(page.tags) and not {"script", "link", "iframe", "img"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#"), value
    # Title, heading, checkpoint, ids, speakers, what blank video gave, source, and the skip's three.
    assert page.text.count(HOSTILE) >= 12
    assert ("http-equiv", "Content-Security-Policy") in page.attributes


@pytest.mark.parametrize("clips", [1, 4])
def test_a_reader_without_errors_has_a_page_too(tmp_path, clips):
    readings = [Reading(str(i), None, SAID[i], SAID[i], SAID[i]) for i in range(clips)]
    page = EvaluationPage(write_evaluation(report(readings, **ABOUT, nbest=1, skipped=[]), tmp_path / "page.html"))
    assert "No word was misread." in page.text and "No clip names its speaker." in page.text
    assert "Nothing here shows that it reads from the face" in page.text, "blank video does as well"


def said_of(readings):
    return [kind for kind, _ in remarks(report(readings, **ABOUT, nbest=1, skipped=[]))]


def test_the_remarks_say_whether_it_reads():
    assert said_of(made(some_errors)) == ["good"]
    always = made(lambda text, i: "bin red at a one now")
    assert said_of(always) == ["bad", "bad"], "it ignores the face, and always writes the same"
    words = [text for _, text in remarks(report(always, **ABOUT, nbest=1, skipped=[]))]
    assert "It wrote 1 different texts for 40 clips, one of them for 100%." in words
    # As good as blank video on the whole, though other texts: every second clip right, every second one worse.
    uneven = made(lambda text, i: text if i % 2 else "x x1 x2 x3 x4 x5 x6 x7 x8 x9", blank=SAID[1])
    assert said_of(uneven)[0] == "bad"


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda text, i: "" if i % 10 == 0 else text, "From 4 of 40 clips nothing was read."),
        (lambda text, i: f"{text} {text}" if i % 10 == 0 else text, "4 of 40 hypotheses repeat a phrase"),
        (lambda text, i: f"{text} and so on", "It writes words that nobody said: 120, against 0 left out"),
        (lambda text, i: SAID[(SAID.index(text) + i // 4) % 4], "Another clip's video does as well"),
    ],
)
def test_the_remarks_say_what_went_wrong(read, words):
    found = [text for _, text in remarks(report(made(read, blank=""), **ABOUT, nbest=1, skipped=[]))]
    assert any(text.startswith(words) for text in found), found


def test_what_is_no_evaluation_is_named(tmp_path):
    path = tmp_path / "evaluation-x.json"
    for content in ("[]", "{}", "no json", '{"figures": {}, "readings": [{"id": 1}], "visemes": {}}'):
        path.write_text(content)
        with pytest.raises(SystemExit, match="evaluation-x.json is not what"):
            main([str(path)])
    with pytest.raises(SystemExit, match="nowhere"):
        main([str(tmp_path / "nowhere.json")])
    assert not list(tmp_path.glob("*.html"))
