# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The page: give it a video or a camera, see what the reader saw and what it says. It is a Hugging Face Space as is.

python app.py
python app.py --model runs/grid --port 7861

Nothing that is given to the page is kept: an upload is deleted as soon as it has been read, and what was made of it
when the visitor leaves, or after ten minutes. docs/app.md says how to make a Space of it.
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
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

# Where uploads go. Gradio reads it when it is imported.
FOLDER = tempfile.TemporaryDirectory(prefix="lipread-page-")
os.environ["GRADIO_TEMP_DIR"] = os.path.realpath(FOLDER.name)

try:
    import gradio as gr
except ModuleNotFoundError:
    sys.exit("error: the page needs the extra app: pip install -c constraints.txt -e '.[app]'")
import numpy as np  # noqa: E402
from transformers import AutoModel, AutoProcessor  # noqa: E402
from transformers.utils import logging  # noqa: E402

from modeling_lipread.landmarks_lipread import LandmarkSequence, NoFaceError, StreamedFrame, VideoError  # noqa: E402
from modeling_lipread.overlay_lipread import write_overlay  # noqa: E402
from modeling_lipread.pipeline_lipread import LipReadingPipeline  # noqa: E402
from modeling_lipread.reader_options_lipread import EMBEDDED  # noqa: E402
from modeling_lipread.reading_lipread import read_faces  # noqa: E402
from modeling_lipread.subtitles_lipread import make_cues, write_subtitles  # noqa: E402
from modeling_lipread.transcript_lipread import Transcript  # noqa: E402
from modeling_lipread.video_lipread import read_ahead, read_frames, require, video_seconds, video_size  # noqa: E402

MAX_SECONDS, MAX_MEGABYTES, MAX_PIXELS = 30.0, 100, 1920 * 1200
KEPT_SECONDS = 600  # what was made for a visitor who has not left; gradio looks once a minute
SMALL_FACE = 60  # pixels from ear to ear; what is smaller reads badly
DARK = 40  # of 255, on average
EXAMPLES = ("please follow the doctor now", "bin blue at f two now")

