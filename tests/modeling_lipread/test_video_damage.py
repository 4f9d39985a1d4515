# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""When frames are shown, and videos that are damaged: cut off, corrupt in the middle, without times or pictures."""

from pathlib import Path

import av
import numpy as np
import pytest

from modeling_lipread.video_lipread import VideoError, read_frames
from tests.helpers.clips import moving_portrait, without_durations, without_frame_rate, write_song, write_video


def test_a_long_video_is_sought_in(tmp_path):
    shades = [np.full((64, 64, 3), 20 + 2 * second, np.uint8) for second in range(100)]
    for name in ("long.mp4", "long.mkv", "long.ts"):
        path = write_video(tmp_path / name, shades, frame_rate=1)
        times, frames = zip(*read_frames(path, start=90, end=93), strict=True)
        np.testing.assert_allclose(times, (0, 1, 2), atol=1e-6)
        np.testing.assert_allclose([frame.mean() for frame in frames], (200, 202, 204), atol=1.5)


def test_times_are_the_streams_own(tmp_path):
    milliseconds = [0, 40, 120, 153, 220, 240, 300]
    path = write_video(tmp_path / "variable.mp4", moving_portrait(7), milliseconds=milliseconds)
    np.testing.assert_allclose([time * 1000 for time, _ in read_frames(path)], milliseconds, atol=0.5)


@pytest.mark.parametrize("name", ["broken.mp4", "clip.avi", "zero.avi"])
def test_without_usable_timestamps_the_nominal_rate_counts(tmp_path, name):
    encoding = {"codec": "mjpeg", "pixel_format": "yuvj420p"} if name == "zero.avi" else {}
    path = write_video(tmp_path / name, moving_portrait(10), reorder=name == "clip.avi", **encoding)
    if name == "broken.mp4":
        without_durations(path)
    if name == "zero.avi":
        without_frame_rate(path)
    np.testing.assert_allclose([time for time, _ in read_frames(path)], np.arange(10) / 25, atol=1e-6)
    times, _ = zip(*read_frames(path, start=0.2), strict=True)
    np.testing.assert_allclose(times, np.arange(5) / 25, atol=1e-6)


def test_files_that_cannot_be_read_say_why(extractor, portrait_video, tmp_path):
    data = portrait_video.read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # its table of contents, at the end, is gone
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    indexed = write_video(tmp_path / "indexed.mp4", moving_portrait(30), movflags="+faststart").read_bytes()
    (tmp_path / "half.mp4").write_bytes(indexed[: len(indexed) * 2 // 3])
    long = write_video(tmp_path / "whole.mkv", moving_portrait(90)).read_bytes()
    (tmp_path / "half.mkv").write_bytes(long[: len(long) // 2])
    write_song(tmp_path / "song.m4a")
    for name, reason in {
        "absent.mp4": "no such file",
        "empty.mp4": "empty",
        "cut.mp4": "truncated",
        "noise.mp4": "not a readable video",
        "half.mp4": "truncated, its last frames are missing",
        "half.mkv": "truncated, its frames end at",
        "song.m4a": "no video stream",
    }.items():
        with pytest.raises(VideoError, match=f"{name}.*{reason}"):
            extractor.extract_video(tmp_path / name)


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"start": 9}, "ends at about 0.28 seconds"),
        ({"start": 0.3, "end": 1}, "ends at about 0.28 seconds"),
        ({"start": 0.2, "end": 0.1}, "start must be"),
        ({"start": 0.1, "end": 0.1}, "start must be"),
        ({"start": -1}, "start must be"),
    ],
)
def test_spans_that_hold_nothing_say_why(extractor, portrait_video, span, reason):
    with pytest.raises(VideoError, match=reason):
        extractor.extract_video(portrait_video, **span)


CODECS = {
    "h264.mp4": ("libx264", {"bf": "0"}),
    "h264.ts": ("libx264", {}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none"}),
    "mpeg2.ts": ("mpeg2video", {}),
    "mpeg4.mp4": ("mpeg4", {}),
    "av1.mp4": ("libsvtav1", {"preset": "12"}),
}


def corrupted(path: Path, second: float) -> Path:
    """Overwrites a part of the file that holds this second with noise."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        origin = container.start_time / 1e6
        packets = [packet for packet in container.demux(stream) if packet.size]
        place = next(packet.pos for packet in packets if float(packet.pts * stream.time_base) - origin >= second)
    data = bytearray(path.read_bytes())
    length = len(data) // 25
    data[place : place + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("h264.mp4", "mpeg2.ts") else pytest.mark.slow) for name in CODECS]
)
def test_what_is_corrupt_in_the_middle_is_named_with_the_time(tmp_path, name):
    codec, options = CODECS[name]
    path = write_video(tmp_path / name, moving_portrait(100), codec=codec, codec_options={"g": "25", **options})
    assert len(list(read_frames(path))) == 100
    corrupted(path, 2.0)
    with pytest.raises(VideoError, match=f"{name}: the video is corrupt at about .* seconds; copy or") as error:
        list(read_frames(path))
    assert 1.6 < float(str(error.value).split("about ")[1].split()[0]) < 2.3
    # What lies before and after it is as good as ever.
    assert len(list(read_frames(path, end=1.5))) in (37, 38)
    assert len(list(read_frames(path, start=3.2))) == 20
    with pytest.raises(VideoError, match="corrupt at about"):
        list(read_frames(path, start=1.5, end=3.5))


def test_a_span_may_begin_anywhere_between_open_groups_of_pictures(tmp_path):
    options = {"g": "12", "x264-params": "open-gop=1:bframes=3"}
    path = write_video(tmp_path / "open.mp4", moving_portrait(75), codec_options=options)
    whole = [frame for _, frame in read_frames(path)]
    for first in (11, 12, 13, 30, 47):
        times, frames = zip(*read_frames(path, start=first / 25, end=(first + 3) / 25), strict=True)
        np.testing.assert_allclose(times, (0, 0.04, 0.08), atol=1e-3)
        np.testing.assert_array_equal(np.stack(frames), np.stack(whole[first : first + 3]))
