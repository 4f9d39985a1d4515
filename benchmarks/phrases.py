# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Measures few-shot phrase reading, person by person, on a prepared corpus with word times.

    python -m benchmarks.phrases corpora/grid/unseen_speakers --units word pair triple --shots 1 3

The phrases of a person are the words, pairs and triples of words in the person's sentences, without letters (words of
one character), or the whole clips. In each draw every utterance is read once, by random takes of each phrase from
other clips. A phrase counts as unknown if its own takes are left out; the limit on the similarity is that which
accepts 95% of the utterances with their takes. Then a phrase book reads clips in which nobody speaks, and is timed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from data.dataset import Clips, open_split
from data.evaluation.hallucination import landmark_clips
from data.evaluation.metrics import bootstrap_interval
from lipread.landmark_rows import decode_row
from lipread.options import BUNDLED_MODEL, load_pipeline
from modeling_lipread import LipReadingPipeline
from modeling_lipread.phrases_lipread import (
    PhraseIndex,
    alignment_errors,
    alignment_symbols,
    embed_spans,
    fit_text_weight,
    span_frames,
    spelled_log_probs,
)

from .measure import make_parser

UNITS = {"word": 1, "pair": 2, "triple": 3, "clip": None}
ACCEPTED = 0.95  # share of known utterances that the limit on the similarity accepts
TIMED_PHRASES, TIMED_TAKES = 50, 3
SILENT_CLIPS = 19  # of each of eight kinds


@dataclass(frozen=True)
class Utterance:
    """A stretch of words in a clip."""

    person: str
    clip: int
    text: str
    embedding: np.ndarray
    errors: np.ndarray  # of the alignment head


def utterances(pipeline: LipReadingPipeline, clips: Clips, words: int | None) -> list[Utterance]:
    """Returns the stretches of `words` words without letters in clips with word times, or all words of each clip."""
    model, extractor, found = pipeline.model, pipeline.processor.feature_extractor, []
    symbols = alignment_symbols(model)
    for index in range(len(clips)):
        row = clips[index]
        spoken = list(row["words"])
        places = [slice(0, len(spoken))]
        if words is not None:
            places = [slice(first, first + words) for first in range(len(spoken) - words + 1)]
            places = [place for place in places if all(len(word["word"]) > 1 for word in spoken[place])]
        if not spoken or not places:
            continue
        features = extractor([decode_row(row)], return_tensors="pt")
        (clip,) = embed_spans(model, **features, spans=[(0, features["keypoints"].shape[1])])
        edges = extractor.frame_times(row["timestamps"], len(clip))
        for place in places:
            start, end = span_frames(edges, (spoken[place][0]["start"], spoken[place][-1]["end"]))
            text, embedding = " ".join(word["word"] for word in spoken[place]), clip[start:end]
            errors = alignment_errors(embedding, text, symbols)
            found.append(Utterance(str(row["speaker"]), index, text, embedding, errors))
    return found


def trials(found: list[Utterance], symbols: list[str], shots: int, ways: int, draws: int) -> np.ndarray:
    """Reads every utterance of a phrase that its person says in another clip too.

    Returns:
        Whether the most similar phrase is the right one, the highest similarity with the phrase's own takes, and that
        without them, `(utterances, draws, 3)`.
    """
    random, outcomes = np.random.default_rng(0), []
    people = defaultdict(list)
    for utterance in found:
        people[utterance.person].append(utterance)
    for said in people.values():
        phrases = sorted({utterance.text for utterance in said})
        spelled = {id(take): spelled_log_probs(take.embedding, phrases, symbols) for take in said}
        for asked in said:
            takes = defaultdict(list)
            for other in said:
                if other.clip != asked.clip:
                    takes[other.text].append(other)
            own = takes.pop(asked.text, None)
            if own is None or not takes:
                continue
            rows = []
            for _ in range(draws):
                texts = random.permutation(sorted(takes))[: ways - 1]
                drawn = [take for text in texts for take in _draw(takes[text], shots, random)]
                places = [phrases.index(text) for text in (*texts, asked.text)]
                others = _index(drawn, symbols, spelled, places[:-1]).similarities(asked.embedding)
                drawn += _draw(own, shots, random)
                similarities = _index(drawn, symbols, spelled, places).similarities(asked.embedding)
                own_similarity, unknown_similarity = similarities.pop(asked.text), max(others.values())
                highest = max(similarities.values())
                rows.append((own_similarity > highest, max(own_similarity, highest), unknown_similarity))
            outcomes.append(rows)
    return np.array(outcomes, float)


def _draw(takes: list[Utterance], shots: int, random: np.random.Generator) -> list[Utterance]:
    return [takes[int(place)] for place in random.permutation(len(takes))[:shots]]


