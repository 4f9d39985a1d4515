# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Manifests: what is read, what is refused and how the refusal reads."""

import json

import pytest

from data.sources.manifest import LONGEST_LINE, read_manifest
from data.sources.records import SourceError, Word
from tests.helpers.corpora import fill


@pytest.fixture
def folder(tmp_path):
    """A folder of media, beside which lies a file that no manifest in it should name."""
    names = ("corpus/media/a.mp4", "corpus/media/b.mp4", "corpus/media/c.npy", "outside.mp4")
    folder = fill(tmp_path, dict.fromkeys(names)) / "corpus"
    for name, target in (("leads_out", "../../outside"), ("leads_in", "a"), ("round", "round")):
        (folder / "media" / f"{name}.mp4").symlink_to(f"{target}.mp4")
    (folder / "out").symlink_to(tmp_path)
    return folder


def write(folder, *lines, name="videos.jsonl", end="\n", start=b""):
    path = folder / name
    lines = [line if isinstance(line, (str, bytes)) else json.dumps(line, ensure_ascii=False) for line in lines]
    encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(start + end.encode().join(encoded) + end.encode())
    return path


VIDEO = {"video": "media/a.mp4", "text": "good day"}
TIMED = [{"word": "good", "start": 0, "end": 0.5}, {"word": "day", "start": 0.5, "end": 1}]
EVERY_KEY = {"video": "media/a.mp4", "text": " góðan dag ", "start": 1, "end": 2.5, "speaker": 7, "id": "one"}
GOOD_LINES = [
    (EVERY_KEY, {"where": "videos.jsonl line 1", "line": 1, "id": "one", "text": "góðan dag", "speaker": "7"}),
    (EVERY_KEY, {"start": 1.0, "end": 2.5, "is_landmarks": False, "source": "media/a.mp4", "alignment": None}),
    ({"kp_path": "media/c.npy", "text": "x", "fps": 30}, {"id": "media/c", "is_landmarks": True, "frame_rate": 30.0}),
    (VIDEO, {"id": "media/a", "frame_rate": 25.0}),
    (VIDEO | {"start": 2.5}, {"id": "media/a_2.500-end"}),
    (VIDEO | {"start": 2.5, "end": 4}, {"id": "media/a_2.500-4.000"}),
    (VIDEO | {"words": TIMED, "align": "no.align"}, {"words": (Word("good", 0, 0.5), Word("day", 0.5, 1))}),
    (VIDEO | {"words": TIMED, "align": "no.align"}, {"alignment": None, "notes": ()}),
    # Any script is kept, and characters that show nothing are taken out.
    *(
        (VIDEO | dict.fromkeys(("text", "speaker", "id"), written), dict.fromkeys(("text", "speaker", "id"), read))
        for written, read in (
            # Persian, with the non-joiner it is spelled with.
            ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,
            ("e\u0301te\u0301 \U00010330\U0001033f \u0664\u0662",) * 2,  # decomposed accents, 17 bits, Arabic digits
            ("one\ttwo\r\nthree", "one two three"),
            ("be\x07ll \x1b[31mred\x9b", "bell [31mred"),
            ("zero\u200bwidth\ufeff soft\u00adhyphen", "zerowidth softhyphen"),
            ("\u202eeno\u202c \u2066two\u2069\u200f", "eno two"),
            ("wide\u3000 \u00a0space", "wide space"),
        )
    ),
]


@pytest.mark.parametrize(("line", "expected"), GOOD_LINES)
def test_what_is_read_of_a_line(folder, line, expected):
    (record,), skips = read_manifest(write(folder, line))
    assert skips == [] and {name: getattr(record, name) for name in expected} == expected
    (aligned,), _ = read_manifest(write(folder, {**line, "words": None, "align": "a.align"}))
    assert (aligned.media.parent, aligned.alignment) == (folder / "media", folder / "a.align")


@pytest.mark.parametrize(
    "words", [5, [5], "ab", [{"word": "x"}], [{"word": "x", "start": 1, "end": float("nan")}], TIMED[::-1]]
)
def test_a_clip_with_bad_words_is_kept_without_them(folder, words):
    (record,), skips = read_manifest(write(folder, VIDEO | {"words": words}))
    assert (skips, record.words) == ([], ()) and "no word times" in record.notes[0]


def test_byte_order_mark_crlf_and_blank_lines(folder):
    lines = [{"video": "media/a.mp4", "text": "one"}, "", {"video": "media/b.mp4", "text": "two\u2028lines"}]
    records, skips = read_manifest(write(folder, *lines, end="\r\n", start=b"\xef\xbb\xbf"))
    assert skips == []
    assert [(record.line, record.text) for record in records] == [(1, "one"), (3, "two lines")]


