# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The HTML page of an evaluation, made from its JSON file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ..page import Card, Section, plural, write_page
from ..sources.records import Skip
from . import plots
from .breakdown import aligned_words
from .metrics import Prediction, edit_counts

SHOWN_CLIPS = 12
SHOWN_CONFUSIONS = 20
SHOWN_SPEAKERS = 60
SHOWN_SKIPS = 100
RATES = {
    "wer": "words (WER)",
    "oracle_wer": "words, best of n-best",
    "cer": "characters (CER)",
    "visemes": "visemes",
    "ctc_wer": "words, CTC head alone",
    "shuffled_wer": "words, shuffled video",
    "shuffled_cer": "characters, shuffled video",
    "blank_wer": "words, blank video",
    "blank_cer": "characters, blank video",
}
# Columns of a confusion, and what stands for None.
CONFUSION = {"reference": "(nothing)", "hypothesis": "(nothing)", "count": "–", "reference_count": "–"}
MANY_EMPTY = 0.02  # share of the clips
FEW_DISTINCT = 0.2  # share of the distinct references
MANY_INSERTED = 0.1  # share of the reference words
FEW_CLIPS = 30


def write_evaluation(result: Mapping[str, Any], output: str | Path) -> Path:
    """Writes the page of a result of `data.evaluation.report` atomically; returns its path."""
    metrics, words, visemes = result["metrics"], result["words"], result["visemes"]
    verdict = [Card(text=text, mood=mood, wide=True) for mood, text in findings(result)]
    frequent = [
        Card(title, ("hypothesis", "clips"), [(row["text"] or "(empty)", row["clips"]) for row in rows])
        for title, rows in zip(("Own video", "Blank video"), result["most_frequent"].values(), strict=True)
    ]
    edits = dict(words["edits"])
    total = edits.pop("reference_words")
    kinds = ", ".join(f"{count:,} {kind} ({_percent(count / max(total, 1))})" for kind, count in edits.items())
    few = "A model that ignores the video writes few texts, and the same ones for blank video."
    scored = "Words are in one case and without punctuation, as they are scored. Struck out: deleted. Orange: wrong."
    sections = [
        Section("Does it read?", verdict + _rates(metrics, visemes)),
        Section("Where the errors are", _breakdown(words, result["speakers"]), f"{total:,} reference words: {kinds}."),
        Section("Confusions", _confusions(words, visemes)),
        Section("Confidence", _confidence(result)),
        Section("Most frequent hypotheses", frequent, few),
        Section("Clips", _clips([Prediction(**row) for row in result["predictions"]]), scored),
    ]
    if skipped := result.get("skipped"):
        listed = [str(Skip(skip["where"], skip.get("id"), skip["reason"])) for skip in skipped[:SHOWN_SKIPS]]
        note = "A clip that was not read counts as one with an empty hypothesis. The JSON file has all lines."
        sections.append(Section("Not read", [Card(details=[(plural(len(skipped), "line"), listed)], wide=True)], note))
    search = "greedy search" if result["num_beams"] == 1 else f"{result['num_beams']} beams"
    if weight := result.get("ctc_decoding_weight"):
        search += f", CTC head with a weight of {weight:g}"
    return write_page(
        Path(output),
        title=" / ".join(str(part) for key in ("corpus", "split") if (part := result.get(key))) or result["source"],
        subtitle=f"{plural(metrics['clips'], 'clip')} read by {result['checkpoint']}, {search}",
        sections=sections,
        footer=f"Written by evaluate_hf.py from {result['source']}. sha256 of the weights: {result['weights']}.",
    )


