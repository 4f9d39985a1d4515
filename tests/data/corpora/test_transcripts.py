# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""Subtitles and TextGrids: one clip an utterance, with speaker and word times where the source has them."""

import re

import pytest

from data.corpora import read_alignment, read_source
from data.sources.records import SourceError, TranscriptError, Word
from tests.helpers import corpora
from tests.helpers.corpora import fill, srt, textgrid, vtt


def read(folder):
    """`(text, start, end, speaker)` of the clips of subtitles, and the reasons of the others by place."""
    clips, skipped = corpora.read(folder, format="subtitles")
    return [(clip.text, clip.start, clip.end, clip.speaker) for clip in clips], skipped


def test_srt(tmp_path):
    cues = [
        (0.5, 2.25, '<i>Good</i> {\\an8}<font color="#fff">morning</font>,\neveryone &amp; welcome.'),
        (3, 4, "[music]"),
        (4, 5, "(laughs)"),
        (5, 6, "♪ a song of the sea ♪"),
        (6, 7, "[door opens] Come in! (laughs)"),
        (7, 8, "- Who is it?\n- The postman."),
        (8, 9, "- Only me."),
        (9, 9, "no time"),
        (11, 10, "backwards"),
        (12, 14, "We both"),
        (13, 15, "speak at once"),
        (15, 16.02, "nearly"),
        (16, 17, "touching"),
        (17, 17.02, "flash"),
        (18, 19, "..."),
        (3725.5, 3730, "An hour later."),
    ]
    clips, skipped = read(fill(tmp_path / "talks", {"talk.mp4": None, "talk.srt": srt(*cues)}))
    assert clips == [
        ("Good morning, everyone & welcome.", 0.5, 2.25, None),
        ("Come in!", 6.0, 7.0, None),
        ("Only me.", 8.0, 9.0, None),
        ("nearly", 15.0, 16.02, None),
        ("touching", 16.0, 17.0, None),
        ("An hour later.", 3725.5, 3730.0, None),
    ]
    assert skipped == {
        "talk.srt cue 2": "no speech ([music])",
        "talk.srt cue 3": "no speech ((laughs))",
        "talk.srt cue 4": "a song",
        "talk.srt cue 6": "two speakers in one cue (lines that begin with a dash)",
        "talk.srt cue 8": "its start 9 is not before its end 9",
        "talk.srt cue 9": "its start 11 is not before its end 10",
        "talk.srt cue 10": "overlaps cue 11: two speak at once",
        "talk.srt cue 11": "overlaps cue 10: two speak at once",
        "talk.srt cue 14": "lasts 0.020 s, less than a word",
        "talk.srt cue 15": "no speech (...)",
    }


def test_vtt_with_voices(tmp_path):
    cues = [
        (0, 1, "<v Anna Maria>Good <b.loud>morning</b>.</v>"),
        (1, 2, "<v.loud Ben>Morning,\n<v.loud Ben>Anna."),
        (2, 3, "<v Anna>Shall we?</v> <v Ben>Yes.</v>"),
        (3, 4, "<c.yellow>No voice</c>&nbsp;here"),
        (4, 5, ">> A new speaker"),
    ]
    clips, skipped = read(fill(tmp_path / "talks", {"talk.mp4": None, "talk.vtt": vtt(*cues)}))
    assert clips == [
        ("Good morning.", 0.0, 1.0, "Anna Maria"),
        ("Morning, Anna.", 1.0, 2.0, "Ben"),
        ("No voice here", 3.0, 4.0, None),
        ("A new speaker", 4.0, 5.0, None),
    ]
    assert skipped == {"talk.vtt cue 3": "two voices in one cue"}


def test_subtitles_in_several_languages(tmp_path):
    files = {"talk.mp4": None, "talk.en.vtt": vtt((0, 1, "hello")), "talk.pt-BR.vtt": vtt((0, 1, "olá"))}
    files |= {"one.two.mp4": None, "one.two.srt": srt((0, 1, "named so"))}
    files |= {"only.mp4": None, "only.de.srt": srt((0, 1, "ja"))}
    folder = fill(tmp_path / "talks", files)
    clips, skipped = read(folder)
    assert [clip[0] for clip in clips] == ["named so", "ja"]
    assert skipped == {"talk.en.vtt": "stands beside talk.pt-BR.vtt; keep one of them"}