BAD_LINES = [
    ("{", "not JSON"),
    (b'{"text": "caf\xe9"}', "not UTF-8"),
    ("[1, 2]", "a JSON list in place of an object"),
    ({"video": "media/a.mp4"}, '"text" is missing'),
    (VIDEO | {"text": 5}, '"text" is missing or no text'),
    (VIDEO | {"text": " \t"}, "the transcript is empty"),
    (VIDEO | {"text": "\u200b\u202e\x07\ufeff"}, "the transcript is empty"),
    (VIDEO | {"text": "\u266a ... \U0001f3b5"}, "neither letter nor digit"),
    ('{"video": "media/a.mp4", "text": "\\ud800"}', "surrogate"),
    ({"text": "x"}, 'needs one of "video" and "kp_path"'),
    (VIDEO | {"kp_path": "media/c.npy"}, "not both"),
    (VIDEO | {"video": 3}, '"video" is 3'),
    (VIDEO | {"video": "media/no.mp4"}, "media/no.mp4 is no file; paths are relative to"),
    (VIDEO | {"video": "media"}, "media is no file"),
    (VIDEO | {"video": "a" * 5000}, "is no file"),
    (VIDEO | {"start": 3, "end": 3}, '"start" 3 is not before "end" 3'),
    (VIDEO | {"start": -1}, '"start" is -1'),
    (VIDEO | {"start": "0:30"}, "\"start\" is '0:30'"),
    ('{"text": "x", "video": "media/a.mp4", "start": NaN}', '"start" is nan'),
    ('{"text": "x", "video": "media/a.mp4", "end": Infinity}', '"end" is inf'),
    ('{"text": "x", "video": "media/a\\u0000.mp4"}', "write the path of a file"),
    (VIDEO | {"video": "/dev/null"}, "give --allow_outside"),
    (VIDEO | {"video": "media/leads_out.mp4"}, "a symbolic link counts by where it leads"),
    (VIDEO | {"align": "../outside.align"}, "../outside.align lies outside the folder"),
    (VIDEO | {"video": "media/round.mp4"}, "is no file"),
    ('{"text": "x", "video": "media/a.mp4", "end": 1%s}' % ("0" * 400), '"end" is 1000'),
    ('{"text": "x", "video": "media/a.mp4", "end": 1%s}' % ("0" * 5000), "not JSON"),
    ("[" * 100_000, "not JSON"),
    ({"text": "x", "kp_path": "media/c.npy", "fps": 0}, '"fps" is 0'),
    (VIDEO | {"id": ["a"]}, "\"id\" is ['a']"),
    (b'{"text": "' + b"x" * (LONGEST_LINE + 5) + b'"}', "longer than 16 MiB"),  # which does not fill the memory
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_a_bad_line_is_skipped_by_name(folder, line, reason):
    good = {"video": "media/a.mp4", "text": "fine", "id": "good"}
    records, (skip,) = read_manifest(write(folder, good, line))
    assert [record.id for record in records] == ["good"]
    assert skip.where == "videos.jsonl line 2"
    assert reason in skip.reason


def test_paths_inside_however_written_and_outside_where_they_are_allowed(folder, monkeypatch):
    inside = ["media/a.mp4", "./media/../media/b.mp4", str(folder / "media" / "b.mp4"), "media/leads_in.mp4"]
    outside = ["../outside.mp4", str(folder.parent / "outside.mp4"), "media/leads_out.mp4", "out/outside.mp4"]
    lines = [{"video": path, "text": "x", "id": str(index)} for index, path in enumerate([*inside, *outside])]
    records, skips = read_manifest(write(folder, *lines))
    assert [record.source for record in records] == inside and len(skips) == 4
    for stand, manifest in ((folder, "videos.jsonl"), (folder / "media", "../videos.jsonl")):
        monkeypatch.chdir(stand)
        records, skips = read_manifest(manifest)
        assert [record.media.is_file() for record in records] == [True] * 4
        assert "../outside.mp4 lies outside" in skips[0].reason and len(skips) == 4
    records, skips = read_manifest(write(folder, *lines[4:]), allow_outside=True)
    assert [record.source for record in records] == outside and skips == []
    assert {record.segment for record in records} == {(str(folder.parent / "outside.mp4"), None, None)}


def test_manifests_without_a_usable_line(folder):
    line = "\ufeff" + json.dumps({"video": "media/a.mp4", "text": "x"})
    utf_16 = "the manifest is in UTF-16; save it as UTF-8"
    for name, content, message in (
        ("a.jsonl", b"\n", "no usable line"),
        ("b.jsonl", b'{"video": "media/a.mp4"}', r"no usable line \(1 unusable\).*b.jsonl line 1: .*missing"),
        ("c.jsonl", line.encode("utf-16-le"), utf_16),
        ("d.jsonl", line.encode("utf-16-be"), utf_16),
    ):
        (folder / name).write_bytes(content)
        with pytest.raises(SourceError, match=f"(?s){name}: .*{message}"):
            read_manifest(folder / name)


def test_skips_stand_in_the_order_of_the_file(folder):
    good = {"video": "media/a.mp4", "text": "x", "id": "a"}
    _, skips = read_manifest(write(folder, good, good, "{", good, "[]", {**good, "id": "b"}, good))
    assert [skip.where for skip in skips] == [f"videos.jsonl line {line}" for line in (2, 3, 4, 5, 7)]
    assert {skip.reason.split(";")[0] for skip in skips[0::2]} == {"the id already stands in videos.jsonl line 1"}
