# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Extracts clips to rows, and writes the rows of a chunk of clips to one part file; `data.prepare` resumes by parts.

A part is an Arrow stream of rows (`data.schema.features`) whose schema metadata lists the skipped clips with the
reasons. Its name is a hash of everything that determines its content. It is written atomically.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from lipread.output_files import replacing
from modeling_lipread.geometry_lipread import NUM_LANDMARKS
from modeling_lipread.landmarker_lipread import LANDMARKER_SHA256
from modeling_lipread.landmarks_lipread import Face3DKeypointExtractor, LandmarkFileError, read_landmark_file
from modeling_lipread.text_normalizer_lipread import join_words, normalize_text, same_units
from modeling_lipread.video_lipread import VideoError

from ..corpora import read_alignment
from ..files import PrepareError
from ..schema import encode_row, rows_to_table
from ..sources.records import BadClip, Record, Skip, TranscriptError
from .settings import ExtractionSettings

# Raise it when the content of a part changes for the same manifest line, so that old parts are not reused.
PART_VERSION = 7
_METADATA_KEY = b"lipread"
_FIELDS = [field.name for field in fields(Record)]


@dataclass(frozen=True)
class Chunk:
    """Clips of one part file."""

    records: Sequence[Record]
    part: Path
    settings: ExtractionSettings


def chunk_key(records: Sequence[Record], settings: ExtractionSettings) -> str:
    """Returns a hash of what determines a part: records, size and time of the media files, settings, versions."""
    videos = any(not record.is_landmarks for record in records)
    content = {
        "version": PART_VERSION,
        "extractor": [metadata.version("ai-edge-litert"), LANDMARKER_SHA256] if videos else None,
        "settings": asdict(settings),
        # Size and time of the files, not their absolute paths: the folder may move between two runs.
        "records": [
            [_file_state(value) if isinstance(value, Path) else value for value in attrgetter(*_FIELDS)(record)]
            for record in records
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _file_state(path: Path) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


@dataclass
class ClipResult:
    """The row of a clip (`data.schema.encode_row`) or the reason why it is skipped, and warnings for the report."""

    row: dict[str, Any] | None = None
    reason: str | None = None
    transient: bool = False  # as in `Skip`
    warnings: list[str] = field(default_factory=list)


def extract_clip(record: Record, settings: ExtractionSettings, extractor: Face3DKeypointExtractor) -> ClipResult:
    """Extracts a clip. All errors but ImportError (a package is missing) become the reason why the clip is skipped."""
    result = ClipResult()
    try:
        span = {"start": record.start, "end": record.end, "max_seconds": settings.max_seconds or None}
        if record.is_landmarks:
            sequence = read_landmark_file(record.media, record.frame_rate, num_landmarks=NUM_LANDMARKS, **span)
        else:
            sequence = extractor.extract_video(record.media, face=settings.face, **span)
        if sequence.coverage == 0.0 or sequence.coverage < settings.min_coverage:
            raise BadClip(
                f"a face in {sequence.present.sum()} of {len(sequence)} frames ({sequence.coverage:.0%}, wanted "
                f"{settings.min_coverage:.0%}); crop or enlarge the picture around the face, or lower --min_coverage"
            )
        words, notes = [], list(record.notes)
        try:
            words = aligned_words(record)
        except TranscriptError as error:
            notes.insert(0, f"no word times: {error}")
        result.warnings += [f"{record.where} ({record.id}): {note}" for note in notes]
        about = {name: getattr(record, name) for name in ("text", "id", "speaker", "source", "start")}
        if settings.case == "lower":
            about["text"] = record.text.lower()
            words = [word | {"word": word["word"].lower()} for word in words]
        result.row = encode_row(sequence, words=words, **about)
    except ImportError:
        raise
    except (BadClip, LandmarkFileError, VideoError) as error:
        result.reason = str(error)
    except Exception as error:
        result.reason, result.transient = f"{type(error).__name__}: {error}", isinstance(error, (MemoryError, OSError))
        extractor.close()  # it may be unusable; it opens again for the next video
    return result


def aligned_words(record: Record) -> list[dict[str, Any]]:
    """Returns the words, timed from the segment's start; raises TranscriptError if they are not the transcript's."""
    aligned = record.words if record.alignment is None else read_alignment(record.alignment)
    start, end = record.start or 0.0, float("inf") if record.end is None else record.end
    words = [
        {"word": word.word, "start": max(word.start, start) - start, "end": min(word.end, end) - start}
        for word in aligned
        if word.end > start and word.start < end
    ]
    spoken = join_words(word["word"] for word in words)
    if aligned and not same_units(normalize_text(spoken), normalize_text(record.text)):
        raise TranscriptError(f"the alignment says {spoken!r}")
    return words


def write_part(chunk: Chunk, results: Sequence[ClipResult]) -> None:
    """Writes the part of a chunk from the results of its clips, in the same order."""
    report = {"skipped": [], "warnings": [warning for result in results for warning in result.warnings]}
    for record, result in zip(chunk.records, results, strict=True):
        if result.reason is not None:
            skip = Skip(record.where, record.id, result.reason, result.transient)
            report["skipped"].append(asdict(skip))
    table = rows_to_table([result.row for result in results if result.row is not None])
    report_bytes = json.dumps(report).encode()
    table = table.replace_schema_metadata({**table.schema.metadata, _METADATA_KEY: report_bytes})
    with replacing(chunk.part) as beside, open(beside, "wb") as file:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())


def is_finished(path: Path) -> bool:
    """Returns whether a part is whole, and no clip of it was skipped for a transient fault, to be tried again."""
    try:
        return not any(skip["transient"] for skip in read_part(path)[1]["skipped"])
    except (FileNotFoundError, PrepareError):
        return False


def read_part(path: Path) -> tuple[pa.Table, dict[str, list]]:
    """Returns the rows of a part, memory-mapped, and its `skipped` and `warnings`, as in ``report.json``.

    Raises PrepareError for a truncated file.
    """
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
        # Without the report all parts have the same schema and can be concatenated.
        schema_metadata = dict(table.schema.metadata)
        report = json.loads(schema_metadata.pop(_METADATA_KEY))
    except (OSError, TypeError, KeyError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # an error of the disk; for a truncated file Arrow raises an OSError without a number
        raise PrepareError(f"{path}: not a whole part ({error}); run the command that makes it again") from error
    return table.replace_schema_metadata(schema_metadata), report
