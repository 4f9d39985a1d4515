# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Phrase books: folders of takes that can be extended, changed, and embedded again for another reader.

The takes are a prepared corpus with the split `train` (`datasets.load_from_disk`, `train_hf.py --dataset`): landmarks
and texts, no pixels. What reading needs is derived from them and lies beside: `phrases.json` and
`embeddings.safetensors`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Value, concatenate_datasets, load_from_disk
from safetensors.numpy import load_file, save_file

from modeling_lipread import LipReadingPipeline
from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.phrases_lipread import (
    BOOK_FILE,
    EMBEDDINGS_FILE,
    SAVED_NUMBERS,
    PhraseBookError,
    PhraseIndex,
    PhraseMatch,
    alignment_symbols,
    embed_spans,
    embedder_hash,
)

from ..landmark_rows import LANDMARK_COLUMNS, WORDS, decode_row, encode_landmarks
from ..output_files import write_atomically

SPLIT, WRITING, REPLACED = "train", ".writing", ".replaced"
WRITING_EMBEDDINGS = f"{WRITING}.safetensors"
COLUMNS = {"id": Value("string"), "text": Value("string"), "speaker": Value("string"), **LANDMARK_COLUMNS}
FEATURES = Features({**COLUMNS, "words": WORDS})


@dataclass(frozen=True)
class Confusion:
    """Takes of a phrase that, left out of the book, are most similar to another phrase."""

    text: str
    other: str
    takes: int  # mistaken takes of `text`
    of: int  # takes of `text`