def _index(
    takes: list[Utterance], symbols: list[str], spelled: dict[int, np.ndarray], places: list[int]
) -> PhraseIndex:
    """Returns the index of takes, whose phrases are at these places of their log-probabilities."""
    texts = list(dict.fromkeys(take.text for take in takes))
    log_probs = np.stack([spelled[id(take)][places] for take in takes])
    weight = fit_text_weight(log_probs, np.array([texts.index(take.text) for take in takes]))
    embeddings, errors = [take.embedding for take in takes], [take.errors for take in takes]
    return PhraseIndex([take.text for take in takes], embeddings, symbols, text_weight=weight, errors=errors)


def accuracy_line(found: list[Utterance], symbols: list[str], unit: str, shots: int, ways: int, draws: int) -> str:
    """Returns the accuracy with its 95% interval, and the share of unknown utterances that are rejected."""
    outcomes = trials(found, symbols, shots, ways, draws)
    if not len(outcomes):
        return f"{unit}: nobody says one in two clips"
    right, known, unknown = np.moveaxis(outcomes, -1, 0)
    errors = 1 - right.mean(axis=1)
    low, high = bootstrap_interval(errors, np.ones(len(errors)))
    rejected = float((unknown < np.quantile(known, 1 - ACCEPTED)).mean())
    return (
        f"{unit}: {ways}-way {shots}-shot {right.mean():.3f} ({1 - high:.2f}-{1 - low:.2f}, n={len(right)}) | "
        f"unknown rejected {rejected:.2f} at {ACCEPTED:.2f} accepted"
    )


def silence_line(pipeline: LipReadingPipeline, clips: Clips, found: list[Utterance]) -> str:
    """Returns how many clips without speech are read as a phrase, by the book of the person with most utterances."""
    texts = defaultdict(list)
    person = statistics.mode(utterance.person for utterance in found)
    for utterance in found:
        if utterance.person == person:
            texts[utterance.text].append(utterance)
    takes = [take for said in texts.values() for take in said[:TIMED_TAKES]]
    texts_of_takes, embeddings = [take.text for take in takes], [take.embedding for take in takes]
    index = PhraseIndex.from_takes(texts_of_takes, embeddings, alignment_symbols(pipeline.model))
    silent = [clip.sequence for clip in landmark_clips(clips, SILENT_CLIPS, seed=1)]
    accepted = sum(bool(pipeline(clip, phrases=index)["text"]) for clip in silent)
    return f"without speech: a phrase read in {accepted} of {len(silent)} clips, {len(texts)} phrases"


def speed_line(pipeline: LipReadingPipeline, clips: Clips) -> str:
    """Returns the median CPU time from the landmarks of an utterance to its phrase."""
    sequence, seconds = decode_row(clips[0]), []
    spoken = pipeline.preprocess(sequence, spoken_only=True)
    (take,) = embed_spans(pipeline.model, spoken["keypoints"], spoken["keypoints_mask"], spoken["spoken"].tolist())
    takes = [np.roll(take, shift, axis=0) for shift in range(TIMED_PHRASES * TIMED_TAKES)]
    texts = [f"phrase number {chr(97 + i % 26)} {i % TIMED_PHRASES}" for i in range(len(takes))]
    index = PhraseIndex.from_takes(texts, takes, alignment_symbols(pipeline.model))
    for _ in range(20):
        start = time.process_time()
        pipeline(sequence, phrases=index)
        seconds.append(time.process_time() - start)
    milliseconds = 1000 * statistics.median(seconds)
    book = f"{TIMED_PHRASES} phrases of {TIMED_TAKES} takes"
    return f"from the landmarks to the answer {milliseconds:.0f} ms of one core, {book}"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("corpus", help="folder of a prepared split with word times, or a data set's id")
    parser.add_argument("--split", help="split of a corpus that has several")
    parser.add_argument("--reader", default=BUNDLED_MODEL, help="folder or Hub id (default: that in the package)")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3], help="takes of each phrase (default: 1 3)")
    parser.add_argument("--ways", type=int, default=20, help="phrases to choose from at most (default: 20)")
    parser.add_argument("--units", nargs="+", choices=UNITS, default=["word", "triple"], help="what a phrase is")
    parser.add_argument("--draws", type=int, default=20, help="random choices of the takes (default: 20)")
    options = parser.parse_args(arguments)
    pipeline, clips = load_pipeline(options.reader, "cpu"), open_split(options.corpus, options.split)
    symbols = alignment_symbols(pipeline.model)
    for unit in options.units:
        found = utterances(pipeline, clips, UNITS[unit])
        for shots in options.shots:
            print(accuracy_line(found, symbols, unit, shots, options.ways, options.draws), flush=True)
    if not found:
        sys.exit(f"error: {options.corpus}: has no word times; prepare it from a manifest with alignments")
    print(silence_line(pipeline, clips, found))
    print(speed_line(pipeline, clips))


if __name__ == "__main__":
    main()
