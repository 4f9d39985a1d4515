# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video files of every kind to upright frames and their times; what is damaged is named with the place."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from modeling_lipread.video_lipread import VideoError, read_frames
from tests.helpers.clips import (
    PORTRAIT,
    moving_portrait,
    without_durations,
    without_frame_rate,
    write_song,
    write_video,
)


def difference(frame: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(frame.astype(int) - expected).mean())


CODECS = [  # and the most that a pixel may differ on average
    *((f"h264.{suffix}", "libx264", "yuv420p", 4) for suffix in ("mp4", "ts", "flv", "h264")),
    ("ten_bits.mkv", "libx264", "yuv420p10le", 4),
    ("hevc.mp4", "libx265", "yuv420p", 5),
    ("vp8.webm", "libvpx", "yuv420p", 5),
    ("vp9.webm", "libvpx-vp9", "yuv420p", 5),
    ("av1.mp4", "libsvtav1", "yuv420p", 5),
    *((f"mpeg4.{suffix}", "mpeg4", "yuv420p", 5) for suffix in ("avi", "3gp")),
    ("mjpeg.avi", "mjpeg", "yuvj420p", 7),
    ("mpeg1.mpg", "mpeg1video", "yuv420p", 5),
    ("mpeg2.ts", "mpeg2video", "yuv420p", 5),
    ("wmv2.asf", "wmv2", "yuv420p", 5),
    ("prores.mov", "prores_ks", "yuv422p10le", 3),
    ("ffv1.mkv", "ffv1", "bgr0", 0),
    ("palette.gif", "gif", "rgb8", 20),
    ("runs.mov", "qtrle", "rgb24", 0),
    ("planes.y4m", "rawvideo", "yuv420p", 3),
]
QUICK = ("h264.mp4", "vp9.webm", "ffv1.mkv")
OPAQUE = np.full(PORTRAIT.shape[:2], 255, np.uint8)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "most"),
    [pytest.param(*row, marks=() if row[0] in QUICK else pytest.mark.slow) for row in CODECS],
)
def test_every_codec_is_read(tmp_path, name, codec, pixel_format, most):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    shown = moving_portrait(4)
    path = write_video(tmp_path / name, shown, codec=codec, pixel_format=pixel_format, codec_options=options)
    times, frames = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, np.arange(4) / 25, atol=1e-3)
    for frame, expected in zip(frames, shown, strict=True):
        assert frame.dtype == np.uint8 and frame.flags.c_contiguous
        assert difference(frame, expected) <= most


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "change"),
    [
        ("odd.mkv", "ffv1", "bgr0", lambda frame: frame[:287, :359]),
        ("odd_planes.mkv", "ffv1", "yuv420p", lambda frame: frame[:287, :359]),
        ("grey_ten_bits.mkv", "ffv1", "gray10le", lambda frame: cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)),
        ("alpha.webm", "libvpx-vp9", "yuva420p", lambda frame: np.dstack([frame, OPAQUE])),
        ("png.mov", "png", "rgba", lambda frame: np.dstack([frame, OPAQUE])),
    ],
)
def test_odd_sizes_grey_and_transparent(tmp_path, name, codec, pixel_format, change):
    shown = [change(frame) for frame in moving_portrait(4)]
    if shown[0].shape[-1] == 4:
        for frame in shown:
            frame[:40, :40] = (200, 30, 30, 0)
    path = write_video(tmp_path / name, shown, codec=codec, pixel_format=pixel_format)
    for (_, frame), expected in zip(read_frames(path), shown, strict=True):
        expected = np.broadcast_to(expected.reshape(*expected.shape[:2], -1)[..., :3], (*expected.shape[:2], 3))
        assert frame.shape == expected.shape and difference(frame[:, 40:], expected[:, 40:]) < 4


TURNED = [(90,), (180,), (270,), (0, True), (0, False, True), (90, True), (270, False, True)]


