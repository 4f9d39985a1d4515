# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The report page of a corpus: its numbers are the corpus', nothing in it runs, clips are drawn on their frames."""

import base64
import json
import os
import re
import tracemalloc

import cv2
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, load_from_disk

from data.report import LISTED, METRICS, main, write_report
from data.schema import encode_row, features, rows_to_table
from modeling_lipread.landmarks_lipread import LandmarkSequence
from tests.helpers.clips import made_up_face
from tests.helpers.pages import HOSTILE, Page

FRAMES, RATE, WIDTH, HEIGHT = 20, 25.0, 160, 120
FACE = made_up_face() * (3, 3, 3)


class ReportPage(Page):
    """A page with its tables and pictures."""

    def table(self, title):
        """The rows of the table of a metric or section, by their first cell."""
        card = self.source.split(f">{title}</h", 1)[1].split("<tbody>", 1)[1].split("</tbody>")[0]
        rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in card.split("</tr>")]
        return {row[0]: row[1:] for row in rows if row}

    def extremes(self, title):
        """The ids of the clips at the ends of the distribution of a metric."""
        card = self.source.split(f"<h3>{title}</h3>", 1)[1].split("<h3>")[0].split("</section>")[0]
        return [re.findall(r"<div[^>]*>(.*?)</div>", figure)[1] for figure in re.findall("<figure.*?</figure>", card)]

    def pictures(self):
        """The pictures of the samples, RGB, by the id below each."""
        figures = re.findall(r'base64,([^"]*)".*?<div[^>]*>(.*?)</div>', self.source.split("<h2>Clips</h2>")[1])
        encoded = {name: np.frombuffer(base64.b64decode(data), np.uint8) for data, name in figures}
        return {name: cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1] for name, data in encoded.items()}


def clip(seed=0, frames=FRAMES, missing=(), width=WIDTH, noise=0.05):
    present = ~np.isin(np.arange(frames), list(missing))
    keypoints = FACE + (WIDTH / 2, -HEIGHT / 2, 0) + np.random.default_rng(seed).normal(size=(frames, 478, 3)) * noise
    keypoints = (keypoints * present[:, None, None]).astype(np.float32)
    return LandmarkSequence(keypoints, present, np.arange(frames) / RATE, width, HEIGHT if width else 0, RATE)


