# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A few clips to one part file: the unit of work that `data.prepare` hands to its workers and resumes by.

A part is an Arrow stream of rows (`data.schema.features`) whose schema metadata lists the clips that were skipped and
why. It is named by a hash of all that decides its content, and appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from modeling_lipread.landmarker_lipread import LANDMARKER_SHA256
from modeling_lipread.landmarks_lipread import (
    Face3DKeypointExtractor,
    LandmarkFileError,
    LandmarkSequence,
    VideoError,
    read_landmark_file,
)
from modeling_lipread.text_normalizer_lipread import TextNormalizer

from .corpora import read_alignment
from .quality import ClipQuality, measure
from .records import Record, Skip, TranscriptError
from .schema import NUM_LANDMARKS, encode_row, rows_to_table
from .settings import ExtractionSettings

# Raise it when the content of a part changes for the same manifest line, so that old parts are not continued.
PART_VERSION = 3
_METADATA_KEY = b"lipread"


class ClipError(ValueError):
    """Why a clip cannot be used; the message says what to do about it."""


@dataclass(frozen=True)
class Chunk:
    """Clips that are extracted together, and the part file they go to."""

    records: Sequence[Record]
    part: Path
    settings: ExtractionSettings


@dataclass
class PartReport:
    """What became of a chunk's clips."""

    clips: int
    frames: int
    frames_with_face: int
    seconds: float
    skipped: list[Skip]
    warnings: list[str]


