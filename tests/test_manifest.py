# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Manifests: what is read, what is refused and how the refusal reads."""

import json

import pytest

from data.corpora.grid import AlignmentError, read_alignment
from data.manifest import ManifestError, read_manifest, split_records


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "media").mkdir()
    for name in ("a.mp4", "b.mp4", "c.npy"):
        (tmp_path / "media" / name).write_bytes(b"content is not looked at here")
    return tmp_path


def write(folder, *lines, name="videos.jsonl", end="\n", start=b""):
    path = folder / name
    lines = [line if isinstance(line, (str, bytes)) else json.dumps(line, ensure_ascii=False) for line in lines]
    encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(start + end.encode().join(encoded) + end.encode())
    return path


def test_every_key_of_a_line(folder):
    line = {
        "video": "media/a.mp4",
        "text": " góðan dag ",
        "start": 1,
        "end": 2.5,
        "speaker": 7,
        "id": "one",
        "align": "a.align",
    }
    (record,), skips = read_manifest(write(folder, line))
    assert skips == []
    assert (record.manifest, record.line, record.id, record.text) == ("videos.jsonl", 1, "one", "góðan dag")
    assert (record.start, record.end, record.speaker, record.is_landmarks) == (1.0, 2.5, "7", False)
    assert record.media == folder / "media" / "a.mp4" and record.source == "media/a.mp4"
    assert record.alignment == folder / "a.align"


def test_landmark_lines_and_default_ids(folder):
    records, _ = read_manifest(
        write(
            folder,
            {"kp_path": "media/c.npy", "text": "x", "fps": 30},
            {"video": "media/a.mp4", "text": "y"},
            {"video": "media/a.mp4", "text": "z", "start": 2.5},
            {"video": "media/a.mp4", "text": "w", "start": 2.5, "end": 4},
        )
    )
    assert [record.id for record in records] == [
        "media/c",
        "media/a",
        "media/a_2.500-end",
        "media/a_2.500-4.000",
    ]
    assert [record.is_landmarks for record in records] == [True, False, False, False]
    assert [record.frame_rate for record in records] == [30.0, 25.0, 25.0, 25.0]


def test_byte_order_mark_crlf_and_blank_lines(folder):
    path = write(
        folder,
        {"video": "media/a.mp4", "text": "one"},
        "",
        {"video": "media/b.mp4", "text": "two\u2028lines"},
        end="\r\n",
        start=b"\xef\xbb\xbf",
    )
    records, skips = read_manifest(path)
    assert skips == []
    assert [(record.line, record.text) for record in records] == [(1, "one"), (3, "two\u2028lines")]