INTRODUCTION = f"""
# Lip reading
What is said in a video, from the lips alone: no sound is used. Give it a face that is lit, seen from the front, and
speaks for up to {MAX_SECONDS:g} seconds (at most {MAX_MEGABYTES} MB, {MAX_PIXELS // 10**6} megapixels).

**Nothing is kept.** A video is deleted as soon as it has been read; what was made of it, when you leave this page, or
after {KEPT_SECONDS // 60} minutes.
"""
EMBEDDED_NOTE = """
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
# Lets each word appear when the video comes to it, and the video go to a word that is clicked.
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
    """What the page does, without its looks.

    Args:
        reader: Reads.
        folder: Where everything that belongs to visitors lies; gradio's own cache.
    """

    def __init__(self, reader: LipReadingPipeline, folder: Path):
        self.reader = reader
        self.folder = folder
        self._made: dict[str, Path] = {}  # by visitor

    def read(
        self, video: str | None, doubtful: bool, visitor: str, progress: Any = lambda *_, **__: None
    ) -> tuple[str, str, str, str]:
        """Reads a video and deletes it.

        Args:
            video: Its path, in the page's folder.
            doubtful: Whether words are shown that the reader would rather not say.
            visitor: Whose it is; what was made for the same one before goes.
            progress: Told how far it is, as `gradio.Progress` is.

        Returns:
            Paths of the video with landmarks and words and of both subtitle files, and what is shown of the words.

        Raises:
            gradio.Error: What is wrong with the video, for the visitor.
        """
        self.forget(visitor)
        if not video:
            raise gr.Error("Give a video first: upload one, or record yourself.", title="No video")
        path = Path(video)
        try:
            check(path)
            made = self._made[visitor] = self.folder / f"made-{secrets.token_hex(8)}"
            made.mkdir(mode=0o700)
            found = self._make(path, made, doubtful, progress)
        except BaseException as error:
            self.forget(visitor)
            if isinstance(error, NoFaceError):
                raise gr.Error(why_no_face(path, self.reader), title="No face") from error
            if isinstance(error, VideoError):
                raise gr.Error(_without(path, str(error)), title="This video cannot be read") from error
            raise
        finally:
            self._delete(path)
        timer = threading.Timer(KEPT_SECONDS, shutil.rmtree, [made], {"ignore_errors": True})
        timer.daemon = True
        timer.start()
        return found

    def _make(self, path: Path, made: Path, doubtful: bool, progress: Any) -> tuple[str, str, str, str]:
        faces: list[StreamedFrame] = []
        reader, length = self.reader, video_seconds(path) or MAX_SECONDS

        def found() -> Iterator[StreamedFrame]:
            with closing(read_ahead(read_frames(path, max_seconds=MAX_SECONDS))) as frames:
                for frame in reader.processor.keypoint_extractor.stream_frames(frames, "largest"):
                    faces.append(frame)
                    yield frame

        def watch(seconds: float) -> None:
            progress(0.9 * min(1.0, seconds / length), desc=f"{seconds:.0f} seconds read")

        transcript = read_faces(reader, found(), "video", watch=watch, abstain=not doubtful)
        progress(0.9, desc="Drawing")
        shown = [next(iter(frame.faces.values()), None) for frame in faces]
        sequence = LandmarkSequence.from_faces(shown, [frame.time for frame in faces], faces[0].size)
        write_overlay(path, sequence, made / "lips.mp4", words=transcript.words() or None)
        for kind in ("srt", "vtt"):
            (made / f"lips.{kind}").write_text(write_subtitles(make_cues(transcript), kind), encoding="utf-8")
        files = [str(made / f"lips.{kind}") for kind in ("mp4", "srt", "vtt")]
        return *files, words_html(transcript, hints(sequence))

    def forget(self, visitor: str) -> None:
        """Deletes what was made for a visitor."""
        made = self._made.pop(visitor, None)
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)

    def _delete(self, video: Path) -> None:
        """Deletes an upload, and the folder that gradio made for it; never an example."""
        if self.folder in video.parents and "examples" not in video.parts:
            video.unlink(missing_ok=True)
            if video.parent != self.folder and not any(video.parent.iterdir()):
                video.parent.rmdir()


def check(path: Path) -> None:
    """Refuses what would take too long, before it is decoded.

    Raises:
        gradio.Error: It is too large.
        VideoError: It is no video.
    """
    megabytes = path.stat().st_size / 1e6
    if megabytes > MAX_MEGABYTES:
        raise gr.Error(f"{megabytes:.0f} MB; at most {MAX_MEGABYTES} are taken. Cut it.", title="Too large")
    width, height = video_size(path)
    seconds = video_seconds(path)
    if width * height > MAX_PIXELS:
        raise gr.Error(f"{width} × {height} pixels; at most 1920 × 1200 are taken. Scale it down.", title="Too large")
    if seconds > MAX_SECONDS:
        raise gr.Error(f"{seconds:.0f} seconds; at most {MAX_SECONDS:g} are read. Cut it.", title="Too long")


def _without(path: Path, message: str) -> str:
    """An error without the path on the server, which tells the visitor nothing."""
    message = message.replace(f"{path}: ", "")
    return "It is too long: " + message if "max_seconds" in message else message


def why_no_face(path: Path, reader: LipReadingPipeline) -> str:
    """What is likely wrong with a video in which no face was found."""
    frames = [frame for _, frame in read_frames(path, max_seconds=MAX_SECONDS)]
    frame = frames[len(frames) // 2]
    if np.mean([picture[::8, ::8].mean() for picture in frames[::10]]) < DARK:
        return "The picture is too dark to make out a face. Turn a light on, in front of the face."
    cv2 = require("cv2", "opencv-contrib-python", "Looking for small faces")
    enlarged = cv2.resize(frame, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    face = reader.processor.keypoint_extractor.extract(enlarged)
    if face is not None:
        width = np.ptp(face[:, 0]) / 3
        return f"The face is too small: about {width:.0f} pixels wide, {SMALL_FACE} are needed. Come nearer, or crop."
    return "No face was found. It must be lit, seen from the front, and some 60 pixels wide."


def hints(sequence: LandmarkSequence) -> list[str]:
    """What would make a video easier to read."""
    found = []
    width = np.median(np.ptp(sequence.keypoints[sequence.present][..., 0], axis=1))
    if width < SMALL_FACE:
        found.append(f"The face is small ({width:.0f} pixels wide): words may be misread.")
    if sequence.coverage < 0.8:
        found.append(f"The face was seen in only {sequence.coverage:.0%} of the frames.")
    return found


def words_html(transcript: Transcript, more: list[str]) -> str:
    """The words with their times and confidence, what was not read, and why."""
    shown = []
    for word in (word for utterance in transcript.utterances for word in utterance.words):
        share = "" if word.score is None else f"<small>{word.score:.0%}</small>"
        title = f"{word.start:.2f} to {word.end:.2f} s"
        shown.append(
            f'<span class="word" data-start="{word.start:.3f}" data-end="{word.end:.3f}" title="{title}">'
            f"{html.escape(word.text)}{share}</span>"
        )
    lines = [f"Nothing read from {gap.start:.1f} to {gap.end:.1f} s: {gap.reason}." for gap in transcript.unread]
    if not shown and not lines:
        lines = ["Nothing was said, as far as the lips show."]
    return "".join(shown) + "".join(f"<p>{html.escape(line)}</p>" for line in [*lines, *more])


def make_examples(folder: Path) -> list[list[Any]]:
    """Clips of the talking head, for those who have no video at hand; none where it cannot be made."""
    try:
        from data.talker import TalkingHead

        head = TalkingHead()
    except ImportError:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, text in enumerate(EXAMPLES):
        video = folder / f"{text.replace(' ', '-')}.mp4"
        head.render(text, video, seed=seed)
        rows.append([str(video), True])
    return rows


def build(reader: LipReadingPipeline, folder: Path, note: str = "") -> gr.Blocks:
    """The page.

    Args:
        reader: Reads.
        folder: Gradio's cache: where uploads go and results are made.
        note: What there is to know about the reader.
    """
    page = Page(reader, folder)

    def read(video, doubtful, request: gr.Request, progress=gr.Progress()):  # noqa: B008  # how gradio passes it on
        overlay, *subtitles, words = page.read(video, doubtful, request.session_hash, progress)
        downloads = [gr.DownloadButton(value=file, interactive=True) for file in subtitles]
        return None, overlay, *downloads, words

    def leave(request: gr.Request):
        page.forget(request.session_hash)

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
                # Without sound the browser asks for no microphone. Gradio would also take it out of uploads, by an
                # ffmpeg that need not be there, for nothing.
                video.preprocess = lambda given: given and given.path
                doubtful = gr.Checkbox(
                    label="Also words that do not fit the lips",
                    info="A reader writes words it knows, whatever is said; it keeps quiet where they do not fit.",
                )
                button = gr.Button("Read", variant="primary", elem_id="read")
                examples = make_examples(folder / "examples")
                if examples:
                    gr.Examples(
                        examples,
                        [video, doubtful],
                        label="A drawn head that speaks",
                        example_labels=[f"“{text}”" for text in EXAMPLES],
                    )
            with gr.Column():
                seen = gr.Video(label="What the reader saw", interactive=False, autoplay=True, elem_id="seen")
                words = gr.HTML(label="Words", elem_id="words")
                with gr.Row():
                    srt = gr.DownloadButton("SRT", interactive=False, elem_id="srt")
                    vtt = gr.DownloadButton("WebVTT", interactive=False, elem_id="vtt")
        outputs = [video, seen, srt, vtt, words]
        button.click(read, [video, doubtful], outputs, concurrency_limit=1, api_visibility="private")
        blocks.unload(leave)
    return blocks


def main(arguments: list[str] | None = None) -> None:
    """Starts the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("LIPREAD_MODEL"), help="folder or Hub id of a reader")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    parser.add_argument("--host", help="address to listen on (default: this machine alone; all on a Space)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    options = parser.parse_args(arguments)
    logging.disable_progress_bar()
    name = options.model or EMBEDDED
    reader = LipReadingPipeline(
        model=AutoModel.from_pretrained(name), processor=AutoProcessor.from_pretrained(name), device=options.device
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that FOLDER is deleted then as well
    blocks = build(reader, Path(os.environ["GRADIO_TEMP_DIR"]), "" if options.model else EMBEDDED_NOTE)
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