@pytest.mark.parametrize(("name", "display"), [("turned.mkv", (90, True)), *(("turned.mp4", way) for way in TURNED)])
def test_any_way_up(tmp_path, name, display):
    degrees, mirrored, upside_down = (*display, False, False)[:3]
    stored = PORTRAIT[:, ::-1] if mirrored else PORTRAIT
    stored = stored[::-1] if upside_down else stored
    stored = np.rot90(stored, -degrees // 90)  # FFmpeg turns first and mirrors then
    path = write_video(tmp_path / name, [np.ascontiguousarray(stored)] * 2, display=display)
    for _, frame in read_frames(path):
        assert frame.shape == PORTRAIT.shape
        assert difference(frame, PORTRAIT) < 4


def combing(frame: np.ndarray) -> float:
    grey = frame.astype(float).mean(axis=-1)
    return float(np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean())


def test_interlaced_frames_are_deinterlaced(tmp_path):
    moments = [np.roll(PORTRAIT, 6 * index, axis=1) for index in range(20)]
    woven = [moment.copy() for moment in moments[::2]]
    for frame, later in zip(woven, moments[1::2], strict=True):
        frame[1::2] = later[1::2]
    path = write_video(tmp_path / "h264.mp4", woven, codec_options={"flags": "+ildct+ilme", "b": "8M"})
    times, frames = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, np.arange(10) / 25, atol=1e-3)
    for index, frame in enumerate(frames):
        assert combing(frame) < combing(PORTRAIT) < combing(woven[index]) / 4
        nearest = np.argmin([difference(frame, moment) for moment in moments])
        assert nearest in (2 * index, 2 * index + 1)  # one of the two moments, of this very frame


def test_a_stream_that_changes_its_size_keeps_the_first(tmp_path):
    parts = [
        write_video(tmp_path / "large.h264", moving_portrait(6)),
        write_video(tmp_path / "small.h264", [cv2.resize(frame, (180, 144)) for frame in moving_portrait(6)]),
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = [frame for _, frame in read_frames(path)]
    assert [frame.shape for frame in frames] == [(288, 360, 3)] * 12
    assert difference(frames[6], PORTRAIT) < 10


def test_pixels_are_made_square(tmp_path):
    path = write_video(tmp_path / "anamorphic.mp4", [PORTRAIT[:, ::2]], pixel_width=2)
    ((_, frame),) = read_frames(path)
    assert frame.shape == PORTRAIT.shape
    assert difference(frame, PORTRAIT) < 8


def test_a_single_frame(extractor, tmp_path):
    path = write_video(tmp_path / "one.mp4", [PORTRAIT])
    sequence = extractor.extract_video(path)
    assert (len(sequence), sequence.coverage, sequence.frame_rate) == (1, 1.0, 0.0)
    assert sequence.timestamps.tolist() == [0.0]


def test_what_is_longer_than_the_limit_is_refused_at_once(tmp_path):
    path = write_video(tmp_path / "long.mp4", [np.zeros((64, 64, 3), np.uint8)] * 60, frame_rate=1)
    for span in ({}, {"start": 5}, {"start": 5, "end": 50}):
        with pytest.raises(VideoError, match=r"long.mp4: the clip lasts \d+ seconds or more, .* max_seconds=30"):
            next(read_frames(path, max_seconds=30, **span))
    assert len(list(read_frames(path, start=10, end=40, max_seconds=30))) == 30
    assert len(list(read_frames(path, max_seconds=60))) == 60


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
    [({"start": 0.3, "end": 1}, "ends at about 0.28 s"), ({"start": 0.1, "end": 0.1}, "start must be")],
)
def test_spans_that_hold_nothing_say_why(extractor, portrait_video, span, reason):
    with pytest.raises(VideoError, match=reason):
        extractor.extract_video(portrait_video, **span)


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
    ("name", "codec", "options"),
    [
        ("h264.mp4", "libx264", {"bf": "0"}),
        ("mpeg2.ts", "mpeg2video", {}),
        pytest.param("hevc.mp4", "libx265", {"x265-params": "log-level=none"}, marks=pytest.mark.slow),
        pytest.param("av1.mp4", "libsvtav1", {"preset": "12"}, marks=pytest.mark.slow),
    ],
)
def test_what_is_corrupt_in_the_middle_is_named_with_the_time(tmp_path, name, codec, options):
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
