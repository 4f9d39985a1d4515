# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""GRID, TIMIT's likes, LRS and plain folders: texts, speakers, word times, splits, and what is left out and why."""

from data.corpora import read_alignment
from data.sources.manifest import read_manifest
from data.sources.records import Word
from tests.helpers.corpora import fill, read


def by_id(folder, format):
    clips, skipped = read(folder, format=format)
    return {clip.id: clip for clip in clips}, skipped


ALIGN = "0 12500 sil\n12500 25000 bin\n25000 30000 blue\n30000 31000 sp\n31000 35000 at\n35000 40000 f\n"


def test_grid(tmp_path):
    videos = ["video/s1/bbaf2n.MPG", "video/s2/mpg_6000/bbaf2n.mpg", "s3.mpg_vcd/lwbs9a.mpg", "s4/holiday.mpg"]
    videos += ["s5/sbbbzn.mpg", "s5/a/sbbbzn.mp4", "s5/prwx3s.mp4"]
    aligned = {"align/s1/bbaf2n.align": ALIGN, "align/s2/bbaf2n.align": ALIGN, "s4/brwg8p.align": ALIGN}
    aligned |= {"s3.mpg_vcd/align/lwbs9a.align": "0 10 lay\n5 20 white\n", "s5/align/prwx3s.align": "0 10 sil\n"}
    clips, skipped = by_id(fill(tmp_path / "grid", dict.fromkeys(videos) | aligned), "grid")
    words = [Word("bin", 0.5, 1.0), Word("blue", 1.0, 1.2), Word("at", 1.24, 1.4), Word("f", 1.4, 1.6)]
    assert {id: (clip.text, clip.speaker, list(clip.words)) for id, clip in clips.items()} == {
        "video/s1/bbaf2n": ("bin blue at f", "s1", words),
        "video/s2/mpg_6000/bbaf2n": ("bin blue at f", "s2", words),
    }
    assert skipped == {
        "s3.mpg_vcd/lwbs9a.mpg": "s3.mpg_vcd/align/lwbs9a.align line 2: times run backwards in '5 20 white'",
        "s4/holiday.mpg": "no .align of that speaker and name",
        "s4/brwg8p.align": "no video of that speaker and name",
        "s5/sbbbzn.mpg": "stands beside s5/a/sbbbzn.mp4; keep one of them",
        "s5/prwx3s.mp4": "s5/align/prwx3s.align: the alignment holds no word",
    }


def test_the_real_grid_folder_reads_as_its_manifests_do(grid_dir):
    corpus, skipped = by_id(grid_dir, "grid")
    assert skipped == {}
    records = [record for path in sorted(grid_dir.glob("*.jsonl")) for record in read_manifest(path)[0]]
    assert sorted(corpus) == sorted(record.source.removesuffix(".mp4") for record in records)
    for record in records:
        clip = corpus[record.source.removesuffix(".mp4")]
        assert (clip.text, clip.speaker, clip.notes) == (record.text, record.speaker, ())
        assert list(clip.words) == read_alignment(record.alignment)


def test_timit(tmp_path):
    camera, lips = "TEST/volunteers/01M/Clips/straightcam/sx2", "TEST/lipspeakers/Lipspkr1/Clips/30degcam/sx3"
    videos = ["TRAIN/DR1/FABC0/SX1.MP4", f"{camera}.mp4", f"{lips}.mp4", "TEST/mabc1/sx4.mp4", "TEST/mabc1/sx5.mp4"]
    told = {
        "TRAIN/DR1/FABC0/SX1.TXT": "0 32000 The tide comes in at seven.\n",
        "TRAIN/DR1/FABC0/SX1.WRD": "1600 4800 the\n4800 9600 tide\n9500 16000 comes\n",
        "TRAIN/DR1/FABC0/SX1.PHN": "0 1600 h#\n1600 3200 dh\n",
        f"{camera}.txt": "4 5 people came to 7 9 Mill Lane",
        f"{lips}.wrd": "0 8000 seven\n8000 16000 boats\n",
        "TEST/mabc1/sx4.txt": "Nobody knew the way.",
        "TEST/mabc1/sx4.wrd": "0 0.5 nobody\n",
        "TEST/mabc1/sx5.phn": "0 1600 h#\n",
        "TEST/mabc1/sx6.txt": "0 100 Nothing to see.",
    }
    clips, skipped = by_id(fill(tmp_path / "timit", dict.fromkeys(videos) | told), "timit")
    words = (Word("the", 0.1, 0.3), Word("tide", 0.3, 0.6), Word("comes", 9500 / 16000, 1.0))
    boats = (Word("seven", 0.0, 0.5), Word("boats", 0.5, 1.0))
    assert {id: (clip.text, clip.speaker, clip.split, clip.words) for id, clip in clips.items()} == {
        "TRAIN/DR1/FABC0/SX1": ("The tide comes in at seven.", "FABC0", "train", words),
        camera: ("people came to 7 9 Mill Lane", "01M", "test", ()),
        lips: ("seven boats", "Lipspkr1", "test", boats),
        "TEST/mabc1/sx4": ("Nobody knew the way.", "mabc1", "test", ()),
    }
    assert "sx4.wrd line 1: expected 'start end word'" in clips["TEST/mabc1/sx4"].notes[0]
    assert skipped == {
        "TEST/mabc1/sx5.mp4": "neither a .txt nor a .wrd of that name that holds words",
        "TEST/mabc1/sx6.txt": "no video of that name beside it",
    }


