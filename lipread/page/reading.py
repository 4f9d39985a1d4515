# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Reads one video for the page, in a process of its own."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import logging

from modeling_lipread import LipReadingPipeline
from modeling_lipread.landmarks_lipread import LandmarkSequence
from modeling_lipread.video_lipread import VideoError, video_seconds, video_size

from ..diagnosis import SMALL_FACE, why_unread
from ..long_form.streaming import StreamedFrame, people_sequences, stream_video
from ..long_form.transcription import transcribe_frames
from ..options import BUNDLED_MODEL, load_pipeline, print_message
from ..overlay import INNER_LIPS, OUTER_LIPS
from ..transcript import Transcript
from ..writers import format_transcript

MAX_SECONDS, MAX_PIXELS = 30.0, 1920 * 1200
PROGRESS_FRAMES = 5  # frames between two messages

# Contours that are drawn on the face, each a ring of landmarks: both lips, the outline of the face, and the eyes.
CONTOURS = (
    OUTER_LIPS,
    INNER_LIPS,
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377]
    + [152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109],
    [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7],
    [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249],
)
_DRAWN = [index for contour in CONTOURS for index in contour]


def drawn_points(frame: StreamedFrame) -> list[int] | None:
    """Returns x and y of each landmark of `CONTOURS` in thousandths of the frame; None without a face."""
    if not frame.faces:
        return None
    face = next(iter(frame.faces.values()))[_DRAWN, :2]
    return (face * (1000, -1000) / frame.size).round().astype(int).ravel().tolist()


def load_pipeline_quietly(model: str | None, device: str) -> LipReadingPipeline:
    """Loads a reader, by default the one in the package, without progress bars."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return load_pipeline(model or BUNDLED_MODEL, device)


def check_reader(connection: Connection, model: str | None, device: str) -> None:
    """Loads the reader and sends `{"error"}`, which is empty if it can be used."""
    try:
        load_pipeline_quietly(model, device)
        connection.send({"error": ""})
    except Exception as error:
        connection.send({"error": str(error)})


def read_video(connection: Connection, model: str | None, device: str, path: Path, abstain: bool) -> None:
    """Sends messages about the progress, and in the end the result or an error."""
    try:
        connection.send(_read(connection, load_pipeline_quietly(model, device), path, abstain))
    except VideoError as error:
        message = str(error).replace(f"{path}: ", "").rstrip(". ")  # without the path on the server
        connection.send({"type": "error", "message": f"This video cannot be read: {message}."})
    except Exception as error:
        print_message(f"{type(error).__name__}: {error}")
        message = "This video cannot be read. Save it again as MP4, and try once more."
        connection.send({"type": "error", "message": message})


def _read(connection: Connection, pipeline: LipReadingPipeline, path: Path, abstain: bool) -> dict[str, Any]:
    duration = check_size(path)
    frames: list[StreamedFrame] = []
    extractor = pipeline.processor.keypoint_extractor
    for frame in stream_video(extractor, path, face="largest", max_seconds=MAX_SECONDS):
        frames.append(frame)
        if len(frames) % PROGRESS_FRAMES == 0:
            share = 0.8 * min(1.0, frame.time / duration)
            connection.send({"type": "progress", "share": share, "text": "Finding the face"})
    connection.send({"type": "progress", "share": 0.8, "text": "Reading the lips"})
    if not any(frame.faces for frame in frames):
        raise VideoError(f"no face was found. {why_unread(path) or ''}")
    transcript = transcribe_frames(pipeline, frames, "video", abstain=abstain)
    (sequence,) = people_sequences(frames, "video")
    return {
        "type": "result",
        "text": transcript.text,
        "words": [
            {"word": word.text, "start": word.start, "end": word.end, "score": word.score}
            for word in transcript.words()
        ],
        "notes": notes(transcript, sequence),
        "srt": format_transcript(transcript, "srt"),
        "vtt": format_transcript(transcript, "vtt"),
        "times": [round(frame.time, 3) for frame in frames],
        "points": [drawn_points(frame) for frame in frames],
        "contours": [len(contour) for contour in CONTOURS],
    }


def check_size(path: Path) -> float:
    """Returns the duration in the header, or `MAX_SECONDS`. Raises `VideoError` for a video that takes too long."""
    (width, height), seconds = video_size(path), video_seconds(path)
    if width * height > MAX_PIXELS:
        raise VideoError(f"it has {width} × {height} pixels; at most 1920 × 1200 are read. Save it smaller.")
    if seconds > MAX_SECONDS:
        raise VideoError(f"it lasts {seconds:.0f} seconds; at most {MAX_SECONDS:g} are read. Cut out a part.")
    return seconds or MAX_SECONDS


def notes(transcript: Transcript, sequence: LandmarkSequence) -> list[str]:
    """Returns what was not read, and why, and warnings about a video that is hard to read."""
    found = [f"Not read, {span.start:.1f} to {span.end:.1f} s: {span.reason}." for span in transcript.unread]
    width = np.median(np.ptp(sequence.keypoints[sequence.present][..., 0], axis=1))
    if width < SMALL_FACE:
        found.append(f"The face is small ({width:.0f} pixels wide): words may be wrong.")
    if sequence.coverage < 0.8:
        found.append(f"The face was seen in only {sequence.coverage:.0%} of the frames.")
    return found