class PhraseBook:
    """The phrases of one person.

    Every change is on the disk when its method returns, and a killed process leaves the book before or after it.

    Args:
        folder: The folder of the book; a new book if it does not exist.
        pipeline: The reader. Takes that another reader embedded are embedded again.

    Raises:
        PhraseBookError: The folder holds something else.
    """

    def __init__(self, folder: str | os.PathLike, pipeline: LipReadingPipeline):
        self.folder, self.pipeline = Path(folder), pipeline
        if (self.folder / REPLACED).exists() and not (self.folder / SPLIT).exists():  # killed between two renames
            os.replace(self.folder / REPLACED, self.folder / SPLIT)
        found = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        if any(not name.startswith(".") for name in found) and "dataset_dict.json" not in found:
            raise PhraseBookError(f"{self.folder}: holds other files and no phrase book; give a new folder")
        self._takes = Dataset.from_dict({name: [] for name in FEATURES}, features=FEATURES)
        if (self.folder / SPLIT).is_dir():
            self._takes = load_from_disk(str(self.folder / SPLIT))
        self._weights = embedder_hash(pipeline.model)
        self._embeddings = self._saved_embeddings()
        if self._embeddings.keys() != set(self._takes["id"]):
            self._embed_missing()

    @property
    def texts(self) -> list[str]:
        """The phrases, in the order in which they were added."""
        return list(dict.fromkeys(self._takes["text"]))

    @property
    def index(self) -> PhraseIndex:
        """The takes as embeddings; raises `PhraseBookError` for an empty book."""
        if not len(self._takes):
            raise PhraseBookError(f"{self.folder}: the phrase book is empty; record phrases with `lipread enroll`")
        return self._index

    def __len__(self) -> int:
        """The number of takes."""
        return len(self._takes)

    def __contains__(self, name: object) -> bool:
        """Whether there is a take of this name."""
        return name in self._embeddings

    def count(self, text: str) -> int:
        """Returns the number of takes of a phrase."""
        return list(self._takes["text"]).count(text)

    def add(self, text: str, sequence: LandmarkSequence, name: str | None = None) -> None:
        """Adds a take of a phrase.

        Args:
            text: The phrase.
            sequence: The take, with resting lips before and after it.
            name: A name for the take that no other take has; by default a random one.

        Raises:
            PhraseBookError: The text is empty, or the lips rest in the whole clip.
        """
        text, name = " ".join(text.split()), name or secrets.token_hex(8)
        if not text:
            raise PhraseBookError("a phrase needs a text")
        embedding = self.embed(sequence)
        row = {"id": name, "text": text, "speaker": None, **encode_landmarks(sequence, text), "words": []}
        takes = concatenate_datasets([self._takes, Dataset.from_list([row], features=FEATURES)])
        self._save(takes, {**self._embeddings, name: embedding})

    def remove(self, text: str, take: int | None = None) -> None:
        """Removes a phrase, or one of its takes, counted from 1.

        Raises:
            PhraseBookError: There is no such phrase or take.
        """
        places = self._places(text)
        if take is not None:
            if not 1 <= take <= len(places):
                raise PhraseBookError(f"{text!r} has takes 1 to {len(places)}, no take {take}")
            places = [places[take - 1]]
        self._save(self._takes.select([i for i in range(len(self._takes)) if i not in places]), self._embeddings)

    def rename(self, text: str, new: str) -> None:
        """Gives a phrase another text; raises `PhraseBookError` if there is no such phrase or the text is empty."""
        places, new = self._places(text), " ".join(new.split())
        if not new:
            raise PhraseBookError("a phrase needs a text")
        texts = [new if index in places else old for index, old in enumerate(self._takes["text"])]
        takes = self._takes.remove_columns("text").add_column("text", texts).select_columns(list(FEATURES))
        self._save(takes.cast(FEATURES), self._embeddings)

    def match(self, sequence: LandmarkSequence, count: int | None = 3) -> list[PhraseMatch]:
        """Returns the phrases most similar to a clip, best first, with scores; none if the lips rest."""
        embedding = self._embed(sequence)
        return [] if embedding is None else self.index.match(embedding, count)

    def embed(self, sequence: LandmarkSequence) -> np.ndarray:
        """Returns the embedding of a take; raises `PhraseBookError` if the lips rest in the whole clip."""
        embedding = self._embed(sequence)
        if embedding is None:
            raise PhraseBookError("the lips do not move; speak the phrase clearly, with the face towards the camera")
        return embedding

    def confusions(self) -> list[Confusion]:
        """Returns which phrases are mistaken for which if each take is read by the others, most frequent first."""
        counts: dict[tuple[str, str], int] = {}
        for index, text in enumerate(self.index.texts):
            found = self.index.similarities(self.index.embeddings[index], leave_out=index)
            best = max(found, key=found.get, default=text)
            if best != text and text in found:
                counts[text, best] = counts.get((text, best), 0) + 1
        found = [Confusion(*pair, takes, self.count(pair[0])) for pair, takes in counts.items()]
        return sorted(found, key=lambda confusion: -confusion.takes / confusion.of)

    def _places(self, text: str) -> list[int]:
        places = [index for index, other in enumerate(self._takes["text"]) if other == text]
        if not places:
            raise PhraseBookError(f"{self.folder}: there is no phrase {text!r}; it has {', '.join(self.texts)}")
        return places

    def _embed(self, sequence: LandmarkSequence) -> np.ndarray | None:
        """Returns the embedding of a clip; `None` if the lips rest."""
        inputs = self.pipeline.preprocess(sequence, spoken_only=True)
        if not inputs["spoken"].any():
            return None
        spans = inputs["spoken"].tolist()
        return embed_spans(self.pipeline.model, inputs["keypoints"], inputs["keypoints_mask"], spans)[0]

    def _saved_embeddings(self) -> dict[str, np.ndarray]:
        """Returns the saved embeddings of this reader for the texts on the disk; none if anything differs."""
        takes = [{"id": name, "text": text} for name, text in zip(self._takes["id"], self._takes["text"], strict=True)]
        try:
            book = json.loads((self.folder / BOOK_FILE).read_text(encoding="utf-8"))
            if book["weights"] == self._weights and book["takes"] == takes:
                self._index = PhraseIndex.load(self.folder, self.pipeline.model)
                return load_file(self.folder / EMBEDDINGS_FILE)
        except (OSError, ValueError, KeyError):
            pass
        return {}

    def _embed_missing(self) -> None:
        rows = self._takes.with_format("numpy")
        self._save(self._takes, {row["id"]: self.embed(decode_row(row)) for row in rows})

    def _save(self, takes: Dataset, embeddings: dict[str, np.ndarray]) -> None:
        """Writes the takes, and then what is derived from them; a reader finds the old or the new book."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if takes is not self._takes:
            write_atomically(self.folder / "dataset_dict.json", json.dumps({"splits": [SPLIT]}))
            shutil.rmtree(self.folder / WRITING, ignore_errors=True)
            # Without num_shards, an empty book would have no file, and `datasets` could not open it.
            takes.flatten_indices().save_to_disk(self.folder / WRITING, num_shards=1)
            if (self.folder / SPLIT).exists():
                os.replace(self.folder / SPLIT, self.folder / REPLACED)
            os.replace(self.folder / WRITING, self.folder / SPLIT)
            shutil.rmtree(self.folder / REPLACED, ignore_errors=True)
            takes = load_from_disk(str(self.folder / SPLIT))
        names, texts = list(takes["id"]), list(takes["text"])
        embeddings = {name: embeddings[name] for name in names}
        book: dict[str, Any] = {"reader": str(self.pipeline.model.name_or_path), "weights": self._weights}
        symbols = alignment_symbols(self.pipeline.model)
        self._index = PhraseIndex.from_takes(texts, list(embeddings.values()), symbols)
        book |= {name: getattr(self._index, name) for name in SAVED_NUMBERS}
        book["takes"] = [{"id": name, "text": text} for name, text in zip(names, texts, strict=True)]
        save_file(embeddings, self.folder / WRITING_EMBEDDINGS)
        os.replace(self.folder / WRITING_EMBEDDINGS, self.folder / EMBEDDINGS_FILE)
        write_atomically(self.folder / BOOK_FILE, json.dumps(book, indent=2, ensure_ascii=False) + "\n")
        self._takes, self._embeddings = takes, embeddings