def test_subtitles_that_cannot_be_used(tmp_path):
    good = srt((0, 1, "fine"))
    timeless = good + "2\n00:00:xx --> 00:00:02\nno time\n\n3\n00:00:03,000 --> 00:00:04,000\nthree\n"
    bad = {
        "a.srt": (timeless, "1 of its cues have no times that can be read, or no text"),
        "b.vtt": (good, "b.vtt: no WebVTT file, which begins with WEBVTT; save it again as one"),
        "c.srt": ("", "c.srt: holds no cue"),
        "d.vtt": ("WEBVTT\n\nNOTE nothing else\n", "d.vtt: holds no cue"),
        "e.srt": (good, "stands beside e.vtt; keep one of them"),
        "h.vtt": (vtt((0, 2, "we<00:00:00.400> sailed")), "h.vtt: has times within cues"),
        "g.srt": (b"1\n00:00:00,000 --> 00:00:01,000\ncaf\xe9\n", "g.srt: not UTF-8"),
    }
    files = {f"{name}.mp4": None for name in "abcdefgh"} | {name: content for name, (content, _) in bad.items()}
    files |= {"e.vtt": vtt((0, 1, "again")), "f.srt": good.encode("utf-16")}
    clips, skipped = read(fill(tmp_path / "talks", files))
    assert [clip[0] for clip in clips] == ["fine", "three", "fine"]
    assert skipped.keys() == bad.keys()
    assert all(skipped[name].startswith(reason) for name, (_, reason) in bad.items())