LRS3 = """Text:  THE TIDE COMES {LG} {IN} AT SEVEN
Conf:  4
Ref: abcdefghijk

FRAME \tX \tY \tW \tH
000126 \t0.341 \t0.166 \t0.122 \t0.216
000127 \t0.341 \t0.166 \t0.122 \t0.216

WORD START END ASDSCORE
THE 0.11 0.24 7.1
TIDE 0.24 0.53 8.0
{NS} 0.53 0.60 0.1
"""


def test_lrs3_by_its_folders(tmp_path):
    told = {
        "pretrain/abcdefghijk/00001": LRS3,
        "trainval/abcdefghijk/50001": LRS3.split("WORD")[0],
        "test/zyx/50001": "Text:  NO BOXES HERE\r\nConf:  2\r\n",
        "test/zyx/50002": LRS3.replace("0.24 0.53", "0.53 0.24"),
        "test/zyx/50003": "Conf: 3\n",
        "test/zyx/50004": "Text:  \nConf: 3\n",
    }
    files = {f"{name}.mp4": None for name in told} | {f"{name}.txt": text for name, text in told.items()}
    clips, skipped = by_id(fill(tmp_path / "lrs3", files), "lrs")
    words = (Word("THE", 0.11, 0.24), Word("TIDE", 0.24, 0.53))
    assert {id: (clip.text, clip.speaker, clip.split, clip.words) for id, clip in clips.items()} == {
        "pretrain/abcdefghijk/00001": ("THE TIDE COMES IN AT SEVEN", "abcdefghijk", "pretrain", words),
        "trainval/abcdefghijk/50001": ("THE TIDE COMES IN AT SEVEN", "abcdefghijk", "trainval", ()),
        "test/zyx/50001": ("NO BOXES HERE", None, "test", ()),
    }
    assert skipped == {
        "test/zyx/50002.mp4": "test/zyx/50002.txt line 11: 'TIDE' ends before it starts",
        "test/zyx/50003.mp4": "test/zyx/50003.txt: no line 'Text: ...'; is it LRS2 or LRS3?",
        "test/zyx/50004.mp4": "the transcript is empty, or holds neither letter nor digit; write what is said in the "
        "clip",
    }


def test_lrs2_by_its_lists(tmp_path):
    text = "Text:  WE MET AT NOON\nConf:  3\n"
    names = ["pretrain/55/01", "main/55/01", "main/55/02", "main/56/01", "main/57/01"]
    files = {f"{name}.mp4": None for name in names} | {f"{name}.txt": text for name in names}
    files |= {"pretrain.txt": "55/01\n", "train.txt": "55/01\n55/02\n", "val.txt": "56/01\n56/09\n56/08\n"}
    clips, skipped = by_id(fill(tmp_path / "lrs2", files | {"test.txt": "58/01 NF\n"}), "lrs")
    assert {id: (clip.split, clip.speaker) for id, clip in clips.items()} == {
        "pretrain/55/01": ("pretrain", None),
        "main/55/01": ("train", None),
        "main/55/02": ("train", None),
        "main/56/01": ("validation", None),
    }
    assert skipped == {
        "main/57/01.mp4": "in none of the lists pretrain.txt, train.txt, val.txt, test.txt",
        "val.txt": "2 of its clips are not in the folder, the first is 56/09",
        "test.txt": "1 of its clips are not in the folder, the first is 58/01",
    }


def test_plain_folder(tmp_path):
    videos = ["anna/clip10.mp4", "anna/clip9.MOV", "b.webm", "c.mp4", "e.mp4", "f.mp4", "f.mkv", "g.mp4"]
    told = {"anna/clip10.txt": "ten\n", "anna/clip9.TXT": "\ufeffnine,\r\nin two lines\r\n", "g.txt": " \n"}
    told |= {"b.txt": "\u017cart".encode("utf-16"), "d.txt": "no video", "e.txt": b"caf\xe9", "f.txt": "two videos"}
    clips, skipped = by_id(fill(tmp_path / "clips", dict.fromkeys(videos) | told), "folder")
    found = [(id, clip.text) for id, clip in clips.items()]
    assert found == [("b", "\u017cart"), ("anna/clip9", "nine, in two lines"), ("anna/clip10", "ten")], "natural order"
    assert skipped["c.mp4"] == "no transcript of that name beside it (.txt)"
    assert skipped["d.txt"] == "no video of that name beside it"
    assert skipped["e.mp4"].startswith("e.txt: not UTF-8")
    assert skipped["f.mkv"] == "stands beside f.mp4; keep one of them"
    assert skipped["g.mp4"].startswith("the transcript is empty")
    assert len(skipped) == 5