def findings(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what the metrics of a result mean: a mood ("good", "bad" or "") and a sentence or two each.

    The first one says whether the model reads the face.
    """
    metrics, edits = result["metrics"], result["words"]["edits"]
    clips, distinct, empty, loops = (metrics[name] for name in ("clips", "distinct", "empty", "loops"))
    inserted, deleted = edits["insertions"], edits["deletions"]
    references = len({row["reference"] for row in result["predictions"]})
    most_frequent = result["most_frequent"]["hypothesis"][0]["clips"]
    low, high = (100 * end for end in metrics["blank_gain_interval"])
    gain, reads = f"{100 * metrics['blank_gain']:.1f} points", low > 0
    own = f"with the clips' own video its word error rate is{' not significantly' * (not reads)} lower than with a "
    own += f"motionless face (by {gain}, 95% interval {low:.1f} to {high:.1f})."
    found = [("good", f"It reads from the face: {own}")]
    if not reads:
        language = "It may know the correct words from the language alone."
        found = [("bad", f"Nothing here shows that it reads from the face: {own} {language}")]
    # The shuffled rate is NaN, and so not lower, where all clips have one text.
    elif metrics["shuffled_wer"] <= metrics["wer_interval"][1]:
        text = "The video of another clip does as well as the clip's own: see the most frequent hypotheses."
        found.append(("bad", text))
    if 1 < references and distinct <= max(1, FEW_DISTINCT * references):
        share = f"one of them for {most_frequent / clips:.0%}"
        found.append(("bad", f"It wrote {plural(distinct, 'text')} for {clips} clips, {share}."))
    if empty > MANY_EMPTY * clips:
        found.append(("bad", f"{empty} of {clips} hypotheses are empty."))
    if loops:
        remedy = "repetition_penalty or fewer new tokens in its generation_config may help"
        found.append(("bad", f"{loops} of {clips} hypotheses repeat a phrase; {remedy}."))
    if inserted > max(deleted, MANY_INSERTED * edits["reference_words"]):
        more = f"It inserts more words than it deletes ({inserted} against {deleted})"
        found.append(("", f"{more}; with beams a length_penalty may help."))
    if clips < FEW_CLIPS:
        found.append(("", f"{clips} clips are few: look at the intervals before the rates."))
    return found


def _rates(metrics: Mapping[str, Any], visemes: Mapping[str, Any]) -> list[Card]:
    known = {name: (metrics[name], metrics[f"{name}_interval"]) for name in RATES if name in metrics}
    if "error_rate" in visemes:
        known["visemes"] = visemes["error_rate"], visemes["interval"]
    rows = [(title, *known[name]) for name, title in RATES.items() if name in known and math.isfinite(known[name][0])]
    note = "Intervals are bootstrap intervals over clips: they hold for further clips of these speakers."
    if "wer_speaker_interval" in metrics:
        note += f" Over speakers, for new ones: WER {_interval(metrics['wer_speaker_interval'])}."
    note += f" {metrics['distinct']:,} distinct hypotheses, {metrics['empty']:,} empty."
    table = [(title, _percent(rate), _interval(interval)) for title, rate, interval in rows]
    return [
        Card("Error rates", ("errors in", "rate", "95% interval"), table, note=note),
        Card("Error rates with their intervals", plot=plots.error_rates(rows)),
    ]


def _breakdown(words: Mapping[str, Any], speakers: Sequence[Mapping[str, Any]]) -> list[Card]:
    note = "Baseline: always answering with the most frequent word. Letters are words of one letter."
    groups = [("By class of word", "class", words["classes"].items(), note)]
    groups += [("By position in the sentence", "position", enumerate(words["positions"], start=1), "")]
    cards = [
        Card(title, (name, "words", "wrong", "baseline"), table, note=note)
        for title, name, rows, note in groups
        if (table := [_error_row(key, row) for key, row in rows])
    ]
    if speakers:
        columns = ("speaker", "clips", "words", "WER", "95% interval", "blank WER", "CER", "empty")
        rows = [_speaker_row(row) for row in speakers[:SHOWN_SPEAKERS]]
        more = len(speakers) - len(rows)
        note = "The highest word error rate first." + (f" {more:,} more are in the JSON file." if more else "")
        cards.append(Card("By speaker", columns, rows, note=note, wide=True))
    return cards


def _error_row(key: object, row: Mapping[str, Any]) -> tuple[object, ...]:
    examples = ", ".join(row["examples"]) + ", …" * (row["distinct"] > len(row["examples"]))
    rates = _percent(row["error_rate"]), _percent(row["baseline_error_rate"])
    return Markup("{} <small>{}</small>").format(key, examples), f"{row['words']:,}", *rates


def _speaker_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    name = "(not named)" if row["speaker"] is None else row["speaker"]
    rates = _percent(row["wer"]), _interval(row["wer_interval"]), _percent(row["blank_wer"]), _percent(row["cer"])
    return name, f"{row['clips']:,}", f"{row['words']:,}", *rates, f"{row['empty']:,}"


def _confusions(words: Mapping[str, Any], visemes: Mapping[str, Any]) -> list[Card]:
    cards = []
    note = "Each row is a reference unit, in percent of the row. Blue is correct, orange wrong."
    if words["confusions"]:
        rows = [
            tuple(empty if row[name] is None else row[name] for name, empty in CONFUSION.items())
            for row in words["confusions"][:SHOWN_CONFUSIONS]
        ]
        columns = ("reference", "hypothesis", "times", "of")
        cards.append(Card("Most frequent confusions", columns, rows, text_columns=(0, 1)))
        plot = plots.confusion_matrix(words["matrix"])
        cards.append(Card("Confusion matrix of the words with the most errors", plot=plot, note=note, wide=True))
    else:
        cards.append(Card(text="No word is wrong."))
    if "left_out" in visemes:
        cards.append(Card("Visemes", text=f"Left out: {visemes['left_out']}."))
    elif visemes["matrix"]["labels"]:
        text = "Visemes are classes of phonemes that look alike on the lips."
        if visemes["alike"] is not None:
            text += f" {visemes['alike']:.1%} of the substituted words look the same as the reference."
        if visemes["outside_count"]:
            unknown = ", ".join(visemes["outside_dictionary"])
            note += f" {plural(visemes['outside_count'], 'word')} outside the CMU dictionary: {unknown}."
        plot = plots.confusion_matrix(visemes["matrix"])
        cards.append(Card("Confusion matrix of visemes", text=text, plot=plot, note=note, wide=True))
    return cards


def _confidence(result: Mapping[str, Any]) -> list[Card]:
    reliability, times, abstention = result["reliability"], result["word_times"], result["abstention"]
    cards = []
    if reliability:
        note = (
            f"Expected calibration error of {plural(reliability['words'], 'word')}: scores {reliability['ece']:.3f}, "
            f"probabilities of the language model {reliability['probability_ece']:.3f}. Bars: within chance."
        )
        plot = plots.reliability(reliability)
        cards.append(Card("Are words as often correct as their scores say?", plot=plot, note=note))
    if abstention:
        rows = [
            ("clips without an answer", f"{abstention['clips']:,}"),
            ("correct words lost", f"{abstention['correct_words_lost']:,} of {abstention['correct_words']:,}"),
            ("WER with abstention", _percent(abstention["wer"])),
        ]
        reasons = ", ".join(f"{reason}: {clips}" for reason, clips in abstention["reasons"].items())
        note = f"Abstention as in the pipeline, by the limits in config.json. Reasons: {reasons or 'none'}."
        if times:
            rows.append(("median error of a word's start or end", f"{times['median_ms']:.0f} ms"))
            rows.append(("90th percentile", f"{times['p90_ms']:.0f} ms"))
            note += f" Times of {plural(times['words'], 'correct word')}."
        cards.append(Card("Abstention and word times", (), rows, note=note))
    return cards or [Card(text="Not measured.")]


def _clips(predictions: Sequence[Prediction]) -> list[Card]:
    edits, lengths = edit_counts([each.hypothesis for each in predictions], [each.reference for each in predictions])
    # A clip with an empty reference has no rate; any word is wrong.
    rates = np.where(lengths > 0, edits / np.maximum(lengths, 1), np.minimum(edits, 1))
    worst = [index for index in np.argsort(-rates, kind="stable")[:SHOWN_CLIPS] if rates[index] > 0]
    sample = np.linspace(0, len(predictions) - 1, min(SHOWN_CLIPS, len(predictions))).astype(int)
    columns = ("clip", "reference, hypothesis, alternatives, blank video")
    notes = f"{(rates == 0).mean():.1%} of the clips have no error.", ""
    return [
        Card(title, columns, [_clip(predictions[i], rates[i]) for i in chosen], text_columns=(0, 1), note=note)
        for title, chosen, note in zip(("Worst", "From all over the split"), (worst, sample), notes, strict=True)
        if len(chosen)
    ]


def _clip(prediction: Prediction, rate: float) -> tuple[Markup, Markup]:
    reference, hypothesis = [], []
    for said, written in aligned_words([prediction])[0]:
        if said is not None:
            reference.append(Markup("<del>{}</del>" if written is None else "{}").format(said))
        if written is not None:
            hypothesis.append(Markup("{}" if written == said else "<ins>{}</ins>").format(written))
    others = [f"{rank}. {text}" for rank, text in enumerate(prediction.nbest[1:4], start=2)]
    others.append(f"blank: {prediction.blank_hypothesis or '(empty)'}")
    lines = [Markup(" ").join(reference), Markup(" ").join(hypothesis) or "(empty)"]
    lines += [Markup("<small>{}</small>").format(text) for text in others]
    about = [*filter(None, [prediction.speaker]), f"WER {_percent(rate)}"]
    about += [] if prediction.confidence is None else [f"confidence {prediction.confidence:.2f}"]
    return Markup("{}<br><small>{}</small>").format(prediction.id, ", ".join(about)), Markup("<br>").join(lines)


def _percent(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "–"


def _interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}%" if all(map(math.isfinite, ends)) else "–"