WORDS = [(0.0, 0.5, ""), (0.5, 1.0, "good"), (1.0, 1.5, "morning"), (1.5, 2.0, "sil"), (2.0, 2.5, 'so "called"')]
SPOKEN = [Word("good", 0.5, 1.0), Word("morning", 1.0, 1.5), Word('so "called"', 2.0, 2.5)]
GOOD = ("good morning", SPOKEN[:2])
PHONES = [(0.0, 1.0, "g"), (1.0, 2.5, "u")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("form", ["long", "short"])
def test_textgrid_forms_and_encodings(tmp_path, form, encoding):
    tiers = [("words", [*WORDS, (2.5, 3.0, "ñandú")]), ("bell", [(0.7, "ding")]), ("phones", PHONES), ("empty", [])]
    path = tmp_path / "a.TextGrid"
    path.write_bytes(textgrid(tiers, form).replace("\n", "\r\n").encode(encoding))
    assert read_alignment(path) == [*SPOKEN, Word("ñandú", 2.5, 3.0)]
    # Comments, and labels that look like the format.
    text = textgrid([("words", [(0.0, 1.0, 'item [1]: "IntervalTier" 5 ! <exists>')])])
    path.write_text(text.replace("size = 1 ", 'size = 1 ! one tier "words" 7', 1))
    assert read_alignment(path) == [Word('item [1]: "IntervalTier" 5 ! <exists>', 0.0, 1.0)]


def test_textgrid_of_utterances(tmp_path):
    utterances = [(0.0, 0.4, ""), (0.5, 1.5000001, "Good morning!"), (1.9, 2.6, "So called."), (2.6, 3.0, "[laughs]")]
    grid = textgrid([("utterances", utterances), ("words", WORDS), ("phones", PHONES)], "short")
    source = read_source(fill(tmp_path / "talks", {"a.mp4": None, "a.TextGrid": grid}), "textgrid")
    found = [(clip.text, clip.start, clip.end, list(clip.words)) for clip in source.records]
    assert found == [
        ("Good morning!", 0.5, 1.5000001, SPOKEN[:2]),
        ("So called.", 1.9, 2.6, SPOKEN[2:]),
        ("[laughs]", 2.6, 3.0, []),
    ]
    assert source.records[0].where == "talks/a.TextGrid utterances interval 2"
    grid = textgrid([("anna - words", WORDS), ("anna - phones", PHONES)])  # words alone are one clip
    (clip,) = read_source(fill(tmp_path / "words", {"a.mp4": None, "a.TextGrid": grid}), "textgrid").records
    assert (clip.text, clip.start, clip.end, list(clip.words)) == ('good morning so "called"', None, None, SPOKEN)


def test_textgrid_tiers_are_chosen(tmp_path):
    tiers = [("Anna", [(0.0, 1.0, "first")]), ("Ben", [(0.0, 1.0, "second")]), ("tokens", [(0.0, 1.0, "second")])]
    folder = fill(tmp_path / "talks", {"a.mp4": None, "a.TextGrid": textgrid(tiers)})
    with pytest.raises(SourceError, match="3 of its .* .Anna, Ben, tokens. may be that of utterances; choose one"):
        read_source(folder, "textgrid")
    with pytest.raises(SourceError, match="0 of its .* .Anna, Ben, tokens. may be that of utterances"):
        read_source(folder, "textgrid", options={"utterances": "Carl"})
    source = read_source(folder, "textgrid", options={"utterances": "ben", "words": "tokens"})
    assert [(clip.text, list(clip.words)) for clip in source.records] == [("second", [Word("second", 0.0, 1.0)])]
    words = textgrid([("anna - words", WORDS), ("ben - words", WORDS)])
    with pytest.raises(SourceError, match="2 of its .* may be that of words"):
        read_source(fill(tmp_path / "two", {"a.mp4": None, "a.TextGrid": words}), "textgrid")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "truncated, a text is missing"),
        ('"ooTextFile"\n"PitchTier"\n', "not a TextGrid"),
        ("ooBinaryFile\x08TextGrid", "a text is missing"),
        (textgrid([("words", WORDS)])[:-20], "truncated"),
        (textgrid([("words", WORDS)]).replace("0.5", "half", 1), "line 18: expected a number"),
        (textgrid([("words", [(1.0, 0.5, "x")])]), "from 1 to 0.5 runs backwards"),
        (textgrid([("words", WORDS)]).replace("size = 5", "size = 1e300"), "no number of tiers or intervals"),
        (textgrid([("words", WORDS)]).replace("IntervalTier", "OtherTier"), "'OtherTier' is no kind of tier"),
        (textgrid([("phones", PHONES)]), "no tier of words or utterances"),
        (textgrid([("words", [(0.0, 1.0, "sil")])]), "no tier of words that holds any"),
        (textgrid([("bell", [(0.5, "ding")])]), "its tiers of intervals are none"),
    ],
)
def test_textgrids_that_cannot_be_used(tmp_path, content, reason):
    path = tmp_path / "a.TextGrid"
    path.write_text(content)
    with pytest.raises(TranscriptError, match=reason):
        read_alignment(path)
    for name, reason in (("a.lab", "word alignments end in .align, .txt, .textgrid, .wrd"), ("b.align", "is no file")):
        with pytest.raises(TranscriptError, match=reason):
            read_alignment(tmp_path / name)