def save(folder, report=None, **splits):
    splits = {name: Dataset(rows_to_table(rows)).cast(features()) for name, rows in splits.items()}
    DatasetDict(splits).save_to_disk(folder)
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Clips each worse than the one before, with texts of rising length; some without a size or a speaker."""
    train = []
    for number in range(8):
        sequence = clip(number, 10 + number, range(number), WIDTH if number % 3 else 0, 0.02 * (1 + number))
        speaker = f"s{number % 3}" if number else None
        train.append(encode_row(sequence, text="word " * number + "word", id=f"train/{number}", speaker=speaker))
    test = [encode_row(clip(9, 1), text="one frame", id="test/short"), encode_row(clip(8), text="two", id="test/b")]
    return save(tmp_path_factory.mktemp("corpus") / "corpus", train=train, test=test)


@pytest.fixture(scope="module")
def page(corpus):
    return ReportPage(write_report(corpus))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_numbers_are_those_of_the_corpus(corpus, page, split):
    rows = load_from_disk(str(corpus))[split].to_list()
    present = [frame for row in rows for frame in row["present"]]
    seconds = [row["num_frames"] / row["frame_rate"] for row in rows]
    words = [len(row["text"].split()) for row in rows]
    speakers = len({row["speaker"] for row in rows if row["speaker"]}) or "not named"
    totals = [len(rows), f"{sum(seconds):.1f} seconds", speakers, sum(words), len(present)]
    assert page.table("Splits")[split] == [*map(str, totals), f"{sum(present) / len(present):.2%}"]
    for metric in METRICS:
        shown = page.table(metric.title)[split]
        if metric.name in rows[0]["quality"]:
            known = [row["quality"][metric.name] for row in rows if row["quality"][metric.name] is not None]
            found = np.percentile(known, (0, 5, 50, 95, 100)) if known else [np.nan] * 5
            assert shown == [metric.write(value) for value in found], metric.name
    for title, values, form in (("Clip length", seconds, "{:.2f} s"), ("Words a clip", words, "{:.0f}")):
        assert page.table(title)[split] == [form.format(value) for value in np.percentile(values, (0, 5, 50, 95, 100))]
    ends = [f"{axis}_{end}" for axis in ("yaw", "pitch", "roll") for end in ("low", "high")]
    turned = max(abs(row["quality"][end]) for row in rows for end in ends)
    assert page.table("Head rotation")[split][-1] == f"{turned:.0f}°"


def test_clips_at_the_ends_are_shown_and_those_like_most_are_not(page):
    assert page.extremes("Coverage") == [f"train/{number}" for number in (7, 6, 5, 4, 3)]
    assert page.extremes("Longest gap") == [f"train/{number}" for number in (7, 6, 5, 4, 3)]
    assert page.extremes("Jitter")[0] == "train/7"
    lengths, words = page.extremes("Clip length"), page.extremes("Words a clip")
    assert lengths[:2] == ["test/short", "train/0"] and lengths[5] == "test/b"
    assert words[:3] == ["train/0", "test/b", "train/1"] and words[5] == "train/7"
    assert not {"train/0", "train/3", "train/6"} & set(page.extremes("Face width")), "no video, so no pixels"
    assert page.extremes("Identity switches") == []


def test_nothing_from_a_corpus_runs_or_is_fetched(tmp_path):
    rows = [encode_row(clip(), text=f"said {HOSTILE}", id=HOSTILE, speaker=HOSTILE, source=HOSTILE)]
    rows.append(encode_row(clip(1), text="harmless", id="b"))
    skip = {"where": f"a.jsonl line 1 {HOSTILE}", "id": HOSTILE, "reason": f"bad {HOSTILE}"}
    report = {"manifests": [HOSTILE], "skipped": [skip], "warnings": [f"b.jsonl line 2 ({HOSTILE}): odd \ud800"]}
    page = ReportPage(write_report(save(tmp_path / "corpus <b>", report, train=rows)))
    assert {"img", "table"} <= set(page.tags)
    page.check_harmless()
    assert "corpus <b>" in page.text
    # Sources, id below a clip and in the lists, speaker, transcript, place and reason of the skip, and the warning.
    assert page.text.count(HOSTILE) >= 7 and f"said {HOSTILE}" in page.text and f"bad {HOSTILE}" in page.text


def test_skips_and_warnings_are_grouped_by_reason(corpus, tmp_path):
    truncated = "the file is truncated, its frames end at {} of {} seconds; copy or download it again"
    reasons = [f"a face in {n} of {80 + n} frames ({n}%, wanted 50%); crop the picture" for n in range(LISTED + 20)]
    reasons += [
        f"{name}: {truncated.format(end, '3.00')}" for name, end in (("my clips/a.mp4", 1.25), ("b-2.mpg", 2.0))
    ]
    reasons += ["c.mp4 is no file; paths are relative to /some/where"]
    skipped = [{"where": f"line {n}", "id": None, "reason": reason} for n, reason in enumerate(reasons)]
    skipped[-2]["id"] = "b"
    aligned = "a.jsonl line {} (x): no word times: the alignment says '{}'"
    warnings = [aligned.format(1, "bin blue"), aligned.format(2, "it\\'s"), "split test: every clip was skipped"]
    rows = load_from_disk(corpus)["test"].to_list()
    page = ReportPage(write_report(save(tmp_path / "corpus", {"skipped": skipped, "warnings": warnings}, test=rows)))
    for line in (
        f"{LISTED + 20} × a face in … of … frames (…%, wanted …%); crop the picture",
        "and 20 more in report.json",
        "2 × " + truncated.format("…", "…"),
        f"line {LISTED + 20}: {reasons[-3]} line {LISTED + 21} (b): ",
        "1 × … is no file; paths are relative to …",
        f"2 × no word times: the alignment says … {warnings[0]}",
        "1 × every clip was skipped",
    ):
        assert line in page.text, line


def test_landmarks_are_drawn_on_white(corpus, page):
    pictures = page.pictures()
    assert list(pictures) == [row["id"] for rows in load_from_disk(str(corpus)).values() for row in rows.to_list()]
    for picture in pictures.values():
        assert picture[:6, :6].mean() > 250, "white"
        assert np.ptp(picture.astype(int), axis=(0, 1)).min() > 80, "landmarks can be seen"


def test_the_same_corpus_gives_the_same_page(corpus, tmp_path, capsys):
    main([str(corpus)])
    assert capsys.readouterr().out == f"report: {corpus / 'report.html'} (open it in a browser)\n"
    main([str(corpus), "--output", str(tmp_path / "new" / "page.html")])
    assert (tmp_path / "new" / "page.html").read_bytes() == (corpus / "report.html").read_bytes()
    assert ReportPage(corpus / "report.html").text.count("the corpus has no readable report.json") == 2


def test_errors_name_the_reason_and_leave_no_page(corpus, tmp_path):
    (tmp_path / "page.html").mkdir()
    for reason, *arguments in (
        ("data.prepare", tmp_path / "nowhere"),
        ("give the folder above", corpus / "train"),
        ("page.html", corpus, "--output", tmp_path / "page.html"),
    ):
        with pytest.raises(SystemExit, match=reason):
            main([*map(str, arguments)])
    assert os.listdir(tmp_path) == ["page.html"]


@pytest.mark.slow
def test_a_hundred_thousand_clips(tmp_path):
    """Python's own memory stays small; Arrow maps the file and is not counted."""
    rows = [encode_row(clip(number, 2), text="word " * (1 + number % 9), id=f"c{number}") for number in range(100)]
    DatasetDict({"train": Dataset(pa.concat_tables([rows_to_table(rows)] * 1000))}).save_to_disk(tmp_path / "corpus")
    tracemalloc.start()
    page = ReportPage(write_report(tmp_path / "corpus"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150 * 2**20 and page.table("Splits")["train"][0] == "100,000"