def chunk_key(records: Sequence[Record], settings: ExtractionSettings) -> str:
    """Hash of what decides a part's content: manifest lines, the media files' size and time, settings, versions."""
    videos = any(not record.is_landmarks for record in records)
    content = {
        "version": PART_VERSION,
        "extractor": [metadata.version("mediapipe"), LANDMARKER_SHA256] if videos else None,
        "settings": asdict(settings),
        # Files count by size and time, not by where they lie: the folder may move between two runs.
        "records": [
            asdict(record) | {"media": _file_state(record.media), "alignment": _file_state(record.alignment)}
            for record in records
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _file_state(path: Path | None) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except (OSError, TypeError):
        return None
    return state.st_size, state.st_mtime_ns


class ClipReader:
    """Reads clips one after the other with one landmark extractor.

    Raises:
        FileNotFoundError, ValueError: If MediaPipe's face model is missing or another one.
    """

    def __init__(self):
        self._extractor = Face3DKeypointExtractor()

    def read(self, record: Record, settings: ExtractionSettings) -> LandmarkSequence:
        """Landmarks of a clip.

        Raises:
            ClipError, LandmarkFileError, VideoError: If the media cannot be read, or lasts too long.
        """
        span = {"start": record.start, "end": record.end}
        if not record.is_landmarks:
            limit = settings.max_seconds
            return self._extractor.extract_video(record.media, **span, face=settings.face, max_seconds=limit)
        sequence = read_landmark_file(record.media, record.frame_rate, **span, num_landmarks=NUM_LANDMARKS)
        seconds = len(sequence) / record.frame_rate
        if settings.max_seconds is not None and seconds > settings.max_seconds:
            raise ClipError(
                f"the clip lasts {seconds:.0f} seconds, more than --max_seconds {settings.max_seconds:g}; cut it into "
                "utterances with start and end"
            )
        return sequence

    def close(self) -> None:
        """Free MediaPipe's memory; the next video opens it anew."""
        self._extractor.close()


def extract_chunk(
    chunk: Chunk,
    reader: ClipReader,
    lost: Mapping[int, str] | None = None,
    starting: Callable[[int, int], None] | None = None,
) -> PartReport:
    """Extract a chunk's clips and write its part.

    Args:
        chunk (`Chunk`): The clips, and where their part goes.
        reader (`ClipReader`): What reads them.
        lost (`Mapping[int, str]`, *optional*): Clips, by their place in the chunk, that are not to be touched, and why
            they are skipped.
        starting (`Callable`, *optional*): Told before each clip is read, and once after the last, how many clips are
            done and how many of them were skipped.

    Returns:
        `PartReport`: What became of the clips.
    """
    rows, skipped, warnings = [], [], []
    frames_with_face, seconds = 0, 0.0
    for record in _announced(chunk, skipped, lost or {}, starting):
        try:
            sequence = reader.read(record, chunk.settings)
            quality = _check_quality(sequence, chunk.settings)
            words = _aligned_words(record, warnings)
            warnings += [f"{record.where} ({record.id}): {note}" for note in record.notes]
            rows.append(
                encode_row(
                    sequence,
                    text=record.text,
                    id=record.id,
                    speaker=record.speaker,
                    source=record.source,
                    start=record.start,
                    words=words,
                    quality=quality,
                )
            )
        except ImportError:
            raise  # a missing package is no fault of the clip
        except (ClipError, LandmarkFileError, VideoError) as error:
            skipped.append(Skip(record.where, record.id, str(error)))
        except Exception as error:
            skipped.append(Skip(record.where, record.id, f"{type(error).__name__}: {error}"))
            reader.close()  # whatever failed may have left the extractor unusable for the clips that follow
        else:
            frames_with_face += int(sequence.present.sum())
            seconds += len(sequence) / sequence.frame_rate if sequence.frame_rate else 0.0  # 0 for a single frame
    report = PartReport(
        clips=len(rows),
        frames=sum(row["num_frames"] for row in rows),
        frames_with_face=frames_with_face,
        seconds=seconds,
        skipped=skipped,
        warnings=warnings,
    )
    _write_part(rows_to_table(rows), report, chunk.part)
    return report


def _announced(
    chunk: Chunk, skipped: list[Skip], lost: Mapping[int, str], starting: Callable[[int, int], None] | None
) -> Iterator[Record]:
    """The clips to read, each announced; those that are lost go to the skipped ones."""
    for index, record in enumerate(chunk.records):
        if index in lost:
            skipped.append(Skip(record.where, record.id, lost[index]))
            continue
        if starting is not None:
            starting(index, len(skipped))
        yield record
    if starting is not None:
        starting(len(chunk.records), len(skipped))


def _check_quality(sequence: LandmarkSequence, settings: ExtractionSettings) -> ClipQuality:
    if sequence.coverage == 0.0 or sequence.coverage < settings.min_coverage:
        raise ClipError(
            f"a face in {sequence.present.sum()} of {len(sequence)} frames ({sequence.coverage:.0%}, wanted "
            f"{settings.min_coverage:.0%}); crop or enlarge the picture around the face, or lower --min_coverage"
        )
    quality = measure(sequence)
    if failure := settings.failure(quality):
        raise ClipError(failure)
    return quality


def _aligned_words(record: Record, warnings: list[str]) -> list[dict[str, Any]]:
    """Words of the clip's segment with their times in it; none, and a warning, if the alignment cannot be used."""
    aligned = record.words
    if record.alignment is not None:
        try:
            aligned = read_alignment(record.alignment)
        except TranscriptError as error:
            warnings.append(f"{record.where} ({record.id}): no word times: {error}")
    if not aligned:
        return []
    start, end = record.start or 0.0, float("inf") if record.end is None else record.end
    words = [
        {"word": word.word, "start": max(word.start, start) - start, "end": min(word.end, end) - start}
        for word in aligned
        if word.end > start and word.start < end
    ]
    normalize = TextNormalizer()
    spoken = " ".join(word["word"] for word in words)
    if normalize(spoken) != normalize(record.text):
        warnings.append(f"{record.where} ({record.id}): no word times: the alignment says {spoken!r}")
        return []
    return words


def _write_part(table: pa.Table, report: PartReport, path: Path) -> None:
    report_bytes = json.dumps(asdict(report)).encode()
    table = table.replace_schema_metadata({**table.schema.metadata, _METADATA_KEY: report_bytes})
    with replacing(path) as beside, open(beside, "wb") as file:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place in the end, or goes if it cannot be written."""
    # Machines that share a file system may have processes of the same number.
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def read_part(path: Path) -> tuple[pa.Table, PartReport]:
    """Rows of a part, memory-mapped, and what became of its clips."""
    table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    # Without the report all parts have one schema and concatenate.
    schema_metadata = {key: value for key, value in table.schema.metadata.items() if key != _METADATA_KEY}
    return table.replace_schema_metadata(schema_metadata), _report_of(table.schema)


def read_part_report(path: Path) -> PartReport:
    """What became of a part's clips."""
    with pa.memory_map(str(path)) as file:
        return _report_of(pa.ipc.open_stream(file).schema)


def _report_of(schema: pa.Schema) -> PartReport:
    fields = json.loads(schema.metadata[_METADATA_KEY])
    fields["skipped"] = [Skip(**skip) for skip in fields["skipped"]]
    return PartReport(**fields)