# Variants with where they were found; the texts are ours. A clip is its text and its words with times, or the reason
# why it is skipped.
THE_TIDE = ("the tide", [("the", 0.5, 1.0), ("tide", 1.0, 1.5)])
TIMED = "0 8000 sil\n8000 16000 the\n16000 24000 tide\n24000 26000 sp\n"
NO_SAMPLES = "expected the first and last sample and the sentence"
NO_ROW = "expected 'start end word' with times in whole units"
NO_LRS_ROW = "expected 'WORD START END ASDSCORE'"
LRS = "Text:  THE TIDE\nWORD START END ASDSCORE\n"  # without Conf, as AVSpeech is rewritten in LRS' form
LRS_TIDE = ("THE TIDE", [("THE", 0.5, 1.0), ("TIDE", 1.0, 1.5)])
VARIANTS = {
    # Labels of TCD-TIMIT a line each, as github.com/matthijsvk/multimodalSR splits them; TIMIT's .txt and .wrd as
    # LDC's readme describes them (catalog.ldc.upenn.edu/docs/LDC93S1).
    "timit a word a line": ("timit", ".txt", TIMED, THE_TIDE),
    "timit tabs and CRLF": ("timit", ".txt", TIMED.replace(" ", "\t").replace("\n", "\r\n"), THE_TIDE),
    "timit sentence": ("timit", ".txt", "0 46797 The tide comes\nin.\n", ("The tide comes in.", [])),
    "timit one word": ("timit", ".txt", "0 46797 Tides", ("Tides", [])),
    "timit a pause in .wrd": ("timit", ".wrd", "0 8000 h#\n" + TIMED[11:], THE_TIDE),
    "timit digits": ("timit", ".txt", "0 8000 5\n8000 16000 3\n", ("5 3", [("5", 0.0, 0.5), ("3", 0.5, 1.0)])),
    "timit broken row": ("timit", ".txt", TIMED + "24000 bank\n", f"a.txt line 5: {NO_ROW}"),
    "timit two sentences": ("timit", ".txt", "0 8000 The tide\n8000 16000 comes in", f"a.txt line 1: {NO_ROW}"),
    "timit seconds": ("timit", ".txt", "0.5 1.0 the\n1.0 1.5 tide\n", f"a.txt line 1: {NO_ROW}"),
    "timit sentence in seconds": ("timit", ".txt", "0.0 2.9 The tide comes in.", f"a.txt: {NO_SAMPLES}"),
    "timit backwards": ("timit", ".txt", "8000 0 The tide comes in.", f"a.txt: {NO_SAMPLES}"),
    "timit nothing said": ("timit", ".txt", "0 8000 sil\n8000 9000 h#", "a.txt: the alignment holds no word"),
    # GRID as github.com/rizkiarm/LipNet reads it.
    "grid": ("grid", ".align", "0 12500 sil\n12500 25000 the\n25000 37500 tide\n37500 74500 SIL\n", THE_TIDE),
    "grid without an end": ("grid", ".align", "0 bin\n", "a.align line 1: expected"),
    "grid Arabic digits": ("grid", ".align", "0 \u0662 bin\n", "a.align line 1: expected"),
    "grid Latin-1": ("grid", ".align", b"0 10 caf\xe9\n", "a.align: not UTF-8"),
    # LRS as github.com/Sxjdwang/TalkLip/issues/27 quotes it; other corpora rewritten so have times of pandas, no
    # "Conf", the heading SCORE, and rows whose word was only punctuation.
    "lrs digits of pandas": ("lrs", ".txt", LRS + "THE 0.5 1.0 7.1\nTIDE 1.0000000000000000 1.5 1\n", LRS_TIDE),
    "lrs SCORE": ("lrs", ".txt", LRS.replace("ASD", "") + "THE 0.5 1.0 0\nTIDE 1.0 1.5 0\n", LRS_TIDE),
    "lrs no score": ("lrs", ".txt", LRS.replace(" ASDSCORE", "") + "THE 0.5 1.0\nTIDE 1.0 1.5\n", LRS_TIDE),
    "lrs no word": ("lrs", ".txt", LRS + "THE 0.5 1.0 1\n 1.0 1.5 1\n", f"a.txt line 4: {NO_LRS_ROW}"),
    # Labels of P2FA, the Montreal forced aligner, m4singer (SP) and WebMAUS; tiers of a public reader of praatio.
    **{
        f"textgrid {noise}": ("textgrid", ".TextGrid", textgrid([("word", [(0.0, 0.5, noise), *WORDS[1:3]])]), GOOD)
        for noise in ("{NS}", "{BR}", "[bracketed]", "SP", "<p:>", "<eps>")
    },
    "textgrid tiers": (
        "textgrid",
        ".TextGrid",
        textgrid([("HMM-phones", PHONES), ("segment", PHONES), ("HMM-words", WORDS[:3])]),
        GOOD,
    ),
    # A plain folder that holds another format under the name .txt.
    "plain rows of seconds": ("folder", ".txt", "0.5 1.0 the\n1.0 1.5 tide", "rows of times and words"),
    "plain LRS": ("folder", ".txt", LRS, "file of subtitles, of LRS"),
    "plain SRT": ("folder", ".txt", srt((0, 1, "the tide")), "file of subtitles"),
    "plain TextGrid": ("folder", ".txt", textgrid([("words", WORDS)]), "or a TextGrid"),
    "plain JSON": ("folder", ".txt", '[{"word": "the", "start": 0.5}]', "file of JSON, XML or RTF"),
    "plain TTML": ("folder", ".txt", "<?xml version='1.0'?>\n<tt><p>the tide</p></tt>", "file of JSON, XML or RTF"),
    "plain numbers": ("folder", ".txt", "people came to 7 9 Mill Lane", ("people came to 7 9 Mill Lane", [])),
}


