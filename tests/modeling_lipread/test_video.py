# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Video files of every kind to upright frames and their times; what is damaged is named with the place."""

import os
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from modeling_lipread.video_lipread import VideoError, read_frames, read_stream, video_seconds
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


def mirrored(turn: int = 0, sideways: bool = False, upside_down: bool = False) -> np.ndarray:
    """The portrait as it is stored to be shown by such a matrix: FFmpeg turns first and mirrors then."""
    stored = PORTRAIT[:, ::-1] if sideways else PORTRAIT
    return np.rot90(stored[::-1] if upside_down else stored, -turn // 90)


TRANSPARENT = np.dstack([PORTRAIT, np.full(PORTRAIT.shape[:2], 255, np.uint8)])
TRANSPARENT[:40, :40] = (200, 30, 30, 0)
GREY = cv2.cvtColor(PORTRAIT, cv2.COLOR_RGB2GRAY)
TURNED = [(90,), (180,), (270,), (0, True), (0, False, True), (90, True), (270, False, True)]
STORED = [  # by name, the picture that is stored, how, and how it is shown
    ("odd.mkv", PORTRAIT[:287, :359], {"codec": "ffv1", "pixel_format": "bgr0"}, PORTRAIT[:287, :359]),
    ("odd_planes.mkv", PORTRAIT[:287, :359], {"codec": "ffv1", "pixel_format": "yuv420p"}, PORTRAIT[:287, :359]),
    ("grey_ten_bits.mkv", GREY, {"codec": "ffv1", "pixel_format": "gray10le"}, np.dstack([GREY] * 3)),
    ("alpha.webm", TRANSPARENT, {"codec": "libvpx-vp9", "pixel_format": "yuva420p"}, PORTRAIT),
    ("png.mov", TRANSPARENT, {"codec": "png", "pixel_format": "rgba"}, PORTRAIT),
    ("anamorphic.mp4", PORTRAIT[:, ::2], {"pixel_width": 2}, PORTRAIT),
    ("turned.mkv", mirrored(90, True), {"display": (90, True)}, PORTRAIT),
    *(("turned.mp4", mirrored(*way), {"display": way}, PORTRAIT) for way in TURNED),
]


@pytest.mark.parametrize(("name", "stored", "settings", "shown"), STORED)
def test_pictures_are_upright_square_and_opaque_of_any_size(tmp_path, name, stored, settings, shown):
    path = write_video(tmp_path / name, [np.ascontiguousarray(stored)] * 2, **settings)
    for _, frame in read_frames(path):
        assert frame.shape == shown.shape and difference(frame[40:, 40:], shown[40:, 40:]) < 8


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


def test_a_long_video_is_sought_in_and_what_is_longer_than_the_limit_is_refused_at_once(tmp_path):
    shades = [np.full((64, 64, 3), 20 + 2 * second, np.uint8) for second in range(100)]
    for name in ("long.mp4", "long.mkv", "long.ts"):
        path = write_video(tmp_path / name, shades, frame_rate=1)
        times, frames = zip(*read_frames(path, start=90, end=93), strict=True)
        np.testing.assert_allclose(times, (0, 1, 2), atol=1e-6)
        np.testing.assert_allclose([frame.mean() for frame in frames], (200, 202, 204), atol=1.5)
    for span in ({}, {"start": 5}, {"start": 5, "end": 50}):
        with pytest.raises(VideoError, match=r"long.mp4: the clip lasts \d+ seconds or more, .* max_seconds=30"):
            next(read_frames(tmp_path / "long.mp4", max_seconds=30, **span))
    for end, count in ((40, 30), (None, 90)):
        assert len(list(read_frames(tmp_path / "long.mp4", start=10, end=end, max_seconds=count))) == count


def test_what_cannot_be_read_says_why(portrait_video, tmp_path):
    data = portrait_video.read_bytes()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])  # its table of contents, at the end, is gone
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "codec.mp4").write_bytes(data.replace(b"avc1", b"zzzz"))
    indexed = write_video(tmp_path / "indexed.mp4", moving_portrait(30), movflags="+faststart").read_bytes()
    (tmp_path / "half.mp4").write_bytes(indexed[: len(indexed) * 2 // 3])
    long = write_video(tmp_path / "whole.mkv", moving_portrait(90)).read_bytes()
    (tmp_path / "half.mkv").write_bytes(long[: len(long) // 2])
    write_song(tmp_path / "song.m4a")
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        "absent.mp4": "absent.mp4: .*no such file",
        "empty.mp4": "empty.mp4: .*empty",
        "cut.mp4": "cut.mp4: .*truncated",
        "noise.mp4": "noise.mp4: .*not a readable video",
        "codec.mp4": "codec is unknown here",
        "half.mp4": "half.mp4: .*truncated, its last frames are missing",
        "half.mkv": "half.mkv: .*truncated, its frames end at",
        "song.m4a": "song.m4a: .*no video stream",
        "pipe": "not a video file, but a folder, a pipe or a device",
        "": "not a video file, but a folder",
        os.devnull: "not a video file",
    }
    for name in ("picture1.jpg", "picture%d.jpg", "picture.png", "picture.mp4"):
        done, encoded = cv2.imencode(".png" if name.endswith("png") else ".jpg", PORTRAIT)
        (tmp_path / name).write_bytes(encoded.tobytes())
        reasons[name] = "not a video file"
    for address in ("https://example.org/clip.mp4", Path("rtsp://camera.local/front")):
        with pytest.raises(VideoError, match="no such file.*addresses are not read here"):
            next(read_frames(address))
    for name, reason in reasons.items():
        with pytest.raises(VideoError, match=reason):
            list(read_frames(tmp_path / name))
    for span, reason in (((0.3, 1), "ends at about 0.28 s"), ((0.1, 0.1), "start must be")):
        with pytest.raises(VideoError, match=reason):
            list(read_frames(portrait_video, *span))


@pytest.mark.parametrize("name", ["variable.mp4", "dropped_frames.avi"])
def test_times_are_the_streams_own(tmp_path, name):
    milliseconds = [0, 40, 120, 153, 220, 240, 300]
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_video(tmp_path / name, moving_portrait(7), milliseconds=milliseconds, codec=codec)
    np.testing.assert_allclose([time * 1000 for time, _ in read_frames(path)], milliseconds, atol=0.5)


MJPEG = {"codec": "mjpeg", "pixel_format": "yuvj420p"}


@pytest.mark.parametrize(
    ("name", "settings", "damage"),
    [
        ("broken.mp4", {"reorder": False}, without_durations),
        ("clip.avi", {}, lambda path: path),
        ("zero.avi", {"reorder": False, **MJPEG}, without_frame_rate),
    ],
)
def test_without_usable_timestamps_the_nominal_rate_counts(tmp_path, name, settings, damage):
    path = damage(write_video(tmp_path / name, moving_portrait(10), **settings))
    for start, count in ((None, 10), (0.2, 5)):
        times, _ = zip(*read_frames(path, start=start), strict=True)
        np.testing.assert_allclose(times, np.arange(count) / 25, atol=1e-6)


def corrupted(path: Path, second: float) -> Path:
    """Overwrites an eightieth of the file, which holds this second, with noise."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        origin = container.start_time / 1e6
        packets = [packet for packet in container.demux(stream) if packet.size]
        place = next(packet.pos for packet in packets if float(packet.pts * stream.time_base) - origin >= second)
    data = bytearray(path.read_bytes())
    length = len(data) // 80
    data[place : place + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(data)
    return path


def test_a_span_may_begin_anywhere_between_open_groups_of_pictures(tmp_path):
    options = {"g": "12", "x264-params": "open-gop=1:bframes=3"}
    path = write_video(tmp_path / "open.mp4", moving_portrait(75), codec_options=options)
    whole = [frame for _, frame in read_frames(path)]
    for first in (11, 12, 13, 30, 47):
        times, frames = zip(*read_frames(path, start=first / 25, end=(first + 3) / 25), strict=True)
        np.testing.assert_allclose(times, (0, 0.04, 0.08), atol=1e-3)
        np.testing.assert_array_equal(np.stack(frames), np.stack(whole[first : first + 3]))


@pytest.mark.parametrize(
    ("name", "codec", "options", "lost"),
    [
        ("start.mp4", "libx264", {"bf": "0"}, [(0.0, 1.0)]),
        ("twice.mp4", "libx264", {"bf": "0"}, [(1.2, 2.0), (2.4, 3.0)]),
        ("end.mp4", "mpeg4", {}, [(3.2, 4.0)]),
        ("clip.avi", "mpeg4", {}, [(1.2, 2.0)]),
        ("mpeg2.ts", "mpeg2video", {}, [(2.1, 3.0)]),
        pytest.param("hevc.mp4", "libx265", {"x265-params": "log-level=none"}, [(2.0, 3.0)], marks=pytest.mark.slow),
        pytest.param("av1.mp4", "libsvtav1", {"preset": "12"}, [(2.0, 3.0)], marks=pytest.mark.slow),
    ],
)
def test_damage_is_named_with_its_time_and_what_is_intact_is_read(tmp_path, name, codec, options, lost):
    """Damage reaches to the next key frame; these are a second apart."""
    path = write_video(tmp_path / name, moving_portrait(100), codec=codec, codec_options={"g": "25", **options})
    whole = {round(time, 3): frame for time, frame in read_frames(path)}
    assert len(whole) == 100
    for begin, _ in lost:
        corrupted(path, begin)
    begin = lost[0][0]
    if begin > 0:
        with pytest.raises(VideoError, match=f"{name}: the video is corrupt at about .* seconds; copy or") as error:
            list(read_frames(path))
        assert begin - 0.4 < float(str(error.value).split("about ")[1].split()[0]) < begin + 0.3
        with pytest.raises(VideoError, match="corrupt at about"):
            list(read_frames(path, start=begin - 0.5, end=begin + 1.5))
        assert len(list(read_frames(path, end=begin - 0.5))) == np.ceil(25 * (begin - 0.5) - 1e-6)
    if lost[-1][1] == 3.0:
        assert len(list(read_frames(path, start=3.2))) == 20
    read = list(read_frames(path, skip_damage=True))
    times = [time for time, _ in read]
    assert times == sorted(set(times))
    begins = [(time, read[index + 1][0]) for index, (time, frame) in enumerate(read[:-1]) if frame is None]
    np.testing.assert_allclose(begins, lost, atol=0.17)
    intact = [(time, frame) for time, frame in read if frame is not None]
    assert len(intact) > 40
    if name != "clip.avi":  # which counts its frames in place of times
        assert all(np.array_equal(frame, whole[round(time, 3)]) for time, frame in intact)


def test_a_truncated_file_is_read_to_its_end(tmp_path):
    for name, options in (("cut.mp4", {"movflags": "+faststart"}), ("cut.mkv", {})):
        path = write_video(tmp_path / name, moving_portrait(100), codec_options={"g": "25"}, **options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        *read, (begin, nothing), (end, no_frame) = read_frames(path, skip_damage=True)
        assert len(read) > 40 and nothing is None is no_frame
        assert begin == pytest.approx(read[-1][0], abs=0.05) and end == pytest.approx(4.0, abs=0.15)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.ts", "clip.nut", "clip.asf", "wraps.ts"])
def test_a_file_that_begins_late_is_read_like_one_that_begins_at_zero(tmp_path, name):
    start = round(1000 * 2**33 / 90_000) - 1500 if name == "wraps.ts" else 60_000
    codec = {".webm": "libvpx", ".asf": "mpeg4"}.get(Path(name).suffix, "libx264")
    options = {"g": "25"} | ({"deadline": "realtime"} if codec == "libvpx" else {})
    path, moments = tmp_path / name, [start + 40 * index for index in range(75)]
    write_video(path, moving_portrait(75), milliseconds=moments, codec=codec, codec_options=options)
    for span, count in (({"max_seconds": 10}, 75), ({"start": 1, "end": 2}, 25)):
        times = [time for time, _ in read_frames(path, **span)]
        np.testing.assert_allclose(times, np.arange(count) / 25, atol=2e-3)
    assert video_seconds(path) == pytest.approx(3.0, abs=0.1) or name == "clip.asf"
    if name == "clip.mkv":  # what is missing is still noticed
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(VideoError, match=r"truncated, its frames end at \S+ of 3.00 seconds"):
            list(read_frames(path))


def test_joined_recordings_have_one_clock(tmp_path):
    data = b""
    for start in (500_000, 3000, 800_000):
        path = tmp_path / "part.ts"
        write_video(path, moving_portrait(25), milliseconds=[start + 40 * index for index in range(25)])
        data += path.read_bytes()
    path.write_bytes(data)
    times = [time for time, frame in read_frames(path, skip_damage=True) if frame is not None]
    assert len(times) > 65 and times[-1] == pytest.approx(74 / 25, abs=0.1)


@pytest.mark.parametrize("encoding", ["latin-1", "shift-jis"])
@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
def test_tags_of_any_encoding(tmp_path, suffix, encoding):
    path = tmp_path / f"clip.{suffix}"
    title = {"latin-1": "Gespräch", "shift-jis": "会話"}[encoding]
    with av.open(str(path), "w", metadata_encoding=encoding) as container:
        container.metadata["title"] = title
        stream = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        stream.metadata["title"] = title
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())
    assert title.encode(encoding) in path.read_bytes()
    assert len(list(read_frames(path))) == 3


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "endless hls": "#EXTM3U\n#EXT-X-TARGETDURATION:3600\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{clip}\n",
    "concat": "ffconcat version 1.0\nfile {clip}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash": "<?xml version='1.0'?><MPD><Period><BaseURL>{clip}</BaseURL></Period></MPD>",
    "text": "\ufeffbin blue at f two now\n" * 99,
}


@pytest.mark.parametrize("suffix", ["m3u8", "mp4", "ffconcat", "sdp", "txt"])
@pytest.mark.parametrize("content", PLAYLISTS)
def test_what_names_other_files_is_refused_by_any_name(tmp_path, content, suffix):
    write_video(tmp_path / "clip.ts", moving_portrait(4))
    path = tmp_path / f"upload.{suffix}"
    path.write_text(PLAYLISTS[content].format(clip="clip.ts"), encoding="utf-8")
    with pytest.raises(VideoError, match=f"upload.{suffix}: not a video file, .*playlists"):
        list(read_frames(path))


def test_a_stream_is_decoded_like_a_file(tmp_path, server):
    woven = [np.where(np.arange(288)[:, None, None] % 2, np.roll(frame, 9, 1), frame) for frame in moving_portrait(6)]
    turned = [np.ascontiguousarray(np.rot90(frame, -1)) for frame in moving_portrait(6)]
    narrow = [frame[:, ::2] for frame in moving_portrait(6)]
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    write_video(tmp_path / "turned.mp4", turned, display=(90, True), **fragments)
    write_video(tmp_path / "narrow.mp4", narrow, pixel_width=2, **fragments)
    write_video(tmp_path / "woven.ts", woven, codec_options={"flags": "+ildct+ilme", "b": "8M"})
    write_video(tmp_path / "damaged.ts", moving_portrait(100), codec_options={"g": "25"})
    corrupted(tmp_path / "damaged.ts", 2.1)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nwoven.ts\n#EXT-X-ENDLIST\n")
    for name in ("turned.mp4", "narrow.mp4", "woven.ts", "damaged.ts", "list.m3u8"):
        file = name.replace("list.m3u8", "woven.ts")
        by_path, by_address = read_frames(tmp_path / file, skip_damage=True), read_stream(f"{server}/{name}", 10.0)
        for (time, expected), (when, frame) in zip(by_path, by_address, strict=True):
            assert when == pytest.approx(time, abs=1e-3) and np.array_equal(frame, expected)


def test_a_stream_reads_no_file(tmp_path, server):
    clip = write_video(tmp_path / "clip.ts", moving_portrait(4))
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip.as_uri()}\n")
    for address in (f"{server}/list.m3u8", f"{server}/none.ts", clip.as_uri(), f"concat:{clip.as_uri()}"):
        with pytest.raises(VideoError):
            next(read_stream(address, 2.0))


def test_a_quicktime_file_reads_no_frames_of_another(tmp_path):
    """Its data reference, `alis` in place of `url `, is made to name a file beside it."""
    data = bytearray(write_video(tmp_path / "other.mov", moving_portrait(4)).read_bytes())
    name = b"other.mov\0"
    names = bytes(10) + b"\3" + b"vol".ljust(27, b"\0") + bytes(12) + b"\x0a" + name.ljust(63, b"\0") + bytes(16)
    names += struct.pack(">HH16xHH10sHH", 1, 1, 2, 10, name, 0xFFFF, 0)
    entry = struct.pack(">I4sI", 12 + len(names), b"alis", 0) + names
    place = data.index(b"dref") + 12
    data[place : place + 12] = entry
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        size = data.index(box) - 4
        struct.pack_into(">I", data, size, struct.unpack_from(">I", data, size)[0] + len(entry) - 12)
    (tmp_path / "clip.mov").write_bytes(data)
    with av.open(str(tmp_path / "clip.mov"), options={"enable_drefs": "1"}) as container:
        assert len(list(container.decode(video=0))) == 4
    with pytest.raises(VideoError, match="no frame can be decoded: all are damaged, or in another file"):
        list(read_frames(tmp_path / "clip.mov"))