BAD_LINES = [
    ("{", "not JSON"),
    (b'{"text": "caf\xe9"}', "not UTF-8"),
    ("[1, 2]", "a JSON list in place of an object"),
    ({"video": "media/a.mp4"}, '"text" is missing or empty'),
    ({"video": "media/a.mp4", "text": " \t"}, '"text" is missing or empty'),
    ({"video": "media/a.mp4", "text": 5}, '"text" is missing or empty'),
    ('{"video": "media/a.mp4", "text": "\\ud800"}', "surrogate"),
    ({"text": "x"}, 'needs one of "video" and "kp_path"'),
    ({"text": "x", "video": "media/a.mp4", "kp_path": "media/c.npy"}, "not both"),
    ({"text": "x", "video": 3}, '"video" is 3'),
    ({"text": "x", "video": "media/no.mp4"}, '"video" media/no.mp4 is no file'),
    ({"text": "x", "video": "media"}, '"video" media is no file'),
    ({"text": "x", "video": "a" * 5000}, "is no file"),
    ({"text": "x", "video": "media/a.mp4", "start": 3, "end": 3}, '"start" 3 is not before "end" 3'),
    ({"text": "x", "video": "media/a.mp4", "end": 0}, 'not before "end" 0'),
    ({"text": "x", "video": "media/a.mp4", "start": -1}, '"start" is -1'),
    ({"text": "x", "video": "media/a.mp4", "start": "0:30"}, "\"start\" is '0:30'"),
    ('{"text": "x", "video": "media/a.mp4", "start": NaN}', '"start" is nan'),
    ('{"text": "x", "video": "media/a.mp4", "end": 1%s}' % ("0" * 400), "beyond any number"),
    ('{"text": "x", "video": "media/a.mp4", "end": 1%s}' % ("0" * 5000), "not JSON"),
    ("[" * 100_000, "not JSON"),
    ({"text": "x", "kp_path": "media/c.npy", "fps": 0}, '"fps" is 0'),
    ({"text": "x", "video": "media/a.mp4", "id": ["a"]}, "\"id\" is ['a']"),
    ({"text": "x", "video": "media/b.mp4", "id": "good"}, "the id already stands in line 1"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_a_bad_line_is_skipped_by_name(folder, line, reason):
    good = {"video": "media/a.mp4", "text": "fine", "id": "good"}
    records, (skip,) = read_manifest(write(folder, good, line))
    assert [record.id for record in records] == ["good"]
    assert skip.where == "videos.jsonl line 2"
    assert reason in skip.reason


def test_manifests_without_a_usable_line(folder):
    with pytest.raises(ManifestError, match="no.jsonl: cannot read the manifest"):
        read_manifest(folder / "no.jsonl")
    with pytest.raises(ManifestError, match="no usable line"):
        read_manifest(write(folder, ""))
    with pytest.raises(ManifestError, match=r"(?s)no usable line \(1 unusable\).*videos.jsonl line 1: .*missing"):
        read_manifest(write(folder, {"video": "media/a.mp4"}))


def test_split_is_deterministic_and_ignores_the_order():
    records = [{"text": f"text {index}", "kp_path": f"{index}.npy"} for index in range(100)]
    train, validation = split_records(records, 0.1, seed=1)
    assert (len(train), len(validation)) == (90, 10)
    assert sorted(map(str, train + validation)) == sorted(map(str, records))
    assert [record for record in records if record in train] == train
    again = split_records(records[::-1], 0.1, seed=1)
    assert again == (train[::-1], validation[::-1])
    assert split_records(records, 0.1, seed=2)[1] != validation
    # Frozen: the same clips on every machine and in every version, or figures could not be compared.
    assert [record["text"] for record in validation][:3] == FIRST_VALIDATION_TEXTS


FIRST_VALIDATION_TEXTS = ["text 8", "text 9", "text 20"]


@pytest.mark.parametrize(
    ("count", "ratio", "sizes"),
    [(2, 0.1, (1, 1)), (1, 0.5, (1, 0)), (10, 0.0, (10, 0)), (3, 0.99, (1, 2)), (0, 0.1, (0, 0))],
)
def test_split_sizes(count, ratio, sizes):
    train, validation = split_records([{"id": index} for index in range(count)], ratio)
    assert (len(train), len(validation)) == sizes


@pytest.mark.parametrize("ratio", [-0.1, 1.0, float("nan")])
def test_split_refuses_other_ratios(ratio):
    with pytest.raises(ValueError, match="val_ratio"):
        split_records([{"id": "a"}], ratio)


def test_grid_alignment(tmp_path):
    path = tmp_path / "clip.align"
    path.write_text("0 25000 sil\n25000 37500 bin\n37500 50000 sp\n50000 75000 blue\n\n")
    assert read_alignment(path) == [
        {"word": "bin", "start": 1.0, "end": 1.5},
        {"word": "blue", "start": 2.0, "end": 3.0},
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"0 bin\n", "line 1: expected"),
        (b"0 x bin\n", "line 1: expected"),
        (b"0 10 bin\n5 20 blue\n", "line 2: times run backwards"),
        (b"0 10 sil\n", "no word"),
        (b"\xff\xfe", "cannot read"),
    ],
)
def test_bad_grid_alignments(tmp_path, content, reason):
    path = tmp_path / "clip.align"
    path.write_bytes(content)
    with pytest.raises(AlignmentError, match=reason):
        read_alignment(path)
    with pytest.raises(AlignmentError, match="cannot read"):
        read_alignment(tmp_path / "no.align")