@pytest.mark.parametrize(("format", "suffix", "content", "expected"), VARIANTS.values(), ids=VARIANTS)
def test_variants_of_public_corpora(tmp_path, format, suffix, content, expected):
    fill(tmp_path, {"a.mp4": None, f"a{suffix}": content})
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=re.escape(expected)):
            read_source(tmp_path, format=format)
        return
    (clip,) = read_source(tmp_path, format=format).records
    assert (clip.text, [tuple(word) for word in clip.words], clip.notes) == (*expected, clip.notes)
    assert bool(clip.notes) == clip.text.replace(" ", "").isdigit()


# From knowledge.kaltura.com/help/troubleshooting-srt-files (dots, no spaces, no numbers, text behind the times),
# visualsubsync.org/help/srt (coordinates), gsantiago/subtitle.js#45 (one digit) and pluja/whishper#81 (commas in VTT).
@pytest.mark.parametrize(
    ("timing", "times"),
    [
        ("00:00:01,000 --> 00:00:02,500", (1.0, 2.5)),
        ("00:00:01.000-->00:00:02.500", (1.0, 2.5)),
        ("0:00:01,000  -->  0:00:02,500  X1:40 X2:600 Y1:20 Y2:50", (1.0, 2.5)),
        ("00:01.000 --> 00:02.500 align:start line:0%", (1.0, 2.5)),
        ("00:01,000 --> 00:02,500", (1.0, 2.5)),
        ("00:00:01,500000 --> 00:00:02,500000", ()),
        ("00:00:01,5 --> 00:00:02,5", ()),
        ("00:00:01 --> 00:00:02", ()),
        ("00:00:01,000 --> 00:00:02,500 the text stands here", ()),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "head"), [(".srt", "1\n"), (".srt", ""), (".srt", " 1 \n"), (".vtt", "WEBVTT\n\n")]
)
def test_times_of_subtitles(tmp_path, suffix, head, timing, times):
    last = "2\n00:00:05,000 --> 00:00:06,000\nthe last\n"  # no blank line before
    if suffix == ".vtt":
        last = "\n00:05.000 --> 00:06.000\nthe last\n"
    fill(tmp_path, {"a.mp4": None, f"a{suffix}": f"{head}{timing}\nthe tide\n{last}"})
    clips, skipped = read(tmp_path)
    found = [(text, start, end) for text, start, end, _ in clips]
    assert found == [("the tide", *times)] * bool(times) + [("the last", 5.0, 6.0)]
    assert list(skipped.values()) == ["1 of its cues have no times that can be read, or no text"] * (not times)


ROWS = ["utt 1 0.0 0.3 hi utt 1 0.3 0.3 you", "0 the 12 tide 20 comes", "0.5 1.9 the tide comes in"]


@pytest.mark.parametrize("text", ["5 3 8 1", "12", "0.11,0.45,hello", *ROWS])
def test_numbers_in_a_plain_folder_are_kept_and_warned_of(tmp_path, text):
    """A corpus of digits may be right; its first two are no samples."""
    source = read_source(fill(tmp_path, {"a.mp4": None, "a.txt": text}), "folder")
    assert source.records[0].text == text
    assert "the transcript may hold times" in source.records[0].notes[0]
