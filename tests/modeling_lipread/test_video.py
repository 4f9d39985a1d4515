# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video files of every kind to upright frames and their times; what is damaged is named with the place."""

import cv2
import numpy as np
import pytest

from modeling_lipread.video_lipread import VideoError, read_frames
from tests.helpers.clips import PORTRAIT, moving_portrait, write_video


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


def odd(frame):
    return frame[:287, :359]


def grey(frame):
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def transparent(frame):
    return np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "change"),
    [
        ("odd.mkv", "ffv1", "bgr0", odd),
        ("odd_planes.mkv", "ffv1", "yuv420p", odd),
        ("odd.mp4", "libx264", "yuv444p", odd),
        ("grey.mkv", "ffv1", "gray", grey),
        ("grey_ten_bits.mkv", "ffv1", "gray10le", grey),
        ("alpha.webm", "libvpx-vp9", "yuva420p", transparent),
        ("png.mov", "png", "rgba", transparent),
        ("prores.mov", "prores_ks", "yuva444p10le", transparent),
    ],
)
def test_odd_sizes_grey_and_transparent(extractor, tmp_path, name, codec, pixel_format, change):
    shown = [change(frame) for frame in moving_portrait(4)]
    if change is transparent:
        for frame in shown:
            frame[:40, :40] = (200, 30, 30, 0)
    path = write_video(tmp_path / name, shown, codec=codec, pixel_format=pixel_format)
    for (_, frame), expected in zip(read_frames(path), shown, strict=True):
        expected = np.broadcast_to(expected.reshape(*expected.shape[:2], -1)[..., :3], (*expected.shape[:2], 3))
        assert frame.shape == expected.shape and difference(frame[:, 40:], expected[:, 40:]) < 4
    assert extractor.extract_video(path).coverage == 1.0


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


@pytest.mark.parametrize(("name", "codec"), [("h264.mp4", "libx264"), ("mpeg2.ts", "mpeg2video")])
def test_interlaced_frames_are_deinterlaced(extractor, tmp_path, name, codec):
    moments = [np.roll(PORTRAIT, 6 * index, axis=1) for index in range(20)]
    woven = [moment.copy() for moment in moments[::2]]
    for frame, later in zip(woven, moments[1::2], strict=True):
        frame[1::2] = later[1::2]
    path = write_video(tmp_path / name, woven, codec=codec, codec_options={"flags": "+ildct+ilme", "b": "8M"})
    times, frames = zip(*read_frames(path), strict=True)
    np.testing.assert_allclose(times, np.arange(10) / 25, atol=1e-3)
    for index, frame in enumerate(frames):
        assert combing(frame) < combing(PORTRAIT) < combing(woven[index]) / 4
        nearest = np.argmin([difference(frame, moment) for moment in moments])
        assert nearest in (2 * index, 2 * index + 1)  # one of the two moments, of this very frame
    times, _ = zip(*read_frames(path, start=0.2, end=0.3), strict=True)
    np.testing.assert_allclose(times, (0, 0.04, 0.08), atol=1e-3)
    assert extractor.extract_video(path).coverage == 1.0


def test_a_stream_that_changes_its_size_keeps_the_first(extractor, tmp_path):
    parts = [
        write_video(tmp_path / "large.h264", moving_portrait(6)),
        write_video(tmp_path / "small.h264", [cv2.resize(frame, (180, 144)) for frame in moving_portrait(6)]),
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = [frame for _, frame in read_frames(path)]
    assert [frame.shape for frame in frames] == [(288, 360, 3)] * 12
    assert difference(frames[6], PORTRAIT) < 10
    sequence = extractor.extract_video(path)
    assert sequence.coverage == 1.0
    np.testing.assert_allclose(sequence.keypoints[6], sequence.keypoints[0], atol=6)


def test_pixels_are_made_square(tmp_path):
    path = write_video(tmp_path / "anamorphic.mp4", [PORTRAIT[:, ::2]], pixel_width=2)
    ((_, frame),) = read_frames(path)
    assert frame.shape == PORTRAIT.shape
    assert difference(frame, PORTRAIT) < 8
    path = write_video(tmp_path / "nonsense.mkv", [PORTRAIT], pixel_width=5000, codec="mpeg4")
    ((_, frame),) = read_frames(path)
    assert frame.shape == PORTRAIT.shape


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
    path = write_video(tmp_path / "long.h264", [np.zeros((64, 64, 3), np.uint8)] * 60)  # does not say how long it is
    read = []
    with pytest.raises(VideoError, match="the clip lasts 1 seconds or more, the limit is max_seconds=1"):
        for item in read_frames(path, max_seconds=1):
            read.append(item)
    assert len(read) == 25
