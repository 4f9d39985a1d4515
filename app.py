# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The web page, which also runs as a Hugging Face Space: reads an uploaded video or a camera and shows the words.

python app.py
python app.py --model runs/grid --port 7861

Nothing is kept: an upload is deleted as soon as it has been read, its results when the visitor leaves or after ten
minutes. docs/app.md says how to make a Space of it.
"""

from __future__ import annotations

import argparse
import html
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

# The folder of uploads. Gradio reads the variable on import.
FOLDER = tempfile.TemporaryDirectory(prefix="lipread-page-")
os.environ["GRADIO_TEMP_DIR"] = os.path.realpath(FOLDER.name)

try:
    import gradio as gr
except ModuleNotFoundError:
    sys.exit("error: the page needs the extra app: pip install -c constraints.txt -e '.[app]'")
import numpy as np  # noqa: E402
from transformers.utils import logging  # noqa: E402

from lipread.long_form.streaming import stream_frames  # noqa: E402
from lipread.long_form.transcription import transcribe_frames  # noqa: E402
from lipread.options import UsageError, load_pipeline  # noqa: E402
from lipread.overlay import write_overlay  # noqa: E402
from lipread.transcript import Transcript  # noqa: E402
from lipread.writers import format_transcript  # noqa: E402
from modeling_lipread.landmarks_lipread import LandmarkSequence, NoFaceError  # noqa: E402
from modeling_lipread.pipeline_lipread import LipReadingPipeline  # noqa: E402
from modeling_lipread.video_lipread import (  # noqa: E402
    VideoError,
    read_ahead,
    read_frames,
    require,
    video_seconds,
    video_size,
)

MAX_SECONDS, MAX_MEGABYTES, MAX_PIXELS = 30.0, 100, 1920 * 1200
KEPT_SECONDS = 600  # results of a visitor who does not leave; Gradio checks once a minute
SMALL_FACE = 60  # pixels from ear to ear; smaller faces are read badly
DARK = 40  # mean brightness, of 255
EXAMPLES = ("please follow the doctor now", "bin blue at f two now")

INTRODUCTION = f"""
# Lip reading
What is said in a video, from the lips alone: no sound is used. Give it a face that is lit, seen from the front, and
speaks for up to {MAX_SECONDS:g} seconds (at most {MAX_MEGABYTES} MB, {MAX_PIXELS // 10**6} megapixels).

**Nothing is kept.** A video is deleted as soon as it has been read; what was made of it, when you leave this page, or
after {KEPT_SECONDS // 60} minutes.
"""
BUNDLED_MODEL_NOTE = """
This is the small reader that comes with the package. It knows the 51 words of the GRID corpus, as in
*bin blue at f two now*, and mostly one speaker; other words it cannot read.
"""
STYLE = """
#words {min-height: 3rem}
#words .word {display: inline-block; text-align: center; margin-right: .6rem; cursor: pointer; opacity: .25;
  font-size: 1.4rem; line-height: 1.8rem; border-bottom: .2rem solid transparent}
#words .word small {display: block; font-size: .65rem; line-height: .8rem}
#words .said {opacity: 1}
#words .now {border-color: #ff2878}
#words p {font-size: 1rem; line-height: 1.5rem}
"""
# Shows each word at its time in the video, and moves the video to a word that is clicked.
FOLLOW = """
() => {
  const video = () => document.querySelector('#seen video');
  setInterval(() => {
    const time = video() ? video().currentTime : 0;
    document.querySelectorAll('#words .word').forEach((word) => {
      word.classList.toggle('said', time >= word.dataset.start - 0.02);
      word.classList.toggle('now', time >= word.dataset.start - 0.02 && time < word.dataset.end);
    });
  }, 40);
  document.addEventListener('click', (event) => {
    const word = event.target.closest('#words .word');
    if (word && video()) video().currentTime = Number(word.dataset.start);
  });
}
"""


class Page:
    """The server side of the page. All files of visitors are in `folder`, Gradio's cache."""

    def __init__(self, pipeline: LipReadingPipeline, folder: Path):
        self.pipeline, self.folder = pipeline, folder
        self._results: dict[str, Path] = {}  # folders by visitor

    def read(self, video: str | None, show_rejected: bool, request: gr.Request, progress=gr.Progress()):  # noqa: B008
        """Reads a video in the page's folder, then deletes it. Gradio gives `request` and `progress`.

        Returns:
            The values of the components: no upload, the overlay, two subtitle files, and the words as HTML.

        Raises:
            gradio.Error: The video cannot be read; the message is for the visitor.
        """
        self.forget(request)
        if not video:
            raise gr.Error("Give a video first: upload one, or record yourself.", title="No video")
        path = Path(video)
        try:
            check(path)
            results = self._results[request.session_hash] = self.folder / f"made-{secrets.token_hex(8)}"
            results.mkdir(mode=0o700)
            words = self._write_results(path, results, show_rejected, progress)
        except BaseException as error:
            self.forget(request)
            if isinstance(error, NoFaceError):
                raise gr.Error(why_no_face(path, self.pipeline), title="No face") from error
            if isinstance(error, VideoError):
                message = str(error).replace(f"{path}: ", "")  # the path on the server
                message = f"It is too long: {message}" if "max_seconds" in message else message
                raise gr.Error(message, title="This video cannot be read") from error
            raise
        finally:
            self._delete(path)
        timer = threading.Timer(KEPT_SECONDS, shutil.rmtree, [results], {"ignore_errors": True})
        timer.daemon = True
        timer.start()
        buttons = [gr.DownloadButton(value=str(results / f"lips.{kind}"), interactive=True) for kind in ("srt", "vtt")]
        return None, str(results / "lips.mp4"), *buttons, words

    def _write_results(self, path: Path, results: Path, show_rejected: bool, progress: gr.Progress) -> str:
        """Writes the overlay and the subtitles, and returns the words as HTML."""
        frames, duration = [], video_seconds(path) or MAX_SECONDS
        with closing(read_ahead(read_frames(path, max_seconds=MAX_SECONDS))) as pictures:
            for frame in stream_frames(self.pipeline.processor.keypoint_extractor, pictures, "largest"):
                frames.append(frame)
                progress(0.8 * min(1.0, frame.time / duration), desc=f"face found in {frame.time:.0f} seconds")
        progress(0.8, desc="Reading")
        transcript = transcribe_frames(self.pipeline, frames, "video", abstain=not show_rejected)
        progress(0.9, desc="Drawing")
        faces = [next(iter(frame.faces.values()), None) for frame in frames]
        sequence = LandmarkSequence.from_faces(faces, [frame.time for frame in frames], frames[0].size)
        write_overlay(path, sequence, results / "lips.mp4", words=transcript.words() or None)
        for kind in ("srt", "vtt"):
            (results / f"lips.{kind}").write_text(format_transcript(transcript, kind), encoding="utf-8")
        return words_html(transcript, hints(sequence))

    def forget(self, request: gr.Request) -> None:
        """Deletes the results of a visitor."""
        results = self._results.pop(request.session_hash, None)
        if results is not None:
            shutil.rmtree(results, ignore_errors=True)

    def _delete(self, video: Path) -> None:
        """Deletes an upload and the folder that Gradio made for it, but no example."""
        if self.folder in video.parents and "examples" not in video.parts:
            video.unlink(missing_ok=True)
            if video.parent != self.folder and not any(video.parent.iterdir()):
                video.parent.rmdir()


def check(path: Path) -> None:
    """Raises `gradio.Error` for a video that would take too long to read, without decoding it."""
    megabytes = path.stat().st_size / 1e6
    if megabytes > MAX_MEGABYTES:
        raise gr.Error(f"{megabytes:.0f} MB; at most {MAX_MEGABYTES} are allowed. Cut it.", title="Too large")
    (width, height), seconds = video_size(path), video_seconds(path)
    if width * height > MAX_PIXELS:
        raise gr.Error(f"{width} × {height} pixels; at most 1920 × 1200 are allowed. Scale down.", title="Too large")
    if seconds > MAX_SECONDS:
        raise gr.Error(f"{seconds:.0f} seconds; at most {MAX_SECONDS:g} are read. Cut it.", title="Too long")


def why_no_face(path: Path, pipeline: LipReadingPipeline) -> str:
    """Returns the likely reason why no face was found in a video."""
    frames = [frame for _, frame in read_frames(path, max_seconds=MAX_SECONDS)]
    frame = frames[len(frames) // 2]
    if np.mean([picture[::8, ::8].mean() for picture in frames[::10]]) < DARK:
        return "The picture is too dark to make out a face. Turn a light on, in front of the face."
    cv2 = require("cv2", "opencv-contrib-python", "Looking for small faces")
    enlarged = cv2.resize(frame, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    face = pipeline.processor.keypoint_extractor.extract(enlarged)
    if face is None:
        return f"No face was found. It must be lit, seen from the front, and some {SMALL_FACE} pixels wide."
    width = np.ptp(face[:, 0]) / 3
    return f"The face is too small: about {width:.0f} pixels wide, {SMALL_FACE} are needed. Come nearer, or crop."


def hints(sequence: LandmarkSequence) -> list[str]:
    """Returns warnings about a video that is hard to read."""
    found, width = [], np.median(np.ptp(sequence.keypoints[sequence.present][..., 0], axis=1))
    if width < SMALL_FACE:
        found.append(f"The face is small ({width:.0f} pixels wide): words may be misread.")
    if sequence.coverage < 0.8:
        found.append(f"The face was seen in only {sequence.coverage:.0%} of the frames.")
    return found


def words_html(transcript: Transcript, warnings: list[str]) -> str:
    """Returns HTML of the words with their times and scores, and of the parts that were not read, with reasons."""
    shown = ""
    for word in (word for utterance in transcript.utterances for word in utterance.words):
        share = "" if word.score is None else f"<small>{word.score:.0%}</small>"
        times = f'data-start="{word.start:.3f}" data-end="{word.end:.3f}" title="{word.start:.2f} to {word.end:.2f} s"'
        shown += f'<span class="word" {times}>{html.escape(word.text)}{share}</span>'
    lines = [f"Nothing read from {span.start:.1f} to {span.end:.1f} s: {span.reason}." for span in transcript.unread]
    lines += [] if shown or lines else ["The lips do not move."]
    return shown + "".join(f"<p>{html.escape(line)}</p>" for line in [*lines, *warnings])


def make_examples(folder: Path) -> list[list[Any]]:
    """Renders example clips of the talking head; none without its packages."""
    try:
        from data.talker import TalkingHead

        head = TalkingHead()
    except ImportError:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    videos = [folder / f"{text.replace(' ', '-')}.mp4" for text in EXAMPLES]
    for seed, (text, video) in enumerate(zip(EXAMPLES, videos, strict=True)):
        head.render(text, video, seed=seed)
    return [[str(video), True] for video in videos]


def build(pipeline: LipReadingPipeline, folder: Path, note: str = "") -> gr.Blocks:
    """Returns the page, with a note about the model."""
    page = Page(pipeline, folder)
    with gr.Blocks(title="lipread", delete_cache=(60, KEPT_SECONDS), analytics_enabled=False) as blocks:
        gr.Markdown(INTRODUCTION + (f"\n{note}\n" if note else ""))
        with gr.Row():
            with gr.Column():
                video = gr.Video(
                    label="Video",
                    sources=["upload", "webcam"],
                    include_audio=False,
                    webcam_options=gr.WebcamOptions(mirror=False),
                    elem_id="given",
                )
                # Gradio would remove the sound of uploads with an ffmpeg that may be missing. The model ignores sound.
                video.preprocess = lambda given: given and given.path
                rejected = gr.Checkbox(
                    label="Also words that do not fit the lips",
                    info="A reader knows few words. It rejects those that do not fit the lips.",
                )
                button = gr.Button("Read", variant="primary", elem_id="read")
                if examples := make_examples(folder / "examples"):
                    labels = [f"“{text}”" for text in EXAMPLES]
                    gr.Examples(examples, [video, rejected], label="A drawn head that speaks", example_labels=labels)
            with gr.Column():
                seen = gr.Video(label="What the reader saw", interactive=False, autoplay=True, elem_id="seen")
                words = gr.HTML(label="Words", elem_id="words")
                with gr.Row():
                    srt = gr.DownloadButton("SRT", interactive=False, elem_id="srt")
                    vtt = gr.DownloadButton("WebVTT", interactive=False, elem_id="vtt")
        outputs = [video, seen, srt, vtt, words]
        button.click(page.read, [video, rejected], outputs, concurrency_limit=1, api_visibility="private")
        blocks.unload(page.forget)
    return blocks


def main(arguments: list[str] | None = None) -> None:
    """Runs the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("LIPREAD_MODEL"), help="folder or Hub id of a reader")
    parser.add_argument("--device", default="auto", help="torch device (default: a GPU if there is one)")
    parser.add_argument("--host", help="address to listen on (default: this machine alone; all on a Space)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    try:
        pipeline = load_pipeline(options.model, options.device)
    except UsageError as error:
        sys.exit(f"error: {error}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # deletes FOLDER on exit
    blocks = build(pipeline, Path(os.environ["GRADIO_TEMP_DIR"]), "" if options.model else BUNDLED_MODEL_NOTE)
    blocks.queue(max_size=16).launch(
        server_name=options.host,
        server_port=options.port,
        max_file_size=f"{MAX_MEGABYTES}mb",
        css=STYLE,
        js=FOLLOW,
        run_history=False,
        footer_links=["gradio", "settings"],
    )


if __name__ == "__main__":
    main()
